"""The grammar of select, order, columns, filters and logic trees.

A recursive descent parser over one parameter's text.  It never looks back further than one item, so
its time is linear, and it stops with `SyntaxFailure` at the first character it cannot use.  Operands
are handed to a `Slots` and leave only a number behind.  Source: reference/rest.md section 1.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from selfbase.rest.errors import RestFailure, query_failure
from selfbase.rest.logic.names import build_array_literal
from selfbase.rest.logic.syntax import (
    Condition,
    Field,
    Filter,
    JsonStep,
    Logic,
    Operation,
    OrderTerm,
    SelectField,
    SelectItem,
    SelectRelation,
)

DEPTH_MAX = 100

T = TypeVar("T")

_NAME = re.compile(r"[\w $]+(?:-(?!>)[\w $]+)*")
_KEY = re.compile(r"[^(\-:.,>)]+(?:-(?!>)[^(\-:.,>)]+)*")
_INDEX = re.compile(r"(-?)(\d+)(?=->|::|[.,)]|$)")
# A type's words stand bare in SQL, so each begins as an identifier does: never a number, a
# parameter or a dollar quote.
_TYPE = re.compile(r" *[^\W\d][\w$]*(?: +[^\W\d][\w$]*)* *")
_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"', re.DOTALL)
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)
_RAW = re.compile(r"[^,)]*")
_BRACES = re.compile(r"\{[^{}]*\}")
_BLANKS = re.compile(r"[ \t]*")
_AGGREGATE = re.compile(r"\.(sum|avg|count|max|min)\(\)")
_IS_WORD = re.compile(r"null|not_null|true|false|unknown", re.IGNORECASE)
_OPERATOR = re.compile(
    r"(?:(in|is|isdistinct|neq|cs|cd|ov|sl|sr|nxr|nxl|adj)"
    r"|(eq|gte|gt|lte|lt|like|ilike|match|imatch)(?:\((any|all)\))?"
    r"|(fts|plfts|phfts|wfts)(?:\(([\w $]+)\))?)\."
)
# Most filters are of these, and their operand is the rest of the text.
_PLAIN = re.compile(r"(not\.)?(eq|neq|gte|gt|lte|lt|cs|cd|ov)\.")
_LIKE = frozenset({"like", "ilike"})

_FIELD_NAME = "field name (* or [a..z0..9_$])"
_IS_VALUES = "isVal: (null, not_null, true, false, unknown)"
_OPERATOR_NAME = '"not" or operator (eq, gt, ...)'


class SyntaxFailure(Exception):
    """`expecting` may be empty.  `position` counts from 0 in the parsed text."""

    def __init__(self, text: str, position: int, expecting: str, *, loud: bool = False) -> None:
        super().__init__(expecting)
        self.text = text
        self.position = position
        self.expecting = expecting
        self.loud = loud

    def describe(self) -> str:
        """In the words clients know: what was met and what would have been right."""
        if self.position >= len(self.text):
            met = "end of input"
        else:
            quote = "'" if self.loud else '"'
            met = f"{quote}{self.text[self.position]}{quote}"
        return f"unexpected {met}" + (f" expecting {self.expecting}" if self.expecting else "")


def encode_value(text: str) -> bytes:
    """The bytes of a bound value.  PostgreSQL's texts hold no NUL: they end there."""
    if "\0" in text:
        text = text[: text.index("\0")]
    return text.encode("utf-8", "replace")


class Slots:
    """The operands met so far, as the bytes they are bound with; a NUL ends an operand."""

    __slots__ = ("values",)

    def __init__(self) -> None:
        self.values: list[bytes | None] = []

    def add(self, value: str) -> int:
        self.values.append(encode_value(value))
        return len(self.values) - 1


def guard(what: str, text: str, parse: Callable[[], T], shift: int = 0) -> T:
    """Turns a SyntaxFailure into the error clients know.  `shift` corrects the column."""
    try:
        return parse()
    except SyntaxFailure as failure:
        column = failure.position + 1 + shift
        message = f'"failed to parse {what} ({text})" (line 1, column {column})'
        raise query_failure(message, failure.describe()) from None


@dataclass(slots=True)
class Cursor:
    """A position in a text."""

    text: str
    at: int = 0

    def peek(self, token: str) -> bool:
        return self.text.startswith(token, self.at)

    def take(self, token: str) -> bool:
        if self.text.startswith(token, self.at):
            self.at += len(token)
            return True
        return False

    def match(self, pattern: re.Pattern[str]) -> re.Match[str] | None:
        found = pattern.match(self.text, self.at)
        if found is not None:
            self.at = found.end()
        return found

    def blanks(self) -> None:
        self.match(_BLANKS)

    def expect(self, token: str, expecting: str | None = None) -> None:
        if not self.take(token):
            raise self.failure(f'"{token}"' if expecting is None else expecting)

    def failure(self, expecting: str, *, loud: bool = False) -> SyntaxFailure:
        return SyntaxFailure(self.text, self.at, expecting, loud=loud)

    @property
    def done(self) -> bool:
        return self.at >= len(self.text)

    def expect_end(self, expecting: str = "end of input", *, loud: bool = True) -> None:
        if not self.done:
            raise self.failure(expecting, loud=loud)


def _quoted(cursor: Cursor) -> str | None:
    found = cursor.match(_QUOTED)
    return None if found is None else _ESCAPE.sub(r"\1", found[1])


def _find_name(cursor: Cursor) -> str | None:
    if cursor.peek('"'):
        return _quoted(cursor)
    start = cursor.at
    found = cursor.match(_NAME)
    if found is None:
        return None
    text = found[0]
    name = "-".join(part.strip() for part in text.split("-")) if "-" in text else text.strip()
    if not name:
        cursor.at = start
        return None
    return name


def parse_name(cursor: Cursor) -> str:
    name = _find_name(cursor)
    if name is None:
        raise cursor.failure(_FIELD_NAME)
    return name


def parse_json_path(cursor: Cursor) -> tuple[JsonStep, ...]:
    steps: list[JsonStep] = []
    while cursor.peek("->"):
        arrow = "->>" if cursor.take("->>") else "->"
        if arrow == "->":
            cursor.at += 2
        index = cursor.match(_INDEX)
        if index is not None:
            steps.append(JsonStep(arrow, ("-" if index[1] else "") + index[2], True))
            continue
        key = _quoted(cursor) if cursor.peek('"') else None
        if key is None:
            found = cursor.match(_KEY)
            if found is None:
                if cursor.take("-"):
                    raise cursor.failure("digit")
                raise cursor.failure(
                    '"-", digit or any non reserved character different from: .,>()'
                )
            key = found[0].strip()
        steps.append(JsonStep(arrow, key, False))
    return tuple(steps)


def _parse_field(cursor: Cursor) -> Field:
    cursor.blanks()
    name = parse_name(cursor)
    field = Field(name, parse_json_path(cursor))
    cursor.blanks()
    return field


def _parse_cast(cursor: Cursor) -> str | None:
    if not cursor.take("::"):
        return None
    found = cursor.match(_TYPE)
    if found is None:
        raise cursor.failure("letter or digit")
    return found[0].strip()


# select


def parse_select(text: str) -> tuple[SelectItem, ...]:
    """The items of a `select` parameter.  Raises RestFailure PGRST100."""

    def parse() -> tuple[SelectItem, ...]:
        # Parity: what follows a complete list is not looked at, as upstream's parser does not.
        return _parse_items(Cursor(text), 0)

    return guard("select parameter", text, parse)


def _parse_items(cursor: Cursor, depth: int) -> tuple[SelectItem, ...]:
    if depth > DEPTH_MAX:
        raise cursor.failure("less nesting")
    items: list[SelectItem] = []
    start = cursor.at
    cursor.blanks()
    if cursor.done or cursor.peek(")"):
        return ()
    cursor.at = start
    while True:
        cursor.blanks()
        items.append(_parse_item(cursor, depth))
        cursor.blanks()
        if not cursor.take(","):
            return tuple(items)


def _parse_item(cursor: Cursor, depth: int) -> SelectItem:
    if cursor.take("..."):
        name = parse_name(cursor)
        hint, join = _parse_embed_params(cursor)
        return _parse_embed(cursor, name, None, hint, join, True, depth)
    if cursor.take("*"):
        _expect_item_end(cursor, '")", "," or end of input')
        return SelectField(Field("*"))
    alias = _parse_alias(cursor)
    if cursor.take("count()"):
        cast = _parse_cast(cursor)
        _expect_item_end(cursor, '")", "," or end of input')
        return SelectField(Field("*"), alias, None, "count", cast)
    start = cursor.at
    name = parse_name(cursor)
    if name != "count" and (cursor.peek("(") or cursor.peek("!")):
        hint, join = _parse_embed_params(cursor)
        if cursor.peek("("):
            return _parse_embed(cursor, name, alias, hint, join, False, depth)
        raise cursor.failure('"("', loud=True)
    cursor.at = start
    field = _parse_field(cursor)
    cast = _parse_cast(cursor)
    found = cursor.match(_AGGREGATE)
    aggregate = found[1] if found else None
    aggregate_cast = _parse_cast(cursor)
    _expect_item_end(cursor, 'letter, digit, "-", "->>", "->", "::", ".", ")", "," or end of input')
    if aggregate is None and aggregate_cast is not None:
        aggregate_cast = None
    return SelectField(field, alias, cast, aggregate, aggregate_cast)


def _parse_alias(cursor: Cursor) -> str | None:
    start = cursor.at
    name = _find_name(cursor)
    if name is not None and cursor.peek(":") and not cursor.peek("::"):
        cursor.at += 1
        return name
    cursor.at = start
    return None


def _expect_item_end(cursor: Cursor, expecting: str) -> None:
    cursor.blanks()
    if not (cursor.done or cursor.peek(",") or cursor.peek(")")):
        raise cursor.failure(expecting, loud=True)


def _parse_embed_params(cursor: Cursor) -> tuple[str | None, str | None]:
    hint: str | None = None
    join: str | None = None
    for _ in range(2):
        if not cursor.take("!"):
            break
        if cursor.take("left"):
            join = join or "left"
        elif cursor.take("inner"):
            join = join or "inner"
        else:
            name = parse_name(cursor)
            hint = hint or name
    return hint, join


def _parse_embed(
    cursor: Cursor,
    name: str,
    alias: str | None,
    hint: str | None,
    join: str | None,
    spread: bool,
    depth: int,
) -> SelectRelation:
    cursor.expect("(")
    items = _parse_items(cursor, depth + 1)
    cursor.expect(")", '"," or ")"')
    return SelectRelation(name, alias, hint, join, spread, items)


# order, columns


def parse_order(text: str) -> tuple[OrderTerm, ...]:
    """The terms of an `order` parameter.  Raises RestFailure PGRST100."""

    def parse() -> tuple[OrderTerm, ...]:
        cursor = Cursor(text)
        terms = [_parse_order_term(cursor)]
        while cursor.take(","):
            terms.append(_parse_order_term(cursor))
        return tuple(terms)

    return guard("order", text, parse)


def _parse_order_term(cursor: Cursor) -> OrderTerm:
    cursor.blanks()
    start = cursor.at
    relation = _find_name(cursor)
    if relation is not None and cursor.peek("("):
        opening = cursor.at
        cursor.at += 1
        field = _parse_field(cursor)
        if not cursor.take(")"):
            cursor.at = opening
            raise cursor.failure(
                'letter, digit, "-", "->>", "->", delimiter (.), "," or end of input', loud=True
            )
    else:
        cursor.at = start
        relation = None
        field = _parse_field(cursor)
    direction: str | None = None
    nulls: str | None = None
    while cursor.take("."):
        before = cursor.at
        if direction is None and nulls is None and cursor.take("asc"):
            direction = "asc"
        elif direction is None and nulls is None and cursor.take("desc"):
            direction = "desc"
        elif nulls is None and cursor.take("nullsfirst"):
            nulls = "nulls first"
        elif nulls is None and cursor.take("nullslast"):
            nulls = "nulls last"
        else:
            cursor.at = before
            known = '"nullsfirst" or "nullslast"'
            raise cursor.failure(known if direction else '"asc", "desc", ' + known)
    cursor.blanks()
    if not cursor.done and not cursor.peek(","):
        expecting = '"," or end of input' if nulls else 'delimiter (.), "," or end of input'
        raise cursor.failure(expecting, loud=True)
    return OrderTerm(field, relation, direction, nulls)


def parse_columns(text: str, what: str) -> tuple[str, ...]:
    """A list of column names.  Raises RestFailure PGRST100."""

    def parse() -> tuple[str, ...]:
        cursor = Cursor(text)
        names = [parse_name(cursor)]
        cursor.blanks()
        while cursor.take(","):
            cursor.blanks()
            names.append(parse_name(cursor))
            cursor.blanks()
        cursor.expect_end('"," or end of input')
        return tuple(names)

    return guard(what, text, parse)


# filters and logic trees


def parse_path(text: str) -> tuple[tuple[str, ...], Field]:
    """The key of a filter: the embeds it walks through, and the column."""

    def parse() -> tuple[tuple[str, ...], Field]:
        cursor = Cursor(text)
        names = _parse_dotted(cursor)
        steps = parse_json_path(cursor)
        return tuple(names[:-1]), Field(names[-1], steps)

    return guard("tree path", text, parse)


def _parse_dotted(cursor: Cursor) -> list[str]:
    names = [parse_name(cursor)]
    while cursor.take("."):
        names.append(parse_name(cursor))
    return names


def find_operation(text: str, slots: Slots) -> Operation | None:
    """The operation of a top-level filter, or None when the text is not one.

    Raises SyntaxFailure for an operator whose operand is malformed.
    """
    plain = _PLAIN.match(text)
    if plain is not None:
        slot = slots.add(text[plain.end() :])
        return Operation(plain[2], plain[1] is not None, None, None, slot)
    cursor = Cursor(text)
    operation = _find_operator(cursor)
    if operation is None:
        return None
    op, negated, modifier = operation
    if op == "is":
        return Operation(op, negated, word=_parse_is_word(cursor))
    if op == "in":
        slot = slots.add(build_array_literal(_parse_list(cursor)))
        return Operation(op, negated, slot=slot)
    value = text[cursor.at :]
    if op in _LIKE:
        value = value.replace("*", "%")
    return Operation(op, negated, modifier, slot=slots.add(value))


def operator_failure(text: str) -> RestFailure:
    """A filter value that does not begin with an operator."""
    if text.startswith("not."):
        failure = SyntaxFailure(text, 4, "operator (eq, gt, ...)")
        column = 5
    else:
        met = 0
        while met < 3 and text[met : met + 1] == "not"[met]:
            met += 1
        failure = SyntaxFailure(text, met, _OPERATOR_NAME)
        column = 1
    message = f'"failed to parse filter ({text})" (line 1, column {column})'
    return query_failure(message, failure.describe())


def _find_operator(cursor: Cursor) -> tuple[str, bool, str | None] | None:
    start = cursor.at
    negated = cursor.take("not.")
    found = cursor.match(_OPERATOR)
    if found is None:
        cursor.at = start
        return None
    simple, quantified, quantifier, search, language = found.groups()
    if simple:
        return simple, negated, None
    if quantified:
        return quantified, negated, quantifier
    return search, negated, language.strip() if language else None


def _parse_is_word(cursor: Cursor) -> str:
    found = cursor.match(_IS_WORD)
    if found is None:
        raise cursor.failure(_IS_VALUES)
    return found[0].lower()


def _parse_list(cursor: Cursor) -> list[str]:
    cursor.blanks()
    cursor.expect("(")
    cursor.blanks()
    values = [_parse_element(cursor)]
    while cursor.take(","):
        values.append(_parse_element(cursor))
    if not cursor.take(")"):
        raise cursor.failure('")"')
    cursor.blanks()
    return [] if values == [""] else values


def _parse_element(cursor: Cursor) -> str:
    if cursor.peek('"'):
        start = cursor.at
        quoted = _quoted(cursor)
        if quoted is not None and (cursor.done or cursor.text[cursor.at] in ",)"):
            return quoted
        cursor.at = start
    found = cursor.match(_RAW)
    return found[0] if found else ""


def parse_logic(key: str, text: str, slots: Slots) -> tuple[tuple[str, ...], Logic]:
    """`[embed.]…[not.]and|or=(…)`: the embeds and the tree.  Raises RestFailure PGRST100."""
    names = guard("logic path", key, lambda: _parse_dotted(Cursor(key)))
    op = names[-1]
    negated = "not" in names
    embeds = tuple(name for name in names[:-1] if name != "not")
    prefix = ("not." if negated else "") + op

    def parse() -> Logic:
        cursor = Cursor(prefix + text)
        tree = _parse_condition(cursor, slots, 0)
        if not isinstance(tree, Logic):
            raise SyntaxFailure(cursor.text, len(prefix), '"("')
        return tree

    return embeds, guard("logic tree", text, parse)


def _parse_condition(cursor: Cursor, slots: Slots, depth: int) -> Condition:
    if depth > DEPTH_MAX:
        raise cursor.failure("less nesting")
    start = cursor.at
    mark = len(slots.values)
    try:
        field = _parse_field(cursor)
        cursor.expect(".", "delimiter (.)")
        return Filter(field, _parse_tree_operation(cursor, slots))
    except SyntaxFailure as failure:
        inner = failure
    del slots.values[mark:]
    cursor.at = start
    negated = cursor.take("not.")
    if cursor.take("and"):
        op = "and"
    elif cursor.take("or"):
        op = "or"
    elif inner.position > cursor.at and not negated:
        raise inner
    elif negated:
        raise cursor.failure("logic operator (and, or)")
    else:
        raise cursor.failure(f"{_FIELD_NAME}, negation operator (not) or logic operator (and, or)")
    cursor.blanks()
    cursor.expect("(")
    cursor.blanks()
    conditions = [_parse_condition(cursor, slots, depth + 1)]
    cursor.blanks()
    while cursor.take(","):
        cursor.blanks()
        conditions.append(_parse_condition(cursor, slots, depth + 1))
        cursor.blanks()
    cursor.expect(")", '"," or ")"')
    cursor.blanks()
    return Logic(op, negated, tuple(conditions))


def _parse_tree_operation(cursor: Cursor, slots: Slots) -> Operation:
    operator = _find_operator(cursor)
    if operator is None:
        raise cursor.failure("operator (eq, gt, ...)")
    op, negated, modifier = operator
    if op == "is":
        return Operation(op, negated, word=_parse_is_word(cursor))
    if op == "in":
        return Operation(op, negated, slot=slots.add(build_array_literal(_parse_list(cursor))))
    value = _parse_tree_value(cursor)
    if op in _LIKE:
        value = value.replace("*", "%")
    return Operation(op, negated, modifier, slot=slots.add(value))


def _parse_tree_value(cursor: Cursor) -> str:
    if cursor.peek("{"):
        found = cursor.match(_BRACES)
        if found is not None:
            return found[0]
    return _parse_element(cursor)
