"""What the supervisor and a worker say to each other: one JSON object a line over a pipe pair.

The worker reads its `Orders` once.  After that the pipe carries `{"do": …}` down and `{"is": …}`
up.  When the pipe closes, the other side is dead, and a worker ends itself.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Orders:
    """What a worker needs to know to serve.

    `prepare` makes it bring the database up to date before it serves; only one worker does.
    `overrides` are settings from the command line, by owner and field.
    """

    index: int
    prepare: bool
    workspace: str
    state_dir: str
    host: str
    api_port: int
    public_url: str
    reuse_port: bool
    admin_socket: str
    conninfo: str
    admin_conninfo: str
    trusted: bool
    smtp_port: int | None
    mail_port: int | None
    db_host: str
    db_port: int | None
    overrides: dict[str, Any]


def render_orders(orders: Orders) -> bytes:
    return json.dumps(asdict(orders)).encode() + b"\n"


def parse_orders(line: bytes) -> Orders:
    return Orders(**json.loads(line))


def render_message(**fields: Any) -> bytes:
    return json.dumps(fields).encode() + b"\n"


def parse_message(line: bytes) -> dict[str, Any]:
    """A message, or an empty one for a line that is none."""
    try:
        parsed = json.loads(line)
    except ValueError:
        return {}
    return parsed if isinstance(parsed, dict) else {}
