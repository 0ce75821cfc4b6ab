"""`selfbase serve SERVICE`: one service alone on its upstream's port, until it is told to stop."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Mapping

import click
import uvloop

from selfbase.app import STANDALONE, find_admin
from selfbase.cli.loglines import render_line
from selfbase.http.server import Server
from selfbase.kit.clock import SystemClock
from selfbase.kit.events import Event, Events
from selfbase.kit.failures import ConfigurationError
from selfbase.kit.settings import EnvLayer


def serve_service(name: str, host: str, port: int | None, environment: Mapping[str, str]) -> None:
    """Raises ConfigurationError for an unknown service or one that lacks a setting."""
    if name not in STANDALONE:
        known = ", ".join(sorted(STANDALONE)) or "none in this version"
        raise ConfigurationError(f"There is no service {name}", hint=f"Services: {known}")
    kind = STANDALONE[name]
    chosen = port or int(environment.get(kind.port_variable) or kind.port)
    clock = SystemClock()

    def show(event: Event) -> None:
        if event.level != "debug":
            line = {
                "ts": clock.now().isoformat(timespec="milliseconds"),
                "level": event.level,
                "service": event.service,
                "event": event.name,
                **event.fields(),
            }
            click.echo(render_line(line), err=True)

    async def run() -> None:
        events = Events(show)
        service = kind.make([EnvLayer(environment)], events, clock)
        stop = asyncio.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        await service.open()
        servers = [Server(service, events)]
        try:
            bound = await servers[0].listen(host, chosen)
            click.echo(f"{name} listens on http://{host}:{bound}", err=True)
            admin, admin_port = find_admin(service), environment.get("PGRST_ADMIN_SERVER_PORT")
            if admin is not None and admin_port:
                servers.append(Server(admin, events))
                await servers[1].listen(host, int(admin_port))
            await stop.wait()
        finally:
            for server in servers:
                await server.close()
            await service.close()

    uvloop.run(run())
