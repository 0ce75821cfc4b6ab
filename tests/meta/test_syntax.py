"""Formatting, parsing, deparsing and classifying SQL, and what happens when the parser dies."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.meta.conftest import Api

from selfbase.meta.errors import BadRequest, ReadOnly
from selfbase.meta.logic.classify import check_read_only, classify_sql
from selfbase.meta.logic.format_sql import format_sql, read_tokens

STATEMENTS = (
    "select a, b from t where a = 1 and b in (1, 2) order by a",
    "insert into t (a) values (1), (2) on conflict do nothing returning *",
    "update only t set a = 1, b = default where c between 1 and 2",
    "with recursive q as (select 1 union all select n + 1 from q) select * from q limit 10",
    "create table t (a int primary key, b text default 'x;y' check (b <> ''))",
    "create function f() returns int language sql as $body$ select 1; -- in $body$",
    "select 'it''s', $$x$$, E'\\n', \"Odd Name\" -- a comment\n, /* another */ 1",
    "select case when a then b else c end, x::int[], (y).z, w->>'k' from a.b left join c using (d)",
    "delete from t using u where t.id = u.id; drop table if exists v cascade",
)


# Members that tell where something stood in the text.
PLACES = ("location", "_len", "_list_start", "_list_end")


async def test_format(reading: Api) -> None:
    text = await reading.sql("SELECT id, name FROM users where user_id = 1", path="/query/format")
    assert text == "SELECT\n  id,\n  name\nFROM\n  users\nwhere\n  user_id = 1\n"


@given(st.lists(st.sampled_from(STATEMENTS), max_size=4).map("; ".join))
def test_formatting_keeps_every_token_and_settles(sql: str) -> None:
    formatted = format_sql(sql)
    assert [token.text for token in read_tokens(formatted)] == [
        token.text for token in read_tokens(sql)
    ]
    assert format_sql(formatted) == formatted


@given(st.text(alphabet="select from(),;'\"$-/*ab1\n\\E", max_size=40))
def test_formatting_anything_keeps_its_tokens_or_refuses(sql: str) -> None:
    try:
        formatted = format_sql(sql)
    except BadRequest:
        return
    assert [token.text for token in read_tokens(formatted)] == [
        token.text for token in read_tokens(sql)
    ]


@pytest.mark.parametrize("sql", STATEMENTS)
async def test_a_tree_comes_back_as_the_same_sql(reading: Api, sql: str) -> None:
    tree = await reading.sql(sql, path="/query/parse")
    text = await reading.post("/query/deparse", {"ast": tree})

    def plain(node: Any) -> Any:
        if isinstance(node, dict):
            return {k: plain(v) for k, v in node.items() if not k.endswith(PLACES)}
        return [plain(item) for item in node] if isinstance(node, list) else node

    again = await reading.sql(text, path="/query/parse")
    assert plain(again) == plain(tree)


async def test_bad_sql_is_refused_in_the_parsers_words(reading: Api) -> None:
    answer = await reading.sql("selec 1", 400, "/query/parse")
    assert answer == {"error": 'syntax error at or near "selec"'}
    await reading.sql("select 'open", 400, "/query/format")
    await reading.post("/query/deparse", {"ast": {"stmts": "x"}}, 400)
    await reading.post("/query/deparse", {"ast": {"stmts": [{"stmt": {"Nope": {}}}]}}, 400)
    await reading.post("/query/deparse", {}, 400)


async def test_a_dead_parser_is_replaced(reading: Api) -> None:
    """Both crash the C library: a tree with holes, and SQL nested as deep as it goes."""
    holes = {"ast": {"stmts": [{"stmt": {"InsertStmt": {}}}]}}
    assert "parsed" in (await reading.post("/query/deparse", holes, 400))["error"]
    deep = "select " + " + ".join(["1"] * 50_000)
    assert "too deep" in (await reading.sql(deep, 400, "/query/parse"))["error"]
    assert (await reading.sql("select 1", path="/query/parse"))["stmts"] != []


@pytest.mark.parametrize(
    ("sql", "command", "effect", "destructive"),
    [
        ("select * from t", "SELECT", "read", False),
        ("with d as (delete from t returning *) select * from d", "SELECT", "write", True),
        ("select * into u from t", "SELECT", "write", False),
        ("select * from t for update", "SELECT", "write", False),
        ("show work_mem", "SHOW", "read", False),
        ("explain delete from t", "EXPLAIN", "read", False),
        ("explain (analyze) delete from t", "EXPLAIN", "write", True),
        ("insert into t values (1)", "INSERT", "write", False),
        ("update t set a = 1", "UPDATE", "write", True),
        ("update t set a = 1 where b", "UPDATE", "write", False),
        ("delete from t where a", "DELETE", "write", True),
        ("truncate t", "TRUNCATE", "write", True),
        ("drop table a.t", "DROP TABLE", "schema", True),
        ("alter table t drop column a", "ALTER TABLE", "schema", True),
        ("alter table t add column a int", "ALTER TABLE", "schema", False),
        ("grant select on t to anon", "GRANT", "rights", False),
        ("set role postgres", "SET", "session", False),
        ("commit", "COMMIT", "transaction", False),
        ("do $$begin end$$", "DO", "unknown", False),
        ("copy t from stdin", "COPY", "write", False),
        ("copy t to program 'x'", "COPY", "unknown", False),
    ],
)
def test_statements_are_told_apart(sql: str, command: str, effect: str, destructive: bool) -> None:
    (found,) = classify_sql(sql)["statements"]
    assert (found["command"], found["effect"], found["destructive"]) == (
        command,
        effect,
        destructive,
    )


async def test_tables_and_functions_are_listed(reading: Api) -> None:
    sql = "with q as (select f(1) from a.b) insert into c select * from q join d on true"
    answer = await reading.sql(sql, path="/query/classify")
    (found,) = answer["statements"]
    assert {(t["schema"], t["name"], t["access"]) for t in found["tables"]} == {
        (None, "c", "insert"),
        ("a", "b", "read"),
        (None, "d", "read"),
    }
    assert found["functions"] == ["f"]
    assert (answer["reads_only"], answer["destructive"]) == (False, False)


def test_words_in_strings_and_comments_do_not_count() -> None:
    check_read_only("select 'drop table t; delete from t' -- truncate t\n")
    with pytest.raises(ReadOnly):
        check_read_only("select 1; /* select */ drop table t")
