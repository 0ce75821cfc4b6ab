"""Bootstrap as a whole: idempotent, upgradeable, safe under two processes, honest about refusals."""

import psycopg
from tests.support.postgres import FreshDatabase

from selfbase.database.bootstrap import bootstrap


def count_migrations(conninfo: str) -> int:
    with psycopg.connect(conninfo) as connection:
        row = connection.execute("select count(*) from _selfbase.migrations").fetchone()
    assert row is not None
    return int(row[0])


def test_second_run_changes_nothing(fresh_database: FreshDatabase) -> None:
    report = bootstrap(fresh_database.conninfo(), {"postgres": "test-password"})
    assert report.applied == []
    assert report.passwords_set == []
    assert report.skipped == []
