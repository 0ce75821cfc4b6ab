"""POST of a form with a signed policy: an upload from a browser that holds no key.

The policy is what is signed: every field of the form must be covered by one of its conditions.
Source: Amazon S3 API reference, "Browser-based uploads using POST".
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from urllib.parse import urlencode, urlsplit

from selfbase.http.values import Request, Response
from selfbase.identity.caller import Caller
from selfbase.storage.call import make_actor
from selfbase.storage.context import Context
from selfbase.storage.errors import EntityTooLarge
from selfbase.storage.logic.forms import Form
from selfbase.storage.objects import describe
from selfbase.storage.s3.authenticate import check_region, find_signer
from selfbase.storage.s3.call import read_metadata
from selfbase.storage.s3.errors import (
    AuthorizationMalformed,
    EntityTooSmall,
    InvalidArgument,
)
from selfbase.storage.s3.logic.checksums import check_digest, find_announced, make_digest
from selfbase.storage.s3.logic.operations import Operation, Target
from selfbase.storage.s3.logic.policy import check_policy, check_policy_signature, parse_policy
from selfbase.storage.s3.logic.signature import ALGORITHM, parse_scope
from selfbase.storage.s3.logic.xml import render_xml
from selfbase.storage.s3.objects import kept_headers, plan_upload
from selfbase.storage.s3.render import XML, encode_url

_FIELDS_MAX = 100
_FORM_BYTES_MAX = 256 * 1024


async def post_object(request: Request, context: Context, target: Target) -> Response:
    """Uploads the form's file as its policy allows."""
    form = Form(request.headers.get("content-type"), fields_max=_FIELDS_MAX)
    body = request.body.stream(context.settings.file_size_limit + _FORM_BYTES_MAX)
    await _read_fields(form, body)
    fields = {name.lower(): value for name, value in form.state.fields.items()}
    if len(fields) != len(form.state.fields):
        raise InvalidArgument("A field of the form is given twice.")
    caller = await _authenticate(fields, context, target)
    actor = make_actor(caller, Operation.PUT_OBJECT.value, request)
    key = fields.get("key", "")
    if not key:
        raise InvalidArgument("Bucket POST must contain a field named 'key'.")
    policy = parse_policy(fields["policy"])
    upload = replace(
        plan_upload({"content-type": form.state.file_type or "", **fields}, read_metadata(fields)),
        upsert=True,
    )
    permit = await context.objects.authorize_upload(actor, target.bucket, key, upload)
    low, high = policy.length_range or (0, permit.bytes_max)
    pieces = _read_file(form, body, fields, low, min(high, permit.bytes_max))
    stored = await context.objects.write(pieces, permit.bytes_max)
    metadata = {**describe(upload, stored), **kept_headers(fields)}
    made = await context.objects.commit(actor, permit, upload, stored, metadata=metadata)
    return _render(request, fields, target.bucket, key, made.etag)


async def _read_fields(form: Form, body: AsyncIterator[bytes]) -> None:
    while form.state.file_type is None:
        piece = await anext(body, None)
        if piece is None:
            raise InvalidArgument("POST requires exactly one file upload per request.")
        form.feed(piece)


async def _authenticate(fields: Mapping[str, str], context: Context, target: Target) -> Caller:
    """Who signed the policy; the policy must allow this form now.  Raises S3Error."""
    wanted = ("policy", "x-amz-signature", "x-amz-credential", "x-amz-date", "x-amz-algorithm")
    if any(name not in fields for name in wanted) or fields["x-amz-algorithm"] != ALGORITHM:
        raise AuthorizationMalformed("The form is not signed with AWS4-HMAC-SHA256.")
    scope = parse_scope(fields["x-amz-credential"], AuthorizationMalformed)
    check_region(scope, context)
    signer = await find_signer(scope.access_key, fields.get("x-amz-security-token"), context)
    check_policy_signature(fields["policy"], signer.secret, scope, fields["x-amz-signature"])
    check_policy(parse_policy(fields["policy"]), fields, target.bucket, context.clock.now())
    return signer.caller


async def _read_file(
    form: Form, body: AsyncIterator[bytes], fields: dict[str, str], low: int, high: int
) -> AsyncIterator[bytes]:
    """The file's bytes.  Raises when they are too few, too many, or not what was announced."""
    announced = find_announced(fields)
    digests = {name: make_digest(name) for name in announced}
    taken = 0
    pieces = form.take()
    while True:
        for piece in pieces:
            taken += len(piece)
            if taken > high:
                raise EntityTooLarge
            for digest in digests.values():
                digest.update(piece)
            yield piece
        data = await anext(body, None)
        if data is None:
            break
        form.feed(data)
        pieces = form.take()
    form.close()
    if taken < low:
        raise EntityTooSmall
    for name, value in announced.items():
        check_digest(name, digests[name], value)


def _render(
    request: Request, fields: Mapping[str, str], bucket: str, key: str, etag: str
) -> Response:
    """What the form asked to see: a redirect, a document, or nothing."""
    location = f"{request.scheme}://{request.host}{request.full_path.rstrip('/')}/{encode_url(key)}"
    headers = [("etag", etag), ("location", location)]
    redirect = fields.get("success_action_redirect") or fields.get("redirect") or ""
    parts = urlsplit(redirect)
    if parts.scheme in ("http", "https") and parts.netloc:
        query = urlencode({"bucket": bucket, "key": key, "etag": etag})
        joined = f"{parts.query}&{query}" if parts.query else query
        return Response(303, [("etag", etag), ("location", parts._replace(query=joined).geturl())])
    status = fields.get("success_action_status")
    if status == "201":
        body = render_xml(
            "PostResponse", {"Location": location, "Bucket": bucket, "Key": key, "ETag": etag}
        )
        return Response(201, [("content-type", XML), *headers], body)
    # Parity: 200 unless asked; S3 itself says 204.
    return Response(204 if status == "204" else 200, headers)
