"""Parsers of what clients send: forms, cursors, tus headers, names, stored headers."""

from base64 import b64encode
from collections.abc import Callable
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selfbase.kit.failures import Failure
from selfbase.storage.errors import InvalidHeader, InvalidParameter, InvalidXRobotsTag
from selfbase.storage.logic.cursors import Cursor, parse_cursor, render_cursor
from selfbase.storage.logic.forms import Form
from selfbase.storage.logic.headers import (
    check_header_value,
    check_robots_tag,
    render_disposition,
)
from selfbase.storage.logic.names import check_key
from selfbase.storage.logic.tus import (
    parse_metadata,
    parse_public_id,
    render_location,
    render_public_id,
)

TEXT = st.text(st.characters(exclude_categories=["Cs", "Cc", "Cn"]), min_size=1, max_size=30)


def refusal(work: Callable[[], object]) -> int | None:
    """The status of the failure that `work` ends in, or None when it works."""
    try:
        work()
    except Failure as failure:
        return failure.status
    return None


@given(content=st.binary(max_size=2000), cuts=st.lists(st.integers(0, 2200), max_size=12))
def test_a_form_is_the_same_however_it_is_cut(content: bytes, cuts: list[int]) -> None:
    boundary = b"----boundary-that-does-not-occur"
    body = (
        b"--" + boundary + b'\r\nContent-Disposition: form-data; name="cacheControl"\r\n\r\n60\r\n'
        b"--" + boundary + b'\r\nContent-Disposition: form-data; name=""; filename="f"\r\n'
        b"Content-Type: image/png\r\n\r\n" + content + b"\r\n--" + boundary + b"--\r\n"
    )
    form = Form(f"multipart/form-data; boundary={boundary.decode()}")
    places = sorted({0, len(body), *(cut for cut in cuts if cut < len(body))})
    taken = b""
    for start, end in pairwise(places):
        form.feed(body[start:end])
        taken += b"".join(form.take())
    form.close()
    assert taken == content
    assert form.state.fields == {"cacheControl": "60"}
    assert form.state.file_type == "image/png"


@given(st.binary(max_size=300))
def test_no_body_breaks_the_form_parser(body: bytes) -> None:
    form = Form("multipart/form-data; boundary=X")
    assert refusal(lambda: (form.feed(body), form.close())) in (None, 400, 413)


@given(TEXT, st.sampled_from(["asc", "desc"]))
def test_a_cursor_comes_back_as_it_went(last: str, order: str) -> None:
    if "\n" in last:
        return
    cursor = Cursor(last, order)
    assert parse_cursor(render_cursor(cursor)) == cursor


@given(st.text(max_size=60))
def test_no_cursor_breaks_anything(text: str) -> None:
    try:
        parse_cursor(text)
    except InvalidParameter:
        return


@given(TEXT, TEXT)
def test_an_upload_id_names_its_object(bucket: str, name: str) -> None:
    bucket = bucket.replace("/", "-")
    assert parse_public_id(render_public_id(bucket, name, "0-1-2")) == (bucket, name, "0-1-2")


@given(st.text(max_size=60))
def test_no_upload_id_or_metadata_breaks_anything(text: str) -> None:
    assert refusal(lambda: parse_public_id(text)) in (None, 404)
    assert refusal(lambda: parse_metadata(text)) in (None, 400, 413)


@given(st.dictionaries(st.text("abcXYZ-_", min_size=1), TEXT, max_size=5))
def test_metadata_comes_back_as_it_went(pairs: dict[str, str]) -> None:
    coded = ",".join(f"{key} {b64encode(value.encode()).decode()}" for key, value in pairs.items())
    assert parse_metadata(coded) == pairs


@given(st.text(max_size=60))
def test_a_download_name_never_leaves_its_header(name: str) -> None:
    value = render_disposition(name.encode("utf-8", "ignore").decode())
    assert value.isascii()
    assert not set(value) & set('\r\n"\\')


@given(st.text(max_size=60))
def test_a_checked_value_is_fit_for_a_header(value: str) -> None:
    try:
        check_header_value("x", value)
    except InvalidHeader:
        return
    value.encode("latin-1")
    assert "\r" not in value
    assert "\n" not in value


@given(st.text(max_size=80))
def test_a_key_is_accepted_or_refused(name: str) -> None:
    assert refusal(lambda: check_key(name, unicode_keys=True)) in (None, 400)


@pytest.mark.parametrize(
    "value",
    [
        "noindex",
        "noindex, nofollow",
        "max-snippet: 20",
        "max-image-preview: large, noindex",
        "unavailable_after: Fri, 25 Jun 2027 15:00:00 GMT",
        "googlebot: noindex, nofollow",
    ],
)
def test_robots_rules_that_hold(value: str) -> None:
    assert check_robots_tag(value) == value


@pytest.mark.parametrize("value", ["", "what", "max-snippet: x", "noindex,,", "googlebot:"])
def test_robots_rules_that_do_not(value: str) -> None:
    with pytest.raises(InvalidXRobotsTag):
        check_robots_tag(value)


def test_one_configured_address_wins_over_what_proxies_say() -> None:
    said = {"x-forwarded-host": "evil.example", "x-forwarded-proto": "https"}
    common = {"scheme": "http", "host": "localhost:54321", "path": "/storage/v1/x"}
    assert render_location(said, public_url="http://a:1", **common) == "http://a:1/storage/v1/x"
    assert render_location({}, public_url=None, **common) == "http://localhost:54321/storage/v1/x"
    port = {**said, "x-forwarded-port": "8443"}
    assert (
        render_location(port, public_url=None, **common) == "https://evil.example:8443/storage/v1/x"
    )
