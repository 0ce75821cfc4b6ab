"""Users' sessions and stored credentials: row level security decides over S3 as over REST."""

from __future__ import annotations

import time
from typing import Any

import httpx
import pytest
from botocore.exceptions import ClientError
from tests.storage.s3.conftest import USER, S3Server, call
from tests.storage.s3.test_boto3 import refused


@pytest.fixture
async def bucket(server: S3Server) -> str:
    """Users may do everything below a folder of their own, and nothing elsewhere."""
    name = await server.bucket()
    server.execute(
        f'create policy "own {name}" on storage.objects for all to authenticated'
        f" using (bucket_id = '{name}' and (storage.foldername(name))[1] = '{USER}')"
        f" with check (bucket_id = '{name}' and (storage.foldername(name))[1] = '{USER}')"
    )
    return name


async def test_users_have_their_own_folder(server: S3Server, bucket: str) -> None:
    user, service = server.session_client(), server.client()
    own = f"{USER}/file"
    await call(user.put_object, Bucket=bucket, Key=own, Body=b"mine")
    await call(service.put_object, Bucket=bucket, Key="secret", Body=b"theirs")
    assert (await call(user.get_object, Bucket=bucket, Key=own))["Body"].read() == b"mine"
    owner = server.execute(
        "select owner_id from storage.objects where bucket_id=%s and name=%s", bucket, own
    )
    assert owner == [(USER,)]
    listed = await call(user.list_objects_v2, Bucket=bucket)
    assert [item["Key"] for item in listed["Contents"]] == [own]
    assert (await refused(user.get_object, Bucket=bucket, Key="secret")) == (404, "NoSuchKey")
    denied = (403, "AccessDenied")
    assert await refused(user.put_object, Bucket=bucket, Key="new", Body=b"") == denied
    assert await refused(user.put_object, Bucket=bucket, Key="secret", Body=b"") == denied
    assert await refused(user.delete_object, Bucket=bucket, Key="secret") == denied
    source = {"Bucket": bucket, "Key": "secret"}
    stolen = await refused(user.copy_object, Bucket=bucket, Key=f"{USER}/c", CopySource=source)
    assert stolen == (404, "NoSuchKey")
    result = await call(
        user.delete_objects,
        Bucket=bucket,
        Delete={"Objects": [{"Key": own}, {"Key": "secret"}, {"Key": "none"}]},
    )
    assert [item["Key"] for item in result["Deleted"]] == [own, "none"]
    assert [(e["Key"], e["Code"]) for e in result["Errors"]] == [("secret", "AccessDenied")]
    assert (await call(service.head_object, Bucket=bucket, Key="secret"))["ContentLength"] == 6


async def test_multipart_asks_the_policies_each_time(server: S3Server, bucket: str) -> None:
    user, service = server.session_client(), server.client()
    denied = (403, "AccessDenied")
    assert await refused(user.create_multipart_upload, Bucket=bucket, Key="x") == denied
    opened = await call(service.create_multipart_upload, Bucket=bucket, Key="x")
    upload = {"Bucket": bucket, "Key": "x", "UploadId": opened["UploadId"]}
    part = await call(service.upload_part, **upload, PartNumber=1, Body=b"1")
    assert await refused(user.upload_part, **upload, PartNumber=1, Body=b"2") == denied
    parts = {"Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]}
    assert await refused(user.complete_multipart_upload, **upload, MultipartUpload=parts) == denied
    assert await refused(user.abort_multipart_upload, **upload) == denied
    assert await refused(user.list_parts, **upload) == denied
    other = {**upload, "Key": f"{USER}/x"}
    assert await refused(user.upload_part, **other, PartNumber=1, Body=b"") == (404, "NoSuchUpload")
    listed = await call(user.list_multipart_uploads, Bucket=bucket)
    assert "Uploads" not in listed
    assert server.execute(
        "select size from storage.s3_multipart_uploads_parts where upload_id=%s", upload["UploadId"]
    ) == [(1,)]


async def test_anonymous_sessions_see_nothing(server: S3Server, bucket: str) -> None:
    anon = server.session_client("anon", sub=None)
    listed = await call(anon.list_objects_v2, Bucket=bucket)
    assert "Contents" not in listed
    assert (await call(anon.list_buckets))["Buckets"] == []
    assert (await refused(anon.create_bucket, Bucket="new"))[0] == 403
    assert (await refused(anon.put_object, Bucket=bucket, Key="k", Body=b""))[0] == 403


async def test_tokens_that_do_not_hold(server: S3Server, bucket: str) -> None:
    expired = server.session_client(exp=int(time.time()) - 100)
    assert await refused(expired.list_buckets) == (400, "ExpiredToken")
    forged = server.client(
        aws_access_key_id="proj",
        aws_secret_access_key=server.project.secrets.anon_key,
        aws_session_token="eyJhbGciOiJub25lIn0.eyJyb2xlIjoic2VydmljZV9yb2xlIn0.",
    )
    assert await refused(forged.list_buckets) == (400, "InvalidToken")
    wrong = server.session_client()
    wrong._request_signer._credentials.secret_key = "wrong"
    assert (await refused(wrong.list_buckets))[1] == "SignatureDoesNotMatch"
    # The static pair with a token on top is nobody's.
    both = server.client(aws_session_token=server.project.secrets.service_role_key)
    assert (await refused(both.list_buckets))[1] == "InvalidAccessKeyId"


async def _admin(server: S3Server, method: str, path: str = "", **options: Any) -> httpx.Response:
    key = options.pop("key", server.project.secrets.service_role_key)
    async with httpx.AsyncClient() as web:
        return await web.request(
            method,
            f"{server.url}/admin/s3/credentials{path}",
            headers={"authorization": f"Bearer {key}"},
            **options,
        )


async def test_stored_credentials(server: S3Server, bucket: str) -> None:
    claims = {"role": "authenticated", "sub": USER}
    made = await _admin(server, "POST", json={"description": "backup", "claims": claims})
    assert made.status_code == 201
    pair = made.json()
    assert (len(pair["access_key"]), len(pair["secret_key"])) == (32, 64)
    client = server.client(
        aws_access_key_id=pair["access_key"], aws_secret_access_key=pair["secret_key"]
    )
    await call(client.put_object, Bucket=bucket, Key=f"{USER}/s", Body=b"x")
    assert await refused(client.put_object, Bucket=bucket, Key="s", Body=b"x") == (
        403,
        "AccessDenied",
    )
    listed = await _admin(server, "GET")
    assert pair["access_key"] in listed.text
    assert pair["secret_key"] not in listed.text
    stored = server.execute("select sealed_secret from _selfbase.s3_credentials")
    assert all(pair["secret_key"] not in row[0] for row in stored)
    assert (await _admin(server, "DELETE", f"/{pair['id']}")).status_code == 204
    with pytest.raises(ClientError, match="InvalidAccessKeyId"):
        await call(client.list_objects_v2, Bucket=bucket)
    assert (await _admin(server, "DELETE", f"/{pair['id']}")).status_code == 400


async def test_only_the_service_role_manages_credentials(server: S3Server) -> None:
    for key in (server.project.secrets.anon_key, "nonsense"):
        for method, path in (("GET", ""), ("POST", ""), ("DELETE", "/1")):
            answer = await _admin(server, method, path, key=key)
            assert answer.status_code in (400, 403)
            assert "access_key" not in answer.text
    for body in ({}, {"description": 1}, {"description": "x", "claims": {"role": "postgres"}}):
        assert (await _admin(server, "POST", json=body)).status_code == 400
    for role in ("anon", "authenticated"):
        rows = server.execute(
            "select has_table_privilege(%s, '_selfbase.s3_credentials', 'select')", role
        )
        assert rows == [(False,)]
