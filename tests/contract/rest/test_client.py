"""REST through supabase-py as it is: what an app does in a day."""

from __future__ import annotations

import time
from collections.abc import Iterator

import psycopg
import pytest
from postgrest.exceptions import APIError
from postgrest.types import CountMethod
from supabase import Client, create_client
from tests.support.installation import Installation

SCHEMA = """
create table public.shelves (id int primary key, name text not null);
create table public.books (
  id int generated always as identity primary key, title text not null, pages int,
  shelf_id int references public.shelves, tags text[] default '{}', facts jsonb default '{}');
create function public.thick(lowest int) returns setof public.books stable language sql
  as $$ select * from public.books where pages >= lowest $$;
insert into public.shelves values (1, 'left'), (2, 'right');
insert into public.books (title, pages, shelf_id, tags, facts) values
  ('Emma', 474, 1, '{novel}', '{"year": 1815}'), ('Ulysses', 730, 1, '{novel,long}', '{"year": 1922}'),
  ('Haiku', 40, 2, '{poems}', '{}'), ('Lost', null, null, '{}', '{}');
"""


@pytest.fixture(scope="module")
def admin(todos: Installation) -> Iterator[Client]:
    values = todos.status()
    with psycopg.connect(values["DB_URL"], autocommit=True) as connection:
        connection.execute(SCHEMA)
        client = create_client(values["API_URL"], values["SECRET_KEY"])
        wait_for_table(client)
        yield client
        connection.execute("drop function public.thick; drop table public.books, public.shelves")


def wait_for_table(client: Client) -> None:
    deadline_s = time.monotonic() + 5
    while True:
        try:
            client.table("books").select("id").limit(1).execute()
            return
        except APIError as error:
            if error.code != "PGRST205" or time.monotonic() > deadline_s:
                raise


def titles(rows: list[dict[str, str]]) -> list[str]:
    return [row["title"] for row in rows]


def test_reading(admin: Client) -> None:
    books = admin.table("books")
    assert titles(
        books.select("title").gt("pages", 400).order("pages", desc=True).execute().data
    ) == ["Ulysses", "Emma"]
    assert titles(books.select("title").contains("tags", ["long"]).execute().data) == ["Ulysses"]
    assert titles(
        books.select("title").or_("pages.lt.50,title.eq.Lost").order("title").execute().data
    ) == ["Haiku", "Lost"]
    assert titles(books.select("title").in_("title", ["Emma", 'odd, "name"']).execute().data) == [
        "Emma"
    ]
    assert titles(books.select("title").eq("facts->>year", "1922").execute().data) == ["Ulysses"]
    page = books.select("title", count=CountMethod.exact).order("id").range(1, 2).execute()
    assert (titles(page.data), page.count) == (["Ulysses", "Haiku"], 4)
    nested = admin.table("shelves").select("name, books(title)").eq("id", 2).single().execute()
    assert nested.data == {"name": "right", "books": [{"title": "Haiku"}]}
    assert books.select("id").eq("id", 0).maybe_single().execute() is None


def test_writing(admin: Client) -> None:
    books = admin.table("books")
    made = books.insert([{"title": "A", "pages": 1}, {"title": "B", "pages": 2}]).execute().data
    assert titles(made) == ["A", "B"]
    changed = books.update({"pages": 3}).eq("title", "A").execute().data
    assert changed[0]["pages"] == 3
    shelf = admin.table("shelves").upsert({"id": 2, "name": "far right"}).execute().data
    assert shelf == [{"id": 2, "name": "far right"}]
    gone = books.delete(count=CountMethod.exact).in_("title", ["A", "B"]).execute()
    assert gone.count == 2


def test_calling(admin: Client) -> None:
    rows = admin.rpc("thick", {"lowest": 400}).select("title").order("title").execute().data
    assert titles(rows) == ["Emma", "Ulysses"]


def test_failures_reach_the_client(admin: Client) -> None:
    with pytest.raises(APIError) as caught:
        admin.table("books").insert({"title": "x", "shelf_id": 99}).execute()
    assert caught.value.code == "23503"
    with pytest.raises(APIError) as caught:
        admin.table("bookz").select("*").execute()
    assert (caught.value.code, caught.value.hint) == (
        "PGRST205",
        "Perhaps you meant the table 'public.books'",
    )
