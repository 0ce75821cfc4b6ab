"""The `storage` schema as clients, dumps and users' SQL know it."""

from typing import Any

import psycopg
import pytest
from tests.storage.conftest import Site

from selfbase.storage.schema import migrate_storage

OBJECTS = [
    "id",
    "bucket_id",
    "name",
    "owner",
    "created_at",
    "updated_at",
    "last_accessed_at",
    "metadata",
    "path_tokens",
    "version",
    "owner_id",
    "user_metadata",
    "archived_at",
    "is_delete_marker",
    "is_versioned",
]
BUCKETS = [
    "id",
    "name",
    "owner",
    "created_at",
    "updated_at",
    "public",
    "avif_autodetection",
    "file_size_limit",
    "allowed_mime_types",
    "owner_id",
    "type",
    "versioning_status",
]


def value(site: Site, expression: str) -> Any:
    return site.execute(f"select {expression}")[0][0]


def test_tables_have_the_columns_of_the_reference(site: Site) -> None:
    for table, columns in (("objects", OBJECTS), ("buckets", BUCKETS)):
        found = site.execute(
            "select attname from pg_attribute where attrelid = 'storage."
            f"{table}'::regclass and attnum > 0 and not attisdropped order by attnum"
        )
        assert [name for (name,) in found] == columns


def test_everything_belongs_to_the_storage_role_and_is_guarded(site: Site) -> None:
    tables = site.execute(
        "select relname, pg_get_userbyid(relowner), relrowsecurity from pg_class"
        " where relnamespace = 'storage'::regnamespace and relkind = 'r'"
    )
    assert len(tables) == 10
    assert {(owner, guarded) for _, owner, guarded in tables} == {("supabase_storage_admin", True)}
    assert value(site, "count(*) from storage.migrations") == 64
    assert value(site, "max(name) from storage.migrations where id = 63") == (
        "fix-search-name-relative-to-prefix"
    )


def test_api_roles_may_only_look_at_unfinished_uploads(site: Site) -> None:
    for table in ("s3_multipart_uploads", "s3_multipart_uploads_parts"):
        for role, right, granted in (
            ("anon", "select", True),
            ("authenticated", "insert", False),
            ("anon", "delete", False),
            ("service_role", "delete", True),
        ):
            check = f"has_table_privilege('{role}', 'storage.{table}', '{right}')"
            assert value(site, check) is granted, (table, role, right)
    assert value(
        site, "has_table_privilege('postgres', 'storage.objects', 'insert with grant option')"
    )


@pytest.mark.parametrize(
    ("expression", "wanted"),
    [
        ("storage.foldername('a/b/c.txt')", ["a", "b"]),
        ("storage.foldername('c.txt')", []),
        ("storage.filename('a/b/c.txt')", "c.txt"),
        ("storage.extension('a/b.x/c.tar.gz')", "gz"),
        ("storage.extension('a/README')", "README"),
        ("storage.get_common_prefix('a/b/c', 'a/', '/')", "a/b/"),
        ("storage.get_common_prefix('a/b', 'a/', '/')", None),
        ("storage.operation()", None),
        ("storage.allow_only_operation('object.get')", False),
        ("storage.allow_any_operation(array['', null])", False),
    ],
)
def test_functions_that_policies_call(site: Site, expression: str, wanted: Any) -> None:
    assert value(site, expression) == wanted


def test_operations_are_told_with_and_without_their_prefix(site: Site) -> None:
    told = "(select set_config('storage.operation', 'storage.object.list', true) <> '')"
    for asked in ("object.list", "storage.object.list"):
        assert value(site, f"{told} and storage.allow_only_operation('{asked}')")
    assert value(site, f"{told} and storage.allow_any_operation(array['x', 'object.list'])")
    assert not value(site, f"{told} and storage.allow_only_operation('object')")


async def test_sizes_are_counted_by_bucket(site: Site) -> None:
    await site.make_bucket()
    for name in ("a", "c"):
        await site.service.post(f"/object/b/{name}", content=b"12345")
    assert site.execute("select * from storage.get_size_by_bucket()") == [(10, "b")]


def test_old_clients_can_ask_whether_they_might_insert(site: Site) -> None:
    site.execute("insert into storage.buckets (id, name) values ('b', 'b')")
    with pytest.raises(psycopg.DatabaseError) as refused:
        site.execute("select storage.can_insert_object('b', 'x', null, '{}')")
    assert refused.value.diag.sqlstate == "PT200"
    assert value(site, "count(*) from storage.objects") == 0


def test_a_long_bucket_name_is_refused_by_the_database_too(site: Site) -> None:
    with pytest.raises(psycopg.DatabaseError, match="is too long"):
        site.execute(f"insert into storage.buckets (id, name) values ('b', '{'x' * 101}')")


def test_migrating_again_changes_nothing(site: Site) -> None:
    assert migrate_storage(site.database.conninfo()) == []
