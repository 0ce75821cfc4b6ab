"""Pages of a list, and the headers that name the next and the last one."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

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
