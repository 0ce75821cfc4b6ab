"""A CDN in front: it is asked to forget exactly what changed, and its failures stop nobody."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from tests.storage.conftest import ALICE, SiteMaker


class Cdn:
    """Stands for the service that purges; remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.authorizations: list[str | None] = []
        self.status = 200
        self.url = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        lines = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        headers = dict(line.lower().split(": ", 1) for line in lines[1:] if line)
        body = json.loads(await reader.readexactly(int(headers["content-length"])))
        self.authorizations.append(headers.get("authorization"))
        answer = f"HTTP/1.1 {self.status} x\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
        writer.write(answer.encode())
        await writer.drain()
        writer.close()
        await self.asked.put({"path": lines[0].split()[1], **body})


@pytest.fixture
async def cdn() -> AsyncIterator[Cdn]:
    made = Cdn()
    server = await asyncio.start_server(made.serve, "127.0.0.1", 0)
    made.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/cache"
    yield made
    server.close()


@pytest.mark.parametrize(
    ("path", "asked"),
    [
        ("/cdn", {"type": "tenant"}),
        ("/cdn/?transformations=true", {"type": "tenant-transforms"}),
        ("/cdn/b", {"type": "bucket", "bucketId": "b"}),
        ("/cdn/b?transformations=true", {"type": "bucket-transforms", "bucketId": "b"}),
        ("/cdn/b/x/y%20z", {"type": "object", "bucketId": "b", "objectName": "x/y z"}),
        (
            "/cdn/b/x?transformations=true",
            {"type": "object-transforms", "bucketId": "b", "objectName": "x"},
        ),
    ],
)
async def test_purges_what_the_route_names(
    open_site: SiteMaker, cdn: Cdn, path: str, asked: dict[str, Any]
) -> None:
    site = await open_site(cdn_purge_url=cdn.url)
    answer = await site.service.request("DELETE", path)
    assert (answer.status, answer.json()) == (200, {"message": "success"})
    expected = {"path": "/cache/purge", "tenant": {"ref": "test"}, **asked}
    assert cdn.asked.get_nowait() == expected
    assert cdn.authorizations == [None], "no key is set: no header"


async def test_only_the_service_purges_and_failures_show(open_site: SiteMaker, cdn: Cdn) -> None:
    site = await open_site(cdn_purge_url=cdn.url, cdn_purge_key="k")
    assert (await site.user(ALICE).request("DELETE", "/cdn")).status == 403
    cdn.status = 503
    answer = await site.service.request("DELETE", "/cdn")
    assert (answer.status, answer.json()["message"]) == (500, "Error purging cache")
    assert cdn.authorizations == ["bearer k"]


async def test_hiding_and_deleting_a_bucket_purge_it(open_site: SiteMaker, cdn: Cdn) -> None:
    """In the background: the bucket changes although the CDN fails."""
    site = await open_site(cdn_purge_url=cdn.url)
    cdn.status = 503
    await site.make_bucket("b", public=True)
    for change in ({"file_size_limit": 9}, {"public": True}, {"public": False}, {"public": False}):
        assert (await site.service.put("/bucket/b", json=change)).status == 200
    assert (await site.service.delete("/bucket/b")).status == 200
    purged = [await cdn.asked.get() for _ in range(2)]
    assert [(one["type"], one["bucketId"]) for one in purged] == [("bucket", "b")] * 2
    assert cdn.asked.empty()
