"""Hooks: questions Auth puts to a Postgres function or an HTTP service of the project's owner.

HTTP hooks are signed as Standard Webhooks 1.0 describes.  Source: reference section 5.6.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Mapping
from contextlib import AsyncExitStack
from typing import Any
from urllib.parse import urlsplit

import orjson
from psycopg import sql as pgsql

from selfbase.auth.context import Context
from selfbase.auth.errors import HookFailure, UnexpectedFailure
from selfbase.auth.logic.hooks import read_hook_answer, sign_webhook
from selfbase.auth.logic.render import dump_json, render_moment
from selfbase.auth.outgoing import AddressRefused, FetchFailed, Outgoing, ReplyTooLarge
from selfbase.auth.settings_security import HookSettings
from selfbase.database.database import Transaction
from selfbase.database.failures import DatabaseFailure, QueryCanceled

TRIES_MAX = 3
PAUSE_S = 2.0
POSTGRES_TIMEOUT_MS = 2000
LOCAL_HOSTS = frozenset({"localhost", "127.0.0.1", "::1", "host.docker.internal"})


class Hooks:
    """Runs hooks."""

    def __init__(self, outgoing: Outgoing) -> None:
        self._outgoing = outgoing

    async def run(
        self,
        ctx: Context,
        name: str,
        payload: Mapping[str, Any],
        *,
        tx: Transaction | None = None,
    ) -> dict[str, Any]:
        """The hook's answer.  Call it only for a hook that is enabled.

        A Postgres function runs in `tx` where there is one.  Raises HookFailure when the hook
        refuses or cannot be asked.
        """
        hook = ctx.settings.hooks[name]
        # The list of claims is one text for users of other libraries, too: `aud` stays a string.
        full = {
            "metadata": {
                "uuid": str(uuid.uuid4()),
                "time": render_moment(ctx.now),
                "name": name.replace("_", "-"),
                "ip_address": ctx.ip,
            },
            **payload,
        }
        if hook.uri.startswith("pg-functions://"):
            answer = await self._ask_postgres(ctx, hook, full, tx)
        else:
            answer = await self._ask_http(ctx, hook, full)
        return read_hook_answer(answer)

    async def _ask_postgres(
        self, ctx: Context, hook: HookSettings, payload: Mapping[str, Any], tx: Transaction | None
    ) -> Any:
        schema, _, function = urlsplit(hook.uri).path.lstrip("/").partition("/")
        if not schema or not function:
            raise UnexpectedFailure("Hook URI does not name a schema and a function")
        call = pgsql.SQL("select {}({}::jsonb)::text").format(
            pgsql.Identifier(schema, function), pgsql.Placeholder()
        )
        try:
            async with AsyncExitStack() as stack:
                inner = tx
                if inner is None:
                    inner = await stack.enter_async_context(ctx.transaction("hook"))
                await stack.enter_async_context(inner.savepoint())
                before = await inner.fetch_value("select current_setting('statement_timeout')")
                await inner.execute(
                    "select set_config('statement_timeout', %s, true)", [str(POSTGRES_TIMEOUT_MS)]
                )
                text = await inner.fetch_value(call, [dump_json(payload).decode()])
                await inner.execute("select set_config('statement_timeout', %s, true)", [before])
        except QueryCanceled:
            raise HookFailure(
                "Failed to reach hook within maximum time of 2.000000 seconds",
                code="hook_timeout", status=422,
            ) from None  # fmt: skip
        except DatabaseFailure as error:
            raise UnexpectedFailure(
                "Error running hook URI: " + hook.uri, internal=error.diagnosis.message
            ) from None
        return {} if text is None else orjson.loads(text)

    async def _ask_http(self, ctx: Context, hook: HookSettings, payload: Mapping[str, Any]) -> Any:
        split = urlsplit(hook.uri)
        local = split.hostname in LOCAL_HOSTS
        if split.scheme != "https" and not (split.scheme == "http" and local):
            raise UnexpectedFailure("Hook URI must use https")
        body = dump_json(payload)
        try:
            async with asyncio.timeout(ctx.settings.hook_timeout_s):
                for attempt in range(1, TRIES_MAX + 1):
                    try:
                        return await self._post(ctx, hook, body, allow_private=local)
                    except _TryAgain:
                        if attempt == TRIES_MAX:
                            break
                        await asyncio.sleep(PAUSE_S)
        except TimeoutError:
            raise HookFailure(
                "Failed to reach hook within maximum time of"
                f" {ctx.settings.hook_timeout_s:f} seconds",
                code="hook_timeout", status=422,
            ) from None  # fmt: skip
        raise HookFailure(
            "Failed to reach hook after maximum retries",
            code="hook_timeout_after_retry", status=422,
        )  # fmt: skip

    async def _post(
        self, ctx: Context, hook: HookSettings, body: bytes, *, allow_private: bool
    ) -> Any:
        message_id = str(uuid.uuid4())
        stamp = str(int(ctx.core.clock.now().timestamp()))
        headers = {
            "content-type": "application/json",
            "webhook-id": message_id,
            "webhook-timestamp": stamp,
            "webhook-signature": sign_webhook(hook.secrets.reveal(), message_id, stamp, body),
        }
        try:
            reply = await self._outgoing.fetch(
                "POST", hook.uri, headers=headers, content=body,
                timeout_s=ctx.settings.hook_timeout_s,
                reply_bytes_max=ctx.settings.hook_reply_bytes_max,
                allow_private=allow_private or ctx.settings.hook_allow_private,
            )  # fmt: skip
        except ReplyTooLarge:
            raise HookFailure(
                f"Payload size exceeds size limit of {ctx.settings.hook_reply_bytes_max} bytes",
                code="hook_payload_over_size_limit", status=422,
            ) from None  # fmt: skip
        except AddressRefused:
            raise UnexpectedFailure("Hook URI leads to a private address") from None
        except FetchFailed:
            raise _TryAgain from None
        if reply.status == 204:
            return {}
        if reply.status in (429, 503) and "retry-after" in reply.headers:
            raise _TryAgain
        if reply.status not in (200, 202):
            raise UnexpectedFailure(f"Unexpected status code returned from hook: {reply.status}")
        if not reply.headers.get("content-type", "").lower().startswith("application/json"):
            raise HookFailure(
                "Invalid JSON response. Received content-type: "
                + reply.headers.get("content-type", "")[:100],
                code="hook_payload_invalid_content_type", status=400,
            )  # fmt: skip
        try:
            return orjson.loads(reply.body or b"{}")
        except orjson.JSONDecodeError:
            raise UnexpectedFailure("Error unmarshaling JSON output of hook") from None


class _TryAgain(Exception):
    """This attempt failed in a way another may not."""
