"""`selfbase serve SERVICE`: one service alone on its upstream's port, until it is told to stop."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Mapping, Sequence

import click
import uvloop

from selfbase.app import STANDALONE, Standalone, find_admin
from selfbase.cli.loglines import render_line
from selfbase.http.server import Server
from selfbase.kit.clock import SystemClock
from selfbase.kit.events import Event, Events
from selfbase.kit.failures import ConfigurationError
from selfbase.kit.settings import EnvLayer
from selfbase.supervisor.options import parse_port

DEFAULT_HOST = "127.0.0.1"
# How PostgREST writes "every address".
_EVERY = {"!4": "0.0.0.0", "*4": "0.0.0.0", "*": "::", "*6": "::", "!6": "::"}  # noqa: S104


def plan_address(
    kind: Standalone, host: str | None, port: int | None, environment: Mapping[str, str]
) -> tuple[str, int]:
    """Where a service listens: as asked, as its upstream's variables say, or its usual port here.

    Raises ConfigurationError for what is no port.
    """

    def find(variables: Sequence[str]) -> str | None:
        return next((environment[name] for name in variables if environment.get(name)), None)

    named = host or find(kind.host_variables) or DEFAULT_HOST
    number = port if port is not None else find(kind.port_variables)
    return _EVERY.get(named, named), parse_port(str(number or kind.port), kind.name)


def serve_service(
    name: str, host: str | None, port: int | None, environment: Mapping[str, str]
) -> None:
    """Raises ConfigurationError for an unknown service or one that lacks a setting."""
    if name not in STANDALONE:
        known = ", ".join(sorted(STANDALONE)) or "none in this version"
        raise ConfigurationError(f"There is no service {name}", hint=f"Services: {known}")
    kind = STANDALONE[name]
    address, number = plan_address(kind, host, port, environment)
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
        for each in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(each, stop.set)
        await service.open()
        servers = [Server(service, events)]
        try:
            bound = await servers[0].listen(address, number)
            admin, admin_port = find_admin(service), environment.get("PGRST_ADMIN_SERVER_PORT")
            if admin is not None and admin_port:
                servers.append(Server(admin, events))
                admin_host = environment.get("PGRST_ADMIN_SERVER_HOST") or address
                await servers[1].listen(
                    _EVERY.get(admin_host, admin_host), parse_port(admin_port, "admin")
                )
            shown = f"[{address}]" if ":" in address else address
            click.echo(f"{name} listens on http://{shown}:{bound}", err=True)
            await stop.wait()
        finally:
            for server in servers:
                await server.close()
            await service.close()

    uvloop.run(run())
