"""Cuts a SQL file into its statements, as the official CLI does, so that the records agree.  Pure.

A statement ends with a semicolon outside quotes, dollar quotes, comments, parentheses and
`begin atomic … end`.  Comments and blank lines in front of a statement belong to it; the semicolon
and surrounding white space do not.  Source: supabase CLI, pkg/parser (2026-10).
"""

from __future__ import annotations

import re
from collections.abc import Iterator

# What can open something in which a semicolon means nothing, or end a statement.
_MARK = re.compile(
    r"""(?P<line>--)|(?P<block>/\*)|(?P<single>')|(?P<double>")
      |(?P<dollar>\$(?:[^\W\d]\w*)?\$)|(?P<open>\()|(?P<close>\))
      |(?P<atomic>\bbegin\s+atomic\b)|(?P<case>\bcase\b)|(?P<end>\bend\b)|(?P<semicolon>;)""",
    re.VERBOSE | re.IGNORECASE,
)
_BLOCK = re.compile(r"/\*|\*/")


def split_statements(text: str) -> list[str]:
    """The statements of a file, trimmed, without empty ones."""
    trimmed = (piece.strip().rstrip(";").strip() for piece in _pieces(text))
    return [piece for piece in trimmed if piece]


def _pieces(text: str) -> Iterator[str]:
    start = position = depth = 0
    blocks: list[str] = []  # what each `end` closes: `begin atomic` or `case`
    while match := _MARK.search(text, position):
        position = match.end()
        kind = match.lastgroup
        if kind in _SKIP:
            position = _SKIP[kind](text, match)
        elif kind == "open":
            depth += 1
        elif kind == "close":
            depth = max(0, depth - 1)
        elif kind == "atomic" or (kind == "case" and blocks):
            blocks.append(kind)
        elif kind == "end" and blocks:
            blocks.pop()
        elif kind == "semicolon" and not depth and not blocks:
            yield text[start:position]
            start = position
    yield text[start:]


def _after_line(text: str, match: re.Match[str]) -> int:
    end = text.find("\n", match.end())
    return len(text) if end < 0 else end + 1


def _after_block(text: str, match: re.Match[str]) -> int:
    depth, position = 1, match.end()
    while depth:
        mark = _BLOCK.search(text, position)
        if mark is None:
            return len(text)
        depth += 1 if mark[0] == "/*" else -1
        position = mark.end()
    return position


def _after_single(text: str, match: re.Match[str]) -> int:
    # `E'…'` strings escape their quote with a backslash; plain ones only by doubling it.
    escaped = text[match.start() - 1 : match.start()] in ("e", "E")
    position = match.end()
    while position < len(text):
        character = text[position]
        if escaped and character == "\\":
            position += 2
        elif character == "'":
            if text[position + 1 : position + 2] != "'":
                return position + 1
            position += 2
        else:
            position += 1
    return len(text)


def _after_double(text: str, match: re.Match[str]) -> int:
    end = text.find('"', match.end())
    return len(text) if end < 0 else end + 1


def _after_dollar(text: str, match: re.Match[str]) -> int:
    if re.match(r"[\w$]", text[match.start() - 1 : match.start()] or " "):
        return match.start() + 1  # a dollar inside a name opens nothing
    end = text.find(match[0], match.end())
    return len(text) if end < 0 else end + len(match[0])


_SKIP = {
    "line": _after_line,
    "block": _after_block,
    "single": _after_single,
    "double": _after_double,
    "dollar": _after_dollar,
}
