"""Every failure a storage client may see, in one table.

A failure has three faces: `code` (stable, public), `status` (the truthful HTTP status, which TUS
and S3 use) and, for REST, a body whose `statusCode` and `error` older clients read while the HTTP
status is nearly always 400.  Source: reference/storage.md section 5.3.
"""

from __future__ import annotations

from selfbase.database.failures import (
    ConnectionLost,
    DatabaseFailure,
    DatabaseUnavailable,
    ForeignKeyViolation,
    InsufficientPrivilege,
    LockNotAvailable,
    PoolTimeout,
    QueryCanceled,
    ReadOnlyTransaction,
    UniqueViolation,
)
from selfbase.http.values import BodyIncomplete, BodyTooLarge, InvalidJson
from selfbase.kit.failures import Failure


class StorageError(Failure):
    """Base of the table.  `error` is the short word of the REST body."""

    code = "InternalError"
    status = 500
    error = "Internal"
    message = "Internal Server Error"
    resource: str | None = None

    @property
    def rest_status(self) -> int:
        """The HTTP status REST clients get: 400 for all but a few."""
        return self.status if self.status in _REST_KEEPS else 400


# Parity: the reference answers 400 to everything else and says the real status in the body.
_REST_KEEPS = frozenset({416, 429, 500, 544})


class NoSuchBucket(StorageError):
    """No such bucket, or a policy hides it: the two look the same from outside."""

    code, status, error = "NoSuchBucket", 404, "Bucket not found"
    message = "Bucket not found"


class NoSuchKey(StorageError):
    """No such object, or a policy hides it."""

    code, status, error = "NoSuchKey", 404, "not_found"
    message = "Object not found"


class BlobMissing(StorageError):
    """The row exists but its bytes do not: damage, not an ordinary absence."""

    code, status, error = "NoSuchKey", 404, "Not found"
    message = "The resource was not found"


class NoSuchUpload(StorageError):
    code, status, error = "NoSuchUpload", 404, "NoSuchUpload"
    message = "Upload not found"


class RouteNotFound(StorageError):
    code, status, error = "InvalidRequest", 404, "Not Found"

    @property
    def rest_status(self) -> int:
        return 404


class AlreadyExists(StorageError):
    code, status, error = "ResourceAlreadyExists", 409, "Duplicate"
    message = "The resource already exists"


class BucketAlreadyExists(AlreadyExists):
    code = "BucketAlreadyExists"


class KeyAlreadyExists(AlreadyExists):
    code = "KeyAlreadyExists"


class BucketNotEmpty(StorageError):
    code, status, error = "ResourceNotEmpty", 409, "ResourceNotEmpty"
    message = "The bucket you tried to delete is not empty"


class TooManyObjects(StorageError):
    code, status, error = "InvalidRequest", 409, "InvalidRequest"


class AccessDenied(StorageError):
    code, status, error = "AccessDenied", 403, "Unauthorized"
    message = "Access denied"


class TokenRefused(AccessDenied):
    """The bearer token does not hold; every surface but S3 says so in the REST body."""


class RoleRefused(AccessDenied):
    """A route for one role only: the one refusal that REST answers with a real 403."""

    message = "Access denied: Invalid role"

    @property
    def rest_status(self) -> int:
        return 403


class EntityTooLarge(StorageError):
    code, status, error = "EntityTooLarge", 413, "Payload too large"
    message = "The object exceeded the maximum allowed size"


class InvalidMimeType(StorageError):
    code, status, error = "InvalidMimeType", 415, "invalid_mime_type"


class InvalidContentType(InvalidMimeType):
    message = "Invalid Content-Type header"


class InvalidKey(StorageError):
    code, status, error = "InvalidKey", 400, "InvalidKey"


class InvalidBucketName(StorageError):
    code, status, error = "InvalidBucketName", 400, "Invalid Input"
    message = "Bucket name invalid"


class InvalidJwt(StorageError):
    code, status, error = "InvalidJWT", 400, "InvalidJWT"


class InvalidSignature(StorageError):
    code, status, error = "InvalidSignature", 400, "InvalidSignature"
    message = "Invalid signature"


class InvalidRange(StorageError):
    code, status, error = "InvalidRange", 416, "invalid_range"
    message = "invalid range provided"


class InvalidRequest(StorageError):
    code, status, error = "InvalidRequest", 400, "InvalidRequest"


class SchemaInvalid(InvalidRequest):
    """The request does not fit the schema of its route."""

    error = "Error"


class InvalidHeader(StorageError):
    code, status, error = "InvalidRequest", 400, "invalid_header_char"


class InvalidXRobotsTag(StorageError):
    code, status, error = "InvalidRequest", 400, "invalid_x_robots_tag"


class MissingParameter(StorageError):
    code, status, error = "MissingParameter", 400, "MissingParameter"


class InvalidParameter(StorageError):
    code, status, error = "InvalidParameter", 400, "InvalidParameter"


class InvalidUploadId(StorageError):
    code, status, error = "InvalidUploadId", 400, "InvalidUploadId"
    message = "Invalid upload id"


class ResourceReferenced(StorageError):
    code, status, error = "ResourceReferenced", 409, "ResourceReferenced"
    message = "The resource could not be updated or removed due to a foreign key constraint"


class RelatedResourceMissing(StorageError):
    code, status, error = "ResourceReferenced", 404, "ResourceReferenced"
    message = "The related resource does not exist"


class ResourceLocked(StorageError):
    code, status, error = "ResourceLocked", 423, "ResourceLocked"
    message = "The resource is locked"


class LockTimeout(StorageError):
    code, status, error = "LockTimeout", 503, "acquiring_lock_timeout"
    message = "acquiring lock timeout"


class FeatureNotEnabled(StorageError):
    code, status, error = "FeatureNotEnabled", 409, "FeatureNotEnabled"


class SlowDown(StorageError):
    code, status, error = "SlowDown", 429, "too_many_connections"
    message = "Too many connections issued to the database"


class DatabaseTimeout(StorageError):
    code, status, error = "DatabaseTimeout", 544, "DatabaseTimeout"
    message = "The connection to the database timed out"


class DatabaseReadOnly(StorageError):
    code, status, error = "DatabaseReadOnly", 503, "DatabaseReadOnly"
    message = "The database is currently in read-only mode. Please try again later."


class DatabaseSchemaMismatch(StorageError):
    code, status, error = "DatabaseSchemaMismatch", 503, "DatabaseSchemaMismatch"
    message = "The database schema does not match what the request needs"


class DatabaseInvalidDefinition(StorageError):
    code, status, error = "DatabaseInvalidObjectDefinition", 503, "DatabaseInvalidObjectDefinition"


class DatabaseError(StorageError):
    code, status, error = "DatabaseError", 500, "DatabaseError"


class InternalError(StorageError):
    """Something of ours, or the blob store, failed; the cause is in the log."""


class InsufficientStorage(StorageError):
    code, status, error = "InternalError", 507, "Internal"
    message = "No space left to store the object"

    @property
    def rest_status(self) -> int:
        return 500


class ClientGone(StorageError):
    """The client left in the middle of its upload; nobody reads this answer."""

    code, status, error = "Aborted", 499, "Aborted"
    message = "The request was aborted"


def storage_error(failure: Failure) -> StorageError:
    """The storage failure that stands for any other failure of the layers below."""
    if isinstance(failure, StorageError):
        return failure
    if isinstance(failure, DatabaseFailure):
        return _from_database(failure)
    if isinstance(failure, BodyTooLarge):
        return EntityTooLarge()
    if isinstance(failure, BodyIncomplete):
        return ClientGone()
    if isinstance(failure, InvalidJson):
        return SchemaInvalid("Body is not valid JSON but content-type is set to 'application/json'")
    return InternalError(internal=f"{failure.code}: {failure.message}")


RLS_REFUSED = "new row violates row-level security policy"
_SCHEMA_STATES = frozenset({"42703", "42P01", "42883", "3F000"})


def _from_database(failure: DatabaseFailure) -> StorageError:
    found: StorageError
    state = failure.sqlstate
    if isinstance(failure, InsufficientPrivilege):
        denied = "row-level security" in failure.message
        found = AccessDenied(RLS_REFUSED if denied else failure.message)
    elif isinstance(failure, UniqueViolation):
        found = AlreadyExists()
    elif isinstance(failure, ForeignKeyViolation):
        referenced = "still referenced" in (failure.diagnosis.detail or "")
        found = ResourceReferenced() if referenced else RelatedResourceMissing()
    elif isinstance(failure, LockNotAvailable):
        found = ResourceLocked()
    elif isinstance(failure, QueryCanceled):
        found = DatabaseTimeout()
    elif isinstance(failure, ReadOnlyTransaction):
        found = DatabaseReadOnly()
    elif isinstance(failure, PoolTimeout) or state == "53300":
        found = SlowDown()
    elif isinstance(failure, (DatabaseUnavailable, ConnectionLost)):
        found = DatabaseTimeout()
    elif state == "42P17":
        found = DatabaseInvalidDefinition(failure.message)
    elif state in ("22P02", "22023", "22021"):
        found = InvalidParameter(failure.message)
    elif state in _SCHEMA_STATES:
        found = DatabaseSchemaMismatch()
    else:
        found = DatabaseError(f"database error, code: {state}")
    found.internal = f"{state}: {failure.message}"
    return found
