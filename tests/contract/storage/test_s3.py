"""The S3 protocol and image transformations through the gateway, as programs outside use them."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from typing import Any

import boto3
import httpx
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError
from supabase import create_client
from tests.support.installation import Installation


def png(width: int, height: int) -> bytes:
    """A grey picture, made without any library."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    rows = zlib.compress((b"\0" + b"\x80" * width) * height)
    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def png_size(data: bytes) -> tuple[int, int]:
    assert data.startswith(b"\x89PNG")
    width, height = struct.unpack(">II", data[16:24])
    return width, height


@pytest.fixture(scope="module")
def s3(todos: Installation) -> Any:
    values = todos.status()
    return boto3.client(
        "s3",
        endpoint_url=f"{values['API_URL']}/storage/v1/s3",
        region_name="local",
        aws_access_key_id=values["S3_PROTOCOL_ACCESS_KEY_ID"],
        aws_secret_access_key=values["S3_PROTOCOL_ACCESS_KEY_SECRET"],
        config=Config(signature_version="s3v4", retries={"max_attempts": 0}),
    )


@pytest.fixture(scope="module")
def bucket(s3: Any) -> Iterator[str]:
    name = "contract-s3"
    s3.create_bucket(Bucket=name, ACL="public-read")
    yield name
    for item in s3.list_objects_v2(Bucket=name).get("Contents", []):
        s3.delete_object(Bucket=name, Key=item["Key"])
    s3.delete_bucket(Bucket=name)


def test_s3_and_rest_see_the_same_objects(todos: Installation, s3: Any, bucket: str) -> None:
    values = todos.status()
    client = create_client(values["API_URL"], values["SECRET_KEY"])
    s3.put_object(Bucket=bucket, Key="a b/ü.txt", Body=b"over s3", ContentType="text/plain")
    assert client.storage.from_(bucket).download("a b/ü.txt") == b"over s3"
    client.storage.from_(bucket).upload("rest.txt", b"over rest")
    assert s3.get_object(Bucket=bucket, Key="rest.txt")["Body"].read() == b"over rest"
    listed = s3.list_objects_v2(Bucket=bucket, Delimiter="/")
    assert [item["Prefix"] for item in listed["CommonPrefixes"]] == ["a b/"]
    signed = s3.generate_presigned_url("get_object", {"Bucket": bucket, "Key": "a b/ü.txt"})
    assert httpx.get(signed).content == b"over s3"


def test_no_key_of_the_api_opens_s3(todos: Installation, bucket: str) -> None:
    values = todos.status()
    for key in (values["SECRET_KEY"], values["SERVICE_ROLE_KEY"], values["PUBLISHABLE_KEY"]):
        answer = httpx.get(
            f"{values['API_URL']}/storage/v1/s3/{bucket}",
            headers={"apikey": key, "authorization": f"Bearer {key}"},
        )
        assert answer.status_code == 403
        assert "<Code>AccessDenied</Code>" in answer.text


def test_wrong_secrets_are_refused(todos: Installation, s3: Any) -> None:
    values = todos.status()
    wrong = boto3.client(
        "s3",
        endpoint_url=f"{values['API_URL']}/storage/v1/s3",
        region_name="local",
        aws_access_key_id=values["S3_PROTOCOL_ACCESS_KEY_ID"],
        aws_secret_access_key="wrong",
    )
    with pytest.raises(ClientError, match="SignatureDoesNotMatch"):
        wrong.list_buckets()


def test_images_are_transformed(todos: Installation, bucket: str) -> None:
    values = todos.status()
    client = create_client(values["API_URL"], values["SECRET_KEY"])
    files = client.storage.from_(bucket)
    files.upload("p.png", png(300, 200), {"content-type": "image/png"})
    made = files.download("p.png", {"transform": {"width": 150, "height": 150}})
    assert png_size(made) == (150, 150)
    public = files.get_public_url("p.png", {"transform": {"width": 60}})
    answer = httpx.get(public, headers={"accept": "image/webp,*/*"})
    assert (answer.status_code, answer.headers["content-type"]) == (200, "image/webp")
    assert "accept" in answer.headers["vary"].lower()
    again = httpx.get(
        public, headers={"accept": "image/webp", "if-none-match": answer.headers["etag"]}
    )
    assert again.status_code == 304
    signed = files.create_signed_url("p.png", 60, {"transform": {"width": 30, "height": 20}})
    assert png_size(httpx.get(signed["signedURL"]).content) == (30, 20)


def test_processing_urls_need_keys(todos: Installation, bucket: str) -> None:
    url = f"{todos.status()['API_URL']}/images/v1/_/w:10/plain/storage:%2F%2Fcontract-s3/p.png"
    assert httpx.get(url).status_code == 403
