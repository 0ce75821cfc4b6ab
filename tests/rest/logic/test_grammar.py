"""The grammar: whatever it accepts means one thing, whatever it refuses it refuses politely."""

from __future__ import annotations

import time
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from selfbase.rest.errors import RestFailure
from selfbase.rest.logic.grammar import (
    Slots,
    encode_value,
    parse_columns,
    parse_logic,
    parse_order,
    parse_select,
)
from selfbase.rest.logic.scan import scan_query
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

names = st.text(min_size=1, max_size=12)
casts = st.sampled_from(["text", "int", "double precision", None])


def quote(name: str) -> str:
    return '"' + name.replace("\\", "\\\\").replace('"', '\\"') + '"'


steps = st.builds(
    JsonStep, st.sampled_from(["->", "->>"]), st.text(min_size=1, max_size=5), st.just(False)
) | st.builds(
    lambda arrow, n: JsonStep(arrow, str(n), True),
    st.sampled_from(["->", "->>"]),
    st.integers(-9, 99),
)
fields = st.builds(Field, names, st.lists(steps, max_size=2).map(tuple))


def write_field(field: Field) -> str:
    path = "".join(s.arrow + (s.operand if s.index else quote(s.operand)) for s in field.path)
    return quote(field.name) + path


select_fields = st.builds(
    SelectField,
    fields,
    st.none() | names,
    casts,
    st.none() | st.sampled_from(["sum", "avg", "count", "max", "min"]),
    st.none(),
)


def relations(items: st.SearchStrategy[SelectItem]) -> st.SearchStrategy[SelectItem]:
    return st.builds(
        lambda name, alias, hint, join, spread, inner: SelectRelation(
            name, None if spread else alias, hint, join, spread, tuple(inner)
        ),
        names.filter(lambda name: name != "count"),
        st.none() | names,
        st.none() | names,
        st.sampled_from([None, "inner", "left"]),
        st.booleans(),
        st.lists(items, max_size=3),
    )


def write_item(item: SelectItem) -> str:
    if isinstance(item, SelectRelation):
        alias = f"{quote(item.alias)}:" if item.alias else ""
        hint = f"!{quote(item.hint)}" if item.hint else ""
        join = f"!{item.join}" if item.join else ""
        inner = ",".join(write_item(one) for one in item.items)
        return f"{'...' if item.spread else alias}{quote(item.name)}{hint}{join}({inner})"
    alias = f"{quote(item.alias)}:" if item.alias else ""
    cast = f"::{item.cast}" if item.cast else ""
    aggregate = f".{item.aggregate}()" if item.aggregate else ""
    return f"{alias}{write_field(item.field)}{cast}{aggregate}"


@given(st.lists(st.recursive(select_fields, relations, max_leaves=8), max_size=4))
def test_select_says_what_it_was_written_from(items: list[SelectItem]) -> None:
    assert list(parse_select(",".join(write_item(item) for item in items))) == items


orders = st.builds(
    OrderTerm,
    fields,
    st.none() | names,
    st.sampled_from([None, "asc", "desc"]),
    st.sampled_from([None, "nulls first", "nulls last"]),
)


@given(st.lists(orders, min_size=1, max_size=4))
def test_order_says_what_it_was_written_from(terms: list[OrderTerm]) -> None:
    def write(term: OrderTerm) -> str:
        field = write_field(term.field)
        target = f"{quote(term.relation)}({field})" if term.relation else field
        ends = [term.direction, term.nulls.replace(" ", "") if term.nulls else None]
        return ".".join([target, *(end for end in ends if end)])

    assert list(parse_order(",".join(write(term) for term in terms))) == terms


plain = st.builds(
    lambda field, op, negated, value: (field, op, negated, value),
    fields,
    st.sampled_from(["eq", "neq", "gt", "cs", "ov"]),
    st.booleans(),
    st.text(max_size=8),
)


@given(st.lists(plain, min_size=1, max_size=4), st.sampled_from(["and", "or"]), st.booleans())
def test_a_logic_tree_says_what_it_was_written_from(
    parts: list[tuple[Field, str, bool, str]], op: str, negated: bool
) -> None:
    text = ",".join(
        f"{write_field(field)}.{'not.' if no else ''}{operator}.{quote(value)}"
        for field, operator, no, value in parts
    )
    slots = Slots()
    embeds, tree = parse_logic(f"{'not.' if negated else ''}{op}", f"({text})", slots)
    expected: tuple[Condition, ...] = tuple(
        Filter(field, Operation(operator, no, slot=slot))
        for slot, (field, operator, no, _) in enumerate(parts)
    )
    assert (embeds, tree) == ((), Logic(op, negated, expected))
    assert slots.values == [encode_value(value) for *_, value in parts]


noise = st.text(alphabet='abc(),.:!*"\\->{}& =%+not.eq.in.orsel\0é', max_size=60)


@given(noise)
@settings(max_examples=300)
def test_noise_is_refused_politely(text: str) -> None:
    for parse in (
        parse_select,
        parse_order,
        lambda t: parse_columns(t, "columns parameter"),
        lambda t: parse_logic("or", t, Slots()),
        lambda t: scan_query(f"a={t}&select={t}&or={t}&x.order={t}&y.limit={t}"),
        lambda t: scan_query(t, calling=True),
    ):
        with suppress(RestFailure):
            parse(text)


@pytest.mark.parametrize(
    "text",
    [
        "(" * 20000,
        "a(" * 20000,
        "and(" * 20000,
        "not.and(" * 20000,
        '"' * 20001,
        '"\\' * 10000,
        "a->" * 20000,
        "a!" * 20000,
        "a.eq.{" * 20000,
        "a.in.(" * 20000,
        'a.in.("' * 10000,
        "x," * 20000,
    ],
)
def test_long_nonsense_takes_no_time(text: str) -> None:
    started_s = time.process_time()
    for query in (
        f"select={text}",
        f"or=({text})",
        f"order={text}",
        f"columns={text}",
        f"a={text}",
    ):
        with suppress(RestFailure):
            scan_query(query)
        with suppress(RestFailure):
            parse_select(text)
    # Quadratic work on these would take minutes.
    assert time.process_time() - started_s < 10


SHAPES = [
    ("id=eq.1&name=like.a*", "id=eq.2&name=like.*b"),
    ("id=in.(1,2)&limit=3", "id=in.(9,8,7)&limit=4"),
    ("or=(a.eq.1,b.gt.2)", "or=(a.eq.5,b.gt.6)"),
]


@pytest.mark.parametrize(("first", "second"), SHAPES)
def test_requests_that_differ_in_values_have_one_shape(first: str, second: str) -> None:
    one, other = scan_query(first), scan_query(second)
    assert one.shape == other.shape
    assert hash(one.shape) == hash(other.shape)
    assert one.values != other.values


@pytest.mark.parametrize(
    "second", ["id=neq.1", "id=not.eq.1", "ID=eq.1", "id=eq.1&a=eq.1", "id=is.null"]
)
def test_requests_that_differ_in_more_have_not(second: str) -> None:
    assert scan_query("id=eq.1").shape != scan_query(second).shape
