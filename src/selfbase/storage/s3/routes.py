"""The way into the S3 protocol: prove the caller, find the operation, do it.

The signature is judged here and not by the service, because the operation needs what the signature
covered: the keys that sign its body.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

from selfbase.http.values import Request, Response
from selfbase.identity.caller import Caller, make_caller
from selfbase.kit.routes import Access, Route
from selfbase.storage.call import Call, Handler, Surface, make_actor
from selfbase.storage.context import Context
from selfbase.storage.errors import FeatureNotEnabled
from selfbase.storage.s3 import buckets, listing, multipart, objects
from selfbase.storage.s3.authenticate import authenticate
from selfbase.storage.s3.call import S3Call, collect_headers
from selfbase.storage.s3.logic.operations import (
    Operation,
    Target,
    decide_operation,
    parse_target,
)
from selfbase.storage.s3.post_form import post_object
from selfbase.storage.s3.render import render_failure

S3Handler = Callable[[S3Call], Awaitable[Response]]

HANDLERS: Mapping[Operation, S3Handler] = {
    Operation.LIST_BUCKETS: buckets.list_buckets,
    Operation.CREATE_BUCKET: buckets.create_bucket,
    Operation.DELETE_BUCKET: buckets.delete_bucket,
    Operation.HEAD_BUCKET: buckets.head_bucket,
    Operation.GET_LOCATION: buckets.get_location,
    Operation.GET_VERSIONING: buckets.get_versioning,
    Operation.LIST_OBJECTS: listing.list_objects,
    Operation.LIST_VERSIONS: listing.list_versions,
    Operation.DELETE_OBJECTS: objects.delete_objects,
    Operation.GET_OBJECT: objects.get_object,
    Operation.HEAD_OBJECT: objects.head_object,
    Operation.GET_TAGGING: objects.get_tagging,
    Operation.PUT_OBJECT: objects.put_object,
    Operation.COPY_OBJECT: objects.copy_object,
    Operation.DELETE_OBJECT: objects.delete_object,
    Operation.CREATE_MULTIPART: multipart.create_multipart,
    Operation.UPLOAD_PART: multipart.upload_part,
    Operation.COPY_PART: multipart.copy_part,
    Operation.COMPLETE_MULTIPART: multipart.complete_multipart,
    Operation.ABORT_MULTIPART: multipart.abort_multipart,
    Operation.LIST_MULTIPART: multipart.list_multipart,
    Operation.LIST_PARTS: multipart.list_parts,
}

_NOBODY = make_caller({"role": "anon"}, "anon")
_FORM = "multipart/form-data"


async def answer_s3(call: Call) -> Response:
    """One S3 request."""
    request, context = call.request, call.context
    if not context.settings.s3_protocol_enabled:
        raise FeatureNotEnabled("The S3 protocol is switched off for this project")
    target = parse_target(request.path)
    if _is_form(request, target):
        return _tag(await post_object(request, context, target), request)
    proof = await authenticate(request, context)
    query: dict[str, str] = {}
    for name, value in request.query_pairs():
        query.setdefault(name, value)
    headers = collect_headers(request)
    operation = decide_operation(request.method, target, query, headers)
    actor = make_actor(proof.caller, operation.value, request)
    s3_call = S3Call(request, context, actor, proof, target.bucket, target.key, query, headers)
    return _tag(await HANDLERS[operation](s3_call), request)


def _is_form(request: Request, target: Target) -> bool:
    return (
        request.method == "POST"
        and target.level == "bucket"
        and request.headers.get("content-type").lower().startswith(_FORM)
    )


def _tag(response: Response, request: Request) -> Response:
    response.headers.append(("x-amz-request-id", request.id))
    return response


async def _nobody(request: Request, context: Context, access: Access) -> Caller:
    """Nobody yet: `answer_s3` proves the caller."""
    return _NOBODY


S3_SURFACE = Surface("s3", _nobody, render_failure)

S3_ROUTES: tuple[Route[Handler], ...] = tuple(
    Route(method, path, answer_s3, "storage.s3", Access.OPEN, extra=S3_SURFACE)
    for method in ("GET", "HEAD", "PUT", "POST", "DELETE")
    for path in ("/s3", "/s3/{path:rest}")
)
