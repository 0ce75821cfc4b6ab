"""The plan stage: an `Ask` and the catalog become a `Plan`.

Source: reference/rest.md sections 2 and 3.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from selfbase.rest.errors import RestFailure, invalid_put_filters, unacceptable_media
from selfbase.rest.logic.catalog import Catalog, Function, MediaHandler, Parameter, Table
from selfbase.rest.logic.grammar import parse_columns
from selfbase.rest.logic.lookup import get_function, get_table, missing_column
from selfbase.rest.logic.media import ANY, CSV, GEOJSON, JSON, MediaType, parse_media_type
from selfbase.rest.logic.names import Name
from selfbase.rest.logic.plan import (
    FIELD,
    BodyColumn,
    Call,
    Condition,
    Handler,
    Plan,
    ReadNode,
    Source,
    Write,
)
from selfbase.rest.logic.plan_read import (
    ReadContext,
    find_text,
    list_filtered_columns,
    list_needed_columns,
    plan_filter,
    plan_read,
    plan_tree,
)
from selfbase.rest.logic.request import Ask
from selfbase.rest.logic.scan import ArgumentItem, FilterItem, LogicItem, parse_key
from selfbase.rest.logic.syntax import Operation


@dataclass(frozen=True, slots=True)
class PlanOptions:
    """The settings that decide plans."""

    aggregates: bool
    plans: bool
    rows_max: int | None
    tx_override: bool = False
    filters_required: bool = False


def plan_request(ask: Ask, catalog: Catalog, options: PlanOptions) -> Plan:
    """Raises RestFailure for whatever cannot be done."""
    if ask.action == "read":
        plan = _plan_relation_read(ask, catalog, options)
    elif ask.action == "call":
        plan = _plan_call(ask, catalog, options)
    else:
        plan = _plan_write(ask, catalog, options)
    return plan


def check_preferences(ask: Ask) -> None:
    """Raises RestFailure PGRST122 for what a strict client asked for and nobody knows."""
    if ask.preferences.strict and ask.preferences.unknown:
        unknown = ", ".join(ask.preferences.unknown)
        raise RestFailure(
            "PGRST122",
            400,
            "Invalid preferences given with handling=strict",
            f"Invalid preferences: {unknown}",
        )


def _plan_relation_read(ask: Ask, catalog: Catalog, options: PlanOptions) -> Plan:
    table = get_table(catalog, Name(ask.schema, ask.name))
    context = ReadContext(catalog, options.aggregates, options.rows_max)
    root = plan_read(context, table.name, ask.shape, limited=ask.limited, offset=ask.offset)
    handler = _negotiate(ask, catalog, options, root, table.name)
    check_preferences(ask)
    return Plan(
        root,
        handler,
        headers_only=ask.method == "HEAD",
        count=ask.preferences.counting,
        primary_key=table.primary_key,
    )


# Writes


def _plan_write(ask: Ask, catalog: Catalog, options: PlanOptions) -> Plan:
    table = get_table(catalog, Name(ask.schema, ask.name))
    context = ReadContext(catalog, options.aggregates, None)
    root = plan_read(context, table.name, ask.shape, writing=True, from_source=True)
    write = _plan_write_statement(ask, catalog, table, root)
    if options.filters_required:
        _check_filtered(write)
    check_preferences(ask)
    handler = _negotiate(ask, catalog, options, root, table.name)
    if not ask.preferences.full:
        handler = replace(handler, kind="none")
    wants_location = ask.action == "insert" and ask.preferences.representation == "headers-only"
    return Plan(
        root,
        handler,
        headers_only=False,
        write=write,
        count=ask.preferences.counting,
        read_only=False,
        location_columns=table.primary_key if wants_location else (),
        primary_key=table.primary_key,
        on_conflict=find_text(ask.shape, "on_conflict") is not None,
    )


def _check_filtered(write: Write) -> None:
    """Refuses to change all rows of a table, with the words of the extension `safeupdate`."""
    changing = write.kind == "delete" or (write.kind == "update" and write.columns)
    if changing and not write.conditions:
        raise RestFailure("21000", 400, f"{write.kind.upper()} requires a WHERE clause")


def _plan_write_statement(ask: Ask, catalog: Catalog, table: Table, root: ReadNode) -> Write:
    wants_rows = ask.preferences.representation in ("representation", "headers-only")
    returning = list_needed_columns(root, table.primary_key) if wants_rows else ()
    conditions = _plan_root_conditions(ask, catalog, table)
    if ask.action == "delete":
        return Write("delete", table.name, conditions=conditions, returning=returning)
    assert ask.body is not None
    columns = tuple(_plan_body_column(catalog, table, key) for key in ask.body.keys)
    is_object = ask.body.kind == "object"
    defaults = ask.preferences.missing == "default"
    if ask.action == "update":
        return Write(
            "update",
            table.name,
            columns,
            is_object,
            conditions,
            returning,
            defaults=defaults,
        )
    if ask.action == "upsert":
        _check_put_filters(ask, table)
        return Write(
            "insert",
            table.name,
            columns,
            is_object,
            conditions,
            returning,
            conflict=table.primary_key,
            merge=True,
            put=True,
        )
    on_conflict = find_text(ask.shape, "on_conflict")
    conflict = table.primary_key
    if on_conflict is not None:
        conflict = parse_columns(on_conflict, "on_conflict parameter")
    resolution = ask.preferences.resolution
    return Write(
        "insert",
        table.name,
        columns,
        is_object,
        (),
        returning,
        conflict=conflict if resolution else None,
        merge=resolution == "merge-duplicates",
        defaults=defaults,
    )


def _plan_body_column(catalog: Catalog, table: Table, key: str) -> BodyColumn:
    column = table.columns.get(key)
    if column is None:
        raise missing_column(table, key)
    transform = catalog.representations.get(("json", column.nominal_type))
    kind = "json" if transform is not None else column.nominal_type
    return BodyColumn(key, kind, transform, column.default)


def _plan_root_conditions(ask: Ask, catalog: Catalog, table: Table) -> tuple[Condition, ...]:
    """The filters that choose the rows to write."""
    conditions: list[Condition] = []
    for item in ask.shape:
        if isinstance(item, FilterItem):
            path, field = parse_key(item.key)
            if not path:
                conditions.append(plan_filter(catalog, table, field, item.operation))
        elif isinstance(item, LogicItem) and not item.embeds:
            conditions.append(plan_tree(catalog, table, item.tree))
    return tuple(conditions)


def _check_put_filters(ask: Ask, table: Table) -> None:
    """A PUT names one row: all primary key columns by `eq`, and nothing else."""
    named: set[str] = set()
    for item in ask.shape:
        if isinstance(item, LogicItem):
            raise invalid_put_filters()
        if isinstance(item, FilterItem):
            operation = item.operation
            if operation != Operation("eq", slot=operation.slot):
                raise invalid_put_filters()
            named.add(item.key)
    if not table.primary_key or named != set(table.primary_key):
        raise invalid_put_filters()


# Calls


def _plan_call(ask: Ask, catalog: Catalog, options: PlanOptions) -> Plan:
    name = Name(ask.schema, ask.name)
    posted = ask.method == "POST"
    arguments = [item for item in ask.shape if isinstance(item, ArgumentItem)]
    if posted:
        keys: Sequence[str] = ask.body.keys if ask.body is not None else ()
    else:
        keys = [item.key for item in arguments]
    function = get_function(catalog, name, keys, ask.content_type, posted)
    table = Name(function.name.schema, function.table_name or function.name.name)
    context = ReadContext(catalog, options.aggregates, options.rows_max)
    root = plan_read(
        context,
        table,
        ask.shape,
        from_source=True,
        limited=ask.limited,
        offset=ask.offset,
    )
    root.known = catalog.tables.get(table)
    handler = _negotiate(ask, catalog, options, root, table)
    check_preferences(ask)
    preferences = ask.preferences
    if preferences.strict and preferences.affected_max is not None and function.returns_single:
        raise RestFailure(
            "PGRST128",
            400,
            "Function must return SETOF or TABLE when max-affected preference is used with"
            " handling=strict",
        )
    return Plan(
        root,
        handler,
        headers_only=ask.method == "HEAD",
        call=_plan_call_statement(ask, function, root, set(keys), arguments),
        # The planner knows nothing of a function's rows: its estimate is replaced by the number.
        count="exact" if preferences.counting == "planned" else preferences.counting,
        read_only=not posted or function.volatility != "v",
        isolation=function.isolation,
        settings=function.settings,
    )


def _plan_call_statement(
    ask: Ask,
    function: Function,
    root: ReadNode,
    keys: set[str],
    arguments: Sequence[ArgumentItem],
) -> Call:
    returning = list_needed_columns(root, ())
    if returning != ("*",):
        returning = tuple(sorted({*returning, *list_filtered_columns(root)} - {"*"}))
    parameters = function.parameters
    whole = len(parameters) == 1 and not parameters[0].name
    chosen = tuple(index for index, parameter in enumerate(parameters) if parameter.name in keys)
    body = ask.body
    texts: tuple[Source, ...] | None = None
    if ask.method != "POST":
        texts = tuple(_find_argument(parameters[index], arguments) for index in chosen)
    elif body is not None and body.kind == "form":
        texts = tuple(_find_field(parameters[index], body.keys) for index in chosen)
    return Call(
        function,
        chosen,
        texts,
        whole_body=whole and texts is None,
        body_is_object=body is None or body.kind != "array",
        returning=returning,
    )


def _find_argument(parameter: Parameter, arguments: Sequence[ArgumentItem]) -> Source:
    slots = tuple(item.slot for item in arguments if item.key == parameter.name)
    return slots if parameter.variadic else slots[-1]


def _find_field(parameter: Parameter, names: Sequence[str]) -> Source:
    fields = tuple(FIELD - number for number, name in enumerate(names) if name == parameter.name)
    return fields if parameter.variadic else fields[-1]


# Content negotiation


def _has_default_select(root: ReadNode) -> bool:
    return not root.children and len(root.outputs) == 1 and root.outputs[0].reference.name == "*"


def _negotiate(
    ask: Ask, catalog: Catalog, options: PlanOptions, root: ReadNode, target: Name
) -> Handler:
    """The first accepted media type somebody can render.  Raises RestFailure PGRST107."""
    default = _has_default_select(root) or _was_star(ask)
    for media in ask.accept:
        found = _find_handler(media, catalog, target, default, options)
        if found is not None:
            return replace(found, kind="none") if ask.method == "HEAD" else found
    raise unacceptable_media([media.text for media in ask.accept])


def _was_star(ask: Ask) -> bool:
    return find_text(ask.shape, "select") in (None, "*")


def _find_handler(
    media: MediaType, catalog: Catalog, target: Name, default: bool, options: PlanOptions
) -> Handler | None:
    if media.kind == "object":
        return Handler("object", media, media.stripped)
    if media.kind == "array":
        return Handler("array", media, media.stripped)
    if media.kind == "plan":
        if not options.plans or media.plan_for is None:
            return None
        inner = _find_handler(media.plan_for, catalog, target, default, options)
        return None if inner is None else replace(inner, media=media)
    key = media.text.lower()
    if default:
        own = catalog.handlers.get((target, "*/*")) or catalog.handlers.get((target, key))
        if own is not None:
            return _custom(own)
    general = catalog.handlers.get((None, key))
    if general is not None:
        return _custom(general)
    if media in (JSON, ANY):
        return Handler("array", JSON)
    if media == CSV:
        return Handler("csv", CSV)
    if media == GEOJSON:
        return Handler("geojson", GEOJSON)
    return None


def _custom(handler: MediaHandler) -> Handler:
    return Handler(
        "custom",
        parse_media_type(handler.content_type),
        function=handler.function,
        target=handler.target,
        any_element=handler.any_element,
        octets=handler.octets,
    )
