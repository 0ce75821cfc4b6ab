"""Fixtures of Auth's tests: a template with the schema, and servers that are closed at the end."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from tests.auth.auth_server import AuthServer, open_auth, prepare_template
from tests.support.postgres import DatabaseTemplates, FreshDatabase


@pytest.fixture(scope="session")
def database_template(database_templates: DatabaseTemplates) -> str:
    return database_templates.make("auth", prepare_template)


Opener = Callable[..., Awaitable[AuthServer]]


@pytest.fixture
async def auth_with(fresh_database: FreshDatabase) -> AsyncIterator[Opener]:
    """Opens Auth with `NAME="value"` settings on the test's database."""
    opened: list[AuthServer] = []

    async def open_one(**options: object) -> AuthServer:
        server = await open_auth(fresh_database.conninfo(), **options)  # type: ignore[arg-type]
        opened.append(server)
        return server

    yield open_one
    for server in opened:
        await server.close()


@pytest.fixture
async def auth(auth_with: Opener) -> AuthServer:
    """Auth with its defaults."""
    return await auth_with()


@pytest.fixture
async def auto(auth_with: Opener) -> AuthServer:
    """Auth where new addresses count as confirmed."""
    return await auth_with(MAILER_AUTOCONFIRM="true", SMS_AUTOCONFIRM="true")
