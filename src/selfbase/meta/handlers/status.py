"""Who we are and that we are there."""

from __future__ import annotations

from datetime import UTC, datetime

from selfbase.http.values import Response
from selfbase.meta.call import Call, answer_json

NAME = "@selfbase/postgres-meta"
VERSION = "0.96.0"


async def answer_root(call: Call) -> Response:
    """The version is that of the postgres-meta contract we follow."""
    return answer_json(
        {
            "status": 200,
            "name": NAME,
            "version": VERSION,
            "documentation": "https://github.com/supabase/postgres-meta",
        }
    )


async def answer_health(call: Call) -> Response:
    moment = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return answer_json({"date": moment})
