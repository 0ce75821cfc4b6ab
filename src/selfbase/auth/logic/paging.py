"""Pages of a list by number or by cursor, and the headers that name the next and the last one."""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from urllib.parse import urlencode
from uuid import UUID

import orjson

from selfbase.auth.errors import ValidationFailed

SIZE_DEFAULT, SIZE_MAX = 50, 1000
_NUMBER_MAX = 1_000_000


@dataclass(frozen=True, slots=True)
class Page:
    """`number` counts from 1."""

    number: int
    size: int

    @property
    def offset(self) -> int:
        return (self.number - 1) * self.size


def parse_page(pairs: Iterable[tuple[str, str]]) -> Page:
    """From `page` and `per_page`.  Raises ValidationFailed."""
    values = dict(pairs)
    number = _read(values.get("page"), 1, _NUMBER_MAX)
    return Page(number, _read(values.get("per_page"), SIZE_DEFAULT, SIZE_MAX))


def _read(text: str | None, default: int, most: int) -> int:
    if not text:
        return default
    if not text.isascii() or not text.isdigit() or len(text) > 18:
        raise ValidationFailed("Bad Pagination Parameters: a positive number is expected")
    return min(int(text), most) or default


def page_headers(page: Page, total: int, path: str) -> list[tuple[str, str]]:
    """`X-Total-Count` and `Link`.  `page` comes first in the query: supabase-js cuts there."""
    last = max(1, -(-total // page.size))
    where = path.partition("?")[0]
    links = []
    if page.number < last:
        links.append(f'<{where}?page={page.number + 1}&per_page={page.size}>; rel="next"')
    links.append(f'<{where}?page={last}&per_page={page.size}>; rel="last"')
    return [("X-Total-Count", str(total)), ("Link", ", ".join(links))]


def parse_sort(text: str) -> bool:
    """Whether `sort` asks for the oldest first.  Raises ValidationFailed."""
    field, _, direction = text.partition(" ")
    if text and field != "created_at":
        raise ValidationFailed(f"Bad Sort Parameters: bad field for sort '{field[:30]}'")
    if direction.upper() not in ("", "ASC", "DESC"):
        raise ValidationFailed(
            f"Bad Sort Parameters: bad direction for sort '{direction[:30]}', only 'asc' and 'desc' "
            "allowed"
        )
    return direction.upper() == "ASC"


@dataclass(frozen=True, slots=True)
class Place:
    """Where a page begins: after this moment and id, or at the start."""

    size: int
    moment: datetime | None = None
    id: str | None = None


def parse_place(pairs: Iterable[tuple[str, str]]) -> Place:
    """From `limit` and `cursor`.  Raises ValidationFailed."""
    values = dict(pairs)
    limit = values.get("limit")
    if limit and not limit.strip("0"):
        raise ValidationFailed("Bad Pagination Parameters: limit must be greater than 0")
    size = _read(limit, SIZE_DEFAULT, SIZE_MAX)
    cursor = values.get("cursor")
    if not cursor:
        return Place(size)
    try:
        read = orjson.loads(urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
        moment, user_id = datetime.fromisoformat(read["created_at"]), UUID(read["id"])
    except (ValueError, TypeError, KeyError, AttributeError):
        raise ValidationFailed("Bad Pagination Parameters: invalid cursor") from None
    if moment.tzinfo is None or not user_id.int:
        raise ValidationFailed("Bad Pagination Parameters: invalid cursor")
    return Place(size, moment, str(user_id))


def render_cursor(moment: datetime | None, user_id: str) -> str:
    """An opaque text from which `parse_place` goes on."""
    shown = {"created_at": moment and moment.isoformat(), "id": user_id}
    return urlsafe_b64encode(orjson.dumps(shown)).rstrip(b"=").decode()


def cursor_headers(
    pairs: Iterable[tuple[str, str]], cursor: str, path: str
) -> list[tuple[str, str]]:
    """`Link` to what follows; the other members of the query stay."""
    kept = [(name, value) for name, value in pairs if name not in ("cursor", "page")]
    where = path.partition("?")[0]
    return [("Link", f'<{where}?{urlencode([*kept, ("cursor", cursor)])}>; rel="next"')]
