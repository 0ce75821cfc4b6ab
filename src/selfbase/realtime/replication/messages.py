"""Messages that SQL sent: rows of realtime.messages as they come through the log."""

from __future__ import annotations

from selfbase.realtime.logic.frames import Broadcast
from selfbase.realtime.logic.pgoutput import Relation, RowChange
from selfbase.realtime.replay import make_stored


def is_messages(relation: Relation) -> bool:
    """Whether rows of this relation are messages: the partitions of realtime.messages."""
    return relation.schema == "realtime" and relation.table.startswith("messages")


def read_message(relation: Relation, row: RowChange) -> tuple[bool, str, Broadcast] | None:
    """Privacy, subtopic and message of an inserted row; None when it announces nothing."""
    if row.kind != "INSERT" or row.new is None:
        return None
    values = {
        column.name: value
        for column, value in zip(relation.columns, row.new, strict=False)
        if isinstance(value, str)
    }
    topic, event = values.get("topic"), values.get("event")
    if topic is None or event is None or values.get("extension") != "broadcast":
        return None
    packed = values.get("binary_payload")
    binary = bytes.fromhex(packed.removeprefix("\\x")) if packed is not None else None
    message = make_stored(topic, values.get("id", ""), event, values.get("payload"), binary)
    return values.get("private") == "t", topic, message
