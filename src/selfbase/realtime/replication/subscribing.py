"""Making subscriptions active: which tables they mean, whether their filters hold, and their rows.

The check is PostgreSQL's own (the trigger of realtime.subscription), so that SQL of users sees the
same subscriptions and the same errors as upstream.  Source: reference/realtime.md sections 3.6, 10.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence

import orjson
import psycopg

from selfbase.database.database import Database, Transaction
from selfbase.database.failures import DatabaseFailure
from selfbase.identity.caller import Caller
from selfbase.kit.events import Events
from selfbase.realtime.authorization import LOGIN
from selfbase.realtime.events import TaskFailed
from selfbase.realtime.logic.joins import Binding
from selfbase.realtime.replication.subscriptions import Registry, Subscription
from selfbase.realtime.settings import RealtimeSettings

EXTENSION = "postgres_changes"
SUBSCRIBED = "Subscribed to PostgreSQL"
# in: publication, schema or *, table or *; out: tables that fit; locks: none.
_TABLES = """
select format('%%I.%%I', schemaname, tablename) as name
from pg_catalog.pg_publication_tables
where pubname = %s and %s::text in ('*', schemaname) and %s::text in ('*', tablename)
"""
# in: the parts of one subscription; out: nothing; locks: the new row.
_INSERT = """
insert into realtime.subscription
  (subscription_id, entity, filters, claims, action_filter, selected_columns)
select %s::uuid, %s::regclass,
  coalesce((
    select array_agg(row(
      f ->> 'column', f ->> 'op', f ->> 'value', (f ->> 'negate')::boolean
    )::realtime.user_defined_filter)
    from jsonb_array_elements(%s::jsonb) as f
  ), '{}'),
  %s::jsonb, %s, %s::text[]
on conflict do nothing
"""
_DELETE = "delete from realtime.subscription where subscription_id = any(%s::uuid[])"
_SWEEP = """
delete from realtime.subscription
where %s or left(replace(subscription_id::text, '-', ''), 16) <> all (%s)
"""


class Subscriber:
    """The subscriptions of this worker and their rows."""

    def __init__(
        self, settings: RealtimeSettings, database: Database, registry: Registry, events: Events
    ) -> None:
        self.subscriptions: dict[Subscription, None] = {}
        self._settings = settings
        self._database = database
        self._registry = registry
        self._events = events
        self._ended: list[str] = []
        self._tasks: set[asyncio.Task[None]] = set()

    async def activate(self, subscription: Subscription) -> None:
        """Sorts the bindings into active, waiting (their table may come) and failed."""
        self.subscriptions[subscription] = None
        for binding in subscription.bindings:
            if binding.problem is not None:
                subscription.failed[binding] = binding.problem
        open_ = [b for b in subscription.bindings if b.problem is None]
        await self._try(subscription, open_)

    async def _try(self, subscription: Subscription, bindings: Sequence[Binding]) -> None:
        try:
            async with self._database.as_service("subscriptions are ours", login=LOGIN) as tx:
                for binding in bindings:
                    await self._insert(tx, subscription, binding)
        except DatabaseFailure as failure:
            # Mostly because the database is away: everything is tried again later.
            self._events.emit(
                TaskFailed("subscribe", failure.sqlstate + " " + failure.message[:200])
            )
            for binding in bindings:
                if binding not in subscription.failed and binding not in subscription.active:
                    subscription.waiting[binding] = make_system_error(binding)

    async def _insert(self, tx: Transaction, subscription: Subscription, binding: Binding) -> None:
        tables = await tx.fetch_all(
            _TABLES, (self._settings.publication, binding.schema, binding.table)
        )
        if not tables:
            subscription.waiting[binding] = make_system_error(binding)
            return
        filters = [
            {"column": f.column, "op": f.op, "value": f.value, "negate": f.negate}
            for f in binding.filters
        ]
        try:
            async with tx.savepoint():
                for table in tables:
                    await tx.execute(
                        _INSERT,
                        (
                            str(subscription.id),
                            table["name"],
                            orjson.dumps(filters).decode(),
                            subscription.caller.claims_json,
                            binding.event,
                            list(binding.select) if binding.select is not None else None,
                        ),
                    )
        except DatabaseFailure as failure:
            if failure.status == 503:
                raise
            subscription.failed[binding] = make_system_error(binding, failure)
            return
        subscription.waiting.pop(binding, None)
        subscription.rows = True
        if not subscription.ended:
            self._registry.add(subscription, binding)

    def follow_up(self, subscription: Subscription, ready: asyncio.Event) -> None:
        """Tells the client how its bindings stand, and goes on trying those that wait."""
        self._start(self._settle(subscription, ready))

    async def _settle(self, subscription: Subscription, ready: asyncio.Event) -> None:
        for problem in dict.fromkeys(subscription.failed.values()):
            subscription.tell(EXTENSION, "error", problem)
        while subscription.waiting and not subscription.ended:
            for problem in dict.fromkeys(subscription.waiting.values()):
                subscription.tell(EXTENSION, "error", problem)
            await asyncio.sleep(self._settings.subscribe_retry_s)
            if not subscription.ended:
                await self._try(subscription, list(subscription.waiting))
        await ready.wait()
        if not subscription.failed and not subscription.ended:
            subscription.tell(EXTENSION, "ok", SUBSCRIBED)

    def change_caller(self, subscription: Subscription, caller: Caller) -> None:
        """Judges later changes for the new caller.  Not while a batch is being judged: it would
        be for neither of the two."""
        active = list(subscription.active)
        self._registry.remove(subscription)
        subscription.caller = caller
        for binding in active:
            self._registry.add(subscription, binding)

    async def renew_rows(self, subscription: Subscription) -> None:
        """Lets the rows follow a new caller, and ends what it may not subscribe to."""
        active = list(subscription.active)
        try:
            async with self._database.as_service("subscriptions are ours", login=LOGIN) as tx:
                await tx.execute(_DELETE, ([str(subscription.id)],))
        except DatabaseFailure as failure:
            # The rows only show what is subscribed: without them changes are judged all the same.
            self._events.emit(TaskFailed("subscribe", failure.sqlstate))
            return
        await self._try(subscription, active)
        for binding in active:
            subscription.waiting.pop(binding, None)  # is active: a table that comes back is heard
        refused = [binding for binding in active if binding in subscription.failed]
        for binding in refused:
            self._registry.remove_binding(subscription, binding)
        for problem in dict.fromkeys(subscription.failed[binding] for binding in refused):
            subscription.tell(EXTENSION, "error", problem)

    def end(self, subscription: Subscription) -> None:
        """Nothing more is delivered; the rows go soon after."""
        subscription.ended = True
        self.subscriptions.pop(subscription, None)
        self._registry.remove(subscription)
        if subscription.rows:
            self._ended.append(str(subscription.id))
            if len(self._ended) == 1:
                self._start(self._delete())

    async def _delete(self) -> None:
        await asyncio.sleep(0.1)  # many leave together
        ended, self._ended = self._ended, []
        try:
            async with self._database.as_service("subscriptions are ours", login=LOGIN) as tx:
                await tx.execute(_DELETE, (ended,))
        except DatabaseFailure as failure:
            # They are swept when the stream starts again.
            self._events.emit(TaskFailed("delete subscriptions", failure.sqlstate))

    def start_sweep(self, workers: Sequence[str]) -> None:
        """Deletes rows that workers left behind that are not among `workers`."""
        self._start(self._sweep(workers))

    async def _sweep(self, workers: Sequence[str]) -> None:
        try:
            async with self._database.as_service("subscriptions are ours", login=LOGIN) as tx:
                await tx.execute(_SWEEP, (not workers, [worker[:16] for worker in workers]))
        except DatabaseFailure as failure:
            self._events.emit(TaskFailed("sweep subscriptions", failure.sqlstate))

    def _start(self, coroutine: object) -> None:
        task: asyncio.Task[None] = asyncio.ensure_future(coroutine)  # type: ignore[call-overload]
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        ending = [str(s.id) for s in self.subscriptions if s.rows] + self._ended
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if ending:
            self._ended = ending
            await self._delete()


def make_system_error(binding: Binding, failure: DatabaseFailure | None = None) -> str:
    """The words upstream uses, which people search for."""
    start = "Unable to subscribe to changes with given parameters. "
    if failure is not None:
        return (
            f"{start}An exception happened so please check your connect parameters:"
            f" {binding.describe()}. Exception: ERROR {failure.sqlstate}"
            f" ({_name_condition(failure.sqlstate)}) {failure.message}"
        )
    return (
        f"{start}Please check Realtime is enabled for the given connect parameters:"
        f" {binding.describe()}"
    )


def _name_condition(sqlstate: str) -> str:
    """PostgreSQL's name of an error code, such as raise_exception."""
    try:
        name = psycopg.errors.lookup(sqlstate).__name__
    except KeyError:
        return "unknown"
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()
