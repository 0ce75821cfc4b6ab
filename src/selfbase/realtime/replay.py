"""Stored messages of a private topic, for a client that joins later.

Source: reference/realtime.md section 5.1.
"""

from __future__ import annotations

from datetime import UTC, datetime

import orjson

from selfbase.database.database import Database
from selfbase.database.failures import DatabaseFailure
from selfbase.realtime.authorization import LOGIN
from selfbase.realtime.errors import ReplayRefused
from selfbase.realtime.logic.frames import Broadcast, Form, render_object
from selfbase.realtime.logic.joins import Replay
from selfbase.realtime.logic.protocol import PREFIX

# in: topic, since, limit; out: the newest rows, oldest first; locks: none.
_LIST = """
select * from (
  select id::text as id, event, payload::text as payload, binary_payload, inserted_at
  from realtime.messages
  where extension = 'broadcast' and private is true and topic = %s
    and inserted_at >= %s and inserted_at < localtimestamp + interval '1 minute'
  order by inserted_at desc
  limit %s
) as newest
order by inserted_at
"""


async def list_stored(database: Database, subtopic: str, replay: Replay) -> list[Broadcast]:
    """The messages since a moment.  The caller's right to read has been decided before.
    Raises ReplayRefused."""
    since = datetime.fromtimestamp(replay.since_ms / 1000, UTC).replace(tzinfo=None)
    try:
        async with database.as_service(
            "the policies have allowed reading this topic", login=LOGIN, extra=[("TimeZone", "UTC")]
        ) as tx:
            rows = await tx.fetch_all(_LIST, (subtopic, since, replay.limit))
    except (DatabaseFailure, ValueError, OverflowError) as failure:
        raise ReplayRefused("Realtime was unable to replay messages") from failure
    return [
        make_stored(
            subtopic,
            row["id"],
            row["event"],
            row["payload"],
            row["binary_payload"],
            replayed=True,
        )
        for row in rows
    ]


def make_stored(
    subtopic: str,
    id_: str,
    event: str | None,
    payload: str | None,
    binary: bytes | None,
    *,
    replayed: bool = False,
) -> Broadcast:
    """A row of realtime.messages as the message it announces."""
    meta: dict[str, object] = {"replayed": True, "id": id_} if replayed else {"id": id_}
    packed = orjson.dumps(meta)
    topic, name = PREFIX + subtopic, event or ""
    if binary is not None:
        return Broadcast(topic, name, bytes(binary), Form.RAW, packed, id_)
    body = render_object(name, (payload or "{}").encode(), packed)
    return Broadcast(topic, name, body, Form.OBJECT, packed, id_)
