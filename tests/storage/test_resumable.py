"""Resumable uploads by the tus protocol: begun, cut off, taken over, resumed, expired, signed."""

import asyncio
import hashlib
from base64 import b64encode
from collections.abc import AsyncIterator

import pytest
from tests.storage.conftest import ALICE, Site, SiteMaker

from selfbase.http.headers import Headers
from selfbase.http.testing import Answer, Client, read_response
from selfbase.http.values import BodyIncomplete, Request

TUS = {"tus-resumable": "1.0.0"}
CONTENT = bytes(range(256)) * 40


def announce(length: int | None, name: str, bucket: str = "b", **metadata: str) -> dict[str, str]:
    """The headers of a creation."""
    pairs = {"bucketName": bucket, "objectName": name, **metadata}
    coded = ",".join(f"{key} {b64encode(value.encode()).decode()}" for key, value in pairs.items())
    size = {"upload-defer-length": "1"} if length is None else {"upload-length": str(length)}
    return {**TUS, **size, "upload-metadata": coded}


async def begin(client: Client, length: int | None, name: str = "k", **headers: str) -> str:
    """Creates an upload; its path."""
    made = await client.post("/upload/resumable", headers={**announce(length, name), **headers})
    assert made.status == 201, made.text
    location = made.headers.get("location")
    assert location.startswith("http://localhost/upload/resumable/")
    return location.removeprefix("http://localhost")


async def patch(client: Client, path: str, offset: int, content: bytes, **headers: str) -> Answer:
    sent = {
        **TUS,
        "upload-offset": str(offset),
        "content-type": "application/offset+octet-stream",
        **headers,
    }
    return await client.patch(path, headers=sent, content=content)


async def offset_of(client: Client, path: str) -> int:
    head = await client.request("HEAD", path, headers=TUS)
    assert head.status == 200
    assert head.headers.get("cache-control") == "no-store"
    return int(head.headers.get("upload-offset"))


async def test_an_upload_grows_request_by_request(site: Site) -> None:
    await site.make_bucket()
    client = site.service
    said = announce(
        len(CONTENT), "k", cacheControl="60", contentType="text/css", metadata='{"a":1}'
    )
    made = await client.post("/upload/resumable", headers=said)
    path = made.headers.get("location").removeprefix("http://localhost")
    assert made.headers.get("upload-expires").endswith("GMT")
    first = await patch(client, path, 0, CONTENT[:4000])
    assert (first.status, first.headers.get("upload-offset")) == (204, "4000")
    assert await offset_of(client, path) == 4000
    assert (await client.get("/object/b/k")).status == 400
    last = await patch(client, path, 4000, CONTENT[4000:])
    assert last.headers.get("tus-complete") == "1"
    got = await client.get("/object/b/k")
    assert got.body == CONTENT
    assert (got.headers.get("content-type"), got.headers.get("cache-control")) == (
        "text/css",
        "max-age=60",
    )
    parts = b"".join(hashlib.md5(part).digest() for part in (CONTENT[:4000], CONTENT[4000:]))
    assert got.headers.get("etag") == f'"{hashlib.md5(parts).hexdigest()}-2"'
    assert (await client.get("/object/info/b/k")).json()["metadata"] == {"a": 1}
    assert await offset_of(client, path) == len(CONTENT)
    assert site.files("growing") == set()
    over = await client.delete(path, headers=TUS)
    assert (over.status, over.text) == (400, "Cannot terminate an already completed upload")


async def test_data_may_come_with_the_creation(site: Site) -> None:
    await site.make_bucket()
    stream = {"content-type": "application/offset+octet-stream"}
    headers = {**announce(5, "k"), **stream}
    made = await site.service.post("/upload/resumable", headers=headers, content=b"hello")
    assert (made.headers.get("upload-offset"), made.headers.get("tus-complete")) == ("5", "1")
    empty = await site.service.post("/upload/resumable", headers=announce(0, "empty"))
    assert empty.headers.get("tus-complete") == "1"
    assert (await site.service.get("/object/b/empty")).body == b""


async def test_a_length_may_be_told_later(site: Site) -> None:
    await site.make_bucket()
    path = await begin(site.service, None)
    await patch(site.service, path, 0, b"abc")
    head = await site.service.request("HEAD", path, headers=TUS)
    assert head.headers.get("upload-defer-length") == "1"
    done = await patch(site.service, path, 3, b"de", **{"upload-length": "5"})
    assert done.headers.get("tus-complete") == "1"
    assert (await site.service.get("/object/b/k")).body == b"abcde"


REFUSED = [
    ("POST", {"tus-resumable": "0.2"}, 412, "Tus-Resumable Required"),
    ("POST", TUS, 400, "Upload-Length or Upload-Defer-Length header required"),
    ("POST", {**TUS, "upload-length": "-1"}, 400, "Upload-Length is invalid"),
    ("POST", {**announce(1, "k"), "upload-concat": "partial"}, 501, "Concatenation"),
    ("POST", {**TUS, "upload-length": "1"}, 400, "Metadata header is required"),
    (
        "POST",
        {**TUS, "upload-length": "1", "upload-metadata": "a %"},
        400,
        "Upload-Metadata is invalid",
    ),
    ("POST", announce(1, "k", bucket="none"), 404, "Bucket not found"),
    ("POST", announce(10**9, "k"), 413, "Maximum size exceeded"),
    ("POST", announce(1, "../k"), 400, "Invalid key: ../k"),
    ("PATCH", TUS, 403, "Upload-Offset header required"),
    ("PATCH", {**TUS, "upload-offset": "0"}, 403, "Content-Type header required"),
]


@pytest.mark.parametrize(("method", "headers", "status", "text"), REFUSED, ids=str)
async def test_refusals_are_plain_text_with_their_true_status(
    site: Site, method: str, headers: dict[str, str], status: int, text: str
) -> None:
    await site.make_bucket()
    path = "/upload/resumable" if method == "POST" else await begin(site.service, 9)
    answer = await site.service.request(method, path, headers=headers)
    assert answer.status == status
    assert text in answer.text
    assert answer.headers.get("tus-resumable") == "1.0.0"


async def test_offsets_and_sizes_are_kept_to(site: Site) -> None:
    await site.make_bucket()
    path = await begin(site.service, 10)
    conflict = await patch(site.service, path, 3, b"x")
    assert (conflict.status, conflict.text) == (409, "Upload-Offset conflict")
    beyond = await patch(site.service, path, 0, b"x" * 11)
    assert beyond.status == 413
    assert await offset_of(site.service, path) == 0
    assert (await patch(site.service, path, 0, b"y" * 10)).status == 204
    assert (await site.service.get("/object/b/k")).body == b"y" * 10


async def test_limits_of_the_bucket_hold(open_site: SiteMaker) -> None:
    site: Site = await open_site(file_size_limit=100)
    await site.make_bucket(allowed_mime_types=["image/*"])
    wrong = await site.service.post("/upload/resumable", headers=announce(1, "k"))
    assert wrong.status == 415
    said = announce(None, "k", contentType="image/png")
    made = await site.service.post("/upload/resumable", headers=said)
    path = made.headers.get("location").removeprefix("http://localhost")
    too_much = await patch(site.service, path, 0, b"x" * 101)
    assert (too_much.status, too_much.text) == (413, "Maximum size exceeded")


class Cut:
    """A body whose sender leaves in the middle."""

    def __init__(self, *pieces: bytes, stay: bool = False) -> None:
        self._pieces, self._stay = pieces, stay
        self.all_sent = asyncio.Event()

    async def read(self, bytes_max: int) -> bytes:
        raise AssertionError

    async def stream(self, bytes_max: int | None = None) -> AsyncIterator[bytes]:
        for piece in self._pieces:
            yield piece
        self.all_sent.set()
        if self._stay:
            await asyncio.Event().wait()
        raise BodyIncomplete


def patch_request(site: Site, path: str, offset: int, body: Cut) -> Request:
    headers = {
        **site.service.headers,
        **TUS,
        "upload-offset": str(offset),
        "content-type": "application/offset+octet-stream",
    }
    return Request("PATCH", path, headers=Headers(headers.items()), body=body)


async def test_what_arrived_before_the_line_broke_is_kept(site: Site) -> None:
    await site.make_bucket()
    path = await begin(site.service, len(CONTENT))
    for start in range(0, len(CONTENT), 1500):
        piece = CONTENT[start : start + 1500]
        await read_response(await site.storage.answer(patch_request(site, path, start, Cut(piece))))
        assert await offset_of(site.service, path) == start + len(piece)
    got = await site.service.get("/object/b/k")
    assert hashlib.sha256(got.body).digest() == hashlib.sha256(CONTENT).digest()


async def test_a_newer_request_takes_over_from_one_that_hangs(site: Site) -> None:
    await site.make_bucket()
    path = await begin(site.service, len(CONTENT))
    hanging = Cut(CONTENT[:5000], stay=True)
    older = asyncio.create_task(site.storage.answer(patch_request(site, path, 0, hanging)))
    await hanging.all_sent.wait()
    assert await offset_of(site.service, path) == 5000
    assert (await older).status == 499
    assert (await patch(site.service, path, 5000, CONTENT[5000:])).status == 204
    assert (await site.service.get("/object/b/k")).body == CONTENT


async def test_two_at_once_make_one_object(site: Site) -> None:
    await site.make_bucket()
    path = await begin(site.service, len(CONTENT))
    answers = await asyncio.gather(*(patch(site.service, path, 0, CONTENT) for _ in range(4)))
    statuses = sorted(answer.status for answer in answers)
    assert statuses[0] == 204
    assert set(statuses) <= {204, 409, 499}
    assert (await site.service.get("/object/b/k")).body == CONTENT
    assert len(site.files()) == 1


async def test_an_upload_survives_a_restart_and_moves_between_workers(open_site: SiteMaker) -> None:
    first: Site = await open_site()
    await first.make_bucket()
    path = await begin(first.service, len(CONTENT))
    await patch(first.service, path, 0, CONTENT[:100])
    second: Site = await open_site()
    assert await offset_of(second.service, path) == 100
    await patch(second.service, path, 100, CONTENT[100:200])
    last = await patch(first.service, path, 200, CONTENT[200:])
    assert last.headers.get("tus-complete") == "1"
    assert (await second.service.get("/object/b/k")).body == CONTENT


async def test_another_worker_is_kept_from_an_upload_at_work(open_site: SiteMaker) -> None:
    first: Site = await open_site()
    second: Site = await open_site(tus_lock_wait_s=0.2)
    await first.make_bucket()
    path = await begin(first.service, len(CONTENT))
    hanging = Cut(CONTENT[:50], stay=True)
    older = asyncio.create_task(first.storage.answer(patch_request(first, path, 0, hanging)))
    await hanging.all_sent.wait()
    locked = await patch(second.service, path, 0, CONTENT)
    assert (locked.status, locked.text) == (423, "acquiring lock timeout")
    assert await offset_of(first.service, path) == 50
    await older
    assert (await patch(second.service, path, 50, CONTENT[50:])).status == 204


async def test_an_abandoned_upload_expires(open_site: SiteMaker) -> None:
    site: Site = await open_site()
    await site.make_bucket()
    path = await begin(site.service, 10)
    await patch(site.service, path, 0, b"x")
    kept = await site.storage.collector.collect_orphans(dry_run=False, grace_s=-1)
    assert (kept.orphans, kept.expired_uploads) == (0, 0)
    site.execute("update _selfbase.resumable_uploads set expires_at = now()", "supabase_admin")
    assert (await site.service.request("HEAD", path, headers=TUS)).status == 404
    collected = await site.storage.collector.collect_orphans(dry_run=False, grace_s=-1)
    assert (collected.orphans, collected.expired_uploads) == (1, 1)
    assert site.files("growing") == set()


async def test_a_signed_upload_needs_no_token(site: Site) -> None:
    await site.make_bucket()
    token = (await site.service.post("/object/upload/sign/b/k", json={})).json()["token"]
    nobody = site.client(None)
    bare = await nobody.post("/upload/resumable/sign", headers=announce(3, "k"))
    assert (bare.status, bare.text) == (400, "Missing x-signature header")
    proof = {"x-signature": token}
    other = await nobody.post("/upload/resumable/sign", headers={**announce(3, "o"), **proof})
    assert other.status == 400
    made = await nobody.post("/upload/resumable/sign", headers={**announce(3, "k"), **proof})
    assert made.status == 201, made.text
    path = made.headers.get("location").removeprefix("http://localhost")
    assert path.startswith("/upload/resumable/sign/")
    assert (await patch(nobody, path, 0, b"abc", **proof)).status == 204
    assert (await site.service.get("/object/b/k")).body == b"abc"


async def test_policies_decide_each_request(site: Site) -> None:
    await site.make_bucket()
    alice = site.user(ALICE)
    refused = await alice.post("/upload/resumable", headers=announce(3, "k"))
    assert (refused.status, refused.text) == (403, "new row violates row-level security policy")
    site.execute(
        "create policy up on storage.objects for insert to authenticated with check (true)"
    )
    path = await begin(alice, 3)
    site.execute("drop policy up on storage.objects")
    assert (await patch(alice, path, 0, b"abc")).status == 403
    bad = await site.client(None).patch(path, headers={**TUS, "authorization": "Bearer x"})
    assert (bad.status, bad.json()["statusCode"]) == (400, "403")


async def test_the_public_address_is_what_is_configured(open_site: SiteMaker) -> None:
    site: Site = await open_site(public_url="https://files.example.com:8443/storage/v1")
    await site.make_bucket()
    made = await site.service.post("/upload/resumable", headers=announce(3, "k"))
    location = made.headers.get("location")
    assert location.startswith("https://files.example.com:8443/storage/v1/upload/resumable/")


async def test_what_the_server_offers_is_told_to_everyone(site: Site) -> None:
    answer = await site.client(None).request("OPTIONS", "/upload/resumable")
    assert answer.status == 204
    assert "creation-defer-length" in answer.headers.get("tus-extension")
    assert answer.headers.get("tus-max-size") == str(50 * 1024 * 1024)
