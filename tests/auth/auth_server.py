"""Auth on a fresh database, in process, with a clock and a mailbox of the test's own."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.message import EmailMessage
from typing import Any

import psycopg

from selfbase.auth.limits import Buckets
from selfbase.auth.schema import migrate_auth
from selfbase.auth.service import Auth, make_core
from selfbase.auth.settings import AuthSettings
from selfbase.database.database import Database, DatabaseSettings
from selfbase.http.testing import Answer, Client
from selfbase.identity.tokens import key_from_secret, sign_token
from selfbase.kit.events import Event, Events
from selfbase.kit.settings import EnvLayer

SECRET = "a-shared-secret-of-the-tests-0123456789"
PASSWORD = "correct horse 1"


def prepare_template(conninfo: str) -> None:
    """What `Auth.open` does, for the template."""
    with psycopg.connect(conninfo, autocommit=True) as connection:
        migrate_auth(connection)


@dataclass
class SteppingClock:
    """Real time that a test can move on."""

    ahead: timedelta = timedelta()
    _start: float = 0.0

    def now(self) -> datetime:
        return datetime.now(UTC) + self.ahead

    def monotonic_s(self) -> float:
        return asyncio.get_running_loop().time() + self.ahead.total_seconds()

    def step(self, **spans: float) -> None:
        self.ahead += timedelta(**spans)


@dataclass
class Mailbox:
    """A sink that keeps what was sent."""

    messages: list[EmailMessage] = field(default_factory=list)

    async def send(self, message: EmailMessage, settings: AuthSettings) -> None:
        self.messages.append(message)

    async def close(self) -> None:
        """Nothing is open."""


@dataclass
class AuthServer:
    """One Auth and how a test speaks to it."""

    auth: Auth
    client: Client
    clock: SteppingClock
    mailbox: Mailbox
    events: list[Event]
    conninfo: str
    _connection: psycopg.Connection[tuple[Any, ...]] | None = None

    async def request(
        self,
        method: str,
        path: str,
        json: Any = None,
        *,
        bearer: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        sent = {"x-supabase-api-version": "2024-01-01", **(headers or {})}
        if bearer is not None:
            sent["authorization"] = f"Bearer {bearer}"
        return await self.client.request(method, path, json=json, headers=sent)

    async def ok(self, method: str, path: str, json: Any = None, **options: Any) -> Any:
        """The JSON of a request that must succeed."""
        answer = await self.request(method, path, json, **options)
        assert answer.status < 300, (answer.status, answer.text, self.events[-1:])
        return answer.json() if answer.body else None

    async def fails(
        self, method: str, path: str, json: Any = None, **options: Any
    ) -> tuple[int, str]:
        """Status and code of a request that must be refused."""
        answer = await self.request(method, path, json, **options)
        assert answer.status >= 400, (answer.status, answer.text)
        body = answer.json()
        return answer.status, body.get("code") or body["error"]

    async def sign_up(self, email: str, password: str = PASSWORD, **more: Any) -> Any:
        return await self.ok("POST", "/signup", {"email": email, "password": password, **more})

    async def sign_in(self, email: str, password: str = PASSWORD) -> Any:
        body = {"email": email, "password": password}
        return await self.ok("POST", "/token?grant_type=password", body)

    async def confirmed(self, email: str, password: str = PASSWORD) -> Any:
        """A user with a confirmed address, and a session of theirs."""
        body = {"email": email, "password": password, "email_confirm": True}
        await self.ok("POST", "/admin/users", body, bearer=self.admin())
        return await self.sign_in(email, password)

    def admin(self) -> str:
        return make_token({"role": "service_role"})

    async def mails(self) -> list[EmailMessage]:
        await self.auth.core.mailer.outbox.drain()
        return self.mailbox.messages

    async def last_mail(self) -> Mail:
        messages = await self.mails()
        assert messages, "no mail was sent"
        return Mail(messages[-1])

    def sql(self, query: str, *params: Any) -> list[tuple[Any, ...]]:
        """As superuser, over a connection of the test's own."""
        if self._connection is None:
            self._connection = psycopg.connect(
                self.conninfo, autocommit=True, prepare_threshold=None
            )
        cursor = self._connection.execute(query.encode(), params)
        return cursor.fetchall() if cursor.description else []

    async def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
        await self.auth.close()
        await self.auth.core.database.close()


@dataclass
class Mail:
    """A mail as a person reads it."""

    message: EmailMessage

    @property
    def html(self) -> str:
        part = self.message.get_body(("html",))
        assert part is not None
        return str(part.get_content())

    @property
    def code(self) -> str:
        found = re.search(r"<strong>(\d{6,10})</strong>", self.html)
        assert found, self.html
        return found[1]

    @property
    def link(self) -> str:
        found = re.search(r'href="([^"]+)"', self.html)
        assert found, self.html
        return found[1].replace("&amp;", "&")


def make_token(claims: Mapping[str, Any], secret: str = SECRET) -> str:
    return sign_token(key_from_secret(secret), claims)


async def open_auth(
    conninfo: str, *, buckets: Buckets | None = None, **variables: str
) -> AuthServer:
    """Auth whose `GOTRUE_<NAME>` variables are the given ones."""
    env = {
        "GOTRUE_JWT_SECRET": SECRET,
        "GOTRUE_SITE_URL": "https://app.test",
        "API_EXTERNAL_URL": "https://project.test/auth/v1",
        "GOTRUE_SMTP_MAX_FREQUENCY": "0",
        "GOTRUE_SMS_MAX_FREQUENCY": "0",
        "GOTRUE_RATE_LIMIT_EMAIL_SENT": "1000",
        "SELFBASE_AUTH_PASSWORD_HASH_COST": "4",
        "SELFBASE_AUTH_ANSWER_FLOOR_S": "0",
        **{f"GOTRUE_{name}": value for name, value in variables.items()},
    }
    seen: list[Event] = []
    clock, mailbox = SteppingClock(), Mailbox()
    events = Events(seen.append)
    database = Database(DatabaseSettings(conninfo=conninfo, user=None), events)
    core = make_core(database, [EnvLayer(env)], events, clock, sink=mailbox, buckets=buckets)
    auth = Auth(core, migrate_as="supabase_admin")
    await auth.open()
    return AuthServer(auth, Client(auth), clock, mailbox, seen, conninfo)
