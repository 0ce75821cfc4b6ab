"""Names, literals and types as SQL text, judged by PostgreSQL itself."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.support.postgres import FreshDatabase

from selfbase.meta.errors import BadRequest
from selfbase.meta.logic.identifiers import (
    quote_identifier,
    quote_literal,
    quote_qualified,
    quote_relation,
    quote_setting_value,
    render_type,
)

# Any text but the null character, which PostgreSQL cannot hold, and halves of surrogate pairs.
TEXT = st.text(
    alphabet=st.characters(exclude_characters="\x00", exclude_categories=("Cs",)), max_size=40
)
HOSTILE = st.sampled_from(
    [
        '"',
        '""',
        "'",
        "\\",
        "\\'",
        "'; drop table x; --",
        '"; drop table x; --',
        "$$",
        "/*",
        "--",
        "é",
    ]
)
ANY = st.one_of(TEXT, st.lists(st.one_of(HOSTILE, TEXT), max_size=4).map("".join))
# PostgreSQL cuts names at 63 bytes, and a name has at least one character.
NAME = ANY.filter(lambda text: 0 < len(text.encode()) <= 63)
ON_A_SERVER = settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@pytest.fixture(scope="module")
def connection(shared_database: FreshDatabase) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(shared_database.conninfo(), autocommit=True) as opened:
        yield opened


def run(connection: psycopg.Connection[Any], sql: str) -> Any:
    cursor = connection.execute(sql.encode())
    return cursor.fetchone()[0] if cursor.description else None


@ON_A_SERVER
@given(name=NAME)
def test_an_identifier_is_the_name(connection: psycopg.Connection[Any], name: str) -> None:
    cursor = connection.execute(f"select 1 as {quote_identifier(name)}".encode())
    assert cursor.description is not None
    assert [column.name for column in cursor.description] == [name]


@ON_A_SERVER
@given(schema=NAME, name=NAME)
def test_a_qualified_name_is_two_names(
    connection: psycopg.Connection[Any], schema: str, name: str
) -> None:
    parsed = connection.execute(
        "select parse_ident(%s)", (quote_qualified(schema, name),)
    ).fetchone()
    assert parsed == ([schema, name],)


@ON_A_SERVER
@given(text=ANY, conforming=st.booleans())
def test_a_literal_is_the_text(
    connection: psycopg.Connection[Any], text: str, conforming: bool
) -> None:
    run(connection, f"set standard_conforming_strings = {'on' if conforming else 'off'}")
    try:
        assert run(connection, f"select {quote_literal(text)}::text") == text
    finally:
        run(connection, "set standard_conforming_strings = on")


@ON_A_SERVER
@given(value=st.dictionaries(ANY, st.one_of(st.none(), st.booleans(), ANY), max_size=3))
def test_an_object_is_jsonb(connection: psycopg.Connection[Any], value: dict[str, Any]) -> None:
    assert run(connection, f"select {quote_literal(value)}") == value


@ON_A_SERVER
@given(
    path=st.lists(NAME.filter(lambda n: "," not in n and n.strip() == n), min_size=1, max_size=3)
)
def test_a_search_path_is_a_list(connection: psycopg.Connection[Any], path: list[str]) -> None:
    written = ", ".join(quote_identifier(name) for name in path)
    run(connection, f"set search_path to {quote_setting_value(written)}")
    listed = run(connection, "show search_path")
    run(connection, f"set search_path to {written}")
    assert listed == run(connection, "show search_path")
    run(connection, "reset search_path")


@ON_A_SERVER
@given(text=ANY)
def test_a_type_is_one_type(connection: psycopg.Connection[Any], text: str) -> None:
    """Whatever is given, what comes out is a type or refused: never more than one thing."""
    try:
        rendered = render_type(text)
    except BadRequest:
        return
    problem = ""
    try:
        run(connection, f"select null::{rendered}")
    except psycopg.Error as error:
        problem = str(error)
    # A type or schema that is not there, or the empty name, which is no name.
    known = r'(type|schema) ".*" does not exist|zero-length|cross-database|improper'
    assert problem == "" or re.match(known, problem, re.DOTALL), problem


@pytest.mark.parametrize("text", ["a.b; select 1", "a.b c", "a.", ".", "x.y(select 1)"])
def test_a_qualified_type_cannot_carry_sql(text: str) -> None:
    with pytest.raises(BadRequest):
        render_type(text)


@pytest.mark.parametrize("text", ["int4; drop table x", "int4) --", "int4 default 1"])
def test_a_strange_type_is_a_name(text: str) -> None:
    assert render_type(text) == quote_identifier(text)


def test_null_characters_are_refused() -> None:
    for quote in (quote_identifier, quote_literal):
        with pytest.raises(BadRequest):
            quote("a\x00b")


def test_a_relation_may_name_its_schema() -> None:
    assert quote_relation("t") == '"t"'
    assert quote_relation("s.t") == '"s"."t"'
    assert quote_relation('s.t"."u') == '"s"."t"".""u"'
