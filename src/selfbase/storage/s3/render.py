"""Answers of the S3 protocol: XML documents, errors, dates."""

from __future__ import annotations

from urllib.parse import quote

from selfbase.http.values import Request, Response, json_response
from selfbase.storage.errors import StorageError
from selfbase.storage.s3.errors import find_face
from selfbase.storage.s3.logic.xml import Value, render_xml

XML = "application/xml"


def xml_response(root: str, value: Value, headers: list[tuple[str, str]] | None = None) -> Response:
    """A document in the S3 namespace."""
    body = render_xml(root, value)
    return Response(200, [("content-type", XML), *(headers or [])], body)


def render_failure(failure: StorageError, request: Request) -> Response:
    """The error document; HEAD gets the status alone, and JSON goes to those who refuse XML."""
    code, status = find_face(failure)
    headers = [*failure.headers, ("x-amz-request-id", request.id)]
    if request.method == "HEAD" or status == 304:
        return Response(status, headers)
    resource = failure.resource or request.path.removeprefix("/s3")
    error: dict[str, Value] = {
        "Code": code,
        "Message": failure.message,
        "Resource": resource,
        "RequestId": request.id,
        "HostId": request.id,
    }
    if _refuses_xml(request.headers.get("accept")):
        return json_response({"Error": error}, status, headers)
    body = render_xml("Error", error, namespace=False)
    return Response(status, [("content-type", XML), *headers], body)


def _refuses_xml(accept: str) -> bool:
    return "application/json" in accept and "xml" not in accept and "*/*" not in accept


def encode_url(text: str) -> str:
    """A key as `encoding-type=url` wants it: slashes stay."""
    return quote(text, safe="/-_.~*")
