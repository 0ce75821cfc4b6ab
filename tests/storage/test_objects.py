"""Buckets and objects over REST: what clients send, what they get, what lies on disk."""

import hashlib
from base64 import b64encode
from collections.abc import AsyncIterator
from pathlib import Path

import orjson
import pytest
from tests.storage.conftest import ALICE, Site, SiteMaker

from selfbase.http.headers import Headers
from selfbase.http.testing import Answer
from selfbase.http.values import BytesBody, Request
from selfbase.storage.seed import SeedRefused


def refusal(answer: Answer) -> tuple[int, str, str]:
    """HTTP status, statusCode and code of a refusal."""
    body = answer.json()
    assert set(body) == {"statusCode", "error", "message", "code"}
    return answer.status, body["statusCode"], body["code"]


def form(*parts: tuple[str, str | None, str | None, bytes]) -> tuple[dict[str, str], bytes]:
    """A multipart form of (name, file name, type, content)."""
    lines: list[bytes] = []
    for name, file_name, kind, content in parts:
        disposition = f'form-data; name="{name}"'
        if file_name is not None:
            disposition += f'; filename="{file_name}"'
        lines += [b"--XX", f"Content-Disposition: {disposition}".encode()]
        if kind is not None:
            lines.append(f"Content-Type: {kind}".encode())
        lines += [b"", content]
    body = b"\r\n".join([*lines, b"--XX--", b""])
    return {"content-type": "multipart/form-data; boundary=XX"}, body


async def test_a_bucket_lives_from_create_to_delete(site: Site) -> None:
    service = site.service
    made = await service.post("/bucket", json={"name": "photos", "public": "true"})
    assert made.json() == {"name": "photos"}
    again = await service.post("/bucket", json={"name": "photos"})
    assert refusal(again) == (400, "409", "BucketAlreadyExists")

    got = (await service.get("/bucket/photos")).json()
    assert got["public"] is True
    assert got["owner"] == ""
    assert "type" not in got
    changed = await service.put("/bucket/photos", json={"public": False, "file_size_limit": "1MB"})
    assert changed.json() == {"message": "Successfully updated"}
    assert (await service.get("/bucket/photos")).json()["file_size_limit"] == 1_000_000
    await service.put("/bucket/photos", json={"file_size_limit": None})
    assert (await service.get("/bucket/photos")).json()["file_size_limit"] is None

    await service.post("/object/photos/a.txt", content=b"x")
    full = await service.delete("/bucket/photos")
    assert refusal(full) == (400, "409", "ResourceNotEmpty")
    emptied = await service.post("/bucket/photos/empty")
    assert emptied.json()["message"].startswith("Empty bucket has been queued")
    assert (await service.delete("/bucket/photos")).json() == {"message": "Successfully deleted"}
    assert refusal(await service.get("/bucket/photos")) == (400, "404", "NoSuchBucket")
    assert site.files() == set()


async def test_buckets_are_listed_sorted_and_searched(site: Site) -> None:
    for name in ("b_one", "bxone", "a100"):
        await site.make_bucket(name)
    listed = await site.service.get("/bucket", params={"sortColumn": "name", "sortOrder": "desc"})
    assert [bucket["name"] for bucket in listed.json()] == ["bxone", "b_one", "a100"]
    assert listed.json()[0]["type"] == "STANDARD"
    found = await site.service.get("/bucket", params={"search": "B_"})
    assert [bucket["name"] for bucket in found.json()] == ["b_one"]
    old = await site.service.get("/bucket", headers={"user-agent": "supabase-py/storage3 v0.11.0"})
    assert "type" not in old.json()[0]


@pytest.mark.parametrize("name", ["", " lead", "a/b", "x" * 101, "é", "t--table-s3", ".."])
async def test_bucket_names_that_cannot_be(site: Site, name: str) -> None:
    answer = await site.service.post("/bucket", json={"name": name})
    assert refusal(answer) == (400, "400", "InvalidBucketName")


async def test_a_raw_upload_comes_back_with_what_was_said_about_it(site: Site) -> None:
    await site.make_bucket()
    content = b"hello, world"
    said = {
        "content-type": "text/css",
        "cache-control": "max-age=60",
        "x-metadata": b64encode(b'{"a": [1]}').decode(),
        "content-length": str(len(content)),
    }
    put = await site.service.post("/object/b/dir/style.css", headers=said, content=content)
    assert put.json()["Key"] == "b/dir/style.css"
    got = await site.service.get("/object/b/dir/style.css")
    assert got.body == content
    assert got.headers.get("etag") == f'"{hashlib.md5(content).hexdigest()}"'
    assert got.headers.get("content-type") == "text/css"
    assert got.headers.get("cache-control") == "max-age=60"
    assert got.headers.get("x-robots-tag") == "none"
    assert got.headers.get("x-content-type-options") == "nosniff"
    info = (await site.service.get("/object/info/b/dir/style.css")).json()
    assert info["metadata"] == {"a": [1]}
    assert info["size"] == len(content)
    assert info["id"] == put.json()["Id"]
    head = await site.service.request("HEAD", "/object/b/dir/style.css")
    assert (head.status, head.body) == (200, b"")
    assert head.headers.get("content-length") == str(len(content))


async def test_a_form_brings_fields_before_its_file(site: Site) -> None:
    await site.make_bucket()
    headers, body = form(
        ("cacheControl", None, None, b"3600"),
        ("metadata", None, None, b'{"who": "me"}'),
        ("", "a.png", "image/png", b"\x89PNG\r\n--X\r\n"),
    )
    answer = await site.service.post("/object/b/a.png", headers=headers, content=body)
    assert answer.status == 200, answer.text
    got = await site.service.get("/object/b/a.png")
    assert got.body == b"\x89PNG\r\n--X\r\n"
    assert got.headers.get("content-type") == "image/png"
    assert got.headers.get("cache-control") == "max-age=3600"
    info = (await site.service.get("/object/info/b/a.png")).json()
    assert info["metadata"] == {"who": "me"}


class ArrivingBody(BytesBody):
    """A body of which only a part is here at a time."""

    __slots__ = ("taken",)

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self.taken = 0

    async def stream(self, bytes_max: int | None = None) -> AsyncIterator[bytes]:
        content = await self.read(1 << 30)
        for start in range(0, len(content), 65_536):
            piece = content[start : start + 65_536]
            self.taken += len(piece)
            yield piece


@pytest.mark.parametrize("file_bytes", [40, 700_000], ids=["small", "large"])
async def test_fields_behind_the_file_count_too(site: Site, file_bytes: int) -> None:
    """As `FormData` of one's own has them: storage-js appends its fields to it."""
    await site.make_bucket("pictures", allowed_mime_types=["image/*"])
    content = b"p" * file_bytes
    file = ("f", "a", "image/png", content)
    fields = (("cacheControl", None, None, b"60"), ("metadata", None, None, b'{"a": 1}'))
    headers, body = form(file, *fields)
    answer = await site.storage.answer(
        Request(
            "POST",
            "/object/pictures/k",
            headers=Headers([*site.service.headers.items(), *headers.items()]),
            body=ArrivingBody(body),
        )
    )
    assert answer.status == 200, answer.body
    info = (await site.service.get("/object/info/pictures/k")).json()
    assert (info["metadata"], info["cache_control"]) == ({"a": 1}, "max-age=60")
    assert info["size"] == file_bytes
    headers, body = form(file, ("contentType", None, None, b"text/plain"))
    refused = await site.service.post("/object/pictures/l", headers=headers, content=body)
    assert refusal(refused) == (400, "415", "InvalidMimeType")
    assert len(site.files()) == 1, "what was written before the refusal is gone"


@pytest.mark.parametrize("expects", [False, True])
async def test_a_refused_body_is_read_to_its_end(site: Site, expects: bool) -> None:
    """Else the client sees its connection reset; unless it waits to be asked for the body."""
    body = ArrivingBody(b"x" * 300_000)
    headers = Headers([("expect", "100-continue")] if expects else [])
    request = Request("PUT", "/object/upload/sign/b/k", "token=x", headers=headers, body=body)
    assert (await site.storage.answer(request)).status == 400
    assert body.taken == (0 if expects else 300_000)


async def test_a_torn_form_leaves_nothing(site: Site) -> None:
    await site.make_bucket()
    headers, body = form(("f", "a.bin", "application/octet-stream", b"x" * 1000))
    for cut in (len(body) - 5, len(body) // 2, 40):
        answer = await site.service.post("/object/b/a.bin", headers=headers, content=body[:cut])
        assert answer.status == 400
    assert refusal(await site.service.get("/object/b/a.bin"))[2] == "NoSuchKey"
    assert site.files() == set()
    assert site.files("staging") == set()


async def test_an_upload_replaces_only_when_told_to(site: Site) -> None:
    await site.make_bucket()
    await site.service.post("/object/b/k", content=b"one")
    second = await site.service.post("/object/b/k", content=b"two")
    assert refusal(second) == (400, "409", "KeyAlreadyExists")
    assert len(site.files()) == 1
    await site.service.post("/object/b/k", headers={"x-upsert": "true"}, content=b"three")
    assert (await site.service.get("/object/b/k")).body == b"three"
    await site.service.put("/object/b/k", content=b"four")
    assert (await site.service.get("/object/b/k")).body == b"four"
    assert len(site.files()) == 1


async def test_limits_of_size_and_type_hold(open_site: SiteMaker) -> None:
    site: Site = await open_site(file_size_limit=1000)
    await site.make_bucket("small", file_size_limit=10, allowed_mime_types=["text/*", "image/png"])
    too_much = await site.service.post(
        "/object/small/a", headers={"content-type": "text/plain"}, content=b"x" * 11
    )
    assert refusal(too_much) == (400, "413", "EntityTooLarge")
    headers, body = form(("f", "a", "text/plain", b"x" * 11))
    in_form = await site.service.post("/object/small/a", headers=headers, content=body)
    assert refusal(in_form) == (400, "413", "EntityTooLarge")
    wrong = await site.service.post(
        "/object/small/a", headers={"content-type": "image/jpeg"}, content=b"x"
    )
    assert refusal(wrong) == (400, "415", "InvalidMimeType")
    fits = await site.service.post(
        "/object/small/a", headers={"content-type": "TEXT/plain; charset=utf-8"}, content=b"x" * 10
    )
    assert fits.status == 200
    placeholder = await site.service.post("/object/small/d/.emptyFolderPlaceholder", content=b"")
    assert placeholder.status == 200
    larger = await site.service.post("/bucket", json={"name": "large", "file_size_limit": 1001})
    assert refusal(larger) == (400, "413", "EntityTooLarge")
    assert len(site.files()) == 2


async def test_an_object_is_moved_without_its_bytes_and_copied_with_them(site: Site) -> None:
    await site.make_bucket()
    await site.make_bucket("c", file_size_limit=2)
    said = {"x-metadata": b64encode(b'{"k": "v"}').decode(), "content-type": "text/css"}
    put = await site.service.post("/object/b/a", headers=said, content=b"abc")
    before = site.files()
    moved = await site.service.post(
        "/object/move", json={"bucketId": "b", "sourceKey": "a", "destinationKey": "d/a"}
    )
    assert moved.json() == {"message": "Successfully moved"}
    assert site.files() == before
    info = (await site.service.get("/object/info/b/d/a")).json()
    assert (info["id"], info["metadata"]) == (put.json()["Id"], {"k": "v"})
    copied = await site.service.post(
        "/object/copy", json={"bucketId": "b", "sourceKey": "d/a", "destinationKey": "copy"}
    )
    assert copied.json()["Key"] == "b/copy"
    assert len(site.files()) == 2
    await site.service.delete("/object/b/d/a")
    assert (await site.service.get("/object/b/copy")).body == b"abc"
    taken = await site.service.post(
        "/object/copy", json={"bucketId": "b", "sourceKey": "copy", "destinationKey": "copy"}
    )
    assert refusal(taken)[2] == "KeyAlreadyExists"
    too_large = await site.service.post(
        "/object/copy",
        json={
            "bucketId": "b",
            "sourceKey": "copy",
            "destinationBucket": "c",
            "destinationKey": "x",
        },
    )
    assert refusal(too_large)[2] == "EntityTooLarge"
    edited = await site.service.post(
        "/object/copy",
        headers={"x-upsert": "true", "x-metadata": b64encode(b'{"new": 1}').decode()},
        json={
            "bucketId": "b",
            "sourceKey": "copy",
            "destinationKey": "copy",
            "copyMetadata": False,
            "metadata": {"cacheControl": "max-age=9"},
        },
    )
    assert edited.status == 200, edited.text
    info = (await site.service.get("/object/info/b/copy")).json()
    assert info["metadata"] == {"new": 1}
    assert (info["cache_control"], info["content_type"]) == ("max-age=9", "text/css")
    assert len(site.files()) == 1


async def test_many_are_deleted_by_name(site: Site) -> None:
    await site.make_bucket()
    for name in ("a", "b/c", "b/d"):
        await site.service.post(f"/object/b/{name}", content=name.encode())
    removed = await site.service.request(
        "DELETE", "/object/b", json={"prefixes": ["a", "b/c", "missing", "b"]}
    )
    assert sorted(row["name"] for row in removed.json()) == ["a", "b/c"]
    assert len(site.files()) == 1
    gone = await site.service.delete("/object/b/a")
    assert refusal(gone) == (400, "404", "NoSuchKey")


async def test_signed_urls_read_and_write_one_object(site: Site) -> None:
    await site.make_bucket()
    name = "a b/ü?.txt"
    quoted = "/object/b/a%20b/%C3%BC%3F.txt"
    put = await site.service.post(quoted, content=b"signed")
    assert put.status == 200, put.text
    path = quoted.replace("/object/", "/object/sign/", 1)
    signed = await site.service.post(path, json={"expiresIn": "60"})
    url = signed.json()["signedURL"]
    assert url.startswith("/object/sign/b/a b/ü%3F.txt?token=")
    token = url.partition("?")[2]
    got = await site.client(None).get(f"{path}?{token}")
    assert (got.status, got.body) == (200, b"signed")
    assert got.headers.get("expires")
    many = await site.service.post(
        "/object/sign/b", json={"expiresIn": 60, "paths": [name, "missing"]}
    )
    assert [bool(item["signedURL"]) for item in many.json()] == [True, False]

    upload = await site.user(ALICE).post("/object/upload/sign/b/mine.txt", json={})
    assert refusal(upload)[2] == "AccessDenied"
    upload = await site.service.post("/object/upload/sign/b/mine.txt", json={})
    target = upload.json()["url"]
    sent = await site.client(None).put(target, content=b"mine")
    assert sent.json() == {"Key": "b/mine.txt"}
    again = await site.client(None).put(target, content=b"again")
    assert refusal(again)[2] == "KeyAlreadyExists"


async def test_public_buckets_are_read_by_url_and_not_listed(site: Site) -> None:
    await site.make_bucket("open", public=True)
    await site.make_bucket("shut")
    for bucket in ("open", "shut"):
        await site.service.post(f"/object/{bucket}/a", content=b"x")
    nobody = site.client(None)
    assert (await nobody.get("/object/public/open/a")).status == 200
    assert (await nobody.get("/object/open/a")).status == 200
    assert refusal(await nobody.get("/object/public/shut/a"))[2] == "NoSuchBucket"
    assert refusal(await nobody.get("/object/shut/a"))[2] == "NoSuchBucket"
    assert refusal(await site.client("anon").get("/object/shut/a"))[2] == "NoSuchKey"
    listed = await site.client("anon").post("/object/list/open", json={"prefix": ""})
    assert listed.json() == []


async def test_missing_bytes_are_told_apart_from_a_missing_object(site: Site) -> None:
    await site.make_bucket()
    await site.service.post("/object/b/a", content=b"x")
    for path in (site.root / "objects").rglob("*-*"):
        path.unlink()
    answer = await site.service.get("/object/b/a")
    assert answer.json()["message"] == "The resource was not found"
    assert answer.headers.get("cache-control") == "no-store"
    assert (await site.service.request("HEAD", "/object/b/a")).status == 200


async def test_configured_buckets_are_seeded_once(open_site: SiteMaker, tmp_path: Path) -> None:
    folder = tmp_path / "seed"
    (folder / "in").mkdir(parents=True)
    (folder / "in" / "a.css").write_bytes(b"body {}")
    buckets = {
        "site": {"public": True, "file_size_limit": "1MiB", "objects_path": str(folder)},
        "empty": {"objects_path": str(tmp_path / "none")},
    }
    for _ in range(2):
        site: Site = await open_site(buckets=buckets)
    got = await site.client(None).get("/object/public/site/in/a.css")
    assert (got.body, got.headers.get("content-type")) == (b"body {}", "text/css")
    assert (await site.service.get("/bucket/site")).json()["file_size_limit"] == 1024 * 1024
    assert len(site.files()) == 1
    refused = [event for event in site.events if isinstance(event, SeedRefused)]
    assert [(event.bucket, event.reason) for event in refused] == [
        ("empty", "objects_path is no folder")
    ]


async def test_refusals_have_the_shape_and_words_clients_know(site: Site) -> None:
    bare = await site.client(None).get("/bucket")
    assert orjson.loads(bare.body) == {
        "statusCode": "400",
        "error": "Error",
        "message": "headers must have required property 'authorization'",
        "code": "InvalidRequest",
    }
    garbled = await site.client(None).post("/bucket/b/empty", headers={"authorization": "Bearer x"})
    assert refusal(garbled) == (400, "403", "AccessDenied")
    nameless = await site.service.post("/object/b/", content=b"x")
    assert refusal(nameless) == (400, "400", "InvalidKey")
    for kind in ("thisisnotatype", "image/\tjpg", "a/b c"):
        typed = await site.service.post("/object/b/k", content=b"x", headers={"content-type": kind})
        assert refusal(typed) == (400, "415", "InvalidMimeType")
        assert typed.json()["message"] == "Invalid Content-Type header"
    lost = await site.service.get("/nowhere")
    assert (lost.status, lost.json()["message"]) == (404, "Route GET:/nowhere not found")
    role = await site.user(ALICE).post("/bucket/b/empty")
    assert (role.status, role.json()["message"]) == (403, "Access denied: Invalid role")
    schema = await site.service.post("/object/list/b", json={})
    assert schema.json()["message"] == "body must have required property 'prefix'"
    wrong = await site.service.post("/object/list/b", json={"prefix": "", "limit": "x"})
    assert wrong.json()["message"] == "body/limit must be integer"
