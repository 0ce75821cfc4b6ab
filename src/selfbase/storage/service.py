"""The storage service of one project: one request from its route to its answer.

Read first.  A request is matched to a route; the route's surface (REST, resumable uploads, S3)
proves the caller; the handler decodes, calls an operation and encodes; a failure is rendered in the
surface's own shape.  Which operation is allowed is for PostgreSQL to say, inside the operation.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar
from urllib.parse import unquote_to_bytes

import orjson
import psycopg
from psycopg.conninfo import conninfo_to_dict

from selfbase.database.database import Database, DatabaseSettings
from selfbase.database.failures import DatabaseFailure, DatabaseUnavailable
from selfbase.http.values import FileBody, Request, Response, WebSocket
from selfbase.identity.tokens import (
    Key,
    TokenVerifier,
    key_from_jwk,
    key_from_secret,
    keys_from_text,
)
from selfbase.kit.clock import Clock
from selfbase.kit.events import Event, Events, Level
from selfbase.kit.failures import ConfigurationError, Failure
from selfbase.kit.routes import Found, Route, Router
from selfbase.kit.settings import Layer, Secret, load_settings, setting
from selfbase.project import Health, Project
from selfbase.storage.access import REST
from selfbase.storage.blobs import Blobs
from selfbase.storage.buckets import Buckets
from selfbase.storage.call import Call, Handler, Surface, drain, make_actor
from selfbase.storage.collector import Collector
from selfbase.storage.context import Context
from selfbase.storage.disk import DiskBlobs
from selfbase.storage.errors import (
    EntityTooLarge,
    FeatureNotEnabled,
    InvalidKey,
    RouteNotFound,
    SchemaInvalid,
    StorageError,
    storage_error,
)
from selfbase.storage.faults import Faults
from selfbase.storage.filebody import read_file_body
from selfbase.storage.objects import Objects
from selfbase.storage.ports import ImageTransformer
from selfbase.storage.queries import SQL
from selfbase.storage.resumable import Resumables
from selfbase.storage.routes import ROUTES
from selfbase.storage.rows import Rows, by_service, service_actor
from selfbase.storage.schema import OWNER, migrate_storage
from selfbase.storage.seed import seed_buckets
from selfbase.storage.settings import StorageSettings

SUPERUSER = "supabase_admin"
_RESUMABLE = "/upload/resumable"
# Roots of a group of routes may end in a slash: S3 clients list buckets that way.
_ROOTS = frozenset({"/s3/", "/bucket/", "/cdn/"})


@dataclass(frozen=True, slots=True)
class RequestFailed(Event):
    """A request failed for a reason that is ours, not the client's."""

    name: ClassVar[str] = "storage.request.failed"
    level: ClassVar[Level] = "error"
    service: ClassVar[str] = "storage"
    request_id: str
    operation: str
    code: str
    cause: str


class Storage:
    """The storage service of one project."""

    name = "storage"

    def __init__(self, context: Context, database: Database, *, migrate_as: str) -> None:
        self.context = context
        self.collector = Collector(context)
        self._database = database
        self._migrate_as = migrate_as
        self._router: Router[Handler] = Router(ROUTES)
        self._collecting: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Brings the schema up to date, makes the configured buckets, starts the collector."""
        conninfo = self._database.conninfo_for(self._migrate_as)
        try:
            await asyncio.to_thread(migrate_storage, conninfo)
        except psycopg.OperationalError as error:
            raise DatabaseUnavailable(str(error).strip()) from error
        if isinstance(self.context.blobs, DiskBlobs):
            await self.context.blobs.open_folders()
        await seed_buckets(self.context)
        if self.context.settings.collect_every_s > 0:
            self._collecting = asyncio.create_task(self.collector.run(), name="storage collector")

    async def close(self) -> None:
        if self._collecting is not None:
            self._collecting.cancel()
            await asyncio.gather(self._collecting, return_exceptions=True)
        await self.context.close()

    async def answer(self, request: Request) -> Response:
        """The answer to one request; every failure is rendered."""
        surface, operation = REST, "storage"
        try:
            found = self._find_route(request)
            route = found.route
            surface, operation = route.extra, route.operation
            caller = await surface.authenticate(request, self.context, route.access)
            actor = make_actor(caller, operation, request)
            return await route.handler(Call(request, actor, self.context, found.params))
        except Failure as failure:
            await drain(request)
            return self._render(surface, operation, storage_error(failure), request)

    def _find_route(self, request: Request) -> Found[Handler]:
        method, path = _target(request)
        found = self._router.find(method, path)
        if not isinstance(found, Found) and method == "HEAD":
            found = self._router.find("GET", path)
        if not isinstance(found, Found):
            if path.endswith("/") and isinstance(self._router.find(method, f"{path}-"), Found):
                raise InvalidKey("Invalid key: ")  # only the name is missing
            raise RouteNotFound(f"Route {request.method}:{request.path} not found")
        if not self.context.settings.enabled:
            raise FeatureNotEnabled("Storage is switched off for this project")
        return found

    def _render(
        self, surface: Surface, operation: str, failure: StorageError, request: Request
    ) -> Response:
        if failure.status >= 500 and failure.status != 501:
            cause = failure.internal or failure.message
            self.context.events.emit(RequestFailed(request.id, operation, failure.code, cause))
        return surface.render_failure(failure, request)

    async def read_object(self, bucket_id: str, name: str, bytes_max: int) -> bytes:
        """An object's bytes past policies, for a signed image URL: the signature is the proof.

        Raises NoSuchKey, BlobMissing, EntityTooLarge.
        """
        actor = service_actor("storage.render.image_sign")
        found = await self.context.objects.find(actor, bucket_id, name)
        if found.size > bytes_max:
            raise EntityTooLarge
        body = await self.context.objects.open(found, 0, found.size)
        pieces = read_file_body(body) if isinstance(body, FileBody) else body
        return b"".join([piece async for piece in pieces])

    async def connect(self, socket: WebSocket) -> None:
        await socket.reject(Response(404))

    async def health(self) -> Health:
        step = by_service(SQL["check_health"])
        try:
            await self.context.rows.run(service_actor("storage.health"), step, read_only=True)
        except DatabaseFailure:
            return Health.UNHEALTHY
        return Health.HEALTHY


def _target(request: Request) -> tuple[str, str]:
    """Method and path to look up.  Raises SchemaInvalid for a path that does not decode to a text.

    Resumable uploads may come through clients that can only POST, and with a slash at the end.
    """
    method, path = request.method, request.path
    if "%" in path:
        try:
            unquote_to_bytes(path).decode()
        except UnicodeDecodeError:
            raise SchemaInvalid(f"'{path[:200]}' is not a valid url component") from None
    if path.startswith(_RESUMABLE):
        path = path.rstrip("/")
        if method == "POST":
            method = request.headers.get("x-http-method-override").upper() or method
    return method, path.rstrip("/") if path in _ROOTS else path


def make_storage(
    project: Project, *, images: ImageTransformer | None = None, faults: Faults | None = None
) -> Storage:
    """The storage service of a project.  `images` serves the render endpoints."""
    settings = load_settings(StorageSettings, project.layers, owner="storage")
    secrets = project.secrets
    context = Context(
        settings=settings,
        project_ref=project.ref,
        rows=Rows(project.database, settings),
        blobs=_open_blobs(settings, project.ref, project.data_dir / "storage", faults),
        tokens=project.tokens,
        signing_key=key_from_secret(secrets.jwt_secret),
        clock=project.clock,
        events=project.events,
        s3_access_key_id=settings.s3_protocol_access_key_id or secrets.s3_access_key_id,
        s3_access_key_secret=settings.s3_protocol_access_key_secret or secrets.s3_access_key_secret,
        anon_key=secrets.anon_key,
        images=images,
        faults=faults or Faults(),
    )
    return _assemble(context, project.database, migrate_as=SUPERUSER)


@dataclass(frozen=True, kw_only=True)
class StandaloneSettings:
    """What the service needs to know when no project tells it."""

    database_url: Secret = setting(
        env=("DATABASE_POOL_URL", "DATABASE_URL"), help="The database.", secret=True
    )
    migrate_url: Secret | None = setting(
        None, env="DATABASE_URL", help="For migrations, past a pooler.", secret=True
    )
    jwt_secret: Secret = setting(
        env=("AUTH_JWT_SECRET", "PGRST_JWT_SECRET"), help="Verifies tokens.", secret=True
    )
    jwks: Secret | None = setting(
        None,
        env="JWT_JWKS",
        help="Further keys, as a JWK set; its `urlSigningKey` signs URLs.",
        secret=True,
    )
    anon_key: Secret = setting(Secret(""), env="ANON_KEY", help="Public key.", secret=True)
    ref: str = setting(
        "storage-single-tenant", env=("TENANT_ID", "PROJECT_REF"), help="The project's name."
    )


def make_standalone_storage(
    layers: Sequence[Layer],
    events: Events,
    clock: Clock,
    *,
    images: ImageTransformer | None = None,
    faults: Faults | None = None,
) -> Storage:
    """The storage service alone, at the root path, configured as the reference server is."""
    settings = load_settings(StorageSettings, layers, owner="storage")
    alone = load_settings(StandaloneSettings, layers, owner="storage")
    url = alone.database_url.reveal()
    user = conninfo_to_dict(url).get("user") or OWNER
    database = Database(DatabaseSettings(conninfo=url, user=str(user)), events)
    if not settings.file_path and settings.backend == "file" and not settings.object_store_url:
        raise ConfigurationError(
            "storage: file_path is not set", hint="Set STORAGE_FILE_BACKEND_PATH."
        )
    keys, signing_key = _standalone_keys(alone)
    context = Context(
        settings=settings,
        project_ref=alone.ref,
        rows=Rows(database, settings),
        blobs=_open_blobs(settings, alone.ref, Path(), faults),
        tokens=TokenVerifier(keys),
        signing_key=signing_key or keys[0],
        clock=clock,
        events=events,
        s3_access_key_id=settings.s3_protocol_access_key_id or "",
        s3_access_key_secret=settings.s3_protocol_access_key_secret or "",
        anon_key=alone.anon_key.reveal(),
        images=images,
        faults=faults or Faults(),
    )
    return _assemble(context, database, migrate_as=str(user))


def _standalone_keys(alone: StandaloneSettings) -> tuple[tuple[Key, ...], Key | None]:
    """What verifies tokens, the secret first; and the key set's own key for signed URLs."""
    secret = key_from_secret(alone.jwt_secret.reveal())
    if alone.jwks is None:
        return (secret,), None
    text = alone.jwks.reveal()
    further = keys_from_text(text)
    loaded = orjson.loads(text) if text.strip().startswith("{") else {}
    if "urlSigningKey" not in loaded:
        return (secret, *further), None
    signing_key = key_from_jwk(loaded["urlSigningKey"])
    return (secret, *further, signing_key), signing_key


def _assemble(context: Context, database: Database, *, migrate_as: str) -> Storage:
    context.objects = Objects(context)
    context.buckets = Buckets(context)
    context.resumables = Resumables(context)
    return Storage(context, database, migrate_as=migrate_as)


def _open_blobs(settings: StorageSettings, ref: str, folder: Path, faults: Faults | None) -> Blobs:
    if settings.backend == "file" and not settings.object_store_url:
        root = (
            Path(settings.file_path) / (settings.tenant_id or ref) if settings.file_path else folder
        )
        return DiskBlobs(root, sync=settings.file_sync, faults=faults)
    # Loaded where it is used: a store on disk does without its megabytes.
    from selfbase.storage.cloud import CloudBlobs, open_store

    return CloudBlobs(
        open_store(settings),
        settings.tenant_id or ref,
        part_bytes=settings.s3_part_bytes,
        queue=settings.s3_queue,
    )


def list_routes() -> Sequence[Route[Handler]]:
    """Every route, for reference pages and access tests."""
    return ROUTES
