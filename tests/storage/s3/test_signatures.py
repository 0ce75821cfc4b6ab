"""Signatures under attack, and the forms of body that only signatures make safe."""

from __future__ import annotations

import hashlib
import zlib
from base64 import b64encode
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from tests.storage.s3.conftest import S3Server, call
from tests.storage.s3.signing import EMPTY, Forge, code_of

STREAMING = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"
TRAILING = f"{STREAMING}-TRAILER"
UNSIGNED_TRAILING = "STREAMING-UNSIGNED-PAYLOAD-TRAILER"


@pytest.fixture
def forge(server: S3Server) -> Forge:
    return Forge(server.endpoint, server.access_key, server.secret_key)


@pytest.fixture
async def bucket(server: S3Server) -> str:
    return await server.bucket()


async def put(forge: Forge, path: str, body: bytes, **changes: Any) -> httpx.Response:
    """A plain signed PUT with its digest."""
    payload = changes.pop("payload", hashlib.sha256(body).hexdigest())
    headers = forge.headers("PUT", path, payload=payload, **changes)
    return await forge.send("PUT", path, headers, body=body)


async def exists(server: S3Server, bucket: str, key: str) -> bool:
    rows = server.execute(
        "select 1 from storage.objects where bucket_id=%s and name=%s", bucket, key
    )
    return bool(rows)


async def test_a_forged_request_signed_well_is_answered(forge: Forge, bucket: str) -> None:
    assert (await put(forge, f"/{bucket}/k", b"x")).status_code == 200


async def test_wrong_keys_regions_and_services(forge: Forge, bucket: str) -> None:
    path = f"/{bucket}/k"
    for changes, code in (
        ({"secret_key": "wrong"}, "SignatureDoesNotMatch"),
        ({"access_key": "unknown"}, "InvalidAccessKeyId"),
        ({"access_key": "' or 1=1--"}, "InvalidAccessKeyId"),
        ({"access_key": "a" * 5000}, "InvalidAccessKeyId"),
        ({"service": "ec2"}, "AuthorizationHeaderMalformed"),
    ):
        answer = await put(replace(forge, **changes), path, b"x")
        assert (answer.status_code >= 400, code_of(answer)) == (True, code)
    assert (await put(replace(forge, region="mars-1"), path, b"x")).status_code == 200


async def test_requests_from_another_time(forge: Forge, bucket: str) -> None:
    for shift in (timedelta(minutes=-16), timedelta(minutes=16), timedelta(days=-8)):
        answer = await put(replace(forge, now=datetime.now(UTC) + shift), f"/{bucket}/k", b"x")
        assert (answer.status_code, code_of(answer)) == (403, "RequestTimeTooSkewed")


async def test_what_is_changed_after_signing(server: S3Server, forge: Forge, bucket: str) -> None:
    path, body = f"/{bucket}/k", b"body"
    payload = hashlib.sha256(body).hexdigest()
    headers = forge.headers("PUT", path, payload=payload, signed={"x-amz-meta-a": "1"})
    for attack in (
        forge.send("PUT", f"/{bucket}/other", headers, body=body),
        forge.send("POST", path, headers, body=body, query="uploads="),
        forge.send("PUT", path, headers, body=body, query="x-id=PutObject"),
        forge.send("PUT", path, {**headers, "x-amz-meta-a": "2"}, body=body),
        forge.send("PUT", path, {**headers, "x-amz-meta-b": "2"}, body=body),
        forge.send("PUT", path, {**headers, "x-amz-copy-source": "/a/b"}, body=body),
        forge.send("PUT", path, {**headers, "x-amz-security-token": "x"}, body=body),
        forge.send("PUT", path, {**headers, "host": "other.example"}, body=body),
    ):
        answer = await attack
        assert answer.status_code == 403, answer.text
    mismatch = await forge.send("PUT", path, headers, body=b"BODY")
    assert (mismatch.status_code, code_of(mismatch)) == (400, "XAmzContentSHA256Mismatch")
    assert not await exists(server, bucket, "k")
    assert server.blobs("objects") == [] or not await exists(server, bucket, "other")
    assert (await forge.send("PUT", path, headers, body=body)).status_code == 200


async def test_headers_must_be_signed(forge: Forge, bucket: str) -> None:
    path = f"/{bucket}/k"
    for name in ("x-amz-acl", "x-amz-meta-a", "x-amz-copy-source", "content-md5", "x-amz-date"):
        answer = await put(forge, path, b"x", signed={name: forge.amz_date}, leave_out=(name,))
        assert answer.status_code in (400, 403), name
    hostless = await put(forge, path, b"x", leave_out=("host",))
    assert (hostless.status_code, code_of(hostless)) == (400, "AuthorizationHeaderMalformed")


@pytest.mark.parametrize(
    "authorization",
    [
        "AWS4-HMAC-SHA256",
        "AWS4-HMAC-SHA256 Credential=a/b/c/s3/aws4_request",
        "AWS4-HMAC-SHA256 Credential=a, SignedHeaders=host, Signature=x",
        "AWS4-HMAC-SHA256 Credential=a/20260101/r/s3/aws4_request, SignedHeaders=, Signature=",
        "AWS4-HMAC-SHA256 " + ", ".join(["Signature=a"] * 500),
        "AWS4-HMAC-SHA256 =, =, =",
        "Bearer token",
        "Basic dTpw",
        "AWS key:signature",
        "",
    ],
)
async def test_malformed_authorization(forge: Forge, bucket: str, authorization: str) -> None:
    headers = {"authorization": authorization, "x-amz-date": forge.amz_date}
    answer = await forge.send("GET", f"/{bucket}/k", headers)
    assert answer.status_code in (400, 403)
    assert code_of(answer) in ("AuthorizationHeaderMalformed", "AccessDenied")


async def test_an_old_presigned_url_is_dead(server: S3Server, bucket: str) -> None:
    client = server.client()
    await call(client.put_object, Bucket=bucket, Key="k", Body=b"x")
    forge = Forge(
        server.endpoint,
        server.access_key,
        server.secret_key,
        now=datetime.now(UTC) - timedelta(hours=2),
    )
    for expires, code in (("3600", "AccessDenied"), ("604801", "AuthorizationQueryParametersError"),
                          ("0", "AuthorizationQueryParametersError"), ("x", "AuthorizationQueryParametersError"),
                          ("-5", "AuthorizationQueryParametersError")):  # fmt: skip
        query = (
            "X-Amz-Algorithm=AWS4-HMAC-SHA256"
            f"&X-Amz-Credential={forge.access_key}%2F{forge.scope.replace('/', '%2F')}"
            f"&X-Amz-Date={forge.amz_date}&X-Amz-Expires={expires}&X-Amz-SignedHeaders=host"
        )
        path = httpx.URL(server.endpoint).path + f"/{bucket}/k"
        host = httpx.URL(server.endpoint).netloc.decode()
        canonical = f"GET\n{path}\n{query}\nhost:{host}\n\nhost\nUNSIGNED-PAYLOAD"
        digest = hashlib.sha256(canonical.encode()).hexdigest()
        signature = forge.sign(f"AWS4-HMAC-SHA256\n{forge.amz_date}\n{forge.scope}\n{digest}")
        answer = await forge.send(
            "GET", f"/{bucket}/k", {}, query=f"{query}&X-Amz-Signature={signature}"
        )
        assert code_of(answer) == code, expires


async def test_both_ways_of_signing_at_once(server: S3Server, forge: Forge, bucket: str) -> None:
    url = await call(
        server.client().generate_presigned_url,
        ClientMethod="get_object",
        Params={"Bucket": bucket, "Key": "k"},
    )
    headers = forge.headers("GET", f"/{bucket}/k")
    async with httpx.AsyncClient() as web:
        answer = await web.get(url, headers=headers)
    assert answer.status_code in (400, 403)


# Bodies in signed chunks


def chunked(
    forge: Forge, path: str, size: int, payload: str = STREAMING, **signed: str
) -> dict[str, str]:
    return forge.headers(
        "PUT",
        path,
        payload=payload,
        signed={
            "content-encoding": "aws-chunked",
            "x-amz-decoded-content-length": str(size),
            **signed,
        },
    )


async def test_signed_chunks(server: S3Server, forge: Forge, bucket: str) -> None:
    path = f"/{bucket}/k"
    headers = chunked(forge, path, 6)
    one, first = forge.chunk(forge.signature_of(headers), b"abc")
    two, second = forge.chunk(first, b"def")
    end, _ = forge.chunk(second, b"")
    good = one + two + end
    assert (await forge.send("PUT", path, headers, body=good)).status_code == 200
    got = await call(server.client().get_object, Bucket=bucket, Key="k")
    assert got["Body"].read() == b"abcdef"
    assert "ContentEncoding" not in got
    for name, bad in {
        "other data": good.replace(b"abc", b"abX"),
        "chunks swapped": two + one + end,
        "a chunk left out": one + end,
        "no last chunk": one + two,
        "cut within": good[:-20],
        "more behind": good + b"3\r\nxyz\r\n",
        "unsigned": b"3\r\nabc\r\n3\r\ndef\r\n0\r\n\r\n",
        "a wrong length": good.replace(b"3;", b"2;", 1),
        "a huge header": b"3;chunk-signature=" + b"0" * 5000 + b"\r\n",
        "no frames": b"abcdef",
        "unannounced trailers": good[:-2] + b"x-amz-meta-a:1\r\n\r\n",
        "a bad number": b"-3" + good[1:],
    }.items():
        answer = await forge.send("PUT", f"/{bucket}/k", headers, body=bad)
        assert answer.status_code in (400, 403), name
    got = await call(server.client().get_object, Bucket=bucket, Key="k")
    assert got["Body"].read() == b"abcdef"


async def test_the_length_said_must_be_the_length_sent(forge: Forge, bucket: str) -> None:
    path = f"/{bucket}/k"
    for size in (2, 4):
        headers = chunked(forge, path, size)
        one, first = forge.chunk(forge.signature_of(headers), b"abc")
        end, _ = forge.chunk(first, b"")
        answer = await forge.send("PUT", path, headers, body=one + end)
        assert (answer.status_code, code_of(answer)) == (400, "IncompleteBody")
    headers = forge.headers("PUT", path, payload=STREAMING)
    answer = await forge.send("PUT", path, headers, body=b"0\r\n\r\n")
    assert answer.status_code == 411


def crc32(data: bytes) -> str:
    return b64encode(zlib.crc32(data).to_bytes(4, "big")).decode()


@pytest.mark.parametrize("payload", [TRAILING, UNSIGNED_TRAILING])
async def test_trailers(server: S3Server, forge: Forge, bucket: str, payload: str) -> None:
    path = f"/{bucket}/t"
    headers = chunked(forge, path, 3, payload, **{"x-amz-trailer": "x-amz-checksum-crc32"})
    signed = payload == TRAILING

    def body(checksum: str, *, name: str = "x-amz-checksum-crc32", sign: str = "") -> bytes:
        if not signed:
            return b"3\r\nabc\r\n0\r\n" + f"{name}:{checksum}\r\n\r\n".encode()
        one, first = forge.chunk(forge.signature_of(headers), b"abc")
        end, last = forge.chunk(first, b"", end=b"")
        line = f"{name}:{checksum}"
        signature = sign or forge.trailer(last, f"{line}\n".encode())
        return one + end + f"{line}\r\nx-amz-trailer-signature:{signature}\r\n\r\n".encode()

    sent = await forge.send("PUT", path, headers, body=body(crc32(b"abc")))
    assert (sent.status_code, sent.headers["x-amz-checksum-crc32"]) == (200, crc32(b"abc"))
    for bad, code in (
        (body(crc32(b"abd")), "BadDigest"),
        (body("AAAA"), "InvalidDigest"),
        (body(crc32(b"abc"), name="x-amz-checksum-sha1"), None),
        (b"3\r\nabc\r\n0\r\n\r\n", None),
        *([(body(crc32(b"abc"), sign="0" * 64), "SignatureDoesNotMatch")] if signed else []),
    ):
        answer = await forge.send("PUT", f"/{bucket}/t", headers, body=bad)
        assert answer.status_code in (400, 403)
        assert code is None or code_of(answer) == code


async def test_plain_digests(server: S3Server, forge: Forge, bucket: str) -> None:
    path = f"/{bucket}/d"
    md5 = b64encode(hashlib.md5(b"abc").digest()).decode()
    assert (await put(forge, path, b"abc", signed={"content-md5": md5})).status_code == 200
    for header, value, code in (
        ("content-md5", md5, "BadDigest"),
        ("content-md5", "nonsense", "InvalidDigest"),
        ("x-amz-checksum-crc32", crc32(b"abc"), "BadDigest"),
        ("x-amz-checksum-rot13", "AAAA", "InvalidRequest"),
    ):
        answer = await put(forge, f"/{bucket}/e", b"other", signed={header: value})
        assert (answer.status_code, code_of(answer)) == (400, code)
    assert not await exists(server, bucket, "e")
    unsigned = await put(forge, f"/{bucket}/e", b"any", payload="UNSIGNED-PAYLOAD")
    assert unsigned.status_code == 200
    for payload in ("nonsense", "STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD", "E" * 64):
        assert (await put(forge, f"/{bucket}/f", b"", payload=payload)).status_code == 400


async def test_no_bytes_stay_of_what_was_refused(
    server: S3Server, forge: Forge, bucket: str
) -> None:
    before = len(server.blobs("objects"))
    body = b"x" * 300_000
    headers = forge.headers("PUT", f"/{bucket}/r", payload=EMPTY)
    answer = await forge.send("PUT", f"/{bucket}/r", headers, body=body)
    assert answer.status_code == 400
    assert len(server.blobs("objects")) == before


@pytest.mark.parametrize(
    "xml",
    [
        b"",
        b"<Delete>",
        b"<Other/>",
        b"<Delete></Delete>",
        b"<Delete><Object/></Delete>",
        b"<Delete><Object><Key>a</Key><Key>b</Key></Object></Delete>",
        b'<!DOCTYPE Delete [<!ENTITY x SYSTEM "file:///etc/passwd">]>'
        b"<Delete><Object><Key>&x;</Key></Object></Delete>",
        b'<!DOCTYPE Delete [<!ENTITY a "aaaaaaaa"><!ENTITY b "&a;&a;&a;">]>'
        b"<Delete><Object><Key>&b;</Key></Object></Delete>",
        b"\xff\xfe\x00",
    ],
)
async def test_malformed_xml(forge: Forge, bucket: str, xml: bytes) -> None:
    path = f"/{bucket}"
    headers = forge.headers("POST", path, query="delete=", payload=hashlib.sha256(xml).hexdigest())
    answer = await forge.send("POST", path, headers, query="delete=", body=xml)
    assert (answer.status_code, code_of(answer)) == (400, "MalformedXML")
    assert "root:" not in answer.text


async def test_paths_and_hosts_that_proxies_change(
    server: S3Server, forge: Forge, bucket: str
) -> None:
    """The client signs what it sees; we are told what that was."""
    seen = replace(forge, endpoint="https://files.example/deep/s3")
    headers = seen.headers("GET", f"/{bucket}", query="list-type=2")
    told = {
        **headers,
        "host": httpx.URL(server.endpoint).netloc.decode(),
        "x-forwarded-host": "files.example",
        "x-forwarded-prefix": "/deep",
    }
    answer = await forge.send("GET", f"/{bucket}", told, query="list-type=2")
    assert answer.status_code == 200, answer.text
    del told["x-forwarded-host"]
    assert (await forge.send("GET", f"/{bucket}", told, query="list-type=2")).status_code == 403
