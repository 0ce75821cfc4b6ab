"""What a kind of object must offer to be written."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from selfbase.meta.bodies import Body, Field
from selfbase.meta.catalog import Kind, Object
from selfbase.meta.connection import MetaConnection

Key = int | str


@dataclass(frozen=True, slots=True)
class Writes:
    """The writes of one kind.  All run inside a transaction that is open already.

    `create` and `update` answer the key the object is read back by; `drop` renders one statement
    from the object as it was and whether to cascade.
    """

    kind: Kind
    create_fields: Mapping[str, Field]
    update_fields: Mapping[str, Field]
    create: Callable[[MetaConnection, Body], Awaitable[Key]]
    update: Callable[[MetaConnection, Object, Body], Awaitable[Key]]
    drop: Callable[[Object, bool], str]


def wanted(body: Body, old: Object, name: str) -> Any:
    """What the object's member shall be: what the body says, else what it was."""
    return body[name] if name in body else old[name]


def render_behavior(cascade: bool) -> str:
    return "CASCADE" if cascade else "RESTRICT"


async def execute_all(connection: MetaConnection, statements: list[str]) -> None:
    """Runs the statements that are not empty, in order."""
    for statement in statements:
        if statement:
            await connection.execute(statement)
