"""Failures that only S3 knows, and the S3 face of those the whole service has.

Codes and statuses are those of Amazon S3, which clients act upon.
"""

from __future__ import annotations

from selfbase.storage.errors import StorageError


class S3Error(StorageError):
    """Base of the failures below."""

    status = 400
    error = "InvalidRequest"


class SignatureDoesNotMatch(S3Error):
    code, status = "SignatureDoesNotMatch", 403
    message = (
        "The request signature we calculated does not match the signature you provided."
        " Check your key and signing method."
    )


class InvalidAccessKeyId(S3Error):
    code, status = "InvalidAccessKeyId", 403
    message = "The access key ID you provided does not exist in our records."


class SignatureMissing(S3Error):
    code, status = "AccessDenied", 403
    message = "The request is not signed."


class SignatureRefused(S3Error):
    """Signed, but expired, not yet valid, or with headers left unsigned."""

    code, status = "AccessDenied", 403
    message = "Request has expired"


class RequestTimeTooSkewed(S3Error):
    code, status = "RequestTimeTooSkewed", 403
    message = "The difference between the request time and the current time is too large."


class AuthorizationMalformed(S3Error):
    code = "AuthorizationHeaderMalformed"
    message = "The authorization header is malformed."


class AuthorizationQueryInvalid(S3Error):
    code = "AuthorizationQueryParametersError"
    message = "The query parameters of the signature are malformed."


class ExpiredToken(S3Error):
    code = "ExpiredToken"
    message = "The provided token has expired."


class InvalidToken(S3Error):
    code = "InvalidToken"
    message = "The provided token is malformed or otherwise invalid."


class NotImplementedYet(S3Error):
    """A sub-resource or header we do not know: never to be taken for another operation."""

    code, status = "NotImplemented", 501
    message = "A header or query you provided implies functionality that is not implemented."


class MethodNotAllowed(S3Error):
    code, status = "MethodNotAllowed", 405
    message = "The specified method is not allowed against this resource."


class InvalidArgument(S3Error):
    code = "InvalidArgument"
    message = "Invalid argument"


class InvalidS3Request(S3Error):
    code = "InvalidRequest"


class MalformedXml(S3Error):
    code = "MalformedXML"
    message = "The XML you provided was not well-formed or did not validate."


class MissingContentLength(S3Error):
    code, status = "MissingContentLength", 411
    message = "You must provide the Content-Length HTTP header."


class IncompleteBody(S3Error):
    code = "IncompleteBody"
    message = "The body is shorter, longer or differently framed than its headers say."


class BadDigest(S3Error):
    code = "BadDigest"
    message = "The checksum you specified did not match what we received."


class InvalidDigest(S3Error):
    code = "InvalidDigest"
    message = "The checksum you specified is not valid."


class ContentSha256Mismatch(S3Error):
    code = "XAmzContentSHA256Mismatch"
    message = "The provided 'x-amz-content-sha256' header does not match what was computed."


class EntityTooSmall(S3Error):
    code = "EntityTooSmall"
    message = "Your proposed upload is smaller than the minimum allowed size."


class InvalidPart(S3Error):
    code = "InvalidPart"
    message = "One or more of the specified parts could not be found or did not match its ETag."


class InvalidPartOrder(S3Error):
    code = "InvalidPartOrder"
    message = "The list of parts was not in ascending order."


class PreconditionFailed(S3Error):
    code, status = "PreconditionFailed", 412
    message = "At least one of the pre-conditions you specified did not hold."


# The service's code → the code and status that S3 clients know for it.
_FACES: dict[str, tuple[str, int]] = {
    "ResourceNotEmpty": ("BucketNotEmpty", 409),
    "BucketAlreadyExists": ("BucketAlreadyOwnedByYou", 409),
    "KeyAlreadyExists": ("PreconditionFailed", 412),
    "EntityTooLarge": ("EntityTooLarge", 400),
    "InvalidJWT": ("InvalidToken", 400),
    "ResourceLocked": ("OperationAborted", 409),
    "LockTimeout": ("SlowDown", 503),
    "SlowDown": ("SlowDown", 503),
    "DatabaseTimeout": ("ServiceUnavailable", 503),
    "DatabaseReadOnly": ("ServiceUnavailable", 503),
}


def find_face(failure: StorageError) -> tuple[str, int]:
    """Code and HTTP status of a failure as S3 says it."""
    return _FACES.get(failure.code, (failure.code, failure.status))
