"""Loading everything the type generators need, in one consistent picture of the catalog."""

from __future__ import annotations

from selfbase.meta import catalog
from selfbase.meta.catalog import Kind, Object, Page, load_objects
from selfbase.meta.connection import MetaConnection
from selfbase.meta.logic.introspected import Introspection
from selfbase.meta.logic.view_columns import View, list_relationships, read_origins

# Functions that only PostgreSQL calls.
_NOT_CALLABLE = frozenset({"trigger", "event_trigger"})


async def load_introspection(
    connection: MetaConnection, included: list[str] | None, excluded: list[str] | None
) -> Introspection:
    """Reads the chosen schemas; types are read from all of them."""

    async def load(kind: Kind, **params: object) -> list[Object]:
        page = Page(included=included, excluded=excluded, params=params)
        return await load_objects(connection, kind, page)

    await connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
    rules = await load(catalog.VIEW_RULES)
    views = [
        View(
            id=rule["id"],
            schema=rule["schema"],
            name=rule["name"],
            column_names={int(n): name for n, name in (rule["column_names"] or {}).items()},
            origins=read_origins(rule["tree"]),
        )
        for rule in rules
    ]
    # Parity: Go and Python types list views as they happen to lie in the catalog.
    laid = await connection.fetch(catalog.read_sql("view_order"), {})
    place = {int(key): number for number, (key,) in enumerate(laid)}
    all_types = Page(params={"with_arrays": True, "with_rows": True})
    return Introspection(
        schemas=await load(catalog.SCHEMAS, with_system=False),
        tables=await load(catalog.TABLE_NAMES),
        foreign_tables=await load(catalog.FOREIGN_TABLES),
        views=sorted(await load(catalog.VIEWS), key=lambda view: place[view["id"]]),
        materialized_views=await load(catalog.MATERIALIZED_VIEWS),
        columns=await load(catalog.COLUMNS),
        functions=[
            function
            for function in await load(catalog.FUNCTIONS)
            if function["return_type"] not in _NOT_CALLABLE
        ],
        types=await load_objects(connection, catalog.TYPES, all_types),
        relationships=list_relationships(await load(catalog.FOREIGN_KEYS), views),
    )
