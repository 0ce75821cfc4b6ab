"""Properties of the pure parts: chunk framing, signatures, tokens, policies, operations, XML."""

from __future__ import annotations

import contextlib
import hashlib
from base64 import b64encode
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selfbase.storage.errors import StorageError
from selfbase.storage.s3.errors import InvalidArgument, NotImplementedYet, S3Error
from selfbase.storage.s3.listing import make_token, parse_token
from selfbase.storage.s3.logic.checksums import make_digest
from selfbase.storage.s3.logic.chunks import ChunkDecoder, Signing
from selfbase.storage.s3.logic.operations import (
    Operation,
    Target,
    decide_operation,
    parse_target,
)
from selfbase.storage.s3.logic.policy import check_policy, parse_policy
from selfbase.storage.s3.logic.signature import (
    Claim,
    Scope,
    SignedParts,
    check_signature,
    parse_claim,
)
from selfbase.storage.s3.logic.xml import children, parse_xml, render_xml, text_of
from selfbase.storage.s3.multipart import find_folder
from selfbase.storage.s3.objects import parse_copy_source


def cut(data: bytes, places: list[int]) -> list[bytes]:
    """The data in pieces, cut at the given places."""
    edges = sorted({0, len(data), *(place % (len(data) + 1) for place in places)})
    return [data[a:b] for a, b in pairwise(edges)] or [b""]


@given(st.lists(st.binary(min_size=1, max_size=300), max_size=5), st.lists(st.integers(0, 5000)))
def test_frames_come_off_wherever_the_network_cuts(chunks: list[bytes], places: list[int]) -> None:
    framed = b"".join(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in chunks)
    framed += b"0\r\nx-amz-checksum-crc32:AAAA\r\n\r\n"
    decoder = ChunkDecoder(None, True)
    out = b"".join(piece for part in cut(framed, places) for piece in decoder.feed(part))
    decoder.finish()
    assert out == b"".join(chunks)
    assert decoder.trailers == {"x-amz-checksum-crc32": "AAAA"}


@given(st.binary(max_size=400), st.lists(st.integers(0, 5000), max_size=4))
def test_signed_frames_refuse_whatever_is_not_signed(data: bytes, places: list[int]) -> None:
    signing = Signing("seed", lambda a, b: hashlib.sha256(f"{a}{b}".encode()).hexdigest(), max)
    decoder = ChunkDecoder(signing, False)
    with pytest.raises(S3Error):
        for part in cut(data, places):
            decoder.feed(part)
        decoder.finish()


def test_the_signature_of_the_documentation() -> None:
    """The worked GET example of the Amazon S3 documentation on signature version 4."""
    headers = [
        ("host", "examplebucket.s3.amazonaws.com"),
        ("range", "bytes=0-9"),
        ("x-amz-content-sha256", hashlib.sha256(b"").hexdigest()),
        ("x-amz-date", "20130524T000000Z"),
        (
            "authorization",
            "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request,"
            "SignedHeaders=host;range;x-amz-content-sha256;x-amz-date,"
            "Signature=f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41",
        ),
    ]
    claim = parse_claim(headers, [])
    parts = SignedParts("GET", ["/test.txt"], "", headers, ["examplebucket.s3.amazonaws.com"])
    check_signature(claim, "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", parts)
    with pytest.raises(S3Error):
        check_signature(claim, "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEz", parts)


@given(st.text(max_size=200), st.text(max_size=200))
def test_no_text_breaks_the_claim(authorization: str, value: str) -> None:
    for header in (authorization, f"AWS4-HMAC-SHA256 {authorization}"):
        with contextlib.suppress(StorageError):
            parse_claim([("authorization", header), ("x-amz-date", value)], [])
    with contextlib.suppress(StorageError):
        names = ("Algorithm", "Credential", "Date", "Expires", "SignedHeaders", "Signature")
        parse_claim([], [(f"X-Amz-{name}", value) for name in names])


@given(st.text(alphabet=st.characters(codec="utf-8")))
def test_tokens_come_back(key: str) -> None:
    assert parse_token(make_token(key)) == key


@given(st.text(max_size=60))
def test_other_tokens_are_refused(token: str) -> None:
    with contextlib.suppress(InvalidArgument):
        parse_token(token)


@given(st.text(max_size=100))
def test_no_path_or_copy_source_breaks_anything(text: str) -> None:
    for parse in (parse_target, parse_copy_source):
        with contextlib.suppress(StorageError):
            parse(text)


@given(st.text(min_size=1, max_size=30))
def test_unknown_sub_resources_are_never_ignored(name: str) -> None:
    known = {"uploads", "uploadId", "delete", "location", "versioning", "tagging", "x-id"}
    if name in known or name.lower().startswith("x-amz-"):
        return
    for method in ("PUT", "DELETE", "HEAD"):
        with pytest.raises(NotImplementedYet):
            decide_operation(method, Target("b", "k"), {name: ""}, {}) if not name.startswith(
                "response-"
            ) else decide_operation("PUT", Target("b", "k"), {name: ""}, {})


def test_operations_have_names_that_policies_know() -> None:
    assert {operation.value.partition(".")[0] for operation in Operation} == {"storage"}
    assert len({operation.value for operation in Operation}) == len(Operation)


@given(
    st.recursive(
        st.none() | st.booleans() | st.text(), lambda c: st.lists(c) | st.dictionaries(st.text(), c)
    )
)
def test_no_policy_breaks_the_parser(document: Any) -> None:
    import json

    for shaped in (document, {"expiration": "2030-01-01T00:00:00Z", "conditions": document}):
        encoded = b64encode(json.dumps(shaped).encode()).decode()
        with contextlib.suppress(StorageError):
            check_policy(parse_policy(encoded), {"key": "a"}, "b", datetime.now(UTC))


@given(st.text())
def test_any_text_makes_well_formed_xml(text: str) -> None:
    document = parse_xml(render_xml("R", {"A": text, "B": [{"C": text}, {"C": 1}]}), "R")
    assert len(children(document, "B")) == 2
    if text.isprintable() or (text.isspace() and "\r" not in text and text in ("\n", "\t", " ")):
        assert text_of(document, "A") == text


def test_crcs_go_on_from_piece_to_piece() -> None:
    known = {"crc32": "cbf43926", "crc32c": "e3069283", "crc64nvme": "ae8b14860a799888"}
    for name, expected in known.items():
        digest = make_digest(name)
        for piece in (b"1234", b"", b"56789"):
            digest.update(piece)
        assert digest.digest().hex() == expected


@pytest.mark.parametrize(
    ("key", "prefix", "expected"),
    [("a/b", "", "a/"), ("a/b", "a/", None), ("a/b/c", "a/", "a/b/"), ("a", "", None)],
)
def test_folders(key: str, prefix: str, expected: str | None) -> None:
    assert find_folder(key, prefix, "/") == expected


def test_the_scope_is_part_of_the_claim() -> None:
    scope = Scope("key", "20260101", "r", "s3")
    claim = Claim(scope, "20260101T000000Z", "0" * 64, ("host",))
    assert claim.scope.text == "20260101/r/s3/aws4_request"
    assert claim.moment.year == 2026
