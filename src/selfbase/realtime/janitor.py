"""The partitions of realtime.messages: made ahead, dropped when old."""

from __future__ import annotations

import re
from datetime import date, datetime, timedelta

from psycopg import sql

from selfbase.database.database import Database
from selfbase.realtime.authorization import LOGIN

DAYS_AHEAD = 3
_NAME = re.compile(r"messages_(\d{4})_(\d{2})_(\d{2})\Z")
_LIST = """
select c.relname as name
from pg_catalog.pg_inherits as i
join pg_catalog.pg_class as c on c.oid = i.inhrelid
where i.inhparent = 'realtime.messages'::regclass
"""
# One worker at a time; the others find the work done.
_LOCK = "select pg_advisory_xact_lock(hashtextextended('selfbase realtime partitions', 0))"


def plan_partitions(
    existing: set[str], now: datetime, keep: timedelta
) -> tuple[list[date], list[str]]:
    """Days to make partitions for, from yesterday on, and names of partitions to drop."""
    today = now.date()
    days = [today + timedelta(days=offset) for offset in range(-1, DAYS_AHEAD + 1)]
    missing = [day for day in days if f"messages_{day:%Y_%m_%d}" not in existing]
    oldest = (now - keep).date()
    old = []
    for name in sorted(existing):
        match = _NAME.match(name)
        if match and date(int(match[1]), int(match[2]), int(match[3])) < min(oldest, days[0]):
            old.append(name)
    return missing, old


async def tend_partitions(database: Database, now: datetime, keep: timedelta) -> None:
    """Makes what is missing and drops what is old.  Raises DatabaseFailure."""
    async with database.as_service("partitions belong to Realtime", login=LOGIN) as tx:
        await tx.execute(_LOCK)
        rows = await tx.fetch_all(_LIST)
        missing, old = plan_partitions({row["name"] for row in rows}, now, keep)
        for day in missing:
            name = sql.Identifier("realtime", f"messages_{day:%Y_%m_%d}")
            await tx.execute(
                sql.SQL(
                    "create table if not exists {} partition of realtime.messages"
                    " for values from ({}) to ({})"
                ).format(
                    name,
                    sql.Literal(day.isoformat()),
                    sql.Literal((day + timedelta(days=1)).isoformat()),
                )
            )
            await tx.execute(
                sql.SQL("alter table {} owner to supabase_realtime_admin").format(name)
            )
            # Reached through realtime.messages only, where the policies are.
            await tx.execute(sql.SQL("alter table {} enable row level security").format(name))
        for name_ in old:
            await tx.execute(sql.SQL("drop table {}").format(sql.Identifier("realtime", name_)))
