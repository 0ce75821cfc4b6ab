"""What a handler gets: the shared parts of Auth, and the one request it answers.

`Core` lives as long as the service.  `Context` lives for one request and holds the settings that
were in force when it began, so that a change of settings never splits a request in two.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

import orjson

from selfbase.auth.errors import BadJson, NoAuthorization, RequestTooLarge
from selfbase.auth.logic.fields import Fields
from selfbase.auth.saml_keys import SamlKeys
from selfbase.auth.settings import AuthSettings
from selfbase.auth.types import Session, User
from selfbase.database.batch import Batch, Result, Statement
from selfbase.database.database import Database, Transaction
from selfbase.http.values import BodyTooLarge, Request, Response
from selfbase.kit.clock import Clock
from selfbase.kit.events import Events
from selfbase.kit.routes import Route

if TYPE_CHECKING:
    from selfbase.auth.captcha import Captcha
    from selfbase.auth.cleanup import Sweeper
    from selfbase.auth.hooks import Hooks
    from selfbase.auth.issuers import Issuers
    from selfbase.auth.limits import Limiter
    from selfbase.auth.mail.mailer import Mailer
    from selfbase.auth.outgoing import Outgoing
    from selfbase.auth.passwords import Passwords
    from selfbase.auth.runtime import RuntimeSettings
    from selfbase.auth.signing_keys import SigningKeys
    from selfbase.auth.sms import SmsSender
    from selfbase.auth.tokens import TokenIssuer

AUTH_ADMIN = "supabase_auth_admin"


@dataclass(kw_only=True)
class Core:
    """What all requests of one Auth share."""

    database: Database
    events: Events
    clock: Clock
    runtime: RuntimeSettings
    tokens: TokenIssuer
    signing_keys: SigningKeys
    passwords: Passwords
    mailer: Mailer
    sms: SmsSender
    limiter: Limiter
    captcha: Captcha
    hooks: Hooks
    outgoing: Outgoing
    issuers: Issuers
    sweeper: Sweeper
    saml_keys: SamlKeys = field(default_factory=SamlKeys)

    async def read(self, sql: bytes, *params: str | None) -> list[Any]:
        """Rows of a quick read in one round trip: the JSON of each row's only column."""
        (result,) = await self.database.run(_quick(sql, params), login=AUTH_ADMIN)
        return read_documents(result)

    async def read_current(self, ctx: Context, sql: bytes, *params: str | None) -> list[Any]:
        """As `read`, and in the same round trip looks whether settings have changed; the context
        has those in force afterwards."""
        batch = _quick(sql, params, before=VERSION_STATEMENT)
        version, result = await self.database.run(batch, login=AUTH_ADMIN)
        ctx.settings = await self.runtime.follow(version)
        return read_documents(result)


VERSION_STATEMENT = Statement(b"select version from _selfbase_auth.settings")


def _quick(sql: bytes, params: tuple[str | None, ...], *, before: Statement | None = None) -> Batch:
    values = tuple(None if value is None else value.encode() for value in params)
    statement = Statement(sql, values)
    statements = (statement,) if before is None else (before, statement)
    return Batch("auth", (), statements, read_only=True)


def read_documents(result: Result) -> list[Any]:
    """The JSON of each row's only column."""
    return [None if row[0] is None else orjson.loads(row[0]) for row in result.rows]


@dataclass(slots=True, kw_only=True)
class Context:
    """One request being answered.

    `claims` are those of a verified bearer token.  On routes for users `user` and `session` are
    loaded and live before the handler runs; on routes for administrators only `claims` are.
    """

    core: Core
    request: Request
    settings: AuthSettings
    now: datetime
    claims: Mapping[str, Any] = field(default_factory=dict)
    token: str = field(default="", repr=False)
    signed_in: tuple[User, Session] | None = None
    _fields: Fields | None = None

    @property
    def user(self) -> User:
        """The caller.  Raises NoAuthorization on a route that did not ask for one."""
        if self.signed_in is None:
            raise NoAuthorization
        return self.signed_in[0]

    @property
    def session(self) -> Session:
        if self.signed_in is None:
            raise NoAuthorization
        return self.signed_in[1]

    @property
    def user_agent(self) -> str:
        return self.request.headers.get("user-agent")[:1000]

    @property
    def ip(self) -> str:
        """The caller's address for sessions, audit rows and challenges; empty when unknown."""
        return client_address(self.request, self.settings)

    def transaction(self, reason: str) -> AbstractAsyncContextManager[Transaction]:
        """A transaction as the owner of the schema `auth`; `reason` is logged.

        What is raised inside undoes it all.  To keep the rows and still fail, leave the block first.
        """
        return self.core.database.as_service(reason, login=AUTH_ADMIN)

    async def fields(self) -> Fields:
        """The body as JSON, or as a form where the client sent one; read once."""
        if self._fields is None:
            self._fields = Fields(await self._read_body())
        return self._fields

    async def _read_body(self) -> Any:
        try:
            raw = await self.request.body.read(self.settings.api_body_bytes_max)
        except BodyTooLarge:
            raise RequestTooLarge from None
        if not raw.strip():
            return {}
        kind = self.request.headers.get("content-type").partition(";")[0].strip().lower()
        if kind == "application/x-www-form-urlencoded":
            pairs = parse_qs(raw.decode("utf-8", "replace"), keep_blank_values=True)
            return {name: values[0] for name, values in pairs.items()}
        try:
            return orjson.loads(raw)
        except orjson.JSONDecodeError as error:
            raise BadJson(f"Could not parse request body as JSON: {error}") from None


Handler = Callable[[Context], Awaitable[Response]]
AuthRoute = Route[Handler]


def client_address(request: Request, settings: AuthSettings) -> str:
    """The first address of the configured header, else the peer's."""
    if settings.security_sb_forwarded_for_enabled:
        forwarded = request.headers.get("sb-forwarded-for").partition(",")[0].strip()
        if forwarded:
            return forwarded
    if settings.rate_limit_header:
        named = request.headers.get(settings.rate_limit_header.lower()).partition(",")[0].strip()
        if named:
            return named
    return request.client
