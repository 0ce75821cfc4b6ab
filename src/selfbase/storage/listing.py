"""Listing objects, for REST (v1, v2) and S3; PostgreSQL decides as the actor what is seen.

Source: reference/storage.md sections 1.5, 3.3 and 4.4.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import orjson

from selfbase.storage.call import Actor
from selfbase.storage.context import Context
from selfbase.storage.logic.cursors import FIRST_PAGE, Cursor
from selfbase.storage.objects import read_object
from selfbase.storage.queries import SQL
from selfbase.storage.rows import by_caller
from selfbase.storage.types import Listing, ListQuery, StoredObject

V1_LIMIT_MAX = 1500
V2_LIMIT_MAX = 1000
LAST_CHARACTER = chr(0x10FFFF)
_TIMES = frozenset({"updated_at", "created_at"})


@dataclass(frozen=True, slots=True)
class Search:
    """What list v1 asks for."""

    prefix: str = ""
    limit: int = 100
    offset: int = 0
    search: str = ""
    sort_column: str = "name"
    sort_order: str = "asc"


@dataclass(frozen=True, slots=True)
class Page:
    """What list v2 asks for.  `cursor` holds the order once a listing has begun."""

    prefix: str = ""
    limit: int = V2_LIMIT_MAX
    cursor: Cursor = FIRST_PAGE
    with_folders: bool = False


async def search_objects(context: Context, actor: Actor, bucket_id: str, wanted: Search) -> bytes:
    """List v1 as a JSON array, ready to be sent."""
    prefix = wanted.prefix
    if prefix and not prefix.endswith("/"):
        prefix += "/"
    step = by_caller(
        SQL["search"],
        bucket_id,
        prefix,
        wanted.limit,
        prefix.count("/") + 1,
        wanted.offset,
        wanted.search,
        wanted.sort_column,
        wanted.sort_order,
    )
    (rows,) = await context.rows.run_raw(actor, step, read_only=True)
    return rows[0] or b"[]"


async def list_page(
    context: Context, actor: Actor, bucket_id: str, page: Page
) -> tuple[list[dict[str, Any]], Cursor | None]:
    """List v2: entries, and where to go on when there are more.  Folders have a null `id` and a
    slash at the end of their name."""
    limit = min(page.limit, V2_LIMIT_MAX)
    cursor = page.cursor
    if page.with_folders:
        step = by_caller(
            SQL["search_v2"],
            bucket_id,
            page.prefix,
            limit + 1,
            page.prefix.count("/") + 1,
            cursor.last or "",
            cursor.order,
            cursor.column,
            cursor.time or "",
        )
    else:
        step = _flat_step(bucket_id, page, limit + 1)
    (rows,) = await context.rows.run_raw(actor, step, read_only=True)
    entries: list[dict[str, Any]] = orjson.loads(rows[0] or b"[]")
    for entry in entries:
        if entry["id"] is None:
            entry["name"] += "/"
    if len(entries) <= limit:
        return entries, None
    last = entries[limit - 1]
    time = last[cursor.column] if cursor.column in _TIMES else None
    return entries[:limit], Cursor(last["name"], cursor.order, cursor.column, time)


def _flat_step(bucket_id: str, page: Page, limit: int) -> Any:
    cursor = page.cursor
    way, sign = ("desc", "<") if cursor.order == "desc" else ("asc", ">")
    if cursor.column in _TIMES:
        moment = f"date_trunc('milliseconds', {cursor.column})"
        after = f'({moment}, name collate "C") {sign} ($6::text::timestamptz, $5 collate "C")'
        order = f'{moment} {way}, name collate "C" {way}'
    else:
        after = f'name collate "C" {sign} $5 and $6::text is null'
        order = f'name collate "C" {way}'
    sql = SQL["list_flat"].replace(b"<after>", after.encode()).replace(b"<order>", order.encode())
    high = page.prefix + LAST_CHARACTER
    return by_caller(sql, bucket_id, page.prefix, high, limit, cursor.last, cursor.time)


async def list_keys(context: Context, actor: Actor, bucket_id: str, query: ListQuery) -> Listing:
    """A listing as S3 knows it: objects and common prefixes by key, and a token to go on.

    With a delimiter, objects carry only what a listing shows.
    """
    if query.limit <= 0:
        return Listing()
    if query.delimiter:
        step = by_caller(
            SQL["list_delimited"],
            bucket_id,
            query.prefix,
            query.delimiter,
            query.limit + 1,
            query.start_after,
            query.token,
        )
    else:
        last = max(query.token, query.start_after, key=lambda name: name.encode()) or None
        page = Page(query.prefix, query.limit, Cursor(last))
        step = _flat_step(bucket_id, page, query.limit + 1)
    (rows,) = await context.rows.run_raw(actor, step, read_only=True)
    entries: list[dict[str, Any]] = orjson.loads(rows[0] or b"[]")
    shown = entries[: query.limit]
    truncated = len(entries) > query.limit
    prefixes = [entry["name"] + query.delimiter for entry in shown if entry["id"] is None]
    objects = [_listed(bucket_id, entry) for entry in shown if entry["id"] is not None]
    token = None
    if truncated:
        last_entry = shown[-1]
        token = last_entry["name"] + (query.delimiter if last_entry["id"] is None else "")
    return Listing(objects, prefixes, token, truncated)


def _listed(bucket_id: str, entry: dict[str, Any]) -> StoredObject:
    whole = {
        "bucket_id": bucket_id,
        "version": None,
        "owner": None,
        "owner_id": None,
        "user_metadata": None,
        **entry,
    }
    whole["metadata"] = whole["metadata"] or {}
    whole.pop("key", None)
    return read_object(whole)
