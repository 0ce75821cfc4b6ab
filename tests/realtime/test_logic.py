"""Filters, joins, presence, values, policies and limits: decisions without a database."""

from __future__ import annotations

import contextlib

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from selfbase.realtime.janitor import plan_partitions
from selfbase.realtime.logic.filters import (
    Filter,
    FilterInvalid,
    compile_filter,
    parse_filters,
    render_array,
)
from selfbase.realtime.logic.joins import Replay, parse_binding, parse_join, render_bindings
from selfbase.realtime.logic.jsonvalues import find_built_in, make_type, parse_array
from selfbase.realtime.logic.limits import CallLimit, RateWindow
from selfbase.realtime.logic.pgoutput import Unchanged
from selfbase.realtime.logic.policies import NotSent, Plan, Policy, plan_policies
from selfbase.realtime.logic.presence import Diff, OutOfStep, PresenceState, render_state


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("id=eq.1", [Filter("id", "eq", "1")]),
        ("a=eq.1,b=not.lt.2", [Filter("a", "eq", "1"), Filter("b", "lt", "2", True)]),
        ("a=eq.x.y=z", [Filter("a", "eq", "x.y=z")]),
        ('a=eq."x,y"', [Filter("a", "eq", "x,y")]),
        (r'a=eq."q\"u"', [Filter("a", "eq", 'q"u')]),
        ("a=in.(1,2)", [Filter("a", "in", '{"1","2"}', values=("1", "2"))]),
        ('a=in.("x,1",y)', [Filter("a", "in", '{"x,1","y"}', values=("x,1", "y"))]),
        ("a=is.NULL", [Filter("a", "is", "null")]),
        ('"we ird"=eq.1', [Filter("we ird", "eq", "1")]),
        ("a=eq.x),b=eq.y", [Filter("a", "eq", "x)"), Filter("b", "eq", "y")]),
        ('a=eq.5" x,b=eq.1', [Filter("a", "eq", '5" x'), Filter("b", "eq", "1")]),
        ('a=eq."ab"cd', [Filter("a", "eq", '"ab"cd')]),
        ("", []),
        ("   ", []),
    ],
)
def test_filters_are_read(text: str, expected: list[Filter]) -> None:
    assert list(parse_filters(text)) == expected


NONSENSE = (
    "a=eq.1,",
    ",a=eq.1",
    "a=eq.1,,b=eq.1",
    "a",
    "a=b",
    "a=foo.1",
    "a=in.1",
    "a=in.()x",
    "a=is.maybe",
    "=eq.1",
    "a=eq",
    5,
)


@pytest.mark.parametrize("text", [*NONSENSE, "x" * 9000, f"a=in.({','.join('1' * 101)})"])
def test_filters_that_make_no_sense_are_refused(text: object) -> None:
    with pytest.raises(FilterInvalid):
        parse_filters(text)


@given(st.text(max_size=60))
def test_any_text_is_a_filter_or_refused(text: str) -> None:
    with contextlib.suppress(FilterInvalid):
        parse_filters(text)


@pytest.mark.parametrize(
    ("text", "type_name", "value", "passes"),
    [
        ("a=eq.5", "int4", "5", True),
        ("a=gt.5", "int8", "10", True),
        ("a=gt.5", "int8", "5", False),
        ("a=lte.1.5", "numeric", "1.50", True),
        ("a=eq.x", "text", "x", True),
        ("a=not.eq.x", "text", "y", True),
        ("a=not.eq.x", "text", None, False),
        ("a=neq.x", "text", None, False),
        ("a=isdistinct.x", "text", None, True),
        ("a=not.isdistinct.x", "text", "x", True),
        ("a=in.(1,2)", "int4", "2", True),
        ("a=is.null", "point", None, True),
        ("a=is.true", "bool", "t", True),
        ("a=not.is.null", "text", "x", True),
        ("a=eq.true", "bool", "t", True),
        (
            "a=eq.A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11",
            "uuid",
            "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11",
            True,
        ),
        ("a=gt.1", "numeric", "NaN", False),
    ],
)
def test_filters_judge_exact_types(
    text: str, type_name: str, value: str | None, passes: bool
) -> None:
    test = compile_filter(parse_filters(text)[0], type_name)
    assert test is not None
    assert test(value) is passes


@pytest.mark.parametrize(
    ("text", "type_name"),
    [("a=gt.x", "text"), ("a=like.x%", "text"), ("a=eq.1", "float8"), ("a=eq.x", "citext")],
)
def test_other_comparisons_are_left_to_postgres(text: str, type_name: str) -> None:
    assert compile_filter(parse_filters(text)[0], type_name) is None


@given(st.lists(st.none() | st.text(max_size=10).filter(lambda t: "\0" not in t), max_size=6))
def test_array_literals_come_back(values: list[str | None]) -> None:
    assert parse_array(render_array(values)) == values


def test_nested_arrays_and_bounds() -> None:
    assert parse_array("[0:1][1:2]={{1,NULL},{3,4}}") == [["1", None], ["3", "4"]]


@given(st.text(alphabet='{}",\\ab', max_size=12))
def test_torn_array_literals_are_errors(text: str) -> None:
    with contextlib.suppress(ValueError, IndexError):
        parse_array(text)


@pytest.mark.parametrize(
    ("oid", "text", "json"),
    [
        (23, "5", b"5"),
        (1700, "1.50", b"1.50"),
        (1700, "NaN", b'"NaN"'),
        (701, "1e+20", b"1e+20"),
        (701, "-Infinity", b'"-Infinity"'),
        (16, "t", b"true"),
        (3802, '{"a": 1}', b'{"a": 1}'),
        (1114, "2026-01-02 03:04:05.1", b'"2026-01-02T03:04:05.1"'),
        (1184, "2026-01-02 03:04:05+00", b'"2026-01-02T03:04:05+00:00"'),
        (1184, "infinity", b'"infinity"'),
        (17, "\\x00ff", b'"00ff"'),
        (25, 'a"b', b'"a\\"b"'),
    ],
)
def test_values_become_json(oid: int, text: str, json: bytes) -> None:
    type_ = find_built_in(oid)
    assert type_ is not None
    assert type_.convert is not None
    assert type_.convert(text) == json


def test_types_only_the_database_can_render() -> None:
    composite = make_type(99999, "pair", "c", base_oid=0, element_oid=0, casts_to_json=False)
    array = make_type(1007, "_int4", "b", base_oid=0, element_oid=23, casts_to_json=False)
    assert composite.convert is None
    assert array.convert is not None
    assert array.convert("{1,NULL}") == b"[1,null]"


def test_join_wishes() -> None:
    request = parse_join(
        {
            "config": {
                "private": "TRUE",
                "broadcast": {"ack": True, "self": "false", "replay": {"since": 5, "limit": 99}},
                "presence": {"key": "k", "enabled": True},
                "postgres_changes": [None, {"event": "insert", "schema": "public", "table": "t"}],
            },
            "access_token": "sb_publishable_x",
            "user_token": "abc",
        }
    )
    assert request.private
    assert request.ack
    assert not request.echo
    assert request.replay is not None
    assert request.replay.limit == 25
    assert request.presence_key == "k"
    assert request.token == "abc"
    assert [b.event for b in request.bindings] == ["INSERT"]
    asked = {"event": "insert", "schema": "public", "table": "t"}
    assert orjson.loads(render_bindings(request.bindings)) == {
        "postgres_changes": [{**asked, "id": request.bindings[0].id}]
    }
    assert parse_binding(dict(asked)).id == request.bindings[0].id
    assert 0 <= request.bindings[0].id < 2**27
    assert parse_binding({**asked, "select": ["a", 5, None, "a"]}).select == ("a",)
    assert "`select`" in (parse_binding({**asked, "select": "a,b"}).problem or "")
    config = {"broadcast": {"replay": {"since": 5, "limit": 0}}}
    assert parse_join({"config": config}).replay == Replay(5, 1)


json = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**40), 2**40) | st.text(max_size=9),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=9), inner, max_size=4)
    ),
    max_leaves=6,
)
names = ("config", "broadcast", "presence", "postgres_changes", "replay", "private", "key")


@given(st.dictionaries(st.sampled_from(names), json), json, json)
def test_any_join_payload_is_read(
    payload: dict[str, object], config: object, changes: object
) -> None:
    parse_join(payload)
    parse_join({"config": config})
    request = parse_join({"config": {"postgres_changes": changes, "broadcast": config}})
    render_bindings(request.bindings)


def test_presence_replaces_and_ignores_repeats() -> None:
    state = PresenceState("w1")
    first = state.track("m", "k", "F1", {"a": 1})
    assert not state.track("m", "k", "F2", {"a": 1})
    second = state.track("m", "k", "F3", {"a": 2})
    assert [entry.ref for entry in second.leaves] == ["F1"]
    assert second.joins[0].meta == {"a": 2, "phx_ref": "F3", "phx_ref_prev": "F1"}
    assert orjson.loads(render_state(state.list_all())) == {"k": {"metas": [second.joins[0].meta]}}
    assert first.joins[0].meta == {"a": 1, "phx_ref": "F1"}


def test_presence_notices_missed_changes_and_lost_workers() -> None:
    one, two = PresenceState("w1", 10), PresenceState("w2", 5)
    with pytest.raises(OutOfStep):
        two.apply("w1", 12, Diff())
    change = one.track("m", "k", "F1", {})
    assert two.merge("w1", 11, one.list_own()).joins == change.joins
    assert not two.apply("w1", 11, change)
    assert two.apply("w1", 12, one.untrack("m")).leaves == change.joins
    one.track("m", "k", "F2", {})
    two.merge("w1", one.own_version, one.list_own())
    assert len(two) == 1
    assert [entry.ref for entry in two.drop_owner("w1").leaves] == ["F2"]


steps = st.lists(
    st.tuples(st.sampled_from("ab"), st.sampled_from("mn"), st.sampled_from(["t", "u", "lost"])),
    max_size=30,
)


@given(steps)
def test_presence_of_two_workers_agrees(happenings: list[tuple[str, str, str]]) -> None:
    """Whatever is lost on the way, asking for the state brings both to the same."""
    states = {"a": PresenceState("a"), "b": PresenceState("b")}
    for count, (worker, member, what) in enumerate(happenings):
        own, other = states[worker], states["b" if worker == "a" else "a"]
        if what == "u":
            change = own.untrack(member)
        else:
            change = own.track(member, member, f"F{count}", {"n": count})
        if what == "lost" or not change:
            continue
        try:
            other.apply(worker, own.own_version, change)
        except OutOfStep:
            other.merge(worker, own.own_version, own.list_own())
    for worker, other in (("a", "b"), ("b", "a")):
        own = states[worker]
        states[other].merge(worker, own.own_version, own.list_own())
    assert {e.ref for e in states["a"].list_all()} == {e.ref for e in states["b"].list_all()}


def test_diffs_forget_what_nobody_saw() -> None:
    state, diff = PresenceState("w"), Diff()
    diff.add(state.track("m", "k", "F1", {}))
    diff.add(state.untrack("m"))
    assert not diff


def test_rates_slide() -> None:
    window = RateWindow(buckets=2, bucket_s=5.0)
    window.add(10, 100.0)
    assert window.average_per_s(101.0) == 1.0
    assert window.total(106.0) == 10
    assert window.total(111.0) == 0
    window.add(3, 1e9)
    assert window.total(1e9) == 3


def test_calls_are_limited_in_a_window() -> None:
    limit = CallLimit(2, 10.0)
    assert [limit.allow(t) for t in (0.0, 1.0, 2.0, 11.5)] == [True, True, False, True]


COLUMNS = {"user_id": "uuid", "org": "text", "open": "bool", "n": "int4", "v": "varchar"}


@pytest.mark.parametrize(
    ("qual", "row", "constants", "visible"),
    [
        ("(auth.uid() = user_id)", {"user_id": "u"}, ("u",), True),
        ("(auth.uid() = user_id)", {"user_id": "u"}, ("x",), False),
        ("(auth.uid() = user_id)", {"user_id": "u"}, (None,), None),
        ("(auth.uid() = user_id)", {"user_id": None}, ("u",), None),
        ("(( SELECT auth.uid() AS uid) = user_id)", {"user_id": "u"}, ("u",), True),
        ("(org = (auth.jwt() ->> 'org'::text))", {"org": "a"}, ("a",), True),
        ("((v)::text = 'x'::text)", {"v": "x"}, ("x",), True),
        ("(open = true)", {"open": "t"}, ("true",), True),
        ("(open = true)", {"open": "f"}, ("true",), False),
        ("open", {"open": "t"}, (), True),
        ("(NOT open)", {"open": None}, (), None),
        ("(user_id IS NULL)", {"user_id": None}, (), True),
        ("((n <> 3) OR open)", {"n": "3", "open": "t"}, ("3",), True),
        ("((n <> 3) AND open)", {"n": "4", "open": None}, ("3",), None),
        ("(auth.role() = 'authenticated'::text)", {}, ("true",), True),
        ("true", {}, (), True),
        ("false", {}, (), False),
        (
            "(user_id = ( SELECT (auth.jwt() ->> 'sub'::text) AS sub)::uuid)",
            {"user_id": "u"},
            ("u",),
            True,
        ),
        ("(n = 3)", {"n": "3"}, ("3",), True),
        ("(n = '-3'::integer)", {"n": "-3"}, ("-3",), True),
        ("(n = (current_setting('app.n'::text, true))::integer)", {"n": "3"}, ("3",), True),
        ("(org = NULL::text)", {"org": "a"}, (None,), None),
        ("(org <> 'a'::text)", {"org": "b"}, ("a",), True),
        ("(org = CURRENT_USER)", {"org": "a"}, ("a",), True),
        ("((org)::pg_catalog.text = pg_catalog.lower('A'::text))", {"org": "a"}, ("a",), True),
        ("(org = COALESCE(auth.role(), 'anon'::text))", {"org": "anon"}, ("anon",), True),
        ("(user_id IS NOT NULL)", {"user_id": None}, (), False),
        ("(open OR (org IS NULL))", {"open": None, "org": None}, (), True),
        ("(NOT (open AND (org IS NULL)))", {"open": "t", "org": None}, (), False),
    ],
)
def test_policies_that_are_understood(
    qual: str, row: dict[str, str | None], constants: tuple[str | None, ...], visible: bool | None
) -> None:
    plan = plan_policies([Policy(True, qual)], COLUMNS)
    assert plan is not None
    assert plan.judge(row, constants) is visible


@pytest.mark.parametrize(
    "qual",
    [
        "(user_id IN ( SELECT m.user_id FROM public.members m))",
        "(EXISTS ( SELECT 1 FROM public.members))",
        "public.may_see(user_id)",
        "(now() > created_at)",
        "(org ~~ 'a%'::text)",
        "(lower(org) = 'a'::text)",
        "(price = (1)::numeric)",
        "(n > 3)",
        "(( SELECT m.id FROM public.members m LIMIT 1) = user_id)",
        "((auth.jwt() ->> 'exp'::text) = org)",
        "(random() = org)",
        "(org = ('x'::text)::public.citext)",
        "(current_setting('a'::text) = public.leak(org))",
        # Look-alikes in other schemas.
        "(evil.uid() = user_id)",
        "(uid() = user_id)",
        "(db.auth.uid() = user_id)",
        "(evil.current_setting('a'::text) = org)",
        "(evil.lower('A'::text) = org)",
        "(org OPERATOR(evil.=) 'a'::text)",
        "(org OPERATOR(pg_catalog.=) 'a'::text)",
        "((auth.jwt() OPERATOR(evil.->>) 'sub'::text) = org)",
        "(('a'::text OPERATOR(evil.=) 'a'::text))",
        "((org)::evil.text = 'a'::text)",
        "(org = 'a'::evil.text)",
        "(org = ('a'::text COLLATE evil.blind))",
        "((org COLLATE evil.blind) = 'a'::text)",
        # Casts that change values.
        "((org)::text[] = 'a'::text)",
        "((n)::bigint = 3)",
        "((v)::character varying(1) = 'a'::text)",
        "(org = ('abc'::character varying(1))::text)",
        "(org = ('a'::text[])::text)",
        "(org = ('1'::numeric)::text)",
        # Queries that do more than name a value.
        "(user_id = ( SELECT auth.uid() AS uid FROM public.members))",
        "(user_id = ( SELECT auth.uid() AS uid WHERE false))",
        "(user_id = ( SELECT auth.uid() AS uid GROUP BY 1))",
        "(user_id = ( SELECT DISTINCT auth.uid() AS uid))",
        "(user_id = ( SELECT auth.uid() AS uid LIMIT 0))",
        "(user_id = ( SELECT auth.uid() AS uid OFFSET 1))",
        "(user_id = ( SELECT auth.uid() AS uid ORDER BY 1))",
        "(user_id = ( SELECT auth.uid() AS uid FOR UPDATE))",
        "(user_id = ( SELECT auth.uid() AS uid UNION SELECT evil.uid()))",
        "(user_id = ( WITH x AS (SELECT 1) SELECT auth.uid() AS uid))",
        "(user_id = ( VALUES (auth.uid())))",
        "(user_id = ARRAY( SELECT auth.uid() AS uid))",
        "(user_id IN ( SELECT auth.uid() AS uid))",
        "(EXISTS ( SELECT auth.uid() AS uid))",
        "(( SELECT auth.uid() AS uid, 1) = (user_id, 1))",
        # Functions called in other ways.
        "(lower(VARIADIC 'A'::text) = org)",
        "(lower(DISTINCT 'A'::text) = org)",
        "(lower(org) OVER () = 'a'::text)",
        "(auth.uid() OVER () = user_id)",
        "(lower(a => 'A'::text) = org)",
        # Other comparisons.
        "(org = ANY (ARRAY['a'::text, 'b'::text]))",
        "(org <> ALL (ARRAY['a'::text, 'b'::text]))",
        "(org IN ('a'::text, 'b'::text))",
        "(org IS DISTINCT FROM 'a'::text)",
        "(org BETWEEN 'a'::text AND 'b'::text)",
        "(ROW(user_id, org) = ROW(auth.uid(), 'a'::text))",
        "(ROW(user_id, org) IS NULL)",
        "(user_id = org)",
        "(open IS TRUE)",
        "CASE WHEN open THEN true ELSE false END",
        # Columns that are none, or not this table's own.
        "(missing = 'a'::text)",
        "(other.org = 'a'::text)",
        "(notes.* IS NULL)",
        "((notes.org).part = 'a'::text)",
        "(org IS NULL) AND org",
        "NULL",
        "1",
        # Claims that change while the caller stays the same.
        "((auth.jwt() #>> '{exp}'::text) = org)",
        "((auth.jwt() ->> lower('IAT'::text)) = org)",
        # Not one expression.
        "",
        "true, false",
        "true FROM public.members",
        "true WHERE false",
        "true; select true",
        "true UNION select true",
        "((org = 'a'::text",
        "NOT " * 900 + "true",
        "(" * 1900 + "open" + ")" * 1900 + " " * 300,
        "open" + "::bool" * 20_000,
    ],
    ids=lambda qual: qual[:60],
)
def test_policies_left_to_postgres(qual: str) -> None:
    assert plan_policies([Policy(True, qual)], COLUMNS) is None


@pytest.mark.parametrize(
    ("qual", "constant"),
    [
        ("(user_id = ( SELECT auth.uid() AS uid))", "(SELECT auth.uid() AS uid)"),
        ("(org = 'a''b'::text)", "'a''b'::text"),
        (r"(org = 'a\b'::text)", r"E'a\\b'::text"),
        ("(n = '-1'::integer)", "'-1'::int"),
        ("(n = (- 1))", "-1"),
        ("(open = true)", "true"),
        ("(org = NULL::text)", "NULL::text"),
        (
            "(org = ((NULLIF(current_setting('c'::text, true), ''::text))::jsonb ->> 'b'::text))",
            "(NULLIF(current_setting('c'::text, true), ''::text))::jsonb ->> 'b'::text",
        ),
        (
            "(('a'::text = 'b'::text) = ('c'::text <> 'd'::text))",
            "('a'::text = 'b'::text) = ('c'::text <> 'd'::text)",
        ),
    ],
)
def test_what_postgres_computes_for_a_caller_keeps_its_meaning(qual: str, constant: str) -> None:
    plan = plan_policies([Policy(True, qual)], COLUMNS)
    assert plan is not None
    assert plan.constants == [constant]


def test_the_equality_every_row_needs_is_found() -> None:
    def find(*quals: str) -> tuple[str, int] | None:
        plan = plan_policies([Policy(True, qual) for qual in quals], COLUMNS)
        assert plan is not None
        return plan.index

    assert find("(user_id = auth.uid())") == ("user_id", 0)
    assert find("((auth.role() = 'a'::text) AND open AND (auth.uid() = user_id))") == ("user_id", 1)
    assert find("((user_id = auth.uid()) OR open)") is None
    assert find("(user_id <> auth.uid())") is None
    assert find("(open = true)") is None
    assert find("(user_id = auth.uid())", "open") is None


def test_restrictive_policies_narrow_and_none_at_all_hides() -> None:
    both = plan_policies([Policy(True, "true"), Policy(False, "open")], COLUMNS)
    none = plan_policies([], COLUMNS)
    assert isinstance(both, Plan)
    assert isinstance(none, Plan)
    assert both.judge({"open": "f"}, ()) is False
    assert none.judge({}, ()) is False


def test_a_column_that_did_not_travel_is_no_answer() -> None:
    plan = plan_policies([Policy(True, "open")], COLUMNS)
    assert plan is not None
    with pytest.raises(NotSent):
        plan.judge({"open": Unchanged.TOAST}, ())


def test_partitions_are_planned() -> None:
    from datetime import UTC, datetime, timedelta

    now = datetime(2026, 11, 20, 12, tzinfo=UTC)
    existing = {"messages_2026_11_10", "messages_2026_11_18", "messages_2026_11_20", "messages_x"}
    missing, old = plan_partitions(existing, now, timedelta(hours=72))
    assert [str(day) for day in missing] == [
        "2026-11-19",
        "2026-11-21",
        "2026-11-22",
        "2026-11-23",
    ]
    assert old == ["messages_2026_11_10"]
