"""Multipart uploads whose server dies on the way: nothing acknowledged is lost, nothing stays."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError, HTTPClientError
from tests.storage.conftest import Site, SiteMaker
from tests.storage.s3.conftest import call
from tests.storage.test_faults import MortalServer
from tests.support.postgres import FreshDatabase

from selfbase.identity.secrets import Secrets
from selfbase.storage.faults import FaultPoint

MiB = 1024 * 1024
FIRST, LAST = b"a" * 5 * MiB, b"z" * 1000


@pytest.fixture
def mortal(
    fresh_database: FreshDatabase, tmp_path: Path, secrets: Secrets
) -> Iterator[MortalServer]:
    server = MortalServer(fresh_database, tmp_path, secrets)
    yield server
    server.stop()


def connect(url: Any, secrets: Secrets) -> Any:
    return boto3.client(
        "s3",
        endpoint_url=f"{str(url).rstrip('/')}/s3",
        region_name="local",
        aws_access_key_id=secrets.s3_access_key_id,
        aws_secret_access_key=secrets.s3_access_key_secret,
        config=Config(retries={"max_attempts": 0}, read_timeout=60),
    )


async def upload(client: Any, upload_id: str) -> None:
    """Both parts, then the completion."""
    named = {"Bucket": "b", "Key": "k", "UploadId": upload_id}
    parts = []
    for number, body in ((1, FIRST), (2, LAST)):
        sent = await call(client.upload_part, **named, PartNumber=number, Body=body)
        parts.append({"PartNumber": number, "ETag": sent["ETag"]})
    await call(client.complete_multipart_upload, **named, MultipartUpload={"Parts": parts})


async def assert_tidy(site: Site, content: bytes) -> None:
    """The object is whole, and after a collection only what rows name is left on disk."""
    got = await site.service.get("/object/b/k")
    assert (got.status, got.body == content) == (200, True)
    await site.storage.collector.collect_orphans(dry_run=False, grace_s=-1)
    objects = site.execute("select version from storage.objects")
    parts = site.execute("select version from storage.s3_multipart_uploads_parts", "supabase_admin")
    assert site.files("objects") == {str(version) for (version,) in objects}
    kept = {name.rpartition("/")[2] for name in site.files("parts")}
    assert kept == {str(version) for (version,) in parts}


@pytest.mark.parametrize(
    "point",
    [
        FaultPoint.BLOB_PIECE_WRITTEN,
        FaultPoint.PART_STORED,
        FaultPoint.PART_RECORDED,
        FaultPoint.PARTS_JOINED,
        FaultPoint.ROW_COMMITTED,
        FaultPoint.PARTS_FORGOTTEN,
    ],
    ids=lambda point: point.value,
)
async def test_killed_in_the_middle_of_a_multipart_upload(
    mortal: MortalServer, open_site: SiteMaker, secrets: Secrets, point: FaultPoint
) -> None:
    site: Site = await open_site()
    await site.make_bucket()
    await site.service.post("/object/b/k", content=b"old")
    async with mortal.running(point) as web:
        client = connect(web.base_url, secrets)
        opened = await call(client.create_multipart_upload, Bucket="b", Key="k")
        with pytest.raises((HTTPClientError, ClientError)):
            await upload(client, opened["UploadId"])
    whole = FIRST + LAST
    committed = point in (FaultPoint.ROW_COMMITTED, FaultPoint.PARTS_FORGOTTEN)
    await assert_tidy(site, whole if committed else b"old")
    async with mortal.running() as web:
        client = connect(web.base_url, secrets)
        if point is FaultPoint.PARTS_FORGOTTEN:
            opened = await call(client.create_multipart_upload, Bucket="b", Key="k")
        await upload(client, opened["UploadId"])
    await assert_tidy(site, whole)
    assert site.files("parts") == set()
