"""The S3 protocol as boto3 speaks it, every operation."""

from __future__ import annotations

import hashlib
import io
import zlib
from base64 import b64decode, b64encode
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from boto3.s3.transfer import TransferConfig
from botocore.config import Config
from botocore.exceptions import ClientError
from tests.storage.s3.conftest import S3Server, call

MiB = 1024 * 1024


async def refused(function: Any, **arguments: Any) -> tuple[int, str]:
    """Status and code of a call that must fail."""
    with pytest.raises(ClientError) as caught:
        await call(function, **arguments)
    response = caught.value.response
    return response["ResponseMetadata"]["HTTPStatusCode"], response["Error"]["Code"]


async def test_buckets(server: S3Server, s3: Any) -> None:
    name = server.name()
    made = await call(s3.create_bucket, Bucket=name, ACL="public-read")
    assert made["Location"] == f"/{name}"
    listed = await call(s3.list_buckets)
    assert name in [bucket["Name"] for bucket in listed["Buckets"]]
    head = await call(s3.head_bucket, Bucket=name)
    assert head["ResponseMetadata"]["HTTPHeaders"]["x-amz-bucket-region"] == "us-east-1"
    assert (await call(s3.get_bucket_location, Bucket=name))["LocationConstraint"] is None
    assert (await call(s3.get_bucket_versioning, Bucket=name))["Status"] == "Suspended"
    assert server.execute("select public from storage.buckets where id = %s", name) == [(True,)]
    assert await refused(s3.create_bucket, Bucket=name) == (409, "BucketAlreadyOwnedByYou")
    await call(s3.put_object, Bucket=name, Key="a", Body=b"a")
    assert await refused(s3.delete_bucket, Bucket=name) == (409, "BucketNotEmpty")
    await call(s3.delete_object, Bucket=name, Key="a")
    await call(s3.delete_bucket, Bucket=name)
    assert (await refused(s3.head_bucket, Bucket=name))[0] == 404
    assert await refused(s3.list_objects_v2, Bucket=name) == (404, "NoSuchBucket")
    assert await refused(s3.get_object, Bucket=name, Key="a") == (404, "NoSuchBucket")
    assert await refused(s3.put_object, Bucket=name, Key="a", Body=b"") == (404, "NoSuchBucket")


async def test_an_object_comes_back_as_it_went(server: S3Server, s3: Any) -> None:
    bucket = await server.bucket()
    body = b"hello \x00 world" * 1000
    sent = await call(
        s3.put_object,
        Bucket=bucket,
        Key="folder/a b+c.txt",
        Body=body,
        ContentType="text/html",
        CacheControl="max-age=7",
        ContentDisposition='attachment; filename="x"',
        ContentEncoding="identity",
        ContentLanguage="de",
        Metadata={"one": "1", "two": "zwei"},
    )
    assert sent["ETag"] == f'"{hashlib.md5(body).hexdigest()}"'
    assert sent["ChecksumCRC32"]
    got = await call(s3.get_object, Bucket=bucket, Key="folder/a b+c.txt")
    assert got["Body"].read() == body
    assert (got["ContentType"], got["CacheControl"]) == ("text/html", "max-age=7")
    assert (got["ContentDisposition"], got["ContentLanguage"]) == ('attachment; filename="x"', "de")
    assert got["ContentEncoding"] == "identity"
    assert got["Metadata"] == {"one": "1", "two": "zwei"}
    head = await call(s3.head_object, Bucket=bucket, Key="folder/a b+c.txt")
    assert (head["ContentLength"], head["ETag"]) == (len(body), sent["ETag"])
    assert (await call(s3.get_object_tagging, Bucket=bucket, Key="folder/a b+c.txt"))[
        "TagSet"
    ] == []
    row = server.execute(
        "select metadata->>'mimetype', user_metadata->>'two' from storage.objects where bucket_id=%s",
        bucket,
    )
    assert row == [("text/html", "zwei")]


@pytest.mark.parametrize("key", ["a//b", "ünïcødé/文件.txt", "a&b'd", "a?b é", "-._!$*(),;:@="])
async def test_keys_of_all_kinds(server: S3Server, s3: Any, key: str) -> None:
    bucket = await server.bucket()
    await call(s3.put_object, Bucket=bucket, Key=key, Body=key.encode())
    assert (await call(s3.get_object, Bucket=bucket, Key=key))["Body"].read() == key.encode()
    listed = await call(s3.list_objects_v2, Bucket=bucket)
    assert [item["Key"] for item in listed["Contents"]] == [key]
    await call(s3.copy_object, Bucket=bucket, Key="copy", CopySource={"Bucket": bucket, "Key": key})
    assert (await call(s3.get_object, Bucket=bucket, Key="copy"))["Body"].read() == key.encode()
    gone = await call(s3.delete_objects, Bucket=bucket, Delete={"Objects": [{"Key": key}]})
    assert [item["Key"] for item in gone["Deleted"]] == [key]


async def test_ranges_and_conditions(server: S3Server, s3: Any) -> None:
    bucket = await server.bucket()
    sent = await call(s3.put_object, Bucket=bucket, Key="k", Body=b"0123456789")
    for wanted, expected, shown in (
        ("bytes=2-4", b"234", "bytes 2-4/10"),
        ("bytes=7-", b"789", "bytes 7-9/10"),
        ("bytes=-3", b"789", "bytes 7-9/10"),
        ("bytes=5-99", b"56789", "bytes 5-9/10"),
    ):
        got = await call(s3.get_object, Bucket=bucket, Key="k", Range=wanted)
        assert (got["Body"].read(), got["ContentRange"]) == (expected, shown)
    beyond = await refused(s3.get_object, Bucket=bucket, Key="k", Range="bytes=10-")
    assert beyond == (416, "InvalidRange")
    etag = sent["ETag"]
    future = datetime.now(UTC) + timedelta(hours=1)
    past = datetime.now(UTC) - timedelta(hours=1)
    for condition, status in (
        ({"IfNoneMatch": etag}, 304),
        ({"IfModifiedSince": future}, 304),
        ({"IfMatch": '"x"'}, 412),
        ({"IfUnmodifiedSince": past}, 412),
    ):
        assert (await refused(s3.get_object, Bucket=bucket, Key="k", **condition))[0] == status
    assert (await call(s3.get_object, Bucket=bucket, Key="k", IfMatch=etag))["ETag"] == etag
    changed = await call(
        s3.get_object,
        Bucket=bucket,
        Key="k",
        ResponseContentType="text/x",
        ResponseCacheControl="no",
        ResponseContentLanguage="no\nheader",
    )
    assert "ContentLanguage" not in changed
    assert (changed["ContentType"], changed["CacheControl"]) == ("text/x", "no")


async def test_writing_only_what_is_new(server: S3Server, s3: Any) -> None:
    bucket = await server.bucket()
    await call(s3.put_object, Bucket=bucket, Key="k", Body=b"1", IfNoneMatch="*")
    again = await refused(s3.put_object, Bucket=bucket, Key="k", Body=b"2", IfNoneMatch="*")
    assert again == (412, "PreconditionFailed")
    assert (await call(s3.get_object, Bucket=bucket, Key="k"))["Body"].read() == b"1"
    other = await refused(s3.put_object, Bucket=bucket, Key="k", Body=b"2", IfMatch='"x"')
    assert other == (501, "NotImplemented")


async def test_listing(server: S3Server, s3: Any) -> None:
    bucket = await server.bucket()
    keys = ["a/1", "a/2", "b", "c/x/1", "c/y", "d e", "dé"]
    for key in keys:
        await call(s3.put_object, Bucket=bucket, Key=key, Body=b"x")
    pages = s3.get_paginator("list_objects_v2").paginate
    for size in (1, 2, 3, 100):
        flat = await call(
            lambda size=size: list(pages(Bucket=bucket, PaginationConfig={"PageSize": size}))
        )
        assert [item["Key"] for page in flat for item in page.get("Contents", [])] == keys
        nested = await call(
            lambda size=size: list(
                pages(Bucket=bucket, Delimiter="/", PaginationConfig={"PageSize": size})
            )
        )
        assert [i["Key"] for p in nested for i in p.get("Contents", [])] == ["b", "d e", "dé"]
        assert [i["Prefix"] for p in nested for i in p.get("CommonPrefixes", [])] == ["a/", "c/"]
        assert all(page["KeyCount"] <= size for page in nested)
    below = await call(s3.list_objects_v2, Bucket=bucket, Prefix="c/", Delimiter="/")
    assert [item["Prefix"] for item in below["CommonPrefixes"]] == ["c/x/"]
    assert [item["Key"] for item in below["Contents"]] == ["c/y"]
    after = await call(s3.list_objects_v2, Bucket=bucket, StartAfter="c/y")
    assert [item["Key"] for item in after["Contents"]] == ["d e", "dé"]
    old = s3.get_paginator("list_objects").paginate
    v1 = await call(
        lambda: list(old(Bucket=bucket, Delimiter="/", PaginationConfig={"PageSize": 1}))
    )
    assert [i["Prefix"] for p in v1 for i in p.get("CommonPrefixes", [])] == ["a/", "c/"]
    assert [i["Key"] for p in v1 for i in p.get("Contents", [])] == ["b", "d e", "dé"]
    flat_v1 = await call(lambda: list(old(Bucket=bucket, PaginationConfig={"PageSize": 3})))
    assert [i["Key"] for p in flat_v1 for i in p.get("Contents", [])] == keys
    wrong = await refused(s3.list_objects_v2, Bucket=bucket, ContinuationToken="nonsense")
    assert wrong == (400, "InvalidArgument")


async def test_every_object_is_its_only_version(server: S3Server, s3: Any) -> None:
    bucket = await server.bucket()
    for key in ("a", "b/c", "d"):
        await call(s3.put_object, Bucket=bucket, Key=key, Body=b"x")
    pages = s3.get_paginator("list_object_versions").paginate
    seen = await call(lambda: list(pages(Bucket=bucket, PaginationConfig={"PageSize": 1})))
    versions = [(v["Key"], v["VersionId"]) for page in seen for v in page.get("Versions", [])]
    assert versions == [("a", "null"), ("b/c", "null"), ("d", "null")]
    await call(s3.head_object, Bucket=bucket, Key="a", VersionId="null")
    gone = [{"Key": key, "VersionId": version} for key, version in versions]
    await call(s3.delete_objects, Bucket=bucket, Delete={"Objects": gone})
    assert "Versions" not in await call(s3.list_object_versions, Bucket=bucket)


async def test_deleting(server: S3Server, s3: Any) -> None:
    bucket = await server.bucket()
    for key in ("a", "b", "c"):
        await call(s3.put_object, Bucket=bucket, Key=key, Body=b"x")
    done = await call(s3.delete_object, Bucket=bucket, Key="never")
    assert done["ResponseMetadata"]["HTTPStatusCode"] == 204
    result = await call(
        s3.delete_objects, Bucket=bucket, Delete={"Objects": [{"Key": k} for k in ("a", "b", "zz")]}
    )
    assert [item["Key"] for item in result["Deleted"]] == ["a", "b", "zz"]
    quiet = await call(
        s3.delete_objects, Bucket=bucket, Delete={"Objects": [{"Key": "c"}], "Quiet": True}
    )
    assert "Deleted" not in quiet
    assert "Contents" not in await call(s3.list_objects_v2, Bucket=bucket)


async def test_copying(server: S3Server, s3: Any) -> None:
    bucket, other = await server.bucket(), await server.bucket()
    sent = await call(
        s3.put_object,
        Bucket=bucket,
        Key="from",
        Body=b"copy me",
        ContentType="text/plain",
        Metadata={"a": "1"},
    )
    source = {"Bucket": bucket, "Key": "from"}
    made = await call(s3.copy_object, Bucket=other, Key="to", CopySource=source)
    assert made["CopyObjectResult"]["ETag"] == sent["ETag"]
    got = await call(s3.get_object, Bucket=other, Key="to")
    assert (got["Body"].read(), got["Metadata"]) == (b"copy me", {"a": "1"})
    await call(
        s3.copy_object,
        Bucket=bucket,
        Key="from",
        CopySource=source,
        MetadataDirective="REPLACE",
        ContentType="text/css",
        Metadata={"b": "2"},
    )
    head = await call(s3.head_object, Bucket=bucket, Key="from")
    assert (head["ContentType"], head["Metadata"]) == ("text/css", {"b": "2"})
    itself = await refused(s3.copy_object, Bucket=bucket, Key="from", CopySource=source)
    assert itself == (400, "InvalidRequest")
    none = {"Bucket": bucket, "Key": "none"}
    assert (await refused(s3.copy_object, Bucket=bucket, Key="x", CopySource=none)) == (
        404,
        "NoSuchKey",
    )
    stale = await refused(
        s3.copy_object, Bucket=bucket, Key="x", CopySource=source, CopySourceIfMatch='"x"'
    )
    assert stale == (412, "PreconditionFailed")


async def test_multipart(server: S3Server, s3: Any) -> None:
    bucket = await server.bucket()
    opened = await call(
        s3.create_multipart_upload,
        Bucket=bucket,
        Key="big",
        ContentType="image/x",
        CacheControl="max-age=5",
        ContentDisposition="inline",
        Metadata={"m": "1"},
    )
    upload = {"Bucket": bucket, "Key": "big", "UploadId": opened["UploadId"]}
    bodies = [b"a" * 5 * MiB, b"b" * 5 * MiB, b"c" * 100]
    etags = []
    for number in (3, 1, 2):
        part = await call(s3.upload_part, **upload, PartNumber=number, Body=bodies[number - 1])
        etags.append({"ETag": part["ETag"], "PartNumber": number})
    etags.sort(key=lambda item: item["PartNumber"])
    replaced = await call(s3.upload_part, **upload, PartNumber=3, Body=b"d" * 50)
    listed = await call(s3.list_parts, **upload, MaxParts=2)
    assert [part["PartNumber"] for part in listed["Parts"]] == [1, 2]
    assert listed["IsTruncated"]
    rest = await call(s3.list_parts, **upload, PartNumberMarker=listed["NextPartNumberMarker"])
    assert [(p["PartNumber"], p["Size"]) for p in rest["Parts"]] == [(3, 50)]
    stale = await refused(s3.complete_multipart_upload, **upload, MultipartUpload={"Parts": etags})
    assert stale == (400, "InvalidPart")
    etags[2]["ETag"] = replaced["ETag"]
    order = await refused(
        s3.complete_multipart_upload, **upload, MultipartUpload={"Parts": etags[::-1]}
    )
    assert order == (400, "InvalidPartOrder")
    done = await call(s3.complete_multipart_upload, **upload, MultipartUpload={"Parts": etags})
    digests = [hashlib.md5(body).digest() for body in (*bodies[:2], b"d" * 50)]
    assert done["ETag"] == f'"{hashlib.md5(b"".join(digests)).hexdigest()}-3"'
    got = await call(s3.get_object, Bucket=bucket, Key="big")
    assert await call(got["Body"].read) == bodies[0] + bodies[1] + b"d" * 50
    assert (got["ContentType"], got["CacheControl"]) == ("image/x", "max-age=5")
    assert (got["ContentDisposition"], got["Metadata"]) == ("inline", {"m": "1"})
    assert await refused(s3.list_parts, **upload) == (404, "NoSuchUpload")
    assert server.blobs("parts") == []


async def test_uploads_at_rest_for_long_are_aborted(server: S3Server, s3: Any) -> None:
    bucket = await server.bucket()
    uploads = []
    for key in ("old", "active"):
        opened = await call(s3.create_multipart_upload, Bucket=bucket, Key=key)
        uploads.append({"Bucket": bucket, "Key": key, "UploadId": opened["UploadId"]})
        await call(s3.upload_part, **uploads[-1], PartNumber=1, Body=b"x")
    past = "now() - interval '8 days'"
    server.execute(f"update storage.s3_multipart_uploads set created_at = {past}")
    server.execute(
        f"update storage.s3_multipart_uploads_parts set created_at = {past} where key = 'old'"
    )
    before = len(server.blobs("parts"))
    await server.storage.collector.collect_orphans(dry_run=False, grace_s=0)
    assert len(server.blobs("parts")) == before - 1
    assert await refused(s3.list_parts, **uploads[0]) == (404, "NoSuchUpload")
    assert len((await call(s3.list_parts, **uploads[1]))["Parts"]) == 1
    await call(s3.abort_multipart_upload, **uploads[1])


async def test_a_completion_keeps_its_conditions(server: S3Server, s3: Any) -> None:
    bucket = await server.bucket()
    opened = await call(s3.create_multipart_upload, Bucket=bucket, Key="k")
    upload = {"Bucket": bucket, "Key": "k", "UploadId": opened["UploadId"]}
    part = await call(s3.upload_part, **upload, PartNumber=1, Body=b"whole")
    upload["MultipartUpload"] = {"Parts": [{"ETag": part["ETag"], "PartNumber": 1}]}
    complete = s3.complete_multipart_upload
    wrong = "AAAAAA=="
    objects = len(server.blobs("objects"))
    bad = await refused(complete, **upload, ChecksumCRC32=wrong, ChecksumType="FULL_OBJECT")
    assert bad == (400, "BadDigest")
    assert (await refused(complete, **upload, MpuObjectSize=4))[1] == "InvalidRequest"
    await call(s3.put_object, Bucket=bucket, Key="k", Body=b"first")
    taken = await refused(complete, **upload, IfNoneMatch="*")
    assert taken == (412, "PreconditionFailed")
    assert (await refused(complete, **upload, IfMatch='"x"'))[0] == 501
    assert (await refused(s3.delete_object, Bucket=bucket, Key="k", IfMatch='"x"'))[0] == 501
    assert (await call(s3.get_object, Bucket=bucket, Key="k"))["Body"].read() == b"first"
    assert len(server.blobs("objects")) == objects + 1
    right = b64encode(zlib.crc32(b"whole").to_bytes(4, "big")).decode()
    await call(complete, **upload, ChecksumCRC32=right, ChecksumType="FULL_OBJECT", MpuObjectSize=5)
    assert (await call(s3.get_object, Bucket=bucket, Key="k"))["Body"].read() == b"whole"


async def test_parts_must_be_large_enough(server: S3Server, s3: Any) -> None:
    bucket = await server.bucket()
    opened = await call(s3.create_multipart_upload, Bucket=bucket, Key="k")
    upload = {"Bucket": bucket, "Key": "k", "UploadId": opened["UploadId"]}
    parts = []
    for number in (1, 2):
        part = await call(s3.upload_part, **upload, PartNumber=number, Body=b"small")
        parts.append({"ETag": part["ETag"], "PartNumber": number})
    small = await refused(s3.complete_multipart_upload, **upload, MultipartUpload={"Parts": parts})
    assert small == (400, "EntityTooSmall")
    for number in (0, 10_001):
        wrong = await refused(s3.upload_part, **upload, PartNumber=number, Body=b"x")
        assert wrong == (400, "InvalidArgument")
    await call(s3.abort_multipart_upload, **upload)
    assert await refused(s3.abort_multipart_upload, **upload) == (404, "NoSuchUpload")
    assert await refused(s3.upload_part, **upload, PartNumber=1, Body=b"x") == (404, "NoSuchUpload")
    assert server.blobs("parts") == []


async def test_parts_made_of_objects(server: S3Server, s3: Any) -> None:
    bucket = await server.bucket()
    await call(s3.put_object, Bucket=bucket, Key="from", Body=b"0123456789")
    opened = await call(s3.create_multipart_upload, Bucket=bucket, Key="to")
    upload = {"Bucket": bucket, "Key": "to", "UploadId": opened["UploadId"]}
    source = {"Bucket": bucket, "Key": "from"}
    for wrong in ("bytes=-5", "bytes=5-", "bytes=9-20", "bytes=4-2", "2-4"):
        answer = await refused(
            s3.upload_part_copy, **upload, PartNumber=1, CopySource=source, CopySourceRange=wrong
        )
        assert answer == (400, "InvalidArgument")
    part = await call(
        s3.upload_part_copy, **upload, PartNumber=1, CopySource=source, CopySourceRange="bytes=2-5"
    )
    parts = [{"ETag": part["CopyPartResult"]["ETag"], "PartNumber": 1}]
    await call(s3.complete_multipart_upload, **upload, MultipartUpload={"Parts": parts})
    assert (await call(s3.get_object, Bucket=bucket, Key="to"))["Body"].read() == b"2345"


async def test_unfinished_uploads_are_listed(server: S3Server, s3: Any) -> None:
    bucket = await server.bucket()
    keys = ["a/1", "a/2", "b", "b", "c/1"]
    opened = [
        (await call(s3.create_multipart_upload, Bucket=bucket, Key=k))["UploadId"] for k in keys
    ]
    pages = s3.get_paginator("list_multipart_uploads").paginate
    for size in (1, 2, 10):
        seen = await call(
            lambda size=size: list(pages(Bucket=bucket, PaginationConfig={"PageSize": size}))
        )
        found = [(u["Key"], u["UploadId"]) for page in seen for u in page.get("Uploads", [])]
        assert found == sorted(zip(keys, opened, strict=True))
        nested = await call(
            lambda size=size: list(
                pages(Bucket=bucket, Delimiter="/", PaginationConfig={"PageSize": size})
            )
        )
        assert [u["Key"] for page in nested for u in page.get("Uploads", [])] == ["b", "b"]
        prefixes = [p["Prefix"] for page in nested for p in page.get("CommonPrefixes", [])]
        assert prefixes == ["a/", "c/"]


async def test_the_transfer_manager(server: S3Server, s3: Any) -> None:
    """Large files in parallel parts, both ways, and copies by part."""
    bucket = await server.bucket()
    data = bytes(range(256)) * (4 * 13 * 1024)
    config = TransferConfig(multipart_threshold=5 * MiB, multipart_chunksize=5 * MiB)
    await call(s3.upload_fileobj, Fileobj=io.BytesIO(data), Bucket=bucket, Key="k", Config=config)
    back = io.BytesIO()
    await call(s3.download_fileobj, Bucket=bucket, Key="k", Fileobj=back, Config=config)
    assert back.getvalue() == data
    await call(
        s3.copy, CopySource={"Bucket": bucket, "Key": "k"}, Bucket=bucket, Key="c", Config=config
    )
    copied = await call(s3.get_object, Bucket=bucket, Key="c")
    assert await call(copied["Body"].read) == data


@pytest.mark.parametrize("algorithm", ["CRC32", "CRC32C", "CRC64NVME", "SHA1", "SHA256"])
async def test_checksums(server: S3Server, s3: Any, algorithm: str) -> None:
    bucket = await server.bucket()
    sent = await call(
        s3.put_object, Bucket=bucket, Key="k", Body=b"abc" * 1000, ChecksumAlgorithm=algorithm
    )
    assert sent[f"Checksum{algorithm}"]
    streamed = await call(
        s3.put_object,
        Bucket=bucket,
        Key="s",
        Body=io.BytesIO(b"abc" * 1000),
        ChecksumAlgorithm=algorithm,
    )
    assert streamed[f"Checksum{algorithm}"] == sent[f"Checksum{algorithm}"]
    wrong = {f"Checksum{algorithm}": sent[f"Checksum{algorithm}"]}
    assert (await refused(s3.put_object, Bucket=bucket, Key="w", Body=b"other", **wrong)) == (
        400,
        "BadDigest",
    )
    assert (await refused(s3.head_object, Bucket=bucket, Key="w"))[0] == 404


async def test_presigned_urls(server: S3Server, s3: Any) -> None:
    bucket = await server.bucket()
    signed = server.client(config=Config(signature_version="s3v4"))
    put = signed.generate_presigned_url(
        "put_object",
        {"Bucket": bucket, "Key": "a b", "ContentType": "text/x", "Metadata": {"m": "1"}},
    )
    get = signed.generate_presigned_url(
        "get_object", {"Bucket": bucket, "Key": "a b"}, ExpiresIn=60
    )
    async with httpx.AsyncClient() as web:
        sent = await web.put(
            put, content=b"presigned", headers={"content-type": "text/x", "x-amz-meta-m": "1"}
        )
        assert sent.status_code == 200, sent.text
        # A proxy's own Authorization header does not disturb.
        got = await web.get(get, headers={"authorization": "Bearer something"})
        assert (got.content, got.headers["content-type"]) == (b"presigned", "text/x")
        assert (await web.get(get.replace("a%20b", "a%20c"))).status_code == 403
        assert (await web.put(get, content=b"x")).status_code == 403
        assert (await web.get(get + "&response-content-type=text/html")).status_code == 403
        assert (await web.get(get + "&X-Amz-Expires=600000")).status_code == 400


async def test_post_forms(server: S3Server) -> None:
    bucket = await server.bucket()
    s3 = server.client(config=Config(signature_version="s3v4"))
    fields = {"Content-Type": "text/x", "x-amz-meta-m": "1", "success_action_status": "201"}
    form = s3.generate_presigned_post(
        bucket,
        "dir/form",
        Fields=fields,
        Conditions=[*({k: v} for k, v in fields.items()), ["content-length-range", 1, 10]],
    )
    async with httpx.AsyncClient() as web:

        async def post(content: bytes, **changes: str) -> httpx.Response:
            data = {**form["fields"], **changes}
            return await web.post(form["url"], data=data, files={"file": ("f", content, "text/x")})

        made = await post(b"formed")
        assert made.status_code == 201, made.text
        assert "<Key>dir/form</Key>" in made.text
        got = await call(s3.get_object, Bucket=bucket, Key="dir/form")
        assert (got["Body"].read(), got["ContentType"], got["Metadata"]) == (
            b"formed",
            "text/x",
            {"m": "1"},
        )
        assert (await post(b"x" * 11)).status_code == 400
        assert (await post(b"")).status_code == 400
        assert (await post(b"x", key="other")).status_code == 403
        assert (await post(b"x", acl="public-read")).status_code == 403
        assert (await post(b"x", **{"Content-Type": "text/html"})).status_code == 403
        assert (await post(b"x", **{"x-amz-signature": "0" * 64})).status_code == 403
        wider = b64encode(b64decode(form["fields"]["policy"]).replace(b"1, 10]", b"1, 99]"))
        assert (await post(b"x", policy=wider.decode())).status_code == 403
        other = await server.bucket()
        moved = await web.post(
            form["url"].replace(bucket, other),
            data=form["fields"],
            files={"file": ("f", b"x", "text/x")},
        )
        assert moved.status_code == 403
    expired = s3.generate_presigned_post(bucket, "k", ExpiresIn=-5)
    async with httpx.AsyncClient() as web:
        late = await web.post(expired["url"], data=expired["fields"], files={"file": ("f", b"x")})
        assert late.status_code == 403


async def test_nothing_falls_through_to_another_operation(server: S3Server, s3: Any) -> None:
    bucket = await server.bucket()
    await call(s3.put_object, Bucket=bucket, Key="k", Body=b"kept")
    tags = {"TagSet": [{"Key": "a", "Value": "b"}]}
    for function, arguments in (
        (s3.put_object_tagging, {"Key": "k", "Tagging": tags}),
        (s3.delete_object_tagging, {"Key": "k"}),
        (s3.put_object_acl, {"Key": "k", "ACL": "private"}),
        (s3.get_object_acl, {"Key": "k"}),
        (s3.get_object, {"Key": "k", "VersionId": "1"}),
        (s3.delete_object, {"Key": "k", "VersionId": "1"}),
        (s3.get_object_attributes, {"Key": "k", "ObjectAttributes": ["ETag"]}),
        (s3.get_bucket_acl, {}),
        (s3.get_bucket_policy, {}),
        (s3.delete_bucket_policy, {}),
        (s3.get_bucket_cors, {}),
        (s3.put_bucket_tagging, {"Tagging": tags}),
        (s3.get_bucket_lifecycle_configuration, {}),
    ):
        assert await refused(function, Bucket=bucket, **arguments) == (501, "NotImplemented")
    assert (await call(s3.get_object, Bucket=bucket, Key="k"))["Body"].read() == b"kept"


async def test_limits_of_the_bucket(server: S3Server, s3: Any) -> None:
    bucket = await server.bucket()
    server.execute(
        "update storage.buckets set file_size_limit=100, allowed_mime_types='{text/*}' where id=%s",
        bucket,
    )
    large = await refused(
        s3.put_object, Bucket=bucket, Key="k", Body=b"x" * 101, ContentType="text/a"
    )
    assert large == (400, "EntityTooLarge")
    kind = await refused(s3.put_object, Bucket=bucket, Key="k", Body=b"x", ContentType="image/a")
    assert kind == (415, "InvalidMimeType")
    opened = await call(s3.create_multipart_upload, Bucket=bucket, Key="k", ContentType="text/a")
    upload = {"Bucket": bucket, "Key": "k", "UploadId": opened["UploadId"]}
    await call(s3.upload_part, **upload, PartNumber=1, Body=b"x" * 60)
    over = await refused(s3.upload_part, **upload, PartNumber=2, Body=b"x" * 60)
    assert over == (400, "EntityTooLarge")
    await call(s3.upload_part, **upload, PartNumber=1, Body=b"x" * 90)
    size = server.execute(
        "select in_progress_size from storage.s3_multipart_uploads where id=%s", opened["UploadId"]
    )
    assert size == [(90,)]


async def test_folders(server: S3Server, s3: Any) -> None:
    bucket = await server.bucket()
    await call(s3.put_object, Bucket=bucket, Key="folder/", Body=b"")
    listed = await call(s3.list_objects_v2, Bucket=bucket)
    assert [item["Key"] for item in listed["Contents"]] == ["folder/.emptyFolderPlaceholder"]


async def test_user_metadata_that_is_no_header(server: S3Server, s3: Any) -> None:
    bucket = await server.bucket()
    await call(s3.put_object, Bucket=bucket, Key="k", Body=b"")
    server.execute(
        'update storage.objects set user_metadata=\'{"a":1,"b":"é","c":"x"}\' where bucket_id=%s',
        bucket,
    )
    head = await call(s3.head_object, Bucket=bucket, Key="k")
    assert (head["Metadata"], head["MissingMeta"]) == ({"c": "x"}, 2)


async def test_errors_as_json_for_those_who_refuse_xml(server: S3Server) -> None:
    async with httpx.AsyncClient() as web:
        xml = await web.get(f"{server.endpoint}/b/{quote('k<>&')}")
        assert (xml.status_code, xml.headers["content-type"]) == (403, "application/xml")
        assert "<Code>AccessDenied</Code>" in xml.text
        assert "<Resource>/b/" in xml.text
        json = await web.get(f"{server.endpoint}/b/k", headers={"accept": "application/json"})
        assert json.json()["Error"]["Code"] == "AccessDenied"
