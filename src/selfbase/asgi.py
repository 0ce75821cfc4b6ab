"""`selfbase.asgi:app`: the gateway and all services of one project under any ASGI server.

The database is an external one, named by `SELFBASE_DB_URL`; the project's state lies in
`SELFBASE_DIR` (`.selfbase` by default).  Everything opens at the server's start-up, nothing at
import.
"""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from selfbase.app import Place, close_project, make_gateway, make_project, open_services
from selfbase.database.bootstrap import bootstrap
from selfbase.http.asgi import AsgiApp
from selfbase.http.values import Handler
from selfbase.identity.secrets import open_secrets
from selfbase.kit.events import Events
from selfbase.kit.failures import ConfigurationError, Unavailable
from selfbase.kit.settings import EnvLayer, TomlLayer, load_settings
from selfbase.project import Project
from selfbase.workspace.config_toml import list_secrets, open_user_folder
from selfbase.workspace.dsn import plan_passwords, split_admin_url
from selfbase.workspace.layout import Layout
from selfbase.workspace.settings import StackSettings


class _Served:
    """What the application serves between start-up and shutdown."""

    def __init__(self) -> None:
        self._project: Project | None = None
        self._gateway: Handler | None = None

    def handler(self) -> Handler:
        if self._gateway is None:
            raise Unavailable
        return self._gateway

    async def open(self) -> None:
        project = await asyncio.to_thread(_prepare)
        await open_services(project, _nothing)
        self._project, self._gateway = project, make_gateway(project)

    async def close(self) -> None:
        if self._project is not None:
            await close_project(self._project)


async def _nothing() -> None:
    """Whoever runs the database applies migrations to it."""


def _prepare() -> Project:
    folder = open_user_folder(Path.cwd(), os.environ)
    layers = (EnvLayer(folder.variables), TomlLayer(folder.config))
    stack = load_settings(StackSettings, layers, owner="stack")
    if not stack.db_url:
        raise ConfigurationError("SELFBASE_DB_URL is not set", hint="Name the database's URL.")
    layout = Layout(Path(os.environ.get("SELFBASE_DIR", ".selfbase")).resolve())
    layout.make()
    secrets = open_secrets(layout.secrets_path, stack.project_ref, list_secrets(folder))
    where, administrator = split_admin_url(stack.db_url)
    passwords = plan_passwords(secrets.database_passwords, administrator)
    bootstrap(administrator, passwords.to_set)
    place = Place(
        api_url=stack.public_url or f"http://{stack.host}:{stack.api_port}",
        data_dir=layout.root,
        run_dir=layout.run_dir,
        conninfo=where,
        passwords=passwords.to_use,
    )
    return make_project(secrets, layers, place, Events())


_served = _Served()
app = AsgiApp(_served.handler, _served.open, _served.close)
