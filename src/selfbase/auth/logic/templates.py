"""Mail templates in the Go syntax people have today: a safe subset, parsed once, then rendered.

Known: `{{ .Name }}`, `{{ .Data.key }}`, `{{ "text" }}`, `if / else if / else / end`, `with`, `range`,
the functions `eq ne not and or lt le gt ge len`, comments, and `{{-`/`-}}`.  Anything else is a
TemplateError that names the construct and its line, raised when the template is saved.
Source: Go `text/template` and `html/template` package documentation.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape as escape_html
from typing import Any

TEMPLATE_CHARS_MAX = 1_000_000
RANGE_ITEMS_MAX = 1_000
OUTPUT_CHARS_MAX = 2_000_000
_DEPTH_MAX = 50


class TemplateError(ValueError):
    """The template holds something we do not know; the message names it and its line."""


@dataclass(frozen=True, slots=True)
class Text:
    text: str


@dataclass(frozen=True, slots=True)
class Value:
    """`{{ operand }}`; `in_address` when it begins the value of href, src or action."""

    operand: Operand
    in_address: bool


@dataclass(frozen=True, slots=True)
class Branch:
    """`if` (rebinds False) or `with` (rebinds True)."""

    condition: Operand
    then: tuple[Node, ...]
    otherwise: tuple[Node, ...]
    rebinds: bool


@dataclass(frozen=True, slots=True)
class Loop:
    items: Operand
    body: tuple[Node, ...]
    otherwise: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Path:
    """`.A.b` from the current value, or `$.A.b` from the root."""

    names: tuple[str, ...]
    from_root: bool = False


@dataclass(frozen=True, slots=True)
class Constant:
    value: Any


@dataclass(frozen=True, slots=True)
class Call:
    function: str
    operands: tuple[Operand, ...]


Operand = Path | Constant | Call
Node = Text | Value | Branch | Loop
Template = tuple[Node, ...]

_ACTION = re.compile(r"\{\{(- )?(.*?)( -)?\}\}", re.DOTALL)
_TOKEN = re.compile(
    r"""\s*(?:(?P<string>"(?:\\.|[^"\\\n])*"|`[^`]*`)|(?P<number>-?\d+(?:\.\d+)?)"""
    r"""|(?P<path>\$?(?:\.[A-Za-z_][A-Za-z0-9_]*)+|\$|\.)|(?P<word>[A-Za-z_]\w*)|(?P<mark>[()|]))"""
)
_ADDRESS = re.compile(r"""\b(?:href|src|action)\s*=\s*(?:"|')?\s*$""", re.IGNORECASE)
_ARITY = {"eq": (2, 9), "ne": (2, 2), "lt": (2, 2), "le": (2, 2), "gt": (2, 2), "ge": (2, 2),
          "not": (1, 1), "and": (1, 9), "or": (1, 9), "len": (1, 1)}  # fmt: skip


def parse_template(text: str) -> Template:
    """The template's tree.  Raises TemplateError."""
    if len(text) > TEMPLATE_CHARS_MAX:
        raise TemplateError("the template is too long")
    parser = _Parser(text)
    nodes, ending = parser.parse_list(0)
    if ending is not None:
        raise TemplateError(f"line {parser.line()}: unexpected {{{{{ending}}}}}")
    return tuple(nodes)


class _Parser:
    def __init__(self, text: str) -> None:
        self._pieces = _split(text)
        self._index = 0
        self._line = 1
        self._before = ""

    def line(self) -> int:
        return self._line

    def parse_list(self, depth: int) -> tuple[list[Node], str | None]:
        """Nodes up to the action that ends the list; that action's text."""
        if depth > _DEPTH_MAX:
            raise TemplateError(f"line {self._line}: nested too deep")
        nodes: list[Node] = []
        while self._index < len(self._pieces):
            line, is_action, piece = self._pieces[self._index]
            self._index += 1
            self._line = line
            if not is_action:
                if piece:
                    nodes.append(Text(piece))
                    self._before = piece
                continue
            word = piece.split(None, 1)[0] if piece.split() else ""
            if word in ("end", "else"):
                return nodes, piece
            nodes.append(self._parse_action(word, piece, depth))
        return nodes, None

    def _parse_action(self, word: str, piece: str, depth: int) -> Node:
        if word in ("if", "with", "range"):
            return self._parse_block(word, piece[len(word) :], depth)
        if word in ("define", "template", "block", "break", "continue") or ":=" in piece:
            raise TemplateError(f"line {self._line}: {{{{{piece}}}}} is not supported")
        in_address = _ADDRESS.search(self._before) is not None
        self._before = ""
        return Value(self._parse_operand(piece), in_address)

    def _parse_block(self, word: str, condition: str, depth: int) -> Node:
        operand = self._parse_operand(condition)
        opened = self._line
        body, ending = self.parse_list(depth + 1)
        otherwise: list[Node] = []
        if ending is not None and ending.startswith("else"):
            rest = ending[4:].strip()
            if rest:
                inner = rest.split(None, 1)[0]
                if inner not in ("if", "with") or word == "range":
                    raise TemplateError(f"line {self._line}: {{{{{ending}}}}} is not supported")
                # `else if` is an `if` inside the `else` that shares its `end`.
                otherwise = [self._parse_block(inner, rest[len(inner) :], depth + 1)]
                ending = "end"
            else:
                otherwise, ending = self.parse_list(depth + 1)
        if ending is None or ending.strip() != "end":
            raise TemplateError(f"line {opened}: {{{{{word}}}}} has no {{{{end}}}}")
        if word == "range":
            return Loop(operand, tuple(body), tuple(otherwise))
        return Branch(operand, tuple(body), tuple(otherwise), word == "with")

    def _parse_operand(self, text: str) -> Operand:
        tokens = self._tokens(text)
        operand, rest = self._parse_pipeline(tokens, 0)
        if rest:
            raise TemplateError(f"line {self._line}: cannot read {{{{{text.strip()}}}}}")
        return operand

    def _tokens(self, text: str) -> list[tuple[str, str]]:
        tokens: list[tuple[str, str]] = []
        position, stripped = 0, text.rstrip()
        while position < len(stripped):
            match = _TOKEN.match(stripped, position)
            if match is None or match.lastgroup is None:
                raise TemplateError(f"line {self._line}: cannot read {{{{{text.strip()}}}}}")
            tokens.append((match.lastgroup, match[match.lastgroup]))
            position = match.end()
        if not tokens:
            raise TemplateError(f"line {self._line}: empty action")
        return tokens

    def _parse_pipeline(
        self, tokens: Sequence[tuple[str, str]], depth: int
    ) -> tuple[Operand, Sequence[tuple[str, str]]]:
        if depth > _DEPTH_MAX:
            raise TemplateError(f"line {self._line}: nested too deep")
        kind, text = tokens[0]
        if kind == "word" and text in _ARITY:
            operands: list[Operand] = []
            rest = tokens[1:]
            while rest and rest[0][1] not in (")", "|"):
                one, rest = self._parse_one(rest, depth)
                operands.append(one)
            least, most = _ARITY[text]
            if not least <= len(operands) <= most:
                raise TemplateError(f"line {self._line}: wrong number of operands for {text}")
            return Call(text, tuple(operands)), rest
        return self._parse_one(tokens, depth)

    def _parse_one(
        self, tokens: Sequence[tuple[str, str]], depth: int
    ) -> tuple[Operand, Sequence[tuple[str, str]]]:
        kind, text = tokens[0]
        rest = tokens[1:]
        if kind == "string":
            return Constant(_unquote(text)), rest
        if kind == "number":
            return Constant(float(text) if "." in text else int(text)), rest
        if kind == "path":
            names = tuple(name for name in text.lstrip("$").split(".") if name)
            return Path(names, text.startswith("$")), rest
        if kind == "word" and text in ("true", "false", "nil"):
            return Constant({"true": True, "false": False, "nil": None}[text]), rest
        if text == "(" and rest:
            inner, after = self._parse_pipeline(rest, depth + 1)
            if not after or after[0][1] != ")":
                raise TemplateError(f"line {self._line}: missing )")
            return inner, after[1:]
        raise TemplateError(f"line {self._line}: {text} is not supported")


def _split(text: str) -> list[tuple[int, bool, str]]:
    """(line, is action, text) in order, with the trimming dashes applied and comments gone."""
    pieces: list[tuple[int, bool, str]] = []
    position, trim_next = 0, False
    for match in _ACTION.finditer(text):
        before = text[position : match.start()]
        line = text.count("\n", 0, match.start()) + 1
        inner = match[2]
        if trim_next:
            before = before.lstrip()
        if match[1] is not None:
            before = before.rstrip()
        _refuse_open(text[position : match.start()], text.count("\n", 0, position) + 1)
        pieces.append((line, False, before))
        trim_next = match[3] is not None
        position = match.end()
        stripped = inner.strip()
        if not (stripped.startswith("/*") and stripped.endswith("*/")):
            pieces.append((line, True, stripped))
    rest = text[position:]
    last = text.count("\n", 0, position) + 1
    _refuse_open(rest, last)
    pieces.append((last, False, rest.lstrip() if trim_next else rest))
    return pieces


def _refuse_open(text: str, line: int) -> None:
    place = text.find("{{")
    if place >= 0:
        raise TemplateError(f"line {line + text.count(chr(10), 0, place)}: {{{{ without }}}}")


_ESCAPES = {"n": "\n", "t": "\t", "r": "\r"}


def _unquote(text: str) -> str:
    if text.startswith("`"):
        return text[1:-1]
    return re.sub(r"\\(.)", lambda m: _ESCAPES.get(m[1], m[1]), text[1:-1])


def render_template(template: Template, values: Mapping[str, Any], *, escape: bool = True) -> str:
    """The text.  With `escape` values are made safe for HTML; an address that is neither http,
    https, mailto nor relative becomes `#`.  A missing value is an empty text."""
    out: list[str] = []
    _render(template, values, values, out, escape)
    return "".join(out)


def _render(nodes: Template, here: Any, root: Any, out: list[str], escape: bool) -> None:
    for node in nodes:
        if sum(map(len, out[-1:])) > OUTPUT_CHARS_MAX or len(out) > 200_000:
            raise TemplateError("the rendered text is too long")
        if isinstance(node, Text):
            out.append(node.text)
        elif isinstance(node, Value):
            text = _to_text(_evaluate(node.operand, here, root))
            if escape:
                text = escape_html(_safe_address(text) if node.in_address else text)
            out.append(text)
        elif isinstance(node, Branch):
            value = _evaluate(node.condition, here, root)
            if _is_true(value):
                _render(node.then, value if node.rebinds else here, root, out, escape)
            else:
                _render(node.otherwise, here, root, out, escape)
        else:
            value = _evaluate(node.items, here, root)
            items = list(value.values()) if isinstance(value, Mapping) else value
            if not isinstance(items, (list, tuple)) or not items:
                _render(node.otherwise, here, root, out, escape)
                continue
            for item in items[:RANGE_ITEMS_MAX]:
                _render(node.body, item, root, out, escape)


def _evaluate(operand: Operand, here: Any, root: Any) -> Any:
    if isinstance(operand, Constant):
        return operand.value
    if isinstance(operand, Path):
        value = root if operand.from_root else here
        for name in operand.names:
            value = value.get(name) if isinstance(value, Mapping) else None
        return value
    values = [_evaluate(inner, here, root) for inner in operand.operands]
    return _call(operand.function, values)


def _call(function: str, values: list[Any]) -> Any:
    first = values[0]
    if function == "not":
        return not _is_true(first)
    if function == "and":
        return next((value for value in values if not _is_true(value)), values[-1])
    if function == "or":
        return next((value for value in values if _is_true(value)), values[-1])
    if function == "len":
        return len(first) if isinstance(first, (str, list, Mapping)) else 0
    if function == "eq":
        return any(_same(first, other) for other in values[1:])
    if function == "ne":
        return not _same(first, values[1])
    second = values[1]
    if not isinstance(first, (int, float)) or not isinstance(second, (int, float)):
        return False
    order = {"lt": first < second, "le": first <= second, "gt": first > second}
    return order.get(function, first >= second)


def _same(one: Any, other: Any) -> bool:
    return isinstance(one, bool) == isinstance(other, bool) and bool(one == other)


def _is_true(value: Any) -> bool:
    return bool(value)


def _to_text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)


def _safe_address(text: str) -> str:
    scheme, colon, _ = text.partition(":")
    if not colon or any(mark in scheme for mark in "/?#"):
        return text
    # A deep link of an app is fine; what runs in a page is not.
    plain = re.sub(r"[\x00-\x20]", "", scheme).lower()
    return "#" if plain in ("javascript", "vbscript", "data") else text
