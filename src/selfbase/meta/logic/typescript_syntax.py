"""The few TypeScript types that generated files are made of, and how Prettier prints them.

Prettier 3, TypeScript, no semicolons.  Source: reference/meta.md section 6.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

import orjson

from selfbase.meta.logic.layout import Doc, Group, IfBreak, Indent, Line, join


@dataclass(frozen=True, slots=True)
class Plain:
    """A keyword, a name, a literal, or an indexed access: never broken."""

    text: str


@dataclass(frozen=True, slots=True)
class Generic:
    """`Record<string, unknown>` and the like."""

    name: str
    arguments: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ArrayOf:
    element: TsType


@dataclass(frozen=True, slots=True)
class Union:
    members: tuple[TsType, ...]


@dataclass(frozen=True, slots=True)
class Member:
    """A property.  `key` is a name as it is, quoted when printed if need be."""

    key: str
    value: TsType
    optional: bool = False


@dataclass(frozen=True, slots=True)
class Object:
    """`expanded` puts each member on a line of its own; else the object fits or breaks."""

    members: tuple[Member, ...]
    expanded: bool = True


@dataclass(frozen=True, slots=True)
class ErrorWith:
    """`{ error: true } & "message"`, the marker of a function that cannot be called."""

    message: TsType


@dataclass(frozen=True, slots=True)
class Tuple:
    items: tuple[TsType, ...]


@dataclass(frozen=True, slots=True)
class NeverMap:
    """`{ [_ in never]: never }`, a section without members."""


TsType = Plain | Generic | ArrayOf | Union | Object | ErrorWith | Tuple | NeverMap

UNKNOWN = Plain("unknown")
NEVER = Plain("never")
NULL = Plain("null")

_IDENTIFIER = re.compile(r"^[$_a-zA-Z][$_a-zA-Z0-9]*$")
# Unicode categories of ECMAScript 5 identifiers: letters first, then marks, digits, connectors.
_FIRST = frozenset({"Lu", "Ll", "Lt", "Lm", "Lo", "Nl"})
_LATER = _FIRST | {"Mn", "Mc", "Nd", "Pc"}


def quote_string(text: str) -> str:
    """A string literal with the quotes that need fewer escapes, double ones if it is the same."""
    body = orjson.dumps(text).decode()[1:-1]
    if text.count('"') > text.count("'"):
        return "'" + body.replace('\\"', '"').replace("'", "\\'") + "'"
    return f'"{body}"'


def quote_key(name: str) -> str:
    """A property's name, quoted when it is no identifier."""
    return name if _is_identifier(name) else quote_string(name)


def _is_identifier(name: str) -> bool:
    if name.isascii():
        return _IDENTIFIER.match(name) is not None
    # Prettier knows the identifiers of ECMAScript 5, which had none beyond the basic plane.
    return max(name) <= "\uffff" and all(
        character in "$_" or unicodedata.category(character) in (_LATER if place else _FIRST)
        for place, character in enumerate(name)
    )


def array_of(element: TsType) -> TsType:
    """`T[]` of text that is already written: after a union the brackets bind its last member.

    Parity: upstream appends the brackets to the text.
    """
    if isinstance(element, Union):
        return Union((*element.members[:-1], array_of(element.members[-1])))
    if isinstance(element, ErrorWith):
        return ErrorWith(array_of(element.message))
    return ArrayOf(element)


def nullable(value: TsType) -> TsType:
    """`T | null`; unknown holds null already."""
    if value == UNKNOWN:
        return value
    members = value.members if isinstance(value, Union) else (value,)
    return Union((*members, NULL))


def print_type(node: TsType) -> Doc:
    """The document of a type."""
    if isinstance(node, Plain):
        return node.text
    if isinstance(node, Union):
        return _print_union(node)
    if isinstance(node, Object):
        return _print_object(node)
    if isinstance(node, ArrayOf):
        return _print_array(node)
    if isinstance(node, ErrorWith):
        marker = Object((Member("error", Plain("true")),), expanded=False)
        return Group([print_type(marker), " & ", print_type(node.message)])
    if isinstance(node, Tuple):
        return print_list([print_type(item) for item in node.items])
    if isinstance(node, Generic):
        arguments: list[Doc] = list(node.arguments)
        inner = Indent([Line.SOFT, *join([",", Line.SPACE], arguments)])
        return Group([node.name, "<", inner, Line.SOFT, ">"])
    return ["{", Indent([Line.HARD, "[_ in never]: never"]), Line.HARD, "}"]


def print_list(items: Sequence[Doc]) -> Doc:
    """`[a, b]`, one item a line with a trailing comma when it does not fit."""
    if not items:
        return "[]"
    inner = join([",", Line.SPACE], list(items))
    return Group(["[", Indent([Line.SOFT, *inner, IfBreak(",")]), Line.SOFT, "]"])


def _print_object(node: Object) -> Doc:
    if not node.members:
        return "{}"
    members = [_print_member(member) for member in node.members]
    if node.expanded:
        return ["{", Indent([Line.HARD, *join(Line.HARD, members)]), Line.HARD, "}"]
    separator: Doc = [IfBreak("", ";"), Line.SPACE]
    return Group(["{", Indent([Line.SPACE, *join(separator, members)]), Line.SPACE, "}"])


def _print_member(member: Member) -> Doc:
    name = quote_key(member.key) + ("?: " if member.optional else ": ")
    if isinstance(member.value, Plain):
        return name + member.value.text
    return [name, print_type(member.value)]


def _print_union(node: Union) -> Doc:
    objects = sum(isinstance(member, Object | NeverMap) for member in node.members)
    nulls = sum(member == NULL for member in node.members)
    if objects == 1 and objects + nulls == len(node.members):
        return join(" | ", [print_type(member) for member in node.members])
    return Group(Indent(_union_code(node)))


def _union_code(node: Union) -> list[Doc]:
    members: list[Doc] = [Indent(print_type(member)) for member in node.members]
    return [IfBreak([Line.SPACE, "| "]), *join([Line.SPACE, "| "], members)]


def _print_array(node: ArrayOf) -> Doc:
    if isinstance(node.element, Union):
        return ["(", Group([Indent(_union_code(node.element)), Line.SOFT]), ")[]"]
    return [print_type(node.element), "[]"]
