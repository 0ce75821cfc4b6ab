"""What is in force: settings, catalog, callers and compiled requests of one generation.

A reload makes a new `Active` and swaps it in; requests under way keep the one they began with.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import psycopg

from selfbase.database.batch import Settings
from selfbase.database.database import Database
from selfbase.database.failures import DatabaseFailure
from selfbase.identity.caller import Caller
from selfbase.identity.tokens import TokenVerifier
from selfbase.kit.clock import Clock
from selfbase.kit.events import Events
from selfbase.kit.failures import ConfigurationError
from selfbase.kit.settings import Layer
from selfbase.rest.callers import Callers, make_verifier
from selfbase.rest.events import ConfigRejected, ListenerLost, SchemaLoaded, SchemaLoadFailed
from selfbase.rest.logic.catalog import Catalog, RoleSettings
from selfbase.rest.logic.claims import parse_claim_path
from selfbase.rest.logic.compile import Compiled, compile_request
from selfbase.rest.logic.names import quote_ident
from selfbase.rest.logic.plan_request import PlanOptions
from selfbase.rest.logic.recall import Memory
from selfbase.rest.logic.request import Ask
from selfbase.rest.schema_cache import list_timezones, load_catalog, load_config
from selfbase.rest.settings import RestSettings, load_rest_settings
from selfbase.rest.streaming import Sizes

QUIET_S = 0.1
RETRY_S_MAX = 32.0
FRAMES_MAX = 2000


@dataclass(frozen=True, slots=True)
class Frame:
    """What all requests of one caller to one schema have in common: the settings they begin with,
    the name their statements are prepared under, and the isolation the role asks for."""

    settings: Settings
    plan_key: str
    isolation: str | None


@dataclass
class Active:
    """One generation of everything a request looks at."""

    settings: RestSettings
    catalog: Catalog
    callers: Callers
    options: PlanOptions
    mark: str
    timezones: frozenset[str] | None = None
    sizes: Sizes = field(default_factory=Sizes)
    memory: Memory = field(default_factory=Memory)
    _compiled: dict[Ask, Compiled] = field(default_factory=dict)
    _frames: dict[tuple[str, str, str], Frame] = field(default_factory=dict)

    def __post_init__(self) -> None:
        # Whether nothing but the answer itself tells of its making.
        self.is_plain = not (
            self.settings.server_timing_enabled
            or self.settings.server_trace_header
            or self.settings.log_query
        )

    def compile(self, ask: Ask) -> Compiled:
        """The compiled request, made now when there is none of its kind.  Raises RestFailure."""
        known = self._compiled.get(ask)
        if known is not None:
            return known
        made = compile_request(ask, self.catalog, self.options, self.mark)
        _keep(self._compiled, ask, made, self.settings.compiled_max)
        return made

    def find_frame(self, caller: Caller, schema: str) -> Frame:
        """The frame of a caller.  Its settings stand in the order that matters: what only the login
        role may set comes before the role."""
        key = (schema, caller.role, caller.claims_json)
        known = self._frames.get(key)
        if known is not None:
            return known
        role = self.catalog.roles.get(caller.role) or RoleSettings()
        path = [schema, *self.settings.db_extra_search_path]
        pairs = [
            ("search_path", ", ".join(quote_ident(name) for name in path)),
            *role.settings,
            *((f"app.settings.{k}", v) for k, v in self.settings.app_settings.items()),
            ("role", caller.role),
            ("request.jwt.claims", caller.claims_json),
        ]
        encoded = tuple((name.encode(), value.encode()) for name, value in pairs)
        made = Frame(encoded, f"{caller.role}|{schema}", role.isolation)
        _keep(self._frames, key, made, FRAMES_MAX)
        return made


K = TypeVar("K")
V = TypeVar("V")


def _keep(kept: dict[K, V], key: K, value: V, most: int) -> None:
    """Remembers a value; the one remembered first goes when there are too many.  A lookup then
    costs one hash, and what is in use comes back at once."""
    kept[key] = value
    if len(kept) > most:
        del kept[next(iter(kept))]


class Reloader:
    """Keeps `active` in step with the database.

    One connection listens; one task loads.  Notices that arrive while a load runs, or within the
    quiet window after it, lead to one more load together.
    """

    def __init__(
        self,
        database: Database,
        login: str,
        layers: Sequence[Layer],
        events: Events,
        clock: Clock,
        *,
        tokens: TokenVerifier | None,
        mark: str,
    ) -> None:
        self.active: Active | None = None
        self.failing = False
        self.loads = {"SUCCESS": 0, "FAIL": 0}
        self.load_s = 0.0
        self._database = database
        self._login = login
        self._layers = layers
        self._events = events
        self._clock = clock
        self._tokens = tokens
        self._mark = mark
        self._generation = 0
        self.settings = load_rest_settings(layers)
        self._wanted = asyncio.Event()
        self._loaded = asyncio.Condition()
        self._tasks: list[asyncio.Task[None]] = []

    def open(self) -> None:
        self._tasks.append(asyncio.create_task(self._load_always()))
        if self.settings.db_channel_enabled:
            # The first load begins when notices are heard, so that none is missed.
            self._tasks.append(asyncio.create_task(self._listen_always()))
        else:
            self._wanted.set()

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks.clear()

    def want_reload(self) -> None:
        self._wanted.set()

    async def wait_active(self, timeout_s: float) -> Active | None:
        """The active generation, waiting for the first load if need be."""
        if self.active is None:
            try:
                async with asyncio.timeout(timeout_s), self._loaded:
                    await self._loaded.wait_for(lambda: self.active is not None)
            except TimeoutError:
                return None
        return self.active

    async def reload_past(self, generation: int, timeout_s: float) -> Active | None:
        """Asks for a load and waits until one newer than `generation` is in force."""
        self._wanted.set()

        def newer() -> bool:
            return self.active is not None and self.active.catalog.generation > generation

        try:
            async with asyncio.timeout(timeout_s), self._loaded:
                await self._loaded.wait_for(newer)
        except TimeoutError:
            return None
        return self.active

    async def list_timezones(self, active: Active) -> frozenset[str]:
        if active.timezones is None:
            active.timezones = await list_timezones(self._database, self._login)
        return active.timezones

    async def _load_always(self) -> None:
        retry_s = 0.25
        while True:
            await self._wanted.wait()
            self._wanted.clear()
            started_s = self._clock.monotonic_s()
            try:
                await self._load(started_s)
            except DatabaseFailure as failure:
                self.failing = True
                self.loads["FAIL"] += 1
                self._events.emit(SchemaLoadFailed(code=failure.code, error=failure.message))
                await asyncio.sleep(retry_s)
                retry_s = min(retry_s * 2, RETRY_S_MAX)
                self._wanted.set()
                continue
            self.failing = False
            retry_s = 0.25
            await asyncio.sleep(QUIET_S)

    async def _load(self, started_s: float) -> None:
        settings = await self._load_settings()
        self._generation += 1
        catalog = await load_catalog(self._database, self._login, settings, self._generation)
        tokens = make_verifier(settings) or self._tokens
        callers = Callers(settings, tokens)
        previous = self.active
        if previous is not None and previous.settings == settings:
            # Tokens verified before stay verified.
            callers = previous.callers
        if previous is not None and previous.catalog.login_settings != catalog.login_settings:
            self._database.recycle(self._login)
        options = PlanOptions(
            settings.db_aggregates_enabled,
            settings.db_plan_enabled,
            settings.db_max_rows,
            settings.tx_override_allowed,
            settings.filters_required,
        )
        self.active = Active(settings, catalog, callers, options, self._mark)
        self.settings = settings
        self.loads["SUCCESS"] += 1
        self.load_s = self._clock.monotonic_s() - started_s
        async with self._loaded:
            self._loaded.notify_all()
        self._events.emit(
            SchemaLoaded(
                relations=len(catalog.tables),
                relationships=sum(len(several) for several in catalog.relationships.values()),
                functions=sum(len(several) for several in catalog.functions.values()),
                took_ms=round(self.load_s * 1000, 1),
            )
        )

    async def _load_settings(self) -> RestSettings:
        """The settings with those of the database; when they make no sense, the ones before."""
        try:
            base = load_rest_settings(self._layers)
        except ConfigurationError as error:
            # The file was changed to something that cannot be read.
            self._events.emit(ConfigRejected(error=str(error)))
            return self.settings
        if not base.db_config:
            return base
        found = await load_config(self._database, self._login, base.db_pre_config)
        try:
            settings = load_rest_settings(self._layers, found)
            parse_claim_path(settings.jwt_role_claim_key)
            make_verifier(settings)
        except (ConfigurationError, ValueError) as error:
            self._events.emit(ConfigRejected(error=str(error)))
            return self.settings
        return settings

    async def _listen_always(self) -> None:
        retry_s = 0.25

        def heard() -> None:
            nonlocal retry_s
            retry_s = 0.25

        while True:
            try:
                await self._listen(heard)
            except (psycopg.Error, DatabaseFailure) as error:
                if self.active is None:
                    self._wanted.set()
                text = str(error).strip() or type(error).__name__
                self._events.emit(ListenerLost(error=text, retry_s=retry_s))
            await asyncio.sleep(retry_s)
            retry_s = min(retry_s * 2, RETRY_S_MAX)

    async def _listen(self, heard: Callable[[], None]) -> None:
        async with self._database.connect(self._login) as connection:
            channel = psycopg.sql.Identifier(self.settings.db_channel)
            await connection.execute(psycopg.sql.SQL("listen {}").format(channel))
            heard()
            # Notices may have been missed while nobody listened.
            self._wanted.set()
            async for notice in connection.notifies():
                if notice.payload in ("", "reload schema", "reload config"):
                    self._wanted.set()
