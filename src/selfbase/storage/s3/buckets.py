"""The operations of S3 on buckets."""

from __future__ import annotations

from selfbase.http.values import Response
from selfbase.storage.buckets import BucketPage, NewBucket
from selfbase.storage.s3.call import S3Call
from selfbase.storage.s3.errors import InvalidArgument
from selfbase.storage.s3.render import encode_url, xml_response

_CONFIGURATION_BYTES_MAX = 64 * 1024
_PUBLIC = frozenset({"public-read", "public-read-write"})
_ACLS = _PUBLIC | {"private", "authenticated-read"}


async def list_buckets(call: S3Call) -> Response:
    """The buckets the caller may see, all of them."""
    buckets = await call.context.buckets.list(call.actor, BucketPage())
    prefix = call.query.get("prefix", "")
    shown = [
        {"Name": bucket.name, "CreationDate": bucket.created_at}
        for bucket in buckets
        if bucket.name.startswith(prefix)
    ]
    owner = {"ID": call.context.project_ref, "DisplayName": call.context.project_ref}
    return xml_response("ListAllMyBucketsResult", {"Owner": owner, "Buckets": {"Bucket": shown}})


async def create_bucket(call: S3Call) -> Response:
    """Its location constraint is read and means nothing: there is one region."""
    acl = call.headers.get("x-amz-acl", "private")
    if acl not in _ACLS:
        raise InvalidArgument("The canned ACL is not valid.")
    if call.headers.get("content-length", "0") != "0":
        await call.payload().read(_CONFIGURATION_BYTES_MAX)
    await call.context.buckets.create(
        call.actor, NewBucket(name=call.bucket, public=acl in _PUBLIC)
    )
    return Response(200, [("location", f"/{encode_url(call.bucket)}")])


async def delete_bucket(call: S3Call) -> Response:
    await call.context.buckets.delete(call.actor, call.bucket)
    return Response(204)


async def head_bucket(call: S3Call) -> Response:
    await call.context.buckets.get(call.actor, call.bucket)
    return Response(200, [("x-amz-bucket-region", call.context.settings.s3_region)])


async def get_location(call: S3Call) -> Response:
    await call.context.buckets.get(call.actor, call.bucket)
    # The region where S3 began has no name here, and clients know it so.
    region = call.context.settings.s3_region
    return xml_response("LocationConstraint", "" if region == "us-east-1" else region)


async def get_versioning(call: S3Call) -> Response:
    await call.context.buckets.get(call.actor, call.bucket)
    return xml_response("VersioningConfiguration", {"Status": "Suspended", "MfaDelete": "Disabled"})
