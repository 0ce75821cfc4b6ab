"""`selfbase serve SERVICE`: one service alone on its upstream's port, until it is told to stop."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Mapping, Sequence

import click
import uvloop

from selfbase.app import STANDALONE, Standalone, find_reload, list_addresses
from selfbase.cli.loglines import render_line
from selfbase.http.server import Server
from selfbase.kit.clock import SystemClock
from selfbase.kit.events import Event, Events
from selfbase.kit.failures import ConfigurationError
from selfbase.kit.settings import EnvLayer
from selfbase.supervisor.options import parse_port


def plan_address(
    kind: Standalone, host: str, port: int | None, environment: Mapping[str, str]
) -> tuple[str, int | None]:
    """Host and port as asked, or as its upstream's variables say; empty and None where neither does.

    Raises ConfigurationError for what is no port.
    """

    def find(variables: Sequence[str]) -> str:
        return next((environment[name] for name in variables if environment.get(name)), "")

    if port is None and (named := find(kind.port_variables)):
        port = parse_port(named, kind.name)
    return host or find(kind.host_variables), port


def serve_service(name: str, host: str, port: int | None, environment: Mapping[str, str]) -> None:
    """Raises ConfigurationError for an unknown service or one that lacks a setting."""
    if name not in STANDALONE:
        known = ", ".join(sorted(STANDALONE)) or "none in this version"
        raise ConfigurationError(f"There is no service {name}", hint=f"Services: {known}")
    kind = STANDALONE[name]
    host, port = plan_address(kind, host, port, environment)
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
        reload = find_reload(service)
        if reload is not None:
            for number in (signal.SIGUSR1, signal.SIGUSR2):
                asyncio.get_running_loop().add_signal_handler(number, reload)
        servers: list[Server] = []
        try:
            for handler, address in list_addresses(service, host, port):
                servers.append(Server(handler, events))
                where = await servers[-1].listen_at(address)
                what = name if handler is service else f"{name} admin"
                click.echo(f"{what} listens on {where}", err=True)
            await stop.wait()
        finally:
            for server in servers:
                await server.close()
            await service.close()

    uvloop.run(run())
