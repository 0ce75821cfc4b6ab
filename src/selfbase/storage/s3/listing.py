"""ListObjects and ListObjectsV2."""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode
from binascii import Error as Base64Error
from collections.abc import Callable

from selfbase.http.values import Response
from selfbase.storage.errors import NoSuchBucket
from selfbase.storage.listing import list_keys
from selfbase.storage.s3.call import S3Call
from selfbase.storage.s3.errors import InvalidArgument
from selfbase.storage.s3.logic.operations import ONLY_VERSION
from selfbase.storage.s3.logic.xml import Value
from selfbase.storage.s3.render import encode_url, xml_response
from selfbase.storage.types import Listing, ListQuery, StoredObject

KEYS_MAX = 1000


async def list_objects(call: S3Call) -> Response:
    """Version 1 or, with `list-type=2`, version 2."""
    kind = call.query.get("list-type")
    if kind not in (None, "1", "2"):
        raise InvalidArgument("Invalid list-type")
    await require_bucket(call)
    # Parity: 0 is read as "not given".
    limit = min(call.number("max-keys", KEYS_MAX, 0, 2**31) or KEYS_MAX, KEYS_MAX)
    show = choose_encoding(call)
    return await (_list_v2 if kind == "2" else _list_v1)(call, limit, show)


async def require_bucket(call: S3Call) -> None:
    """Raises NoSuchBucket.  Its existence is no secret to those who can name it; its objects are."""
    if await call.context.buckets.find_as_service(call.actor, call.bucket) is None:
        raise NoSuchBucket


def choose_encoding(call: S3Call) -> Callable[[str], str]:
    """How keys are written.  Raises InvalidArgument."""
    encoding = call.query.get("encoding-type") or None
    if encoding not in (None, "url"):
        raise InvalidArgument("Invalid Encoding Method specified in Request")
    return encode_url if encoding else str


async def _list_v1(call: S3Call, limit: int, show: Callable[[str], str]) -> Response:
    marker, delimiter = call.query.get("marker", ""), call.query.get("delimiter", "")
    found = await _list(call, limit, token=marker)
    body: dict[str, Value] = {
        "Name": call.bucket,
        "Prefix": show(call.query.get("prefix", "")),
        "Marker": show(marker),
        "MaxKeys": limit,
        **({"Delimiter": show(delimiter)} if delimiter else {}),
        "IsTruncated": found.is_truncated,
        **({"EncodingType": "url"} if call.query.get("encoding-type") else {}),
    }
    if found.is_truncated and delimiter and found.next_token:
        body["NextMarker"] = show(found.next_token)
    return xml_response("ListBucketResult", {**body, **_entries(call, found, show)})


async def _list_v2(call: S3Call, limit: int, show: Callable[[str], str]) -> Response:
    given, start_after = call.query.get("continuation-token"), call.query.get("start-after", "")
    token = parse_token(given) if given else ""
    found = await _list(call, limit, token=token, start_after=start_after)
    delimiter = call.query.get("delimiter", "")
    following = make_token(found.next_token) if found.is_truncated and found.next_token else None
    body: dict[str, Value] = {
        "Name": call.bucket,
        "Prefix": show(call.query.get("prefix", "")),
        "MaxKeys": limit,
        "KeyCount": len(found.objects) + len(found.prefixes),
        "IsTruncated": found.is_truncated,
        **({"Delimiter": show(delimiter)} if delimiter else {}),
        **({"EncodingType": "url"} if call.query.get("encoding-type") else {}),
        **({"StartAfter": show(start_after)} if start_after else {}),
        "ContinuationToken": given,
        "NextContinuationToken": following,
    }
    return xml_response("ListBucketResult", {**body, **_entries(call, found, show)})


async def list_versions(call: S3Call) -> Response:
    """Every object as the only version it has: how programs that purge a bucket look at it."""
    await require_bucket(call)
    limit = min(call.number("max-keys", KEYS_MAX, 0, 2**31) or KEYS_MAX, KEYS_MAX)
    show = choose_encoding(call)
    marker, delimiter = call.query.get("key-marker", ""), call.query.get("delimiter", "")
    found = await _list(call, limit, token=marker)
    owner = {"ID": call.context.project_ref, "DisplayName": call.context.project_ref}
    versions: list[Value] = [
        {**_content(item, show, owner), "VersionId": ONLY_VERSION, "IsLatest": True}
        for item in found.objects
    ]
    body: dict[str, Value] = {
        "Name": call.bucket,
        "Prefix": show(call.query.get("prefix", "")),
        "KeyMarker": show(marker),
        "VersionIdMarker": call.query.get("version-id-marker", ""),
        "NextKeyMarker": show(found.next_token or "") if found.is_truncated else None,
        "NextVersionIdMarker": ONLY_VERSION if found.is_truncated else None,
        "MaxKeys": limit,
        **({"Delimiter": show(delimiter)} if delimiter else {}),
        "IsTruncated": found.is_truncated,
        **({"EncodingType": "url"} if call.query.get("encoding-type") else {}),
        "Version": versions,
        "CommonPrefixes": [{"Prefix": show(prefix)} for prefix in found.prefixes],
    }
    return xml_response("ListVersionsResult", body)


async def _list(call: S3Call, limit: int, *, token: str, start_after: str = "") -> Listing:
    query = ListQuery(
        prefix=call.query.get("prefix", ""),
        delimiter=call.query.get("delimiter", ""),
        start_after=start_after,
        token=token,
        limit=limit,
    )
    if any("\0" in text for text in (query.prefix, query.delimiter, token, start_after)):
        return Listing()
    return await list_keys(call.context, call.actor, call.bucket, query)


def _entries(call: S3Call, found: Listing, show: Callable[[str], str]) -> dict[str, Value]:
    owner: Value = None
    if call.query.get("fetch-owner") == "true":
        owner = {"ID": call.context.project_ref, "DisplayName": call.context.project_ref}
    return {
        "Contents": [_content(item, show, owner) for item in found.objects],
        "CommonPrefixes": [{"Prefix": show(prefix)} for prefix in found.prefixes],
    }


def _content(item: StoredObject, show: Callable[[str], str], owner: Value) -> dict[str, Value]:
    return {
        "Key": show(item.name),
        "LastModified": item.updated_at,
        "ETag": item.etag,
        "Size": item.size,
        "Owner": owner,
        "StorageClass": "STANDARD",
    }


def make_token(key: str) -> str:
    """An opaque text that stands for a place in the order of keys."""
    return urlsafe_b64encode(b"1" + key.encode("utf-8", "surrogatepass")).decode()


def parse_token(token: str) -> str:
    """The place a token stands for.  Raises InvalidArgument."""
    try:
        raw = urlsafe_b64decode(token.encode("ascii"))
        if raw[:1] != b"1":
            raise ValueError(token)
        return raw[1:].decode()
    except (Base64Error, ValueError):
        raise InvalidArgument("The continuation token provided is incorrect") from None
