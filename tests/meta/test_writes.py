"""Creating, changing and dropping every kind of object."""

from __future__ import annotations

from typing import Any

import pytest
from tests.meta.conftest import Api


async def test_schema(api: Api) -> None:
    made = await api.post("/schemas", {"name": 'odd "schema"'})
    assert (made["name"], made["owner"]) == ('odd "schema"', "postgres")
    changed = await api.patch(f"/schemas/{made['id']}", {"name": "plain"})
    assert changed == {**made, "name": "plain"}
    await api.sql("create table plain.t ()")
    assert (
        "other objects depend" in (await api.delete(f"/schemas/{made['id']}", status=400))["error"]
    )
    assert await api.delete(f"/schemas/{made['id']}?cascade=true") == changed
    assert "Cannot find" in (await api.get(f"/schemas/{made['id']}", 404))["error"]


async def test_table(api: Api) -> None:
    made = await api.post("/tables", {"name": "t", "comment": "it's \\ new"})
    assert (made["comment"], made["columns"]) == ("it's \\ new", [])
    for name in ("a", "b"):
        await api.post("/columns", {"table_id": made["id"], "name": name, "type": "int4"})
    changed = await api.patch(
        f"/tables/{made['id']}",
        {
            "name": "renamed",
            "schema": "hidden",
            "rls_enabled": True,
            "rls_forced": True,
            "replica_identity": "FULL",
            "primary_keys": [{"name": "b"}, {"name": "a"}],
            "comment": None,
        },
    )
    assert (changed["schema"], changed["name"], changed["comment"]) == ("hidden", "renamed", None)
    assert changed["rls_enabled"] is changed["rls_forced"] is True
    assert changed["replica_identity"] == "FULL"
    assert [key["name"] for key in changed["primary_keys"]] == ["b", "a"]
    changed = await api.patch(f"/tables/{made['id']}", {"primary_keys": []})
    assert changed["primary_keys"] == []
    assert (await api.delete(f"/tables/{made['id']}"))["name"] == "renamed"


async def test_a_failed_change_changes_nothing(api: Api) -> None:
    table = await api.find("/tables", "author")
    body = {"rls_enabled": True, "comment": "new", "schema": "not there"}
    assert "does not exist" in (await api.patch(f"/tables/{table['id']}", body, 400))["error"]
    assert await api.find("/tables", "author") == table


async def test_column(api: Api) -> None:
    table = await api.find("/tables", "empty")
    made = await api.post(
        "/columns",
        {
            "table_id": table["id"],
            "name": 'odd " column',
            "type": "text",
            "default_value": "now()::text || 'x'",
            "default_value_format": "expression",
            "comment": "a 'comment'",
        },
    )
    assert made["default_value"] == "((now())::text || 'x'::text)"
    assert (made["name"], made["comment"]) == ('odd " column', "a 'comment'")
    changed = await api.patch(
        f"/columns/{made['id']}", {"name": "plain", "drop_default": True, "is_unique": True}
    )
    assert (changed["name"], changed["default_value"], changed["is_unique"]) == (
        "plain",
        None,
        True,
    )
    changed = await api.patch(
        f"/columns/{made['id']}", {"type": "int4", "is_unique": False, "check": "plain > 0"}
    )
    assert (changed["format"], changed["is_unique"]) == ("int4", False)
    assert changed["check"] == "plain > 0"
    assert (await api.patch(f"/columns/{made['id']}", {"check": None}))["check"] is None
    await api.delete(f"/columns/{made['id']}")
    assert (await api.find("/tables", "empty"))["columns"] == []


@pytest.mark.parametrize(
    ("written", "data_type"),
    [
        ("int4", "integer"),
        ("integer", "integer"),
        ("double precision", "double precision"),
        ("timestamp with time zone", "timestamp with time zone"),
        ("character varying", "character varying"),
        ("numeric(10,2)", "numeric"),
        ("genre", "USER-DEFINED"),
        ("hidden.mark", "USER-DEFINED"),
        ('"hidden"."mark"[]', "ARRAY"),
        ("int4[]", "ARRAY"),
        ("uuid", "uuid"),
    ],
)
async def test_types_are_written_in_many_ways(api: Api, written: str, data_type: str) -> None:
    table = await api.find("/tables", "empty")
    body = {"table_id": table["id"], "name": "c", "type": written}
    assert (await api.post("/columns", body))["data_type"] == data_type


async def test_identity_and_default_exclude_each_other(api: Api) -> None:
    table = await api.find("/tables", "empty")
    body = {"table_id": table["id"], "name": "c", "type": "int4", "is_identity": True}
    refused = await api.post("/columns", {**body, "default_value": 1}, 400)
    assert refused["error"] == "Columns cannot both be identity and have a default value"
    made = await api.post("/columns", {**body, "identity_generation": "ALWAYS"})
    assert made["identity_generation"] == "ALWAYS"
    changed = await api.patch(f"/columns/{made['id']}", {"is_identity": False})
    assert changed["is_identity"] is False


@pytest.mark.parametrize(
    ("check", "complaint"),
    [
        ("1 > 0", "must refer to this column"),
        ("a > b", "cannot refer to multiple columns"),
        ("b > 0", "cannot refer to other columns"),
    ],
)
async def test_a_check_belongs_to_its_column(api: Api, check: str, complaint: str) -> None:
    await api.sql("create table public.pair (a int, b int)")
    table = await api.find("/tables", "pair")
    answer = await api.patch(f"/columns/{table['id']}.1", {"check": check}, 400)
    assert complaint in answer["error"]
    assert (await api.get(f"/columns/{table['id']}.1"))["check"] is None


async def test_function(api: Api) -> None:
    made = await api.post(
        "/functions",
        {
            "name": "add up",
            "args": ["a integer", "b integer default 1"],
            "definition": "select a + b -- it's \\ so",
            "return_type": "integer",
            "language": "sql",
            "behavior": "IMMUTABLE",
            "security_definer": True,
            "config_params": {"search_path": 'hidden, "$user"', "work_mem": "1MB"},
        },
    )
    assert made["definition"] == "select a + b -- it's \\ so"
    assert made["config_params"] == {"search_path": 'hidden, "$user"', "work_mem": "1MB"}
    assert (made["behavior"], made["security_definer"]) == ("IMMUTABLE", True)
    changed = await api.patch(
        f"/functions/{made['id']}",
        {"name": "sum", "schema": "hidden", "definition": "select a - b"},
    )
    assert (changed["id"], changed["schema"], changed["name"]) == (made["id"], "hidden", "sum")
    assert changed["definition"] == "select a - b"
    assert changed["config_params"] == made["config_params"]
    assert (await api.sql("select hidden.sum(3, 1)")) == [{"sum": 2}]
    assert (await api.delete(f"/functions/{made['id']}"))["name"] == "sum"


async def test_a_function_without_a_body_is_postgresqls_to_refuse(api: Api) -> None:
    answer = await api.post("/functions", {"name": "f"}, 400)
    assert answer == {"error": 'syntax error at or near "NULL"'}


async def test_overloads_are_told_apart(api: Api) -> None:
    body = {"name": "pick", "return_type": "uuid", "definition": "select a"}
    made = await api.post("/functions", {**body, "args": ["a uuid"]})
    assert made["identity_argument_types"] == "a uuid"


async def test_trigger(api: Api) -> None:
    made = await api.post(
        "/triggers",
        {
            "name": "t",
            "table": "author",
            "function_name": "note_change",
            "function_args": ["it's", "\\"],
            "activation": "after",
            "events": ["insert", "UPDATE OF name, born"],
            "orientation": "ROW",
            "condition": "new.id > 1",
        },
    )
    assert made["function_args"] == ["it's", "\\"]
    assert (made["activation"], made["events"]) == ("AFTER", ["INSERT", "UPDATE"])
    for mode in ("REPLICA", "ALWAYS", "DISABLED", "ORIGIN"):
        changed = await api.patch(f"/triggers/{made['id']}", {"enabled_mode": mode, "name": mode})
        assert (changed["enabled_mode"], changed["name"]) == (mode, mode)
    assert (await api.delete(f"/triggers/{made['id']}"))["id"] == made["id"]


async def test_policy(api: Api) -> None:
    made = await api.post(
        "/policies",
        {
            "name": "p",
            "table": "author",
            "action": "RESTRICTIVE",
            "command": "UPDATE",
            "definition": "id = 1",
            "check": "id = 2",
        },
    )
    assert (made["roles"], made["definition"], made["check"]) == (
        ["public"],
        "(id = 1)",
        "(id = 2)",
    )
    changed = await api.patch(
        f"/policies/{made['id']}", {"name": "q", "roles": ["anon"], "definition": "true"}
    )
    assert (changed["name"], changed["roles"], changed["definition"]) == ("q", ["anon"], "true")
    assert (await api.delete(f"/policies/{made['id']}"))["name"] == "q"


async def test_role(api: Api) -> None:
    made = await api.post(
        "/roles",
        {
            "name": "meta test's role",
            "password": "it's secret",
            "connection_limit": 3,
            "valid_until": "2030-01-01T00:00:00Z",
            "members": ["anon"],
            "config": {"search_path": "hidden, public", "statement_timeout": "5s"},
        },
    )
    assert made["config"] == {"search_path": "hidden, public", "statement_timeout": "5s"}
    assert (made["can_login"], made["inherit_role"], made["connection_limit"]) == (False, True, 3)
    assert made["valid_until"].startswith("2030-01-01 00:00:00")
    changed = await api.patch(
        f"/roles/{made['id']}",
        {
            "name": "meta test role",
            "can_login": True,
            "config": [
                {"op": "remove", "path": "search_path"},
                {"op": "replace", "path": "statement_timeout", "value": "6s"},
            ],
        },
    )
    assert (changed["name"], changed["can_login"]) == ("meta test role", True)
    assert changed["config"] == {"statement_timeout": "6s"}
    assert (await api.delete(f"/roles/{made['id']}"))["name"] == "meta test role"


async def test_publication(api: Api) -> None:
    body = {"name": "odd pub", "publish_insert": True, "tables": ["author", "public.book"]}
    made = await api.post("/publications", body)
    assert [table["name"] for table in made["tables"]] == ["author", "book"]
    changed = await api.patch(
        f"/publications/{made['id']}", {"tables": ["cover"], "publish_delete": True, "name": "p"}
    )
    assert (changed["id"], changed["name"]) == (made["id"], "p")
    assert [table["name"] for table in changed["tables"]] == ["cover"]
    assert (changed["publish_insert"], changed["publish_delete"]) == (True, True)
    changed = await api.patch(f"/publications/{made['id']}", {"tables": []})
    assert changed["tables"] == []
    assert (await api.delete(f"/publications/{made['id']}"))["name"] == "p"


async def test_extension(api: Api) -> None:
    made = await api.post("/extensions", {"name": "hstore", "schema": "hidden"})
    assert (made["schema"], made["installed_version"]) == ("hidden", made["default_version"])
    assert await api.patch("/extensions/hstore", {"update": True}) == made
    await api.delete("/extensions/hstore?cascade=true")
    assert (await api.get("/extensions/hstore"))["installed_version"] is None


async def test_table_privileges(api: Api) -> None:
    table = await api.find("/tables", "author")
    change = {"relation_id": table["id"], "grantee": "Public", "privilege_type": "ALL"}
    granted = await api.post("/table-privileges", [change])
    assert "PUBLIC" in {right["grantee"] for right in granted[0]["privileges"]}
    listed = (await api.find("/table-privileges", "author"))["privileges"]
    for grantee in ("postgres", "PUBLIC"):
        one, all_ = (
            [r for r in rights if r["grantee"] == grantee]
            for rights in (granted[0]["privileges"], listed)
        )
        assert one == all_[::-1], "as upstream turns them around"
    revoked = await api.delete("/table-privileges", [change])
    assert "PUBLIC" not in {right["grantee"] for right in revoked[0]["privileges"]}
    gone = [{**change, "relation_id": 999999999}]
    assert "Cannot find a relation" in (await api.post("/table-privileges", gone, 404))["error"]


async def test_column_privileges(api: Api) -> None:
    table = await api.find("/tables", "cover")
    await api.sql("revoke all on cover from anon")
    change = {
        "column_id": f"{table['id']}.2",
        "grantee": "anon",
        "privilege_type": "UPDATE",
        "is_grantable": True,
    }

    def rights(answer: Any) -> list[tuple[str, bool]]:
        return [
            (right["privilege_type"], right["is_grantable"])
            for right in answer[0]["privileges"]
            if right["grantee"] == "anon"
        ]

    assert rights(await api.post("/column-privileges", [change])) == [("UPDATE", True)]
    assert rights(await api.delete("/column-privileges", [change])) == []
    wrong = [{**change, "column_id": "1"}]
    assert "Invalid format" in (await api.post("/column-privileges", wrong, 400))["error"]


@pytest.mark.parametrize(
    ("path", "body", "complaint"),
    [
        ("/tables", {}, "required property 'name'"),
        ("/tables", [], "must be object"),
        ("/tables", {"name": 1.5}, "does not"),
        ("/schemas", {"name": {"a": 1}}, "body/name must be string"),
        ("/columns", {"table_id": "x", "name": "a", "type": "int4"}, "must be integer"),
        ("/policies", {"name": "p", "table": "t", "command": "DROP"}, "must be one of"),
        ("/triggers", {"name": "t"}, "required property"),
        ("/roles", {"name": "r", "config": {"a": 1}}, "object of strings"),
        ("/table-privileges", {}, "must be array"),
        ("/table-privileges", [{"relation_id": 1}], "required property"),
    ],
)
async def test_bodies_that_make_no_sense(api: Api, path: str, body: Any, complaint: str) -> None:
    if complaint == "does not":
        assert (await api.post(path, body))["name"] == "1.5"
    else:
        assert complaint in (await api.post(path, body, 400))["error"]
