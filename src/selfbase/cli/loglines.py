"""One log line as a person reads it.  Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

_COLOUR = {"error": "red", "warning": "yellow", "info": "green"}
_KNOWN = ("ts", "level", "service", "event", "process")


def render_line(line: Mapping[str, Any]) -> str:
    """`12:00:01.234 info  rest  rest.schema.loaded tables=3`."""
    level = str(line.get("level", "info"))
    clock = str(line.get("ts", ""))[11:23]
    fields = " ".join(
        f"{name}={value}" for name, value in line.items() if name not in _KNOWN and value != ""
    )
    service = click.style(f"{line.get('service', '')!s:<10}", fg="cyan")
    shown = click.style(f"{level:<7}", fg=_COLOUR.get(level))
    return f"{click.style(clock, dim=True)} {shown} {service} {line.get('event', '')} {fields}"
