"""Health of a project: every service probed with a time limit, and the sum of it.

Source: reference/gateway-and-stack.md section 4.1.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import Any

from selfbase.database.batch import Batch, Statement
from selfbase.project import Health, Project, Service

PROBE_TIMEOUT_S = 3.0
_PROBE = Batch("", (), (Statement(b"select 1"),), read_only=True)
ESSENTIAL = frozenset({"database", "rest", "auth", "storage"})


async def probe_project(project: Project) -> dict[str, Any]:
    """`{"status", "services": {name: {"status", "latency_ms"}}}`."""
    names = list(project.services)
    probes = [_probe_database(project), *(_probe(project.services[name]) for name in names)]
    answers = await asyncio.gather(*probes)
    services = dict(zip(["database", *names], answers, strict=True))
    return {"status": summarise(services).value, "services": services}


def summarise(services: Mapping[str, Mapping[str, Any]]) -> Health:
    """Any starting: STARTING; all well: HEALTHY; all stopped: STOPPED; else UNHEALTHY."""
    states = {service["status"] for service in services.values()}
    if Health.STARTING.value in states:
        return Health.STARTING
    if states <= {Health.HEALTHY.value}:
        return Health.HEALTHY
    if states == {Health.STOPPED.value}:
        return Health.STOPPED
    return Health.UNHEALTHY


def is_ready(report: Mapping[str, Any]) -> bool:
    """The essential services are well."""
    return all(
        service["status"] == Health.HEALTHY.value
        for name, service in report["services"].items()
        if name in ESSENTIAL
    )


async def _probe(service: Service) -> dict[str, Any]:
    started_s = time.monotonic()
    try:
        async with asyncio.timeout(PROBE_TIMEOUT_S):
            state = await service.health()
    except Exception:  # a probe that fails for whatever reason says: not healthy
        state = Health.UNHEALTHY
    return _row(state, started_s)


async def _probe_database(project: Project) -> dict[str, Any]:
    started_s = time.monotonic()
    try:
        async with asyncio.timeout(PROBE_TIMEOUT_S):
            await project.database.run(_PROBE)
        state = Health.HEALTHY
    except Exception:  # as above
        state = Health.UNHEALTHY
    return _row(state, started_s)


def _row(state: Health, started_s: float) -> dict[str, Any]:
    return {
        "status": state.value,
        "latency_ms": round((time.monotonic() - started_s) * 1000, 2),
    }
