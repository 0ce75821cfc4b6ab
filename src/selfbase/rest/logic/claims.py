"""Finds the role in a token's claims, by PostgREST's path language or JSON Path.

Steps: `.name`, `."quoted name"`, `[0]`, and as the last one a choice among strings:
`[?(@ == "x")]` with `==`, `!=`, `^==`, `==^`, `*==`.  Source: reference/rest.md section 0.1.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

import orjson

from selfbase.kit.failures import ConfigurationError

_STEP = re.compile(
    r"""\.\s*"([^"]*)" | \.([A-Za-z0-9_$@-]+) | \[\s*(\d+)\s*\] | \[\s*["']([^"']*)["']\s*\]
    | \[\s*\?\s*\(?\s*@\s*(==\^|\^==|\*==|==|!=)\s*["']([^"']*)["']\s*\)?\s*\]""",
    re.VERBOSE,
)

Step = tuple[str, str]


@lru_cache(maxsize=16)
def parse_claim_path(path: str) -> tuple[Step, ...]:
    """The steps of a path.  Raises ConfigurationError."""
    text = path.strip().removeprefix("$")
    steps: list[Step] = []
    at = 0
    while at < len(text):
        found = _STEP.match(text, at)
        if found is None:
            raise ConfigurationError(f"jwt-role-claim-key: {path!r} is not a valid path")
        quoted, bare, index, key, operator, operand = found.groups()
        if operator is not None:
            steps.append((operator, operand))
        elif index is not None:
            steps.append(("index", index))
        else:
            steps.append(("key", quoted or bare or key or ""))
        at = found.end()
    return tuple(steps)


_TESTS: dict[str, Callable[[str, str], bool]] = {
    "==": lambda value, wanted: value == wanted,
    "!=": lambda value, wanted: value != wanted,
    "^==": lambda value, wanted: value.startswith(wanted),
    "==^": lambda value, wanted: value.endswith(wanted),
    "*==": lambda value, wanted: wanted in value,
}


def find_role(claims: Mapping[str, Any], path: str) -> str | None:
    """The role at `path`, or None.  What is not text is written as JSON."""
    value: Any = claims
    for kind, operand in parse_claim_path(path):
        if kind == "key":
            value = value.get(operand) if isinstance(value, Mapping) else None
        elif kind == "index":
            index = int(operand)
            value = value[index] if isinstance(value, list) and index < len(value) else None
        else:
            test = _TESTS[kind]
            several = value if isinstance(value, list) else []
            value = next((v for v in several if isinstance(v, str) and test(v, operand)), None)
        if value is None:
            return None
    return value if isinstance(value, str) else orjson.dumps(value).decode()
