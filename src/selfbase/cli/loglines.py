"""One log line as a person reads it.  Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

_COLOUR = {"error": "red", "warning": "yellow", "info": "green"}
_KNOWN = ("ts", "level", "service", "event", "process")


# What a terminal would obey; a client decides about much of what is logged.
_CONTROLS = {code: f"\\x{code:02x}" for code in (*range(0x20), *range(0x7F, 0xA0))}
_CONTROLS |= {ord("\t"): "\t", ord("\n"): "\n    "}  # a further line never looks like an entry


def render_value(value: object) -> str:
    return str(value).translate(_CONTROLS)


def render_line(line: Mapping[str, Any]) -> str:
    """`12:00:01.234 info  rest  rest.schema.loaded tables=3`."""
    level = str(line.get("level", "info"))
    clock = str(line.get("ts", ""))[11:23]
    fields = " ".join(
        f"{name}={render_value(value)}"
        for name, value in line.items()
        if name not in _KNOWN and value != ""
    )
    service = click.style(f"{line.get('service', '')!s:<10}", fg="cyan")
    shown = click.style(f"{level:<7}", fg=_COLOUR.get(level))
    return f"{click.style(clock, dim=True)} {shown} {service} {line.get('event', '')} {fields}"
