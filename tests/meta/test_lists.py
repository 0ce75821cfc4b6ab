"""Lists and single objects: shapes, filters, paging, and what is not found."""

from __future__ import annotations

import pytest
from tests.meta.conftest import Api

LISTS = (
    *("schemas", "tables", "views", "materialized-views", "foreign-tables", "columns", "functions"),
    *("triggers", "policies", "roles", "publications", "extensions", "types", "indexes", "config"),
    *("table-privileges", "column-privileges"),
)


@pytest.mark.parametrize("path", LISTS)
async def test_every_list_answers_an_array(reading: Api, path: str) -> None:
    assert isinstance(await reading.get(f"/{path}"), list)


async def test_a_table_tells_its_keys_in_both_directions(reading: Api) -> None:
    book = await reading.find("/tables", "book")
    assert set(book) == {
        *("id", "schema", "name", "rls_enabled", "rls_forced", "replica_identity", "bytes"),
        *("size", "live_rows_estimate", "dead_rows_estimate", "comment", "primary_keys"),
        *("relationships", "columns"),
    }
    assert book["rls_enabled"] is True
    assert book["primary_keys"] == [
        {"table_id": book["id"], "schema": "public", "table_name": "book", "name": "id"}
    ]
    ends = {(r["source_table_name"], r["target_table_name"]) for r in book["relationships"]}
    assert ends == {("book", "author"), ("cover", "book")}


async def test_keys_of_several_columns_keep_their_order(reading: Api) -> None:
    shelf = await reading.find("/tables", "shelf")
    assert [key["name"] for key in shelf["primary_keys"]] == ["place", "room"]
    pairs = [(r["source_column_name"], r["target_column_name"]) for r in shelf["relationships"]]
    assert pairs == [("shelf_place", "place"), ("shelf_room", "room")]


async def test_columns_tell_types_defaults_and_checks(reading: Api) -> None:
    book = await reading.find("/tables", "book")
    columns = {column["name"]: column for column in book["columns"]}
    assert columns["id"]["id"] == f"{book['id']}.1"
    assert columns["id"]["default_value"] == "gen_random_uuid()"
    assert columns["tag"]["data_type"] == "USER-DEFINED"
    assert columns["tag"]["enums"] == ["novel", "crime", 'it\'s "odd"']
    assert (columns["pages"]["data_type"], columns["pages"]["format"]) == ("integer", "int4")
    assert columns["isbn"]["check"] == "length(isbn) = 13"
    assert columns["isbn"]["is_unique"] is True
    assert (columns["marks"]["data_type"], columns["marks"]["format"]) == ("ARRAY", "_mark")
    assert columns["title_length"]["is_generated"] is True
    author = await reading.find("/tables", "author")
    identity = author["columns"][0]
    assert (identity["is_identity"], identity["identity_generation"]) == (True, "ALWAYS")
    assert author["comment"] == "Who writes; isn't paid enough"


async def test_columns_come_with_relations_only_when_asked(reading: Api) -> None:
    assert "columns" not in (await reading.get("/tables?include_columns=false"))[0]
    assert "columns" not in (await reading.get("/materialized-views"))[0]
    assert "columns" in (await reading.get("/materialized-views?include_columns=true"))[0]


async def test_a_function_tells_its_arguments(reading: Api) -> None:
    search = await reading.find("/functions", "search")
    assert [(a["mode"], a["name"], a["has_default"]) for a in search["args"]] == [
        ("in", "term", False),
        ("in", "most", True),
        ("variadic", "tags", True),
        ("table", "title", None),
        ("table", "found", None),
    ]
    assert search["is_set_returning_function"] is True
    assert search["behavior"] == "STABLE"
    assert search["complete_statement"].startswith("CREATE OR REPLACE FUNCTION public.search(")


async def test_a_trigger_tells_its_condition_and_arguments(reading: Api) -> None:
    trigger = await reading.find("/triggers", "watch it")
    assert trigger["function_args"] == ["a", "b'c", "é"]
    assert trigger["events"] == ["INSERT", "UPDATE"]
    assert trigger["condition"] == "(new.title <> ''::text)"
    assert (trigger["activation"], trigger["orientation"]) == ("BEFORE", "ROW")


async def test_policies_indexes_and_publications(reading: Api) -> None:
    policy = await reading.find("/policies", "own books")
    assert (policy["action"], policy["command"]) == ("RESTRICTIVE", "UPDATE")
    assert policy["roles"] == ["anon", "authenticated"]
    assert policy["definition"] == policy["check"] == "(author_id = 1)"
    indexes = {i["index_definition"].split()[2]: i for i in await reading.get("/indexes")}
    assert indexes["book_title"]["index_predicate"] == "((pages)::integer > 10)"
    publication = await reading.find("/publications", "catalogue")
    assert [table["name"] for table in publication["tables"]] == ["author", "book"]
    assert (publication["publish_insert"], publication["publish_update"]) == (True, False)


async def test_a_password_is_never_shown(reading: Api) -> None:
    assert {role["password"] for role in await reading.get("/roles")} == {"********"}


async def test_schemas_choose_what_is_listed(reading: Api) -> None:
    async def schemas(query: str) -> set[str]:
        return {item["schema"] for item in await reading.get(f"/types?{query}")}

    assert await schemas("included_schemas=hidden") == {"hidden"}
    assert await schemas("included_schemas=hidden,public&excluded_schemas=public") == {
        "hidden",
        "public",
    }
    assert "public" not in await schemas("excluded_schemas=public")
    assert "pg_catalog" not in await schemas("")
    assert "pg_catalog" in await schemas("include_system_schemas=true")


async def test_pages_follow_each_other(reading: Api) -> None:
    every = [table["name"] for table in await reading.get("/tables?included_schemas=public")]
    paged: list[str] = []
    for offset in range(0, len(every), 3):
        page = await reading.get(f"/tables?included_schemas=public&limit=3&offset={offset}")
        paged += [table["name"] for table in page]
    assert paged == every == sorted(every)


@pytest.mark.parametrize("value", ["-1", "x", "1;drop table author", "9" * 30])
async def test_a_page_that_is_no_number_is_refused(reading: Api, value: str) -> None:
    assert "limit" in (await reading.get("/tables", 400, params={"limit": value}))["error"]


@pytest.mark.parametrize(
    ("path", "called"),
    [
        ("tables", "a table"),
        ("views", "a view"),
        ("materialized-views", "a materialized view"),
        ("foreign-tables", "a foreign table"),
        ("functions", "a function"),
        ("triggers", "a trigger"),
        ("policies", "a policy"),
        ("roles", "a role"),
        ("publications", "a publication"),
        ("schemas", "a schema"),
        ("indexes", "a index"),
    ],
)
async def test_what_is_not_there_is_named(reading: Api, path: str, called: str) -> None:
    for key in ("999999999", "99999999999999"):
        answer = await reading.get(f"/{path}/{key}", 404)
        assert answer == {"error": f"Cannot find {called} with ID {key}"}


async def test_keys_that_are_no_keys(reading: Api) -> None:
    assert await reading.get("/extensions/nope", 404) == {
        "error": "Cannot find an extension named nope"
    }
    assert await reading.get("/tables/abc", 404) == {"error": "Not found"}
    assert await reading.get("/columns/1.x", 400) == {"error": "Invalid format for column ID"}
    assert await reading.get("/columns/1.1", 404) == {"error": "Cannot find a column with ID 1.1"}
    assert await reading.get("/nothing", 404) == {"error": "Not found"}


async def test_a_slash_at_the_end_changes_nothing(reading: Api) -> None:
    assert await reading.get("/schemas/") == await reading.get("/schemas")
    assert await reading.sql("select 1 as a", path="/query/") == [{"a": 1}]


async def test_a_table_alone_answers_its_first_column(reading: Api) -> None:
    table = await reading.find("/tables", "author")
    assert (await reading.get(f"/columns/{table['id']}"))["name"] == "id"


async def test_the_version_is_one_object(reading: Api) -> None:
    version = await reading.get("/config/version")
    assert version["version"].startswith("PostgreSQL")
    assert version["version_number"] >= 150000
