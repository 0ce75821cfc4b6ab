"""Laying out a document in a given width: groups go on one line if they fit, else they break.

The algorithm is that of "A prettier printer" (Wadler) in the form Prettier uses, so that generated
TypeScript looks as Prettier would print it: a group fits only when the text that follows it up to
the next possible line break fits as well.
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from enum import Enum


class Line(Enum):
    """A place where a line may end; flat it is a space, nothing, or impossible."""

    SPACE = 0
    SOFT = 1
    HARD = 2


@dataclass(slots=True)
class Group:
    content: Doc
    breaks: bool = False


@dataclass(frozen=True, slots=True)
class Indent:
    content: Doc


@dataclass(frozen=True, slots=True)
class IfBreak:
    """`broken` where the group around it breaks, else `flat`."""

    broken: Doc
    flat: Doc = ""


Doc = str | Line | Group | Indent | IfBreak | list["Doc"]
_Command = tuple[int, bool, Doc]


def join(separator: Doc, items: list[Doc]) -> list[Doc]:
    """The items with the separator between them."""
    joined: list[Doc] = []
    for place, item in enumerate(items):
        if place:
            joined.append(separator)
        joined.append(item)
    return joined


def render(doc: Doc, width: int = 80, indent: int = 2) -> str:
    """The text; lines have no trailing space."""
    _propagate_breaks(doc)
    out: list[str] = []
    column = 0
    commands: list[_Command] = [(0, True, doc)]
    while commands:
        depth, breaking, node = commands.pop()
        # In order of how often each comes: a large schema has millions of them.
        if isinstance(node, str):
            out.append(node)
            column += _width(node)
        elif isinstance(node, list):
            commands += [(depth, breaking, item) for item in reversed(node)]
        elif isinstance(node, Line):
            if breaking or node is Line.HARD:
                _trim(out)
                out.append("\n" + " " * depth)
                column = depth
            elif node is Line.SPACE:
                out.append(" ")
                column += 1
        elif isinstance(node, Group):
            fits = not node.breaks and (
                not breaking or _fits(node.content, commands, width - column)
            )
            commands.append((depth, not fits, node.content))
        elif isinstance(node, Indent):
            commands.append((depth + indent, breaking, node.content))
        elif isinstance(node, IfBreak):
            commands.append((depth, breaking, node.broken if breaking else node.flat))
    return "".join(out)


def _fits(content: Doc, rest: list[_Command], width: int) -> bool:
    """Whether flat `content` and what follows it up to a line break take at most `width`."""
    at = len(rest)
    pending: list[tuple[bool, Doc]] = [(False, content)]
    while width >= 0:
        if not pending:
            if at == 0:
                return True
            at -= 1
            pending.append(rest[at][1:])
            continue
        breaking, node = pending.pop()
        if isinstance(node, str):
            width -= _width(node)
        elif isinstance(node, list):
            pending += [(breaking, item) for item in reversed(node)]
        elif isinstance(node, Indent):
            pending.append((breaking, node.content))
        elif isinstance(node, IfBreak):
            pending.append((breaking, node.broken if breaking else node.flat))
        elif isinstance(node, Group):
            pending.append((node.breaks or breaking, node.content))
        elif breaking or node is Line.HARD:
            return True
        elif node is Line.SPACE:
            width -= 1
    return False


def _propagate_breaks(doc: Doc) -> bool:
    """A group around a hard line break breaks itself."""
    if isinstance(doc, str):
        return False
    if isinstance(doc, list):
        # All of them first: every item must be visited.
        return True in [_propagate_breaks(item) for item in doc]
    if isinstance(doc, Indent):
        return _propagate_breaks(doc.content)
    if isinstance(doc, IfBreak):
        return any([_propagate_breaks(doc.broken), _propagate_breaks(doc.flat)])
    if isinstance(doc, Group):
        doc.breaks = _propagate_breaks(doc.content) or doc.breaks
        return doc.breaks
    return doc is Line.HARD


def _trim(out: list[str]) -> None:
    while out:
        trimmed = out[-1].rstrip(" ")
        if trimmed:
            out[-1] = trimmed
            return
        out.pop()


def _width(text: str) -> int:
    if text.isascii():
        return len(text)
    return sum(
        0
        if unicodedata.combining(character)
        else 2
        if unicodedata.east_asian_width(character) in "WF"
        else 1
        for character in text
    )
