"""Storage with supabase-py and a tus client as they are, through the gateway, under users' policies."""

from __future__ import annotations

import hashlib
import os
import time
from io import BytesIO

import httpx
import psycopg
import pytest
from storage3.exceptions import StorageApiError
from supabase import Client, ClientOptions, create_client
from tests.support.installation import Installation
from tusclient.client import TusClient

BUCKET = "contract-files"


def client(todos: Installation, key: str) -> Client:
    values = todos.status()
    options = ClientOptions(auto_refresh_token=False, persist_session=False)
    return create_client(values["API_URL"], values[key], options)


@pytest.fixture(scope="module")
def admin(todos: Installation) -> Client:
    """The service role, and a bucket in which users own a folder each."""
    made = client(todos, "SERVICE_ROLE_KEY")
    made.storage.create_bucket(BUCKET, options={"public": False})
    with psycopg.connect(todos.status()["DB_URL"], autocommit=True) as connection:
        connection.execute(
            "create policy contract_own on storage.objects for all to authenticated"
            f" using (bucket_id = '{BUCKET}' and (storage.foldername(name))[1] = auth.uid()::text)"
        )
    return made


def sign_up(todos: Installation, name: str) -> tuple[Client, str]:
    made = client(todos, "PUBLISHABLE_KEY")
    email = f"{name}-{time.time_ns()}@example.com"
    answer = made.auth.sign_up({"email": email, "password": "correct horse battery"})
    assert answer.user is not None
    return made, answer.user.id


def test_a_file_goes_through_its_life(admin: Client) -> None:
    files = admin.storage.from_(BUCKET)
    files.upload("in/a.txt", b"hello", {"content-type": "text/plain", "cache-control": "60"})
    assert files.download("in/a.txt") == b"hello"
    with pytest.raises(StorageApiError) as refused:
        files.upload("in/a.txt", b"again")
    assert str(refused.value.status) == "409"
    files.update("in/a.txt", b"changed")
    assert [item["name"] for item in files.list("in")] == ["a.txt"]
    files.copy("in/a.txt", "in/b.txt")
    files.move("in/b.txt", "in/ü c.txt")
    url = files.create_signed_url("in/ü c.txt", 60)["signedURL"]
    assert httpx.get(url).content == b"changed"
    upload = files.create_signed_upload_url("in/d.txt")
    files.upload_to_signed_url("in/d.txt", upload["token"], b"signed")
    assert files.info("in/d.txt")["size"] == 6
    removed = files.remove(["in/a.txt", "in/ü c.txt", "in/d.txt"])
    assert len(removed) == 3


def test_users_reach_their_own_folder_only(todos: Installation, admin: Client) -> None:
    (alice, alice_id), (bob, _) = sign_up(todos, "alice"), sign_up(todos, "bob")
    alice.storage.from_(BUCKET).upload(f"{alice_id}/mine.txt", b"mine")
    assert alice.storage.from_(BUCKET).download(f"{alice_id}/mine.txt") == b"mine"
    for attempt in (
        lambda: bob.storage.from_(BUCKET).download(f"{alice_id}/mine.txt"),
        lambda: bob.storage.from_(BUCKET).upload(f"{alice_id}/his.txt", b"x"),
        lambda: bob.storage.from_(BUCKET).create_signed_url(f"{alice_id}/mine.txt", 9),
        lambda: client(todos, "PUBLISHABLE_KEY").storage.from_(BUCKET).upload("x", b"x"),
    ):
        with pytest.raises(StorageApiError):
            attempt()
    assert bob.storage.from_(BUCKET).list(alice_id) == []
    assert bob.storage.from_(BUCKET).remove([f"{alice_id}/mine.txt"]) == []
    assert alice.storage.from_(BUCKET).download(f"{alice_id}/mine.txt") == b"mine"


def test_a_tus_client_resumes_at_the_address_it_was_given(
    todos: Installation, admin: Client
) -> None:
    values = todos.status()
    content = os.urandom(700_000)
    headers = {"Authorization": f"Bearer {values['SERVICE_ROLE_KEY']}", "x-upsert": "true"}
    tus = TusClient(f"{values['API_URL']}/storage/v1/upload/resumable", headers=headers)
    metadata = {"bucketName": BUCKET, "objectName": "large.bin"}
    first = tus.uploader(file_stream=BytesIO(content), chunk_size=100_000, metadata=metadata)
    first.upload_chunk()
    assert first.url.startswith(f"{values['API_URL']}/storage/v1/upload/resumable/")
    second = tus.uploader(file_stream=BytesIO(content), chunk_size=250_000, url=first.url)
    assert second.offset == 100_000
    second.upload()
    got = admin.storage.from_(BUCKET).download("large.bin")
    assert hashlib.sha256(got).digest() == hashlib.sha256(content).digest()
