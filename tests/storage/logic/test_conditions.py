"""Ranges against slices, conditions against RFC 9110."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selfbase.http.headers import Headers
from selfbase.storage.errors import InvalidRange
from selfbase.storage.logic.conditions import Plan, decide_condition, plan_download, plan_range

ETAG = '"abc"'
MODIFIED = datetime(2026, 11, 20, 12, 0, 0, tzinfo=UTC)
SAME, BEFORE = "Fri, 20 Nov 2026 12:00:00 GMT", "Fri, 20 Nov 2026 11:59:59 GMT"


@given(st.integers(0, 50), st.none() | st.integers(0, 60), st.none() | st.integers(0, 60))
def test_a_range_is_a_slice(size: int, first: int | None, last: int | None) -> None:
    content = bytes(range(size))
    header = f"bytes={'' if first is None else first}-{'' if last is None else last}"
    if first is None:
        wanted = content[-last:] if last else b""
    else:
        wanted = content[first : None if last is None else last + 1]
    try:
        plan = plan_range(header, size)
    except InvalidRange:
        assert wanted == b""
    else:
        assert plan.status == 206
        assert content[plan.offset : plan.offset + plan.length] == wanted != b""


@given(st.text(max_size=20))
def test_no_range_header_breaks_anything(header: str) -> None:
    try:
        plan = plan_range(header, 10)
    except InvalidRange:
        return
    assert plan.offset + plan.length <= 10


def test_several_ranges_are_answered_with_the_whole() -> None:
    assert plan_range("bytes=0-1,3-4", 10) == Plan(200, 0, 10)
    assert plan_range("lines=0-1", 10) == Plan(200, 0, 10)


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"if-none-match": ETAG}, 304),
        ({"if-none-match": 'W/"abc"'}, 304),
        ({"if-none-match": '"x", "abc"'}, 304),
        ({"if-none-match": "*"}, 304),
        ({"if-none-match": '"x"'}, 200),
        ({"if-none-match": '"x"', "if-modified-since": SAME}, 200),
        ({"if-modified-since": SAME}, 304),
        ({"if-modified-since": BEFORE}, 200),
        ({"if-modified-since": "yesterday"}, 200),
        ({"if-match": ETAG}, 200),
        ({"if-match": 'W/"abc"'}, 412),
        ({"if-match": "*"}, 200),
        ({"if-unmodified-since": BEFORE}, 412),
        ({"if-unmodified-since": SAME}, 200),
    ],
)
def test_conditions(headers: dict[str, str], status: int) -> None:
    assert decide_condition(Headers(headers.items()), ETAG, MODIFIED) == status


@pytest.mark.parametrize(
    ("condition", "status"), [(ETAG, 206), ('"x"', 200), (SAME, 206), (BEFORE, 200)]
)
def test_a_range_holds_for_the_version_it_was_asked_of(condition: str, status: int) -> None:
    headers = Headers([("range", "bytes=0-1"), ("if-range", condition)])
    assert plan_download(headers, ETAG, MODIFIED, 10).status == status
