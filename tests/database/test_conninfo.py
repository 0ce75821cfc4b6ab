"""Connection strings made without psycopg are read by libpq as they were meant."""

from __future__ import annotations

import pytest
from psycopg.conninfo import conninfo_to_dict

from selfbase.database.cluster import quote_conninfo


@pytest.mark.parametrize(
    "value",
    ["/run/x", "postgres", "5432", "", "a b", "it's", "back\\slash", "\\'", "x=y", "ü", "a\tb\nc"],
)
def test_any_value_survives(value: str) -> None:
    text = f"host={quote_conninfo(value)} port=1"
    assert conninfo_to_dict(text) == {"host": value, "port": "1"}
