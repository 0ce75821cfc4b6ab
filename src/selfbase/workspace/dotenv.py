"""`.env` files: `NAME=value` lines.  Pure.

Quotes as in common use: single quotes keep everything, double quotes know `\\n`, `\\"` and `\\\\`.
Variables are not expanded.
"""

from __future__ import annotations

import re

_LINE = re.compile(
    r"""^[ \t]*(?:export[ \t]+)?([A-Za-z_][A-Za-z0-9_.]*)[ \t]*=[ \t]*
        (?:'([^']*)'|"((?:\\.|[^"\\])*)"|([^\r\n]*?))[ \t]*(?:[ \t]\#.*)?$""",
    re.VERBOSE | re.MULTILINE,
)
_ESCAPES = {"\\n": "\n", "\\r": "\r", "\\t": "\t", '\\"': '"', "\\\\": "\\", "\\$": "$"}


def parse_dotenv(text: str) -> dict[str, str]:
    """The variables a file sets; lines of any other form are passed over."""
    found: dict[str, str] = {}
    for match in _LINE.finditer(text):
        name, single, double, bare = match.groups()
        if single is not None:
            found[name] = single
        elif double is not None:
            found[name] = re.sub(r"\\.", lambda m: _ESCAPES.get(m[0], m[0]), double)
        else:
            found[name] = (bare or "").split(" #")[0].strip()
    return found
