"""Every operation is decided by users' policies: who may do what, told by the tables' owner in SQL."""

from base64 import b64encode
from collections.abc import Awaitable, Callable

import psycopg
import pytest
from tests.storage.conftest import ALICE, BOB, Site

from selfbase.http.testing import Answer, Client

OWN_FOLDER = """
create policy own_{verb} on storage.objects for {verb} to authenticated
{clause} (bucket_id = 'b' and (storage.foldername(name))[1] = auth.uid()::text)
"""
Operation = Callable[[Client], Awaitable[Answer]]
PATH = f"/object/b/{ALICE}/f"


def put(client: Client) -> Awaitable[Answer]:
    return client.post(f"/object/b/{ALICE}/new", content=b"x")


def replace(client: Client) -> Awaitable[Answer]:
    return client.put(PATH, content=b"y")


def download(client: Client) -> Awaitable[Answer]:
    return client.get(PATH)


def download_authenticated(client: Client) -> Awaitable[Answer]:
    return client.get(PATH.replace("/object/", "/object/authenticated/"))


def head(client: Client) -> Awaitable[Answer]:
    return client.request("HEAD", PATH)


def info(client: Client) -> Awaitable[Answer]:
    return client.get(PATH.replace("/object/", "/object/info/"))


def sign(client: Client) -> Awaitable[Answer]:
    return client.post(PATH.replace("/object/", "/object/sign/"), json={"expiresIn": 9})


def sign_upload(client: Client) -> Awaitable[Answer]:
    return client.post(f"/object/upload/sign/b/{ALICE}/signed", json={})


def copy(client: Client) -> Awaitable[Answer]:
    return client.post(
        "/object/copy",
        json={"bucketId": "b", "sourceKey": f"{ALICE}/f", "destinationKey": f"{ALICE}/copy"},
    )


def move(client: Client) -> Awaitable[Answer]:
    return client.post(
        "/object/move",
        json={"bucketId": "b", "sourceKey": f"{ALICE}/f", "destinationKey": f"{ALICE}/moved"},
    )


def delete(client: Client) -> Awaitable[Answer]:
    return client.delete(PATH)


# Operation, the policies it needs, and how it is refused.
MATRIX: list[tuple[Operation, str, str]] = [
    (put, "insert", "AccessDenied"),
    (replace, "insert select update", "AccessDenied"),
    (download, "select", "NoSuchKey"),
    (download_authenticated, "select", "NoSuchKey"),
    (head, "select", ""),
    (info, "select", "NoSuchKey"),
    (sign, "select", "NoSuchKey"),
    (sign_upload, "insert", "AccessDenied"),
    (copy, "select insert", "NoSuchKey"),
    (move, "select update", "NoSuchKey"),
    (delete, "delete select", "AccessDenied"),
]


def allow(site: Site, verbs: str) -> None:
    for verb in verbs.split():
        clause = "with check" if verb == "insert" else "using"
        site.execute(OWN_FOLDER.format(verb=verb, clause=clause))


@pytest.mark.parametrize(("operation", "needed", "refused"), MATRIX, ids=lambda value: str(value))
async def test_an_operation_needs_its_policies_and_no_more(
    site: Site, operation: Operation, needed: str, refused: str
) -> None:
    await site.make_bucket()
    await site.service.post(PATH, content=b"x")
    unneeded = {"insert", "select", "update", "delete"} - set(needed.split())
    allow(site, " ".join(unneeded))
    without = await operation(site.user(ALICE))
    assert without.status == 400
    allow(site, needed)
    for stranger in (site.user(BOB), site.client("anon")):
        answer = await operation(stranger)
        assert answer.status == 400
        if refused:
            assert answer.json()["code"] == refused
    allowed = await operation(site.user(ALICE))
    assert allowed.status == 200, allowed.text
    assert (await operation(site.client(None))).status == 400


async def test_the_service_needs_no_policy(site: Site) -> None:
    await site.make_bucket()
    await site.service.post(PATH, content=b"x")
    for operation, _, _ in MATRIX:
        if operation is not delete:
            answer = await operation(site.service)
            assert answer.status == 200, (operation, answer.text)
        if operation is move:
            await site.service.post(PATH, content=b"x")


async def test_lists_and_bulk_deletes_pass_over_what_is_hidden(site: Site) -> None:
    await site.make_bucket()
    allow(site, "select delete")
    for owner in (ALICE, BOB):
        await site.service.post(f"/object/b/{owner}/f", content=b"x")
    alice = site.user(ALICE)
    listed = await alice.post("/object/list/b", json={"prefix": ""})
    assert [item["name"] for item in listed.json()] == [ALICE]
    flat = await alice.post("/object/list-v2/b", json={})
    assert [item["name"] for item in flat.json()["objects"]] == [f"{ALICE}/f"]
    signed = await alice.post(
        "/object/sign/b", json={"expiresIn": 9, "paths": [f"{ALICE}/f", f"{BOB}/f"]}
    )
    assert [bool(item["signedURL"]) for item in signed.json()] == [True, False]
    both = {"prefixes": [f"{ALICE}/f", f"{BOB}/f"]}
    removed = await alice.request("DELETE", "/object/b", json=both)
    assert [row["name"] for row in removed.json()] == [f"{ALICE}/f"]
    assert len(site.files()) == 1


async def test_buckets_are_rows_with_policies_too(site: Site) -> None:
    await site.make_bucket()
    alice = site.user(ALICE)
    assert (await alice.get("/bucket")).json() == []
    assert (await alice.get("/bucket/b")).json()["code"] == "NoSuchBucket"
    assert (await alice.post("/bucket", json={"name": "mine"})).json()["code"] == "AccessDenied"
    assert (await alice.put("/bucket/b", json={"public": True})).json()["code"] == "NoSuchBucket"
    assert (await alice.delete("/bucket/b")).json()["code"] == "NoSuchBucket"
    site.execute(
        "create policy theirs on storage.buckets for all to authenticated"
        " using (owner_id = auth.uid()::text) with check (owner_id = auth.uid()::text)"
    )
    assert (await alice.post("/bucket", json={"name": "mine"})).status == 200
    assert [bucket["name"] for bucket in (await alice.get("/bucket")).json()] == ["mine"]
    assert (await alice.get("/bucket/mine")).json()["owner"] == ALICE
    assert (await site.user(BOB).get("/bucket/mine")).json()["code"] == "NoSuchBucket"


async def test_policies_see_what_is_uploaded_and_by_which_operation(site: Site) -> None:
    await site.make_bucket()
    site.execute(
        "create policy small_css on storage.objects for insert to authenticated with check ("
        " metadata->>'mimetype' = 'text/css' and (metadata->>'contentLength')::int < 10"
        " and user_metadata->>'team' = 'red' and owner_id = auth.uid()::text"
        " and storage.allow_only_operation('object.upload')"
        " and current_setting('request.method') = 'POST')"
    )
    said = {
        "content-type": "text/css",
        "content-length": "3",
        "x-metadata": "eyJ0ZWFtIjoicmVkIn0=",
    }
    alice = site.user(ALICE)
    assert (await alice.post("/object/b/a", headers=said, content=b"abc")).status == 200
    for wrong in (
        {"content-type": "text/html"},
        {"content-length": "11"},
        {"x-metadata": "eyJ0ZWFtIjoiYmx1ZSJ9"},
    ):
        answer = await alice.post("/object/b/c", headers={**said, **wrong}, content=b"abc")
        assert answer.json()["message"] == "new row violates row-level security policy"
    signed = await alice.post("/object/upload/sign/b/d", headers=said)
    assert signed.json()["code"] == "AccessDenied"
    assert len(site.files()) == 1


async def test_policies_see_the_announced_length_of_forms_and_resumable_uploads(
    site: Site,
) -> None:
    await site.make_bucket()
    site.execute(
        "create policy small on storage.objects for insert to authenticated"
        " with check ((metadata->>'contentLength')::int between 1 and 300)"
    )
    for length, status in ((10, 200), (1000, 400)):
        body = (
            b"--X\r\nContent-Disposition: form-data; name=f; filename=f\r\n\r\n"
            + b"x" * length
            + b"\r\n--X--\r\n"
        )
        headers = {
            "content-type": "multipart/form-data; boundary=X",
            "content-length": str(len(body)),
        }
        answer = await site.user(ALICE).post(f"/object/b/{length}", headers=headers, content=body)
        assert answer.status == status, answer.text
    for length, status in ((10, 201), (1000, 403)):
        bucket, name = b64encode(b"b").decode(), b64encode(b"tus").decode()
        headers = {
            "tus-resumable": "1.0.0",
            "upload-length": str(length),
            "upload-metadata": f"bucketName {bucket},objectName {name}",
        }
        assert (await site.user(ALICE).post("/upload/resumable", headers=headers)).status == status


async def test_a_role_of_the_users_own_is_acted_as(site: Site) -> None:
    await site.make_bucket()
    # Roles belong to the cluster: another run may have made it.
    site.execute(
        "do $$ begin create role storage_editor; exception when duplicate_object then null; end $$",
        "supabase_admin",
    )
    site.execute(
        "grant storage_editor to authenticator; grant usage on schema storage to storage_editor;"
        "grant all on storage.objects to storage_editor;"
        "create policy editors on storage.objects for insert to storage_editor with check (true)",
        "supabase_admin",
    )
    assert (await site.client("storage_editor").post("/object/b/a", content=b"x")).status == 200
    nobody = await site.client("no_such_role").post("/object/b/c", content=b"x")
    assert nobody.status == 400
    forbidden = await site.client("supabase_admin").post("/object/b/c", content=b"x")
    assert forbidden.json()["code"] == "AccessDenied"
    site.execute(
        "drop policy editors on storage.objects; revoke all on storage.objects from storage_editor;"
        "revoke all on schema storage from storage_editor;",
        "supabase_admin",
    )


async def test_the_owner_of_the_project_may_shape_rights_but_not_the_tables(site: Site) -> None:
    site.execute("create policy mine on storage.objects for select using (true)")
    site.execute("drop policy mine on storage.objects")
    for refused in (
        "delete from storage.objects",
        "delete from storage.buckets",
        "drop table storage.objects",
        "alter table storage.objects disable row level security",
    ):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            site.execute(refused)
    site.execute("set storage.allow_delete_query = 'true'; delete from storage.objects")
