"""The S3 backend against a real S3 server, and over a line that fails on command.

`front` keeps its bytes in `back`, a second storage service reached over its S3 endpoint.  Between
them stands a proxy that answers errors, falls silent, cuts connections and loses answers.
Whatever it does: what was acknowledged stays intact, nothing half-written is shown, every failure
has its shape, and the collector finds exactly what belongs to nothing.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import boto3
import httpx
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError
from tests.storage.conftest import Site, SiteMaker, make_site, make_token
from tests.storage.s3.conftest import call
from tests.storage.test_resumable import announce
from tests.support.postgres import DatabaseTemplates, FreshDatabase

from selfbase.http.server import Server
from selfbase.identity.secrets import Secrets
from selfbase.storage.blobs import BlobsFailed

MiB = 1024 * 1024
OLD, NEW = b"old " * 1000, b"new " * 2000
BIG = bytes(range(256)) * (48 * 1024)  # 12 MiB: three parts of the smallest size
# Only a test that waits for it has a short one: a busy machine may take seconds for what goes well.
TIMEOUT_S, SILENT_TIMEOUT_S = 60.0, 1.5
FAILED = {
    "statusCode": "500",
    "error": "Internal",
    "message": "Internal Server Error",
    "code": "InternalError",
}
TUS = {"tus-resumable": "1.0.0"}


@dataclass
class Fault:
    """What the next `times` requests meet whose method and target `pattern` matches.

    `kind`: a status to answer; `silent`: taken and never answered; `cut request`: half of the body
    is passed on, if there is one, then both sides are cut; `cut answer`: half of the answer is; `lost answer`: all
    is done, the answer never comes.
    """

    kind: int | str
    pattern: str
    times: int = 1_000_000
    met: int = 0


@dataclass
class Line:
    """A proxy for one request per connection.  `seen` are the request lines that came by."""

    port: int
    fault: Fault | None = None
    seen: list[str] = field(default_factory=list)
    address: str = ""
    _server: asyncio.Server | None = None
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    async def open(self) -> None:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.address = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def close(self) -> None:
        assert self._server is not None
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def break_for(self, kind: int | str, pattern: str, times: int = 1_000_000) -> Fault:
        self.fault = Fault(kind, pattern, times)
        return self.fault

    def mend(self) -> None:
        self.fault = None

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            found = re.search(rb"\r\ncontent-length: *(\d+)", head, re.IGNORECASE)
            body = await reader.readexactly(int(found[1])) if found else b""
            writer.write(await self._decide_answer(head, body, reader))
            await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            return  # the client has gone: it timed out, or has no use for the connection
        finally:
            writer.close()

    async def _decide_answer(self, head: bytes, body: bytes, client: asyncio.StreamReader) -> bytes:
        kind = self._find_fault(head.split(b" HTTP/")[0].decode())
        if isinstance(kind, int):
            return (
                f"HTTP/1.1 {kind} Broken\r\ncontent-length: 0\r\nconnection: close\r\n\r\n".encode()
            )
        if kind == "silent":
            return await client.read()  # until the client has had enough
        if kind == "cut request":
            return await self._ask(head, body[: len(body) // 2], cut=True) if body else b""
        answer = await self._ask(head, body)
        if kind == "lost answer":
            return b""
        return answer[: len(answer) // 2] if kind == "cut answer" else answer

    def _find_fault(self, line: str) -> int | str | None:
        self.seen.append(line)
        fault = self.fault
        if fault is None or fault.met >= fault.times or not re.search(fault.pattern, line):
            return None
        fault.met += 1
        return fault.kind

    async def _ask(self, head: bytes, body: bytes, *, cut: bool = False) -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            writer.write(head[:-2] + b"connection: close\r\n\r\n" + body)
            await writer.drain()
            return b"" if cut else await reader.read()
        finally:
            writer.close()


@dataclass
class Back:
    """The service whose S3 endpoint keeps the bytes."""

    site: Site
    port: int

    def names(self, tenant: str) -> set[str]:
        """What lies in the store below a tenant's folder."""
        rows = self.site.execute("select name from storage.objects where bucket_id = 'blobs'")
        names = {str(name) for (name,) in rows}
        return {name.removeprefix(f"{tenant}/") for name in names if name.startswith(f"{tenant}/")}

    def unfinished(self, tenant: str) -> int:
        """Multipart uploads that were neither completed nor aborted."""
        rows = self.site.execute("select key from storage.s3_multipart_uploads", "supabase_admin")
        return sum(str(key).startswith(f"{tenant}/") for (key,) in rows)


@pytest.fixture(scope="module")
async def back(
    database_templates: DatabaseTemplates,
    database_template: str,
    tmp_path_factory: pytest.TempPathFactory,
    secrets: Secrets,
) -> AsyncIterator[Back]:
    name = database_templates.clone(database_template)
    database = FreshDatabase(database_templates.cluster, name)
    site = make_site(database, tmp_path_factory.mktemp("back"), secrets)
    await site.storage.open()
    await site.make_bucket("blobs")
    shell = Server(site.storage, site.project.events)
    port = await shell.listen("127.0.0.1", 0)
    yield Back(site, port)
    await shell.close()
    await site.storage.close()
    await site.project.database.close()
    database_templates.drop(name)


@pytest.fixture
async def line(back: Back) -> AsyncIterator[Line]:
    made = Line(back.port)
    await made.open()
    yield made
    await made.close()


@dataclass
class Front:
    """The service under test, and the clients that call it."""

    site: Site
    back: Back
    line: Line
    tenant: str
    web: httpx.AsyncClient
    s3: Any

    async def put(self, name: str, content: bytes) -> httpx.Response:
        return await self.web.put(f"/object/b/{name}", content=content)

    async def copy(self, source: str, target: str) -> httpx.Response:
        said = {"bucketId": "b", "sourceKey": source, "destinationKey": target}
        return await self.web.post("/object/copy", json=said)

    async def send_part(self, path: str, offset: int, content: bytes) -> httpx.Response:
        """One request of a resumable upload."""
        sent = {
            **TUS,
            "upload-offset": str(offset),
            "content-type": "application/offset+octet-stream",
        }
        return await self.web.patch(path, headers=sent, content=content)

    async def begin_resumable(self, name: str, length: int) -> str:
        """Begins a resumable upload; its path."""
        made = await self.web.post("/upload/resumable", headers=announce(length, name))
        assert made.status_code == 201, made.text
        return httpx.URL(made.headers["location"]).path

    def names(self) -> set[str]:
        return self.back.names(self.tenant)

    async def read(self, name: str, **headers: str) -> bytes:
        got = await self.web.get(f"/object/b/{name}", headers=headers)
        assert got.status_code in (200, 206), got.text
        return got.content

    async def assert_clean(self, expected: dict[str, bytes]) -> None:
        """On a sound line the objects are these and intact, and after the collector has taken what
        a dry run announced, the store holds their bytes alone."""
        self.line.mend()
        for name, content in expected.items():
            assert await self.read(name) == content
        listed = (await self.web.post("/object/list-v2/b", json={})).json()["objects"]
        assert {item["name"] for item in listed} == set(expected)
        rows = self.site.execute("select version from storage.objects")
        live = {f"objects/{version}" for (version,) in rows}
        stored = self.back.names(self.tenant)
        assert live <= stored
        collector = self.site.storage.collector
        announced = await collector.collect_orphans(dry_run=True, grace_s=-1)
        found = {re.sub(r"^(growing/[^/]+)/.*", r"\1", name) for name in stored - live}
        assert set(announced.keys) == found
        collected = await collector.collect_orphans(dry_run=False, grace_s=-1)
        assert collected.keys == announced.keys
        assert self.back.names(self.tenant) == live


@pytest.fixture
async def front(
    request: pytest.FixtureRequest,
    open_site: SiteMaker,
    back: Back,
    line: Line,
    secrets: Secrets,
) -> AsyncIterator[Front]:
    callspec = getattr(request.node, "callspec", None)
    silent = callspec is not None and callspec.params.get("kind") == "silent"
    tenant = uuid4().hex
    site: Site = await open_site(
        backend="s3",
        s3_endpoint=f"{line.address}/s3",
        s3_bucket="blobs",
        aws_access_key_id=secrets.s3_access_key_id,
        aws_secret_access_key=secrets.s3_access_key_secret,
        tenant_id=tenant,
        s3_part_bytes=5 * MiB,
        s3_timeout_s=SILENT_TIMEOUT_S if silent else TIMEOUT_S,
        s3_retries=1,
        tus_part_mb=1,
    )
    await site.make_bucket()
    shell = Server(site.storage, site.project.events)
    url = f"http://127.0.0.1:{await shell.listen('127.0.0.1', 0)}"
    s3 = boto3.client(
        "s3",
        endpoint_url=f"{url}/s3",
        region_name="us-east-1",
        aws_access_key_id=secrets.s3_access_key_id,
        aws_secret_access_key=secrets.s3_access_key_secret,
        config=Config(retries={"max_attempts": 0}, connect_timeout=60, read_timeout=60),
    )
    headers = {"authorization": f"Bearer {make_token(secrets, 'service_role')}"}
    async with httpx.AsyncClient(base_url=url, headers=headers, timeout=60) as web:
        yield Front(site, back, line, tenant, web, s3)
    s3.close()
    await shell.close()


async def test_objects_by_rest(front: Front) -> None:
    assert (await front.put("k", OLD)).status_code == 200
    assert (await front.put("empty", b"")).status_code == 200
    assert (await front.put("big", BIG)).status_code == 200
    assert sum("partNumber=" in request for request in front.line.seen) == 3
    assert await front.read("big", range="bytes=5242870-5242889") == BIG[5242870:5242890]
    assert await front.read("k", range="bytes=-4") == b"old "
    assert (await front.copy("big", "copy")).status_code == 200
    said = {"bucketId": "b", "sourceKey": "big", "destinationKey": "moved"}
    assert (await front.web.post("/object/move", json=said)).status_code == 200
    assert (await front.put("k", NEW)).status_code == 200
    assert (await front.web.delete("/object/b/copy")).status_code == 200
    # Replaced and deleted bytes are gone without the collector's help.
    assert len(front.names()) == 3
    assert (await front.web.get("/object/b/big")).json()["code"] == "NoSuchKey"
    await front.assert_clean({"k": NEW, "empty": b"", "moved": BIG})


async def test_objects_by_s3(front: Front) -> None:
    await call(front.s3.put_object, Bucket="b", Key="k", Body=OLD)
    named = {"Bucket": "b", "Key": "joined"}
    upload_id = (await call(front.s3.create_multipart_upload, **named))["UploadId"]
    named["UploadId"] = upload_id
    first = await call(front.s3.upload_part, **named, PartNumber=1, Body=BIG[: 5 * MiB])
    last = await call(front.s3.upload_part_copy, **named, PartNumber=2, CopySource="b/k")
    etags = [first["ETag"], last["CopyPartResult"]["ETag"]]
    parts = [{"PartNumber": number, "ETag": etag} for number, etag in enumerate(etags, 1)]
    await call(front.s3.complete_multipart_upload, **named, MultipartUpload={"Parts": parts})
    got = await call(front.s3.get_object, Bucket="b", Key="joined", Range="bytes=5242878-5242883")
    assert await call(got["Body"].read) == BIG[5 * MiB - 2 : 5 * MiB] + OLD[:4]
    await call(front.s3.copy_object, Bucket="b", Key="copy", CopySource="b/joined")
    await call(front.s3.delete_objects, Bucket="b", Delete={"Objects": [{"Key": "k"}]})
    assert len(front.names()) == 2
    await front.assert_clean(dict.fromkeys(("joined", "copy"), BIG[: 5 * MiB] + OLD))


async def test_a_resumable_upload(front: Front) -> None:
    content = BIG[: 2 * MiB]
    path = await front.begin_resumable("k", len(content))
    assert (await front.send_part(path, 0, content[:1_500_000])).status_code == 204
    assert len(front.names()) == 2  # segments of a megabyte at most
    assert (await front.send_part(path, 1_500_000, content[1_500_000:])).status_code == 204
    assert len(front.names()) == 1
    await front.assert_clean({"k": content})


@pytest.mark.parametrize("kind", [500, "silent", "cut request", "cut answer", "lost answer"])
async def test_a_write_that_fails_leaves_what_was(front: Front, kind: int | str) -> None:
    await front.put("k", OLD)
    for way, pattern in (
        ("small", "^PUT .*/objects/"),
        ("large", "^PUT .*partNumber=1"),
        ("copy", "^PUT .*/objects/"),
    ):
        fault = front.line.break_for(kind, pattern)
        if way == "copy":
            answer = await front.copy("k", "c")
        else:
            answer = await front.put("k", BIG if way == "large" else NEW)
        assert (answer.status_code, answer.json()) == (500, FAILED)
        assert fault.met >= 1
    assert front.back.unfinished(front.tenant) == 0
    # What was done although nobody heard of it are bytes that no row names.
    assert len(front.names()) == (3 if kind in ("cut answer", "lost answer") else 1)
    await front.assert_clean({"k": OLD})
    assert (await front.put("k", NEW)).status_code == 200
    await front.assert_clean({"k": NEW})


@pytest.mark.parametrize("kind", [500, "lost answer"])
async def test_a_large_write_that_fails_on_its_way(front: Front, kind: int | str) -> None:
    await front.put("k", OLD)
    for step in ("^POST .*uploads=", "^PUT .*partNumber=2", "^POST .*uploadId="):
        front.line.break_for(kind, step)
        answer = await front.put("k", BIG)
        assert (answer.status_code, answer.json()) == (500, FAILED)
    assert len(front.names()) == (2 if kind == "lost answer" else 1)
    await front.assert_clean({"k": OLD})


async def test_a_bucket_that_is_missing_is_a_failure_of_ours(
    open_site: SiteMaker, back: Back, secrets: Secrets
) -> None:
    site: Site = await open_site(
        backend="s3",
        s3_endpoint=f"http://127.0.0.1:{back.port}/s3",
        s3_bucket="elsewhere",
        aws_access_key_id=secrets.s3_access_key_id,
        aws_secret_access_key=secrets.s3_access_key_secret,
    )
    await site.make_bucket()
    for content in (NEW, BIG):
        answer = await site.service.put("/object/b/k", content=content)
        assert (answer.status, answer.json()) == (500, FAILED)
    with pytest.raises(BlobsFailed):
        await site.storage.collector.collect_orphans(dry_run=False, grace_s=-1)


async def test_short_failures_are_not_noticed(front: Front) -> None:
    for kind in (503, "cut request", "lost answer"):
        fault = front.line.break_for(kind, "^PUT", times=1)
        assert (await front.put("k", BIG)).status_code == 200
        assert fault.met == 1
    for kind in (500, "cut answer", "lost answer"):
        fault = front.line.break_for(kind, "^GET", times=1)
        assert await front.read("k") == BIG
        assert fault.met == 1
    await front.assert_clean({"k": BIG})


@pytest.mark.parametrize("kind", [503, "silent"])
async def test_a_read_that_fails_says_so(front: Front, kind: int | str) -> None:
    await front.put("k", OLD)
    front.line.break_for(kind, "^GET")
    answer = await front.web.get("/object/b/k")
    assert (answer.status_code, answer.json()) == (500, FAILED)
    with pytest.raises(ClientError) as refused:
        await call(front.s3.get_object, Bucket="b", Key="k")
    assert refused.value.response["Error"]["Code"] == "InternalError"
    assert refused.value.response["ResponseMetadata"]["HTTPStatusCode"] == 500
    await front.assert_clean({"k": OLD})


async def test_a_read_that_breaks_off_never_looks_whole(front: Front) -> None:
    await front.put("k", BIG)
    front.line.break_for("cut answer", "^GET")
    with pytest.raises(httpx.RemoteProtocolError):
        await front.web.get("/object/b/k")
    await front.assert_clean({"k": BIG})


@pytest.mark.parametrize("kind", ["silent", "cut answer"])
async def test_removals_that_fail_cost_no_answer(front: Front, kind: int | str) -> None:
    await front.put("k", OLD)
    await front.put("gone", OLD)
    front.line.break_for(kind, r"^POST .*\?delete|^DELETE")
    assert (await front.put("k", NEW)).status_code == 200
    assert (await front.web.delete("/object/b/gone")).status_code == 200
    assert await front.read("k") == NEW
    assert [event.name for event in front.site.events].count("storage.blobs.left") == 2
    await front.assert_clean({"k": NEW})


@pytest.mark.parametrize("kind", [500, "lost answer"])
async def test_a_resumable_upload_goes_on_after_failures(front: Front, kind: int | str) -> None:
    content = BIG[: 2 * MiB]
    path = await front.begin_resumable("k", len(content))
    assert (await front.send_part(path, 0, content[:600_000])).status_code == 204
    # A segment that is not recorded does not count; neither does an object without its row.
    for area in ("growing", "objects"):
        front.line.break_for(kind, f"^PUT .*/{area}/")
        assert (await front.send_part(path, 600_000, content[600_000:])).status_code == 500
        front.line.mend()
        assert (await front.web.get("/object/b/k")).json()["code"] == "NoSuchKey"
        head = await front.web.head(path, headers=TUS)
        offset = int(head.headers["upload-offset"])
        assert offset in (600_000, 1_600_000)
        if area == "growing":
            assert offset == 600_000
    assert (await front.send_part(path, offset, content[offset:])).status_code == 204
    await front.assert_clean({"k": content})


@pytest.mark.parametrize("kind", [503, "lost answer"])
async def test_a_multipart_upload_goes_on_after_failures(front: Front, kind: int | str) -> None:
    named = {"Bucket": "b", "Key": "k"}
    named["UploadId"] = (await call(front.s3.create_multipart_upload, **named))["UploadId"]

    async def refused(function: Any, **arguments: Any) -> None:
        with pytest.raises(ClientError) as caught:
            await call(function, **named, **arguments)
        assert caught.value.response["Error"]["Code"] == "InternalError"
        front.line.mend()
        listed = await call(front.s3.list_objects_v2, Bucket="b")
        assert listed["KeyCount"] == 0

    front.line.break_for(kind, "^PUT .*/parts/")
    await refused(front.s3.upload_part, PartNumber=1, Body=OLD)
    assert "Parts" not in await call(front.s3.list_parts, **named)
    etag = (await call(front.s3.upload_part, **named, PartNumber=1, Body=OLD))["ETag"]
    parts = {"Parts": [{"PartNumber": 1, "ETag": etag}]}
    for pattern in ("^GET .*/parts/", "^PUT .*/objects/"):
        front.line.break_for(kind, pattern)
        await refused(front.s3.complete_multipart_upload, MultipartUpload=parts)
    await call(front.s3.complete_multipart_upload, **named, MultipartUpload=parts)
    await front.assert_clean({"k": OLD})


async def test_a_collector_that_fails_takes_nothing_that_lives(front: Front) -> None:
    await front.put("k", OLD)
    front.line.break_for("lost answer", "^PUT .*/objects/")
    await front.put("k", NEW)
    assert len(front.names()) == 2
    for pattern in (r"^GET .*list-type", r"^POST .*\?delete"):
        front.line.break_for(500, pattern)
        with pytest.raises(BlobsFailed):
            await front.site.storage.collector.collect_orphans(dry_run=False, grace_s=-1)
    await front.assert_clean({"k": OLD})
