"""The operations of S3 on objects: get, head, put, copy, delete."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any
from urllib.parse import unquote

from selfbase.http.headers import Headers
from selfbase.http.values import Response
from selfbase.storage.call import Actor
from selfbase.storage.context import Context
from selfbase.storage.errors import (
    BlobMissing,
    NoSuchBucket,
    NoSuchKey,
)
from selfbase.storage.logic.conditions import Plan, decide_condition, plan_download
from selfbase.storage.logic.headers import (
    check_header_value,
    is_header_value,
    render_last_modified,
)
from selfbase.storage.logic.limits import USER_METADATA_BYTES_MAX
from selfbase.storage.objects import CopyChange, describe
from selfbase.storage.queries import SQL
from selfbase.storage.rows import by_service
from selfbase.storage.s3.call import META, S3Call
from selfbase.storage.s3.errors import (
    InvalidArgument,
    InvalidS3Request,
    MalformedXml,
    NotImplementedYet,
    PreconditionFailed,
)
from selfbase.storage.s3.logic.operations import ONLY_VERSION
from selfbase.storage.s3.logic.xml import Value, children, parse_xml, text_of
from selfbase.storage.s3.render import xml_response
from selfbase.storage.types import (
    DEFAULT_CACHE_CONTROL,
    DEFAULT_MIME_TYPE,
    FOLDER_PLACEHOLDER,
    StoredObject,
    Upload,
)

_REPLACED_TRIES = 3
_DELETE_BYTES_MAX = 4 * 1024 * 1024
_DELETE_KEYS_MAX = 1000
# Headers kept with an object and given back, and the key of its metadata that holds each.
_KEPT = {
    "content-disposition": "contentDisposition",
    "content-encoding": "contentEncoding",
    "content-language": "contentLanguage",
    "expires": "expires",
}
_CONDITIONS = ("if-match", "if-none-match", "if-modified-since", "if-unmodified-since")
_PLAIN_VALUE = re.compile(r"[\x20-\x7e]{0,8192}")
_PLAIN_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")


async def get_object(call: S3Call) -> Response:
    """The object or a range of it, or the news that a condition did not hold."""
    for _ in range(_REPLACED_TRIES):
        found = await find_object(call)
        plan = plan_download(call.request.headers, found.etag, found.modified_at, found.size)
        headers = render_headers(call, found, plan)
        if plan.status == 412:
            raise PreconditionFailed
        if plan.status == 304:
            return Response(304, headers)
        try:
            body = await call.context.objects.open(found, plan.offset, plan.length)
        except BlobMissing:
            # Replaced between the row and its bytes: what is there now is as good.
            continue
        return Response(plan.status, headers, body)
    raise BlobMissing


async def head_object(call: S3Call) -> Response:
    """Everything but the bytes, from the row alone."""
    found = await find_object(call)
    plan = plan_download(call.request.headers, found.etag, found.modified_at, found.size)
    return Response(plan.status, render_headers(call, found, plan))


async def get_tagging(call: S3Call) -> Response:
    """There are no tags; the object must be there all the same."""
    await find_object(call)
    return xml_response("Tagging", {"TagSet": {}})


async def find_object(call: S3Call) -> StoredObject:
    """The object, as the caller may see it.  Raises NoSuchBucket, NoSuchKey."""
    return await find_for(call.context, call.actor, call.bucket, call.key)


async def find_for(context: Context, actor: Actor, bucket: str, key: str) -> StoredObject:
    """As `find_object`, for any object."""
    try:
        return await context.objects.find(actor, bucket, key)
    except NoSuchKey:
        if await context.buckets.find_as_service(actor, bucket) is None:
            raise NoSuchBucket from None
        raise


async def put_object(call: S3Call) -> Response:
    """Replaces what is there, unless `If-None-Match: *` says to make it only."""
    payload = call.payload()
    key = call.key
    if key.endswith("/") and payload.length == 0:
        # Parity: an empty object that ends in a slash is how clients make a folder.
        key += FOLDER_PLACEHOLDER
    upload = replace(
        plan_upload(call.headers, call.user_metadata()),
        declared_bytes=payload.length,
        upsert=not must_be_new(call),
    )
    objects = call.context.objects
    permit = await objects.authorize_upload(call.actor, call.bucket, key, upload)
    stored = await objects.write(payload.stream(), permit.bytes_max)
    metadata = {**describe(upload, stored), **kept_headers(call.headers)}
    made = await objects.commit(call.actor, permit, upload, stored, metadata=metadata)
    return Response(200, [("etag", made.etag), *payload.checksums.items()])


def plan_upload(headers: Mapping[str, str], user_metadata: Mapping[str, str]) -> Upload:
    """What headers say of an object, always replacing.  Raises InvalidHeader, InvalidS3Request."""
    size = sum(len(name) + len(value) for name, value in user_metadata.items())
    if size > USER_METADATA_BYTES_MAX:
        raise InvalidS3Request("Your metadata headers exceed the maximum allowed metadata size.")
    return Upload(
        mime_type=check_header_value(
            "content-type", headers.get("content-type") or DEFAULT_MIME_TYPE
        ),
        cache_control=check_header_value(
            "cache-control", headers.get("cache-control") or DEFAULT_CACHE_CONTROL
        ),
        user_metadata=dict(user_metadata),
        upsert=True,
    )


def kept_headers(headers: Mapping[str, str]) -> dict[str, Any]:
    """Headers of an upload that belong to the object and not to its way here."""
    kept = {}
    for name, field in _KEPT.items():
        value = headers.get(name, "")
        if name == "content-encoding":
            codings = [part.strip() for part in value.split(",")]
            value = ", ".join(part for part in codings if part and part.lower() != "aws-chunked")
        if value:
            kept[field] = check_header_value(name, value)
    return kept


def must_be_new(call: S3Call) -> bool:
    """Whether `If-None-Match: *` forbids to replace.  Raises NotImplementedYet."""
    condition = call.headers.get("if-none-match")
    if condition is not None and condition.strip() != "*":
        raise NotImplementedYet("If-None-Match takes only * for uploads.")
    return condition is not None


def parse_copy_source(text: str) -> tuple[str, str]:
    """Bucket and key of `x-amz-copy-source`.  Raises InvalidArgument, NotImplementedYet."""
    path, question, rest = text.partition("?")
    if question:
        if rest == f"versionId={ONLY_VERSION}":
            return parse_copy_source(path)
        if rest.startswith("versionId="):
            raise NotImplementedYet("Versions are not implemented.")
        # Not encoded as it should be: the question mark belongs to the key.
        path = text
    try:
        bucket, _, key = unquote(path.removeprefix("/"), errors="strict").partition("/")
    except UnicodeDecodeError:
        raise InvalidArgument("The copy source is not valid UTF-8.") from None
    if not bucket or not key:
        raise InvalidArgument("Copy Source must mention the source bucket and key.")
    return bucket, key


def check_copy_conditions(call: S3Call, source: StoredObject) -> None:
    """Raises PreconditionFailed."""
    prefix = "x-amz-copy-source-"
    pairs = [
        (name, call.headers[prefix + name]) for name in _CONDITIONS if prefix + name in call.headers
    ]
    if pairs and decide_condition(Headers(pairs), source.etag, source.modified_at) != 200:
        raise PreconditionFailed


async def copy_object(call: S3Call) -> Response:
    """Metadata comes along, or is replaced by that of the request."""
    source = parse_copy_source(call.headers["x-amz-copy-source"])
    directive = call.headers.get("x-amz-metadata-directive", "COPY").upper()
    if directive not in ("COPY", "REPLACE"):
        raise InvalidArgument("Unknown metadata directive.")
    if source == (call.bucket, call.key) and directive == "COPY":
        raise InvalidS3Request(
            "This copy request is illegal because it is trying to copy an object to itself"
            " without changing the object's metadata."
        )
    original = await find_for(call.context, call.actor, *source)
    check_copy_conditions(call, original)
    change = None
    if directive == "REPLACE":
        upload = plan_upload(call.headers, call.user_metadata())
        change = CopyChange(
            mime_type=upload.mime_type,
            cache_control=upload.cache_control,
            replace_user_metadata=True,
            user_metadata=upload.user_metadata,
        )
    made = await call.context.objects.copy(
        call.actor, source, (call.bucket, call.key), upsert=not must_be_new(call), change=change
    )
    return xml_response("CopyObjectResult", {"ETag": made.etag, "LastModified": made.updated_at})


async def delete_object(call: S3Call) -> Response:
    """204 whether it was there or not."""
    try:
        await call.context.objects.delete(call.actor, call.bucket, call.key)
    except NoSuchKey:
        if await call.context.buckets.find_as_service(call.actor, call.bucket) is None:
            raise NoSuchBucket from None
    return Response(204)


async def delete_objects(call: S3Call) -> Response:
    """Every key gets its own result; what a policy protects is an error of that key."""
    document = parse_xml(await call.payload().read(_DELETE_BYTES_MAX), "Delete")
    keys = []
    for item in children(document, "Object"):
        key = text_of(item, "Key")
        if not key:
            raise MalformedXml
        if (text_of(item, "VersionId") or ONLY_VERSION) != ONLY_VERSION:
            raise NotImplementedYet("Versions are not implemented.")
        keys.append(key)
    if not keys or (call.context.settings.hard_limits and len(keys) > _DELETE_KEYS_MAX):
        raise MalformedXml
    if await call.context.buckets.find_as_service(call.actor, call.bucket) is None:
        raise NoSuchBucket
    removed = await call.context.objects.delete_many(call.actor, call.bucket, keys)
    names = {item.name for item in removed}
    missing = [key for key in dict.fromkeys(keys) if key not in names and "\0" not in key]
    refused: set[str] = set()
    if missing:
        step = by_service(SQL["list_names"], call.bucket, missing)
        (rows,) = await call.context.rows.run(call.actor, step, read_only=True)
        refused = set(rows)
    quiet = (text_of(document, "Quiet") or "").lower() == "true"
    deleted: list[Value] = [{"Key": key} for key in keys if key not in refused and not quiet]
    errors: list[Value] = [
        {"Key": key, "Code": "AccessDenied", "Message": "Access Denied"}
        for key in keys
        if key in refused
    ]
    return xml_response("DeleteResult", {"Deleted": deleted, "Error": errors})


def render_headers(call: S3Call, found: StoredObject, plan: Plan) -> list[tuple[str, str]]:
    """The headers of a GET or HEAD; a signed request may override some of them."""
    kept = {name: str(found.metadata.get(field) or "") for name, field in _KEPT.items()}
    values = {
        "content-type": found.mime_type,
        "cache-control": found.cache_control,
        **{name: value for name, value in kept.items() if value},
    }
    for name, value in call.query.items():
        if name.startswith("response-") and is_header_value(value):
            values[name.removeprefix("response-")] = value
    headers = [
        ("accept-ranges", "bytes"),
        ("etag", found.etag),
        ("last-modified", render_last_modified(found)),
        *values.items(),
        *render_metadata(found.user_metadata or {}),
    ]
    if plan.status == 206:
        last = plan.offset + plan.length - 1
        headers.append(("content-range", f"bytes {plan.offset}-{last}/{found.size}"))
    if plan.status in (200, 206):
        headers.append(("content-length", str(plan.length)))
    return headers


def render_metadata(metadata: Mapping[str, Any]) -> list[tuple[str, str]]:
    """`x-amz-meta-` headers; values that do not fit into headers are counted instead."""
    headers = []
    missing = 0
    for name, value in metadata.items():
        text = value if isinstance(value, str) else None
        if text is None or not _PLAIN_VALUE.fullmatch(text) or not _PLAIN_NAME.fullmatch(name):
            missing += 1
            continue
        headers.append((f"{META}{name.lower()}", text))
    if missing:
        headers.append(("x-amz-missing-meta", str(missing)))
    return headers
