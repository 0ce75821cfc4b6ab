"""Answers that take the same time for known and unknown addresses."""

from __future__ import annotations

import asyncio
from functools import wraps

from selfbase.auth.context import Context, Handler
from selfbase.http.values import Response


def levelled(handler: Handler) -> Handler:
    """The handler, answering no earlier than a fixed time after it began.

    Sending a code takes some writes more than finding nobody; the floor lies well above both.
    """

    @wraps(handler)
    async def answer(ctx: Context) -> Response:
        floor = asyncio.create_task(asyncio.sleep(ctx.settings.answer_floor_s))
        try:
            return await handler(ctx)
        finally:
            await floor

    return answer
