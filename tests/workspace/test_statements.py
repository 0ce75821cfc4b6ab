"""Cutting SQL files into statements as the official CLI does."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selfbase.workspace.statements import split_statements

CASES = [
    ("", []),
    (" ; ;; ", []),
    ("select 1", ["select 1"]),
    ("select 1; select 2;", ["select 1", "select 2"]),
    ("select ';'; select 2", ["select ';'", "select 2"]),
    ("select 'it''s;'; x", ["select 'it''s;'", "x"]),
    (r"select E'\';'; x", [r"select E'\';'", "x"]),
    (r"select '\'; x", [r"select '\'", "x"]),
    ('select ";"; x', ['select ";"', "x"]),
    ("-- a;b\nselect 1; x", ["-- a;b\nselect 1", "x"]),
    ("/* a; /* b; */ c; */ select 1; x", ["/* a; /* b; */ c; */ select 1", "x"]),
    ("do $$ begin; end $$; x", ["do $$ begin; end $$", "x"]),
    ("do $a$ $b$; $a$; x", ["do $a$ $b$; $a$", "x"]),
    ("select a$b; select c$d", ["select a$b", "select c$d"]),
    ("select $1; x", ["select $1", "x"]),
    (
        "create rule r as on insert to t do (select 1; select 2); x",
        ["create rule r as on insert to t do (select 1; select 2)", "x"],
    ),
    (
        "create function f() returns int begin atomic select 1; select 2; end; x",
        ["create function f() returns int begin atomic select 1; select 2; end", "x"],
    ),
    (
        "create function f() returns int begin atomic select case when true then 1 end; end; x",
        ["create function f() returns int begin atomic select case when true then 1 end; end", "x"],
    ),
    ("select case when a then 1 end; x", ["select case when a then 1 end", "x"]),
    ("begin; select 1; commit;", ["begin", "select 1", "commit"]),
    ("select 1 -- the last", ["select 1 -- the last"]),
    ("select 'open; x", ["select 'open; x"]),
]


@pytest.mark.parametrize(("text", "expected"), CASES)
def test_statements(text: str, expected: list[str]) -> None:
    assert split_statements(text) == expected


@given(st.text(alphabet="ab;'\"$-/*()\n\\ eE", max_size=60))
def test_nothing_is_lost_and_it_always_ends(text: str) -> None:
    pieces = split_statements(text)
    assert all(piece.strip() == piece and piece for piece in pieces)
    rest = text
    for piece in pieces:
        _, found, rest = rest.partition(piece)
        assert found == piece
