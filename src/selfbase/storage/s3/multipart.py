"""Multipart uploads: parts are blobs of their own until they become one object.

A part counts once its row is committed; the bytes it replaces, and those of an aborted or completed
upload, are removed after the commit.  Every step asks the caller's policies again, as the reference
does, by the upload test of `Objects`.  Source: reference/storage.md section 3.3.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

from selfbase.http.values import FileBody, Response
from selfbase.storage.blobs import (
    BlobNotFound,
    BlobsFailed,
    BlobsFull,
    Written,
    object_key,
    part_key,
)
from selfbase.storage.errors import (
    EntityTooLarge,
    InsufficientStorage,
    InternalError,
    InvalidRange,
    NoSuchUpload,
)
from selfbase.storage.faults import FaultPoint
from selfbase.storage.filebody import read_file_body
from selfbase.storage.logic.conditions import plan_range
from selfbase.storage.objects import UploadPermit, describe, limit_stream
from selfbase.storage.rows import by_caller, by_service
from selfbase.storage.s3.call import S3Call
from selfbase.storage.s3.errors import (
    BadDigest,
    EntityTooSmall,
    InvalidArgument,
    InvalidPart,
    InvalidPartOrder,
    InvalidS3Request,
    MalformedXml,
)
from selfbase.storage.s3.listing import choose_encoding, require_bucket
from selfbase.storage.s3.logic.checksums import PREFIX as CHECKSUM_PREFIX
from selfbase.storage.s3.logic.checksums import check_digest, find_announced, make_digest
from selfbase.storage.s3.logic.xml import Value, children, parse_xml, text_of
from selfbase.storage.s3.objects import (
    check_copy_conditions,
    find_for,
    kept_headers,
    must_be_new,
    parse_copy_source,
    plan_upload,
)
from selfbase.storage.s3.render import encode_url, xml_response
from selfbase.storage.s3.sqlfile import S3_SQL
from selfbase.storage.types import ByteStream, Stored, StoredObject, Upload

PARTS_MAX = 10_000
PART_BYTES_MIN = 5 * 1024 * 1024
_COMPLETE_BYTES_MAX = 4 * 1024 * 1024
_RANGE = re.compile(r"bytes=(\d{1,18})-(\d{1,18})")
_LAST_CHARACTER = chr(0x10FFFF)


@dataclass(frozen=True, slots=True)
class Part:
    number: int
    size: int
    etag: str
    version: str
    created_at: str = ""


@dataclass(frozen=True, slots=True)
class WantedPart:
    """A part as the list of a completion names it."""

    number: int
    etag: str


async def create_multipart(call: S3Call) -> Response:
    """Opens an upload; what its object will say of itself is kept with it."""
    upload = plan_upload(call.headers, call.user_metadata())
    permit = await call.context.objects.authorize_upload(call.actor, call.bucket, call.key, upload)
    upload_id = call.context.make_version()
    kept = {
        "mimetype": upload.mime_type,
        "cacheControl": upload.cache_control,
        "kept": kept_headers(call.headers),
    }
    step = by_service(
        S3_SQL["insert_upload"],
        upload_id,
        permit.bucket.id,
        call.key,
        upload_id,
        call.actor.caller.user_id,
        kept,
        dict(upload.user_metadata or {}),
    )
    await call.context.rows.run(call.actor, step)
    body: dict[str, Value] = {"Bucket": call.bucket, "Key": call.key, "UploadId": upload_id}
    return xml_response("InitiateMultipartUploadResult", body)


async def upload_part(call: S3Call) -> Response:
    """Writes one part, or replaces it."""
    number = part_number(call)
    payload = call.payload()
    if payload.length > call.context.settings.s3_part_bytes_max:
        raise EntityTooLarge
    row, permit = await _authorize(call)
    left = await _bytes_left(call, row["id"], number, permit)
    if payload.length > left:
        raise EntityTooLarge
    version = call.context.make_version()
    key = part_key(row["id"], version)
    written = await _write(call, key, limit_stream(payload.stream(), left))
    part = Part(number, written.size, f'"{written.md5.hex()}"', version)
    await _record(call, row["id"], part, permit)
    return Response(200, [("etag", part.etag), *payload.checksums.items()])


async def copy_part(call: S3Call) -> Response:
    """A part made of an object, or of a range of it."""
    number = part_number(call)
    source = parse_copy_source(call.headers["x-amz-copy-source"])
    row, permit = await _authorize(call)
    found = await find_for(call.context, call.actor, *source)
    check_copy_conditions(call, found)
    offset, length = _plan_copy_range(call.headers.get("x-amz-copy-source-range"), found.size)
    if length > min(
        await _bytes_left(call, row["id"], number, permit),
        call.context.settings.s3_part_bytes_max,
    ):
        raise EntityTooLarge
    version = call.context.make_version()
    key = part_key(row["id"], version)
    written = await _write(call, key, _read_range(call, found, offset, length))
    part = Part(number, written.size, f'"{written.md5.hex()}"', version)
    await _record(call, row["id"], part, permit)
    moment = call.context.clock.now().strftime("%Y-%m-%dT%H:%M:%S.000Z")
    return xml_response("CopyPartResult", {"ETag": part.etag, "LastModified": moment})


async def complete_multipart(call: S3Call) -> Response:
    """Joins the parts named, or all of them, into the object."""
    wanted = _parse_wanted(await call.payload(of_object=False).read(_COMPLETE_BYTES_MAX))
    announced = find_whole_checksums(call.headers)
    row, permit = await _authorize(call)
    chosen = choose_parts(await _all_parts(call, row["id"]), wanted)
    size = sum(part.size for part in chosen)
    if size > permit.bytes_max:
        raise EntityTooLarge
    if call.headers.get("x-amz-mp-object-size", str(size)).strip() != str(size):
        raise InvalidS3Request("The parts do not add up to x-amz-mp-object-size.")
    upload = replace(_upload_of(row), upsert=not must_be_new(call))
    version = call.context.make_version()
    await _join(call, [part_key(row["id"], part.version) for part in chosen], version)
    call.context.faults.reach(FaultPoint.PARTS_JOINED)
    await _check_whole(call, version, size, announced)
    etag = make_multipart_etag([part.etag for part in chosen])
    stored = Stored(version, size, etag, call.context.clock.now())
    metadata = {**describe(upload, stored), **row["metadata"].get("kept", {})}
    made = await call.context.objects.commit(call.actor, permit, upload, stored, metadata=metadata)
    await _forget(call, row["id"])
    location = f"{call.request.scheme}://{call.request.host}{call.request.full_path}"
    body: dict[str, Value] = {
        "Location": location,
        "Bucket": call.bucket,
        "Key": call.key,
        "ETag": made.etag,
    }
    return xml_response("CompleteMultipartUploadResult", body)


async def _join(call: S3Call, sources: Sequence[str], version: str) -> None:
    try:
        await call.context.blobs.concat(sources, object_key(version))
    except BlobNotFound:
        # Replaced or completed by somebody else in this moment.
        raise InvalidPart from None
    except BlobsFull as error:
        raise InsufficientStorage(internal=str(error)) from error
    except BlobsFailed as error:
        raise InternalError(internal=str(error)) from error


async def _check_whole(
    call: S3Call, version: str, size: int, announced: Mapping[str, bytes]
) -> None:
    """Reads the joined bytes once more when the client has said what they must add up to."""
    if not announced:
        return
    digests = {name: make_digest(name) for name in announced}
    try:
        body = await call.context.blobs.open(object_key(version), 0, size)
        async for piece in read_file_body(body) if isinstance(body, FileBody) else body:
            for digest in digests.values():
                digest.update(piece)
        for name, value in announced.items():
            check_digest(name, digests[name], value)
    except BadDigest:
        await call.context.discard([object_key(version)])
        raise
    except BlobsFailed as error:
        await call.context.discard([object_key(version)])
        raise InternalError(internal=str(error)) from error


def find_whole_checksums(headers: Mapping[str, str]) -> dict[str, bytes]:
    """The checksums of the whole object.  Those composed of the parts' checksums (`…-N`) say
    nothing that was not checked with each part."""
    whole = {
        name: value
        for name, value in headers.items()
        if name.startswith(CHECKSUM_PREFIX) and "-" not in value
    }
    return find_announced(whole)


async def abort_multipart(call: S3Call) -> Response:
    row, _ = await _authorize(call)
    await _forget(call, row["id"])
    return Response(204)


async def list_parts(call: S3Call) -> Response:
    """The parts that count, in order."""
    row, _ = await _authorize(call)
    limit = call.number("max-parts", 1000, 0, 2**31)
    limit = min(limit or 1000, 1000)
    marker = call.number("part-number-marker", 0, 0, 2**31 - 1)
    step = by_service(S3_SQL["list_parts"], row["id"], marker, limit + 1)
    (rows,) = await call.context.rows.run(call.actor, step, read_only=True)
    shown, truncated = rows[:limit], len(rows) > limit
    owner = {"ID": row["owner_id"] or call.context.project_ref}
    body: dict[str, Value] = {
        "Bucket": call.bucket,
        "Key": call.key,
        "UploadId": row["id"],
        "Initiator": owner,
        "Owner": owner,
        "StorageClass": "STANDARD",
        "PartNumberMarker": marker,
        "NextPartNumberMarker": shown[-1]["number"] if truncated else None,
        "MaxParts": limit,
        "IsTruncated": truncated,
        "Part": [
            {
                "PartNumber": part["number"],
                "LastModified": part["created_at"],
                "ETag": part["etag"],
                "Size": part["size"],
            }
            for part in shown
        ],
    }
    return xml_response("ListPartsResult", body)


async def list_multipart(call: S3Call) -> Response:
    """Unfinished uploads by key, as row level security shows them."""
    await require_bucket(call)
    limit = min(call.number("max-uploads", 1000, 0, 2**31) or 1000, 1000)
    show = choose_encoding(call)
    prefix, delimiter = call.query.get("prefix", ""), call.query.get("delimiter", "")
    key_marker = call.query.get("key-marker", "")
    id_marker = call.query.get("upload-id-marker", "") if key_marker else ""
    uploads, prefixes, truncated = await _list_uploads(
        call, prefix, delimiter, key_marker, id_marker, limit
    )
    last = _last_place(uploads, prefixes)
    body: dict[str, Value] = {
        "Bucket": call.bucket,
        "KeyMarker": show(key_marker),
        "UploadIdMarker": id_marker,
        "NextKeyMarker": show(last[0]) if truncated else None,
        "NextUploadIdMarker": (last[1] or last[0]) if truncated else None,
        "Prefix": show(prefix),
        **({"Delimiter": show(delimiter)} if delimiter else {}),
        **({"EncodingType": "url"} if show is encode_url else {}),
        "MaxUploads": limit,
        "IsTruncated": truncated,
        "Upload": [
            {
                "Key": show(row["key"]),
                "UploadId": row["id"],
                "StorageClass": "STANDARD",
                "Initiated": row["created_at"],
            }
            for row in uploads
        ],
        "CommonPrefixes": [{"Prefix": show(item)} for item in prefixes],
    }
    return xml_response("ListMultipartUploadsResult", body)


async def _list_uploads(
    call: S3Call, prefix: str, delimiter: str, key: str, upload_id: str, limit: int
) -> tuple[list[dict[str, Any]], list[str], bool]:
    """Uploads and common prefixes up to `limit` together, and whether there are more."""
    uploads: list[dict[str, Any]] = []
    prefixes: list[str] = []
    if "\0" in prefix + delimiter + key + upload_id:
        return uploads, prefixes, False
    if delimiter and key.endswith(delimiter) and key.startswith(prefix):
        # A page that ended with a common prefix goes on behind all that lies below it.
        key += _LAST_CHARACTER
    while True:
        step = by_caller(
            S3_SQL["list_uploads"],
            call.bucket,
            prefix,
            prefix + _LAST_CHARACTER,
            key,
            upload_id,
            limit + 1,
        )
        (rows,) = await call.context.rows.run(call.actor, step, read_only=True)
        for row in rows:
            key, upload_id = row["key"], row["id"]
            folder = find_folder(row["key"], prefix, delimiter)
            if folder is not None and prefixes and prefixes[-1] == folder:
                continue
            if len(uploads) + len(prefixes) == limit:
                return uploads, prefixes, True
            if folder is None:
                uploads.append(row)
                continue
            prefixes.append(folder)
            key, upload_id = folder + _LAST_CHARACTER, ""
            break
        else:
            if len(rows) <= limit:
                return uploads, prefixes, False


def _last_place(uploads: list[dict[str, Any]], prefixes: list[str]) -> tuple[str, str]:
    """Where a page ended: the key and upload id, or the common prefix, that came last."""
    ends = [(uploads[-1]["key"], uploads[-1]["id"])] if uploads else []
    ends += [(prefixes[-1], "")] if prefixes else []
    return max(ends, key=lambda end: end[0].encode(), default=("", ""))


def find_folder(key: str, prefix: str, delimiter: str) -> str | None:
    """The common prefix that stands for this key, if any."""
    if not delimiter:
        return None
    end = key.find(delimiter, len(prefix))
    return None if end < 0 else key[: end + len(delimiter)]


def part_number(call: S3Call) -> int:
    """Raises InvalidArgument."""
    if "partNumber" not in call.query:
        raise InvalidArgument("The parameter partNumber is missing.")
    return call.number("partNumber", 0, 1, PARTS_MAX)


def choose_parts(parts: Sequence[Part], wanted: Sequence[WantedPart]) -> list[Part]:
    """The parts a completion is made of.  Raises InvalidPart, InvalidPartOrder, EntityTooSmall."""
    by_number = {part.number: part for part in parts}
    if not wanted:
        chosen = [by_number[number] for number in sorted(by_number)]
    else:
        numbers = [item.number for item in wanted]
        if any(after <= before for before, after in pairwise(numbers)):
            raise InvalidPartOrder
        chosen = []
        for item in wanted:
            part = by_number.get(item.number)
            if part is None or part.etag.strip('"') != item.etag.strip('"'):
                raise InvalidPart
            chosen.append(part)
    if not chosen:
        raise InvalidPart
    if any(part.size < PART_BYTES_MIN for part in chosen[:-1]):
        raise EntityTooSmall
    return chosen


def make_multipart_etag(etags: Sequence[str]) -> str:
    """MD5 of the parts' MD5s, and how many there were."""
    digests = b"".join(bytes.fromhex(etag.strip('"')) for etag in etags)
    return f'"{hashlib.md5(digests, usedforsecurity=False).hexdigest()}-{len(etags)}"'


def _parse_wanted(body: bytes) -> list[WantedPart]:
    if not body.strip():
        return []
    wanted = []
    for item in children(parse_xml(body, "CompleteMultipartUpload"), "Part"):
        number, etag = text_of(item, "PartNumber"), text_of(item, "ETag")
        if number is None or etag is None or not number.strip().isdecimal():
            raise MalformedXml
        wanted.append(WantedPart(int(number), etag.strip()))
    if len(wanted) > PARTS_MAX:
        raise MalformedXml
    return wanted


def _plan_copy_range(text: str | None, size: int) -> tuple[int, int]:
    if text is None:
        return 0, size
    match = _RANGE.fullmatch(text)
    if match is None or int(match[2]) < int(match[1]):
        raise InvalidArgument(
            "The x-amz-copy-source-range value must be of the form bytes=first-last."
        )
    if int(match[2]) >= size:
        raise InvalidArgument(f"Range specified is not valid for source object of size: {size}")
    try:
        plan = plan_range(text, size)
    except InvalidRange:
        raise InvalidArgument("The range lies outside of the source object.") from None
    return plan.offset, plan.length


async def _authorize(call: S3Call) -> tuple[dict[str, Any], UploadPermit]:
    """The upload, and the limits of its object.  Raises NoSuchUpload, AccessDenied."""
    upload_id = call.query.get("uploadId", "")
    if not upload_id or "\0" in upload_id + call.key + call.bucket:
        raise NoSuchUpload
    step = by_service(S3_SQL["find_upload"], upload_id, call.bucket, call.key)
    (rows,) = await call.context.rows.run(call.actor, step, read_only=True)
    if not rows:
        await require_bucket(call)
        raise NoSuchUpload
    upload = _upload_of(rows[0])
    permit = await call.context.objects.authorize_upload(call.actor, call.bucket, call.key, upload)
    return rows[0], permit


def _upload_of(row: dict[str, Any]) -> Upload:
    metadata = row["metadata"]
    plain = Upload()
    return Upload(
        mime_type=metadata.get("mimetype") or plain.mime_type,
        cache_control=metadata.get("cacheControl") or plain.cache_control,
        user_metadata=row["user_metadata"],
        upsert=True,
    )


async def _bytes_left(call: S3Call, upload_id: str, number: int, permit: UploadPermit) -> int:
    """What this part may take of the limit, others counted."""
    step = by_service(S3_SQL["sum_parts"], upload_id, number)
    (rows,) = await call.context.rows.run(call.actor, step, read_only=True)
    return max(0, permit.bytes_max - int(rows[0]))


async def _write(call: S3Call, key: str, pieces: ByteStream) -> Written:
    try:
        written = await call.context.blobs.put(key, pieces)
    except BlobsFull as error:
        raise InsufficientStorage(internal=str(error)) from error
    except BlobsFailed as error:
        raise InternalError(internal=str(error)) from error
    call.context.faults.reach(FaultPoint.PART_STORED)
    return written


async def _record(call: S3Call, upload_id: str, part: Part, permit: UploadPermit) -> None:
    """From here on the part counts.  Raises NoSuchUpload, EntityTooLarge."""
    key = part_key(upload_id, part.version)
    recorded = False
    try:
        locked, rows = await call.context.rows.run(
            call.actor,
            by_service(S3_SQL["lock_upload"], upload_id),
            by_service(
                S3_SQL["replace_part"],
                upload_id,
                part.number,
                part.size,
                part.etag,
                part.version,
                call.actor.caller.user_id,
                permit.bytes_max,
            ),
        )
        recorded = bool(rows)
    finally:
        if not recorded:
            await call.context.discard([key])
    if not locked:
        raise NoSuchUpload
    if not rows:
        raise EntityTooLarge
    call.context.faults.reach(FaultPoint.PART_RECORDED)
    await call.context.discard([part_key(upload_id, old) for old in rows[0]["old"]])


async def _forget(call: S3Call, upload_id: str) -> None:
    """Drops the upload and its parts' bytes."""
    step = by_service(S3_SQL["delete_upload"], upload_id)
    (rows,) = await call.context.rows.run(call.actor, step)
    call.context.faults.reach(FaultPoint.PARTS_FORGOTTEN)
    if rows:
        await call.context.discard(
            [part_key(upload_id, version) for version in rows[0]["versions"]]
        )


async def _all_parts(call: S3Call, upload_id: str) -> list[Part]:
    step = by_service(S3_SQL["list_parts"], upload_id, 0, PARTS_MAX)
    (rows,) = await call.context.rows.run(call.actor, step, read_only=True)
    return [Part(**row) for row in rows]


async def _read_range(
    call: S3Call, found: StoredObject, offset: int, length: int
) -> AsyncIterator[bytes]:
    body = await call.context.objects.open(found, offset, length)
    pieces = read_file_body(body) if isinstance(body, FileBody) else body
    async for piece in pieces:
        yield piece
