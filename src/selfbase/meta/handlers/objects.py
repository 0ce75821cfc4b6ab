"""Lists, single objects, and writes: one handler shape for every kind of catalog object."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

from selfbase.http.values import Response
from selfbase.meta.bodies import read_fields
from selfbase.meta.call import Call, answer_raw
from selfbase.meta.catalog import (
    COLUMNS,
    VERSION,
    Kind,
    Page,
    find_object,
    list_objects,
    load_object,
)
from selfbase.meta.connection import MetaConnection
from selfbase.meta.errors import BadRequest, NotFound
from selfbase.meta.logic.values import join_rows
from selfbase.meta.writes.kinds import Writes

Handler = Callable[[Call], Awaitable[Response]]
ReadParams = Callable[[Call], dict[str, bool]]
ChangeRights = Callable[..., Awaitable[list[bytes]]]


def list_of(
    kind: Kind, *, with_columns: bool = False, read_params: ReadParams | None = None
) -> Handler:
    """`with_columns` is the default of `include_columns`; `read_params` reads further ones."""

    async def answer_list(call: Call) -> Response:
        page = replace(
            call.read_page(**(read_params(call) if read_params is not None else {})),
            with_columns=call.is_true("include_columns", with_columns),
        )
        async with call.connect() as connection:
            return answer_raw(join_rows(await list_objects(connection, kind, page)))

    return answer_list


def one_of(kind: Kind) -> Handler:
    async def answer_one(call: Call) -> Response:
        key = read_key(call, kind)
        async with call.connect() as connection:
            return answer_raw(await find_object(connection, kind, key))

    return answer_one


def read_key(call: Call, kind: Kind) -> int | str:
    """The key of the path.  Raises NotFound for a path upstream has no route for."""
    text = call.request.params["id"]
    if not kind.key_is_number:
        return text
    if not text.isascii() or not text.isdigit() or len(text) > 18:
        raise NotFound("Not found")
    return int(text)


async def answer_column(call: Call) -> Response:
    """`/columns/{oid}.{number}`, or the first column of `/columns/{oid}`."""
    text = call.request.params["id"]
    table, dot, number = text.partition(".")
    if not (table.isascii() and table.isdigit() and len(table) <= 10):
        raise NotFound("Not found")
    async with call.connect() as connection:
        if dot:
            if not (number.isascii() and number.isdigit() and len(number) <= 5):
                raise BadRequest("Invalid format for column ID")
            return answer_raw(await find_object(connection, COLUMNS, f"{int(table)}.{int(number)}"))
        # Parity: a table alone answers its first column.
        page = Page(limit=1, params={"tables": [int(table)]})
        found = await list_objects(connection, COLUMNS, page)
        if not found:
            raise NotFound(f"Cannot find a column with ID {text}")
        return answer_raw(found[0])


async def answer_version(call: Call) -> Response:
    async with call.connect() as connection:
        return answer_raw((await list_objects(connection, VERSION, Page()))[0])


def create_of(writes: Writes) -> Handler:
    async def answer_create(call: Call) -> Response:
        body = read_fields(await call.read_body(), writes.create_fields)
        async with call.connect_to_write() as connection:
            key = await writes.create(connection, body)
            created = await find_object(connection, writes.kind, key)
        return answer_raw(created)

    return answer_create


def update_of(writes: Writes) -> Handler:
    async def answer_update(call: Call) -> Response:
        key = read_key(call, writes.kind)
        body = read_fields(await call.read_body(), writes.update_fields)
        async with call.connect_to_write() as connection:
            old = await load_object(connection, writes.kind, key)
            key = await writes.update(connection, old, body)
            updated = await find_object(connection, writes.kind, key)
        return answer_raw(updated)

    return answer_update


def delete_of(writes: Writes, *, may_cascade: bool = True) -> Handler:
    """Answers the object as it was.  `may_cascade` tells whether `cascade=true` is heard."""

    async def answer_delete(call: Call) -> Response:
        key = read_key(call, writes.kind)
        cascade = may_cascade and call.is_true("cascade")
        async with call.connect_to_write() as connection:
            old = await find_object(connection, writes.kind, key)
            loaded = await load_object(connection, writes.kind, key)
            await connection.execute(writes.drop(loaded, cascade))
        return answer_raw(old)

    return answer_delete


def rights_of(change: ChangeRights, *, grant: bool) -> Handler:
    async def answer_rights(call: Call) -> Response:
        body = await call.read_body()
        async with call.connect_to_write() as connection:
            return answer_raw(join_rows(await _change(connection, body)))

    async def _change(connection: MetaConnection, body: Any) -> list[bytes]:
        return await change(connection, body, grant=grant)

    return answer_rights
