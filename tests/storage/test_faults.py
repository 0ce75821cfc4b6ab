"""Nothing that was acknowledged is ever lost, nothing half-written is ever shown.

The service is killed, cut off, filled up and raced at every named point; afterwards every object
that was acknowledged is intact, and the collector finds exactly what belongs to nothing.
"""

import asyncio
import dataclasses
import errno
import hashlib
import json
import os
import subprocess
import sys
import tracemalloc
from base64 import b64encode
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
from tests.storage.conftest import Site, SiteMaker, make_token
from tests.support.postgres import FreshDatabase

from selfbase.http.headers import Headers
from selfbase.http.values import BodyIncomplete, FileBody, Request
from selfbase.identity.secrets import Secrets
from selfbase.storage.blobs import BlobsFailed
from selfbase.storage.faults import FaultPoint, Faults
from selfbase.storage.filebody import read_file_body
from selfbase.storage.rows import service_actor
from selfbase.storage.types import Upload

SERVER = Path(__file__).with_name("dying_server.py")
OLD, NEW = b"old " * 50_000, b"new " * 700_000


@pytest.fixture
def mortal(
    fresh_database: FreshDatabase, tmp_path: Path, secrets: Secrets
) -> Iterator["MortalServer"]:
    """Servers that die on cue, one after the other, on the same database and folder."""
    server = MortalServer(fresh_database, tmp_path, secrets)
    yield server
    server.stop()


class MortalServer:
    def __init__(self, database: FreshDatabase, folder: Path, secrets: Secrets) -> None:
        self._database, self._folder, self._secrets = database, folder, secrets
        self._process: subprocess.Popen[str] | None = None

    @asynccontextmanager
    async def running(self, point: FaultPoint | None = None) -> AsyncIterator[httpx.AsyncClient]:
        self.stop()
        root = Path(__file__).parents[2]
        arguments = [
            self._database.conninfo(),
            str(self._folder),
            point.value if point else "-",
            json.dumps(dataclasses.asdict(self._secrets)),
        ]
        self._process = subprocess.Popen(
            [sys.executable, str(SERVER), *arguments],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": f"{root / 'src'}:{root}"},
        )
        assert self._process.stdout is not None
        port = await asyncio.to_thread(self._process.stdout.readline)
        token = make_token(self._secrets, "service_role")
        async with httpx.AsyncClient(
            base_url=f"http://127.0.0.1:{int(port)}",
            headers={"authorization": f"Bearer {token}"},
            timeout=60,
        ) as client:
            yield client

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            assert self._process.stdout is not None
            self._process.stdout.close()


async def assert_clean(site: Site, expected: dict[str, bytes]) -> None:
    """The objects of bucket `b` are these and intact, and so are their bytes alone on disk, once the
    collector has taken what a dry run announced."""
    for name, content in expected.items():
        got = await site.service.get(f"/object/b/{name}")
        assert (got.status, hashlib.md5(got.body).digest()) == (200, hashlib.md5(content).digest())
    listed = (await site.service.post("/object/list-v2/b", json={})).json()["objects"]
    assert {item["name"] for item in listed} == set(expected)
    rows = {str(version) for (version,) in site.execute("select version from storage.objects")}
    announced = await site.storage.collector.collect_orphans(dry_run=True, grace_s=-1)
    uploads = site.execute("select id from _selfbase.resumable_uploads", "supabase_admin")
    unfinished = {str(upload_id) for (upload_id,) in uploads}
    growing = site.files("growing") | site.files("staging")
    orphans = {f"objects/{name}" for name in site.files("objects") - rows}
    assert set(announced.keys) == orphans | {f"growing/{name}" for name in growing - unfinished}
    collected = await site.storage.collector.collect_orphans(dry_run=False, grace_s=-1)
    assert (collected.orphans, collected.keys) == (announced.orphans, announced.keys)
    assert site.files("objects") == rows
    assert site.files("growing") <= unfinished


UPLOAD_POINTS = [
    FaultPoint.UPLOAD_ALLOWED,
    FaultPoint.BLOB_OPENED,
    FaultPoint.BLOB_PIECE_WRITTEN,
    FaultPoint.BLOB_WRITTEN,
    FaultPoint.BLOB_SYNCED,
    FaultPoint.BLOB_RENAMED,
    FaultPoint.BLOB_STORED,
    FaultPoint.ROW_COMMITTED,
    FaultPoint.OLD_VERSION_REMOVED,
]


@pytest.mark.parametrize("point", UPLOAD_POINTS, ids=lambda point: point.value)
async def test_killed_in_the_middle_of_a_replacing_upload(
    mortal: MortalServer, open_site: SiteMaker, point: FaultPoint
) -> None:
    site: Site = await open_site()
    await site.make_bucket()
    await site.service.post("/object/b/k", content=OLD)
    async with mortal.running(point) as client:
        with pytest.raises(httpx.TransportError):
            await client.put("/object/b/k", content=NEW)
    committed = point in (FaultPoint.ROW_COMMITTED, FaultPoint.OLD_VERSION_REMOVED)
    await assert_clean(site, {"k": NEW if committed else OLD})


@pytest.mark.parametrize(
    ("point", "method", "path", "body", "left"),
    [
        (FaultPoint.DELETE_COMMITTED, "DELETE", "/object/b/k", None, {}),
        (FaultPoint.DELETE_COMMITTED, "DELETE", "/object/b", {"prefixes": ["k"]}, {}),
        (
            FaultPoint.COPY_STORED,
            "POST",
            "/object/copy",
            {"bucketId": "b", "sourceKey": "k", "destinationKey": "c"},
            {"k": OLD},
        ),
        (
            FaultPoint.MOVE_COMMITTED,
            "POST",
            "/object/move",
            {"bucketId": "b", "sourceKey": "k", "destinationKey": "m"},
            {"m": OLD},
        ),
    ],
)
async def test_killed_in_the_middle_of_a_change(
    mortal: MortalServer,
    open_site: SiteMaker,
    point: FaultPoint,
    method: str,
    path: str,
    body: dict[str, object] | None,
    left: dict[str, bytes],
) -> None:
    site: Site = await open_site()
    await site.make_bucket()
    await site.service.post("/object/b/k", content=OLD)
    async with mortal.running(point) as client:
        with pytest.raises(httpx.TransportError):
            await client.request(method, path, json=body)
    await assert_clean(site, left)


RESUMABLE_POINTS = [
    FaultPoint.RESUMABLE_CREATED,
    FaultPoint.BLOB_PIECE_WRITTEN,
    FaultPoint.RESUMABLE_SEGMENT_STORED,
    FaultPoint.RESUMABLE_SEGMENT_RECORDED,
    FaultPoint.RESUMABLE_ASSEMBLED,
    FaultPoint.ROW_COMMITTED,
]


@pytest.mark.parametrize("point", RESUMABLE_POINTS, ids=lambda point: point.value)
async def test_a_resumable_upload_goes_on_after_a_kill(
    mortal: MortalServer, open_site: SiteMaker, point: FaultPoint
) -> None:
    site: Site = await open_site()
    await site.make_bucket()
    name, kind = b64encode(b"k").decode(), b64encode(b"text/plain").decode()
    tus = {"tus-resumable": "1.0.0", "x-upsert": "true"}
    announce = {
        **tus,
        "upload-length": str(len(NEW)),
        "upload-metadata": f"bucketName {b64encode(b'b').decode()},objectName {name},contentType {kind}",
    }
    part = {**tus, "content-type": "application/offset+octet-stream"}
    path = None
    async with mortal.running(point) as client:
        try:
            made = await client.post("/upload/resumable", headers=announce)
            path = httpx.URL(made.headers["location"]).path
            await client.patch(path, headers={**part, "upload-offset": "0"}, content=NEW)
        except httpx.TransportError:
            pass
    async with mortal.running() as client:
        if path is None:
            made = await client.post("/upload/resumable", headers=announce)
            path = httpx.URL(made.headers["location"]).path
        head = await client.head(path, headers=tus)
        offset = int(head.headers["upload-offset"])
        assert offset % 1_000_000 == 0 or offset == len(NEW)
        if offset == len(NEW):
            # Told that all has arrived: then the object is there.
            assert (await client.get("/object/b/k")).content == NEW
        else:
            sent = {**part, "upload-offset": str(offset)}
            done = await client.patch(path, headers=sent, content=NEW[offset:])
            assert done.status_code == 204, done.text
            assert done.headers["tus-complete"] == "1"
    await assert_clean(site, {"k": NEW})


class FailAt(Faults):
    """Raises at one point, as the system would."""

    def __init__(self, point: FaultPoint, error: BaseException) -> None:
        self._point, self._error = point, error

    def reach(self, point: FaultPoint) -> None:
        if point is self._point:
            raise self._error


@pytest.mark.parametrize(
    "point", [FaultPoint.BLOB_OPENED, FaultPoint.BLOB_PIECE_WRITTEN, FaultPoint.BLOB_SYNCED]
)
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO])
async def test_a_full_or_broken_disk_leaves_the_old_object(
    open_site: SiteMaker, point: FaultPoint, number: int
) -> None:
    sound: Site = await open_site()
    await sound.make_bucket()
    await sound.service.post("/object/b/k", content=OLD)
    broken: Site = await open_site(faults=FailAt(point, OSError(number, os.strerror(number))))
    answer = await broken.service.put("/object/b/k", content=NEW)
    assert answer.status == 500
    assert answer.json()["message"] == (
        "No space left to store the object" if number == errno.ENOSPC else "Internal Server Error"
    )
    assert broken.files("staging") == set()
    await assert_clean(sound, {"k": OLD})


class DatabaseGone(Faults):
    """Ends every connection of the service when the bytes are stored."""

    def __init__(self) -> None:
        self.site: Site | None = None

    def reach(self, point: FaultPoint) -> None:
        if point is FaultPoint.BLOB_STORED and self.site is not None:
            self.site.execute(
                "select pg_terminate_backend(pid) from pg_stat_activity"
                " where datname = current_database() and usename = 'authenticator'",
                "supabase_admin",
            )


async def test_the_database_goes_away_in_the_middle(open_site: SiteMaker) -> None:
    faults = DatabaseGone()
    site: Site = await open_site(faults=faults)
    await site.make_bucket()
    await site.service.post("/object/b/k", content=OLD)
    faults.site = site
    answer = await site.service.put("/object/b/k", content=NEW)
    faults.site = None
    if answer.status != 200:
        assert answer.json()["code"] == "DatabaseTimeout"
        await assert_clean(site, {"k": OLD})
    else:
        # The connection was found dead before anything was sent, and a new one opened.
        await assert_clean(site, {"k": NEW})


async def test_a_client_that_leaves_leaves_nothing(site: Site) -> None:
    class Torn:
        async def read(self, bytes_max: int) -> bytes:
            raise BodyIncomplete

        async def stream(self, bytes_max: int | None = None) -> AsyncIterator[bytes]:
            for _ in range(40):
                yield b"x" * 65536
            raise BodyIncomplete

    await site.make_bucket()
    headers = Headers([("authorization", site.service.headers["authorization"])])
    request = Request("POST", "/object/b/k", headers=headers, body=Torn())
    answer = await site.storage.answer(request)
    assert answer.status == 400
    assert site.files() | site.files("staging") == set()


async def test_of_two_uploads_at_once_one_wins_whole(site: Site) -> None:
    await site.make_bucket()
    contents = [bytes([number]) * 300_000 for number in range(8)]
    answers = await asyncio.gather(
        *(site.service.put("/object/b/k", content=content) for content in contents)
    )
    assert [answer.status for answer in answers] == [200] * 8
    winner = (await site.service.get("/object/b/k")).body
    assert winner in contents
    await assert_clean(site, {"k": winner})

    first = await asyncio.gather(
        *(site.service.post("/object/b/only", content=content) for content in contents)
    )
    assert sorted(answer.status for answer in first) == [200, *[400] * 7]
    assert {a.json()["code"] for a in first if a.status == 400} == {"KeyAlreadyExists"}
    stored = (await site.service.get("/object/b/only")).body
    assert stored == contents[[answer.status for answer in first].index(200)]
    await assert_clean(site, {"k": winner, "only": stored})


async def test_an_object_deleted_while_it_is_read_is_read_to_its_end(site: Site) -> None:
    await site.make_bucket()
    await site.service.post("/object/b/k", content=NEW)
    headers = Headers([("authorization", site.service.headers["authorization"])])
    response = await site.storage.answer(Request("GET", "/object/b/k", headers=headers))
    assert isinstance(response.body, FileBody)
    await site.service.delete("/object/b/k")
    assert site.files() == set()
    read = b"".join([piece async for piece in read_file_body(response.body)])
    assert read == NEW


async def test_readers_always_see_a_whole_version_while_writers_replace_it(site: Site) -> None:
    await site.make_bucket()
    versions = [bytes([number]) * (100_000 + number) for number in range(6)]
    await site.service.put("/object/b/k", content=versions[0])

    async def write() -> None:
        for content in versions:
            await site.service.put("/object/b/k", content=content)

    async def read() -> None:
        for _ in range(20):
            got = await site.service.get("/object/b/k")
            assert got.status == 200
            assert got.body in versions
            assert got.headers.get("etag") == f'"{hashlib.md5(got.body).hexdigest()}"'

    await asyncio.gather(write(), read(), read())


async def test_a_move_during_an_upload_keeps_both(site: Site) -> None:
    await site.make_bucket()
    await site.service.post("/object/b/k", content=OLD)
    move = {"bucketId": "b", "sourceKey": "k", "destinationKey": "m"}
    moved, put = await asyncio.gather(
        site.service.post("/object/move", json=move),
        site.service.put("/object/b/k", content=NEW),
    )
    assert (moved.status, put.status) == (200, 200)
    expected = {}
    for name in ("k", "m"):
        got = await site.service.get(f"/object/b/{name}")
        if got.status == 200:
            expected[name] = got.body
    # The upload came before the move and went with it, or after it and stands beside it.
    assert expected in ({"k": NEW, "m": OLD}, {"m": NEW})
    await assert_clean(site, expected)


async def test_the_collector_spares_what_is_young_and_what_is_live(site: Site) -> None:
    await site.make_bucket()
    await site.service.post("/object/b/k", content=OLD)
    orphan = await site.storage.context.objects.write(_pieces([b"orphan"]), 100)
    young = await site.storage.collector.collect_orphans(dry_run=False, grace_s=3600)
    assert (young.seen, young.orphans) == (2, 0)
    found = await site.storage.collector.collect_orphans(dry_run=False, grace_s=-1)
    assert found.keys == [f"objects/{orphan.version}"]
    assert found.orphan_bytes == 6
    await assert_clean(site, {"k": OLD})


async def test_a_blob_store_that_fails_costs_no_object(open_site: SiteMaker) -> None:
    site: Site = await open_site()
    await site.make_bucket()
    await site.service.post("/object/b/k", content=OLD)

    async def refuse(*_: object) -> None:
        raise BlobsFailed("503 Slow Down")

    site.storage.context.blobs.remove = refuse  # type: ignore[method-assign]  # the store is down
    answer = await site.service.put("/object/b/k", content=NEW)
    assert answer.status == 200
    assert (await site.service.delete("/object/b/k")).status == 200
    assert len(site.files()) == 2
    assert any(event.name == "storage.blobs.left" for event in site.events)
    other: Site = await open_site()
    await assert_clean(other, {})


async def _pieces(pieces: Iterable[bytes]) -> AsyncIterator[bytes]:
    for piece in pieces:
        yield piece


async def test_an_upload_of_many_pieces_needs_little_memory(open_site: SiteMaker) -> None:
    site: Site = await open_site(file_size_limit=1 << 30)
    await site.make_bucket()
    pieces = (b"x" * 65536 for _ in range(2000))
    objects = site.storage.context.objects
    tracemalloc.start()
    try:
        await objects.put(service_actor("test"), "b", "big", Upload(), _pieces(pieces))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 8 * 1024 * 1024
