"""Listings against plain Python: any names, any page size, any order give the same."""

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.storage.conftest import Site

# Characters around the slash in byte order, those LIKE treats apart, capitals, and other scripts.
NAMES = st.text(alphabet="/a!0bA_%é日", min_size=1, max_size=7).filter(
    lambda name: not name.startswith("/") and "//" not in name
)


@pytest.fixture
def connection(site: Site) -> psycopg.Connection[tuple[object, ...]]:
    with psycopg.connect(site.database.conninfo("supabase_admin"), autocommit=True) as opened:
        yield opened


def fill(connection: psycopg.Connection[tuple[object, ...]], names: set[str]) -> None:
    connection.execute("set storage.allow_delete_query = 'true'")
    connection.execute("delete from storage.objects")
    connection.execute(
        "insert into storage.buckets (id, name) values ('b', 'b') on conflict do nothing"
    )
    with connection.cursor() as cursor:
        cursor.executemany(
            "insert into storage.objects (bucket_id, name) values ('b', %s)",
            [(name,) for name in sorted(names)],
        )


def roll_up(names: set[str], prefix: str) -> list[tuple[bytes, str, bool]]:
    """Entries below a prefix in byte order: (sort key, name, is a folder)."""
    entries = set()
    for name in names:
        if name.startswith(prefix):
            head, slash, _ = name[len(prefix) :].partition("/")
            shown = prefix + head + slash
            entries.add((shown.encode(), shown, bool(slash)))
    return sorted(entries)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    names=st.sets(NAMES, max_size=25),
    prefix=st.sampled_from(["", "a", "a/", "%", "_/", "é"]),
    size=st.integers(1, 5),
    descending=st.booleans(),
)
def test_pages_with_folders_put_together_are_everything_once(
    connection: psycopg.Connection[tuple[object, ...]],
    names: set[str],
    prefix: str,
    size: int,
    descending: bool,
) -> None:
    fill(connection, names)
    wanted = [(name, folder) for _, name, folder in roll_up(names, prefix)]
    if descending:
        wanted.reverse()
    seen: list[tuple[str, bool]] = []
    token = ""
    while True:
        rows = connection.execute(
            "select name, id is null from storage.list_objects_with_delimiter('b', %s, '/', %s, '', %s, %s)",
            [prefix, size, token, "desc" if descending else "asc"],
        ).fetchall()
        page = [(f"{name}/" if folder else str(name), bool(folder)) for name, folder in rows]
        seen += page
        if len(page) < size:
            break
        token = page[-1][0]
    assert seen == wanted


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(names=st.sets(NAMES, max_size=25), offset=st.integers(0, 6), descending=st.booleans())
def test_list_v1_counts_offsets_over_files_and_folders(
    connection: psycopg.Connection[tuple[object, ...]],
    names: set[str],
    offset: int,
    descending: bool,
) -> None:
    # Case does not count there: names that differ by nothing else are left out.
    plain = {name for name in names if name == name.lower()}
    fill(connection, plain)
    wanted = [name.rstrip("/") for _, name, _ in roll_up(plain, "")]
    rows = connection.execute(
        "select name from storage.search('', 'b', 100, 1, %s, '', 'name', %s)",
        [offset, "desc" if descending else "asc"],
    ).fetchall()
    if descending:
        wanted.reverse()
    assert [name for (name,) in rows] == wanted[offset:]


async def put(site: Site, *names: str) -> None:
    for name in names:
        assert (await site.service.post(f"/object/b/{name}", content=b"x")).status == 200


async def test_list_v1_shows_folders_and_files_relative_to_the_prefix(site: Site) -> None:
    await site.make_bucket()
    await put(
        site, "Docs/a.txt", "docs/b.txt", "docs/in/c.txt", "docs/1_0.txt", "docs/1x0.txt", "top.txt"
    )
    top = (await site.service.post("/object/list/b", json={"prefix": "", "limit": 10})).json()
    assert [item["name"].lower() for item in top] == ["docs", "top.txt"]
    folder = top[0]
    assert set(folder) == {
        "name",
        "id",
        "updated_at",
        "created_at",
        "last_accessed_at",
        "metadata",
    }
    assert [value for key, value in folder.items() if key != "name"] == [None] * 5
    inside = (await site.service.post("/object/list/b", json={"prefix": "docs"})).json()
    assert [item["name"] for item in inside] == ["1_0.txt", "1x0.txt", "a.txt", "b.txt", "in"]
    found = await site.service.post("/object/list/b", json={"prefix": "docs/", "search": "1_0"})
    assert [item["name"] for item in found.json()] == ["1_0.txt"]
    by_time = {"prefix": "docs", "sortBy": {"column": "created_at", "order": "desc"}}
    ordered = (await site.service.post("/object/list/b", json=by_time)).json()
    assert [item["name"] for item in ordered] == ["in", "1x0.txt", "1_0.txt", "b.txt", "a.txt"]
    assert (await site.service.post("/object/list/none", json={"prefix": ""})).json() == []


@pytest.mark.parametrize("column", ["name", "created_at", "updated_at"])
@pytest.mark.parametrize("order", ["asc", "desc"])
@pytest.mark.parametrize("with_delimiter", [True, False])
async def test_list_v2_pages_in_every_order(
    site: Site, column: str, order: str, with_delimiter: bool
) -> None:
    await site.make_bucket()
    await put(site, "f/2", "c", "a", "f/1", "g/1", "b")
    # Equal times must not make a page lose or repeat anything.
    site.execute(
        "alter table storage.objects disable trigger user;"
        "update storage.objects set created_at = '2026-01-01', updated_at = '2026-01-01'"
        " where name in ('a', 'b', 'f/1');"
        "alter table storage.objects enable trigger user",
        "supabase_admin",
    )
    asked = {
        "prefix": "",
        "limit": 2,
        "with_delimiter": with_delimiter,
        "sortBy": {"column": column, "order": order},
    }
    names: list[str] = []
    while True:
        page = (await site.service.post("/object/list-v2/b", json=asked)).json()
        entries = page["folders"] + page["objects"]
        names += [item["name"] for item in entries]
        assert len(entries) <= 2
        if not page["hasNext"]:
            break
        asked["cursor"] = page["nextCursor"]
    expected = (
        {"a", "b", "c", "f/", "g/"} if with_delimiter else {"a", "b", "c", "f/1", "f/2", "g/1"}
    )
    assert sorted(names) == sorted(expected)
    if column == "name" and not with_delimiter:
        assert names == sorted(expected, reverse=order == "desc")


async def test_a_cursor_that_is_not_ours_is_refused(site: Site) -> None:
    await site.make_bucket()
    for cursor in ("!", "eDp5", "bDph\x00"):
        answer = await site.service.post("/object/list-v2/b", json={"cursor": cursor})
        assert answer.json()["code"] == "InvalidParameter"


async def test_cost_follows_what_is_returned(site: Site) -> None:
    """Folders are jumped over: the plan reads a few rows, not all of them."""
    await site.make_bucket()
    site.execute(
        "insert into storage.objects (bucket_id, name)"
        " select 'b', 'd' || n % 10 || '/' || n from generate_series(1, 20000) as n",
        "supabase_admin",
    )
    site.execute("analyze storage.objects", "supabase_admin")
    (row,) = site.execute(
        "explain (analyze, buffers, format json) select * from"
        " storage.list_objects_with_delimiter('b', '', '/', 100)",
        "supabase_admin",
    )
    plan = row[0][0]["Plan"]
    assert plan["Actual Rows"] == 10
    assert plan["Shared Hit Blocks"] + plan["Shared Read Blocks"] < 1000
