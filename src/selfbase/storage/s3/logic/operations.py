"""Which operation a request asks for, told by method, path and query; nothing falls through.

A query parameter that an operation does not know means something we do not do: the answer is 501,
never another operation.  Source: Amazon S3 API reference, request syntax of each operation.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from urllib.parse import unquote

from selfbase.storage.s3.errors import InvalidArgument, MethodNotAllowed, NotImplementedYet


class Operation(Enum):
    """The value is the name that `storage.operation()` gives to policies."""

    LIST_BUCKETS = "storage.s3.bucket.list"
    CREATE_BUCKET = "storage.s3.bucket.create"
    DELETE_BUCKET = "storage.s3.bucket.delete"
    HEAD_BUCKET = "storage.s3.bucket.head"
    GET_LOCATION = "storage.s3.bucket.get_location"
    GET_VERSIONING = "storage.s3.bucket.get_versioning"
    LIST_OBJECTS = "storage.s3.object.list"
    LIST_VERSIONS = "storage.s3.object.list_versions"
    DELETE_OBJECTS = "storage.s3.object.delete_many"
    GET_OBJECT = "storage.s3.object.get"
    HEAD_OBJECT = "storage.s3.object.info"
    GET_TAGGING = "storage.s3.object.get_tagging"
    COPY_OBJECT = "storage.s3.object.copy"
    DELETE_OBJECT = "storage.s3.object.delete"
    PUT_OBJECT = "storage.s3.upload"
    CREATE_MULTIPART = "storage.s3.upload.create_multipart"
    UPLOAD_PART = "storage.s3.upload.part"
    COPY_PART = "storage.s3.upload.part_copy"
    COMPLETE_MULTIPART = "storage.s3.upload.complete_multipart"
    ABORT_MULTIPART = "storage.s3.upload.abort_multipart"
    LIST_MULTIPART = "storage.s3.upload.list_multipart"
    LIST_PARTS = "storage.s3.upload.list_parts"


@dataclass(frozen=True, slots=True)
class Target:
    """What a path names: nothing, a bucket, or an object of a bucket."""

    bucket: str = ""
    key: str = ""

    @property
    def level(self) -> str:
        return "object" if self.key else "bucket" if self.bucket else "service"


_RESPONSE = frozenset(
    f"response-{name}"
    for name in (
        "cache-control",
        "content-disposition",
        "content-encoding",
        "content-language",
        "content-type",
        "expires",
    )
)
_LIST = frozenset({"prefix", "delimiter", "max-keys", "encoding-type"})
# Method, level, parameter that marks the operation → operation and what else it understands.
_Rule = tuple[Operation, frozenset[str]]
_RULES: dict[tuple[str, str], dict[str, _Rule]] = {
    ("GET", "service"): {
        "": (Operation.LIST_BUCKETS, frozenset({"max-buckets", "prefix", "bucket-region"}))
    },
    ("GET", "bucket"): {
        "location": (Operation.GET_LOCATION, frozenset()),
        "versioning": (Operation.GET_VERSIONING, frozenset()),
        "uploads": (
            Operation.LIST_MULTIPART,
            frozenset(
                {"prefix", "delimiter", "max-uploads", "encoding-type"}
                | {"key-marker", "upload-id-marker"}
            ),
        ),
        "versions": (Operation.LIST_VERSIONS, _LIST | {"key-marker", "version-id-marker"}),
        "": (
            Operation.LIST_OBJECTS,
            _LIST | {"list-type", "marker", "continuation-token", "start-after", "fetch-owner"},
        ),
    },
    ("HEAD", "bucket"): {"": (Operation.HEAD_BUCKET, frozenset())},
    ("PUT", "bucket"): {"": (Operation.CREATE_BUCKET, frozenset())},
    ("DELETE", "bucket"): {"": (Operation.DELETE_BUCKET, frozenset())},
    ("POST", "bucket"): {"delete": (Operation.DELETE_OBJECTS, frozenset())},
    ("GET", "object"): {
        "uploadId": (Operation.LIST_PARTS, frozenset({"max-parts", "part-number-marker"})),
        "tagging": (Operation.GET_TAGGING, frozenset()),
        "": (Operation.GET_OBJECT, _RESPONSE | {"versionId"}),
    },
    ("HEAD", "object"): {"": (Operation.HEAD_OBJECT, _RESPONSE | {"versionId"})},
    ("PUT", "object"): {
        "uploadId": (Operation.UPLOAD_PART, frozenset({"partNumber"})),
        "": (Operation.PUT_OBJECT, frozenset()),
    },
    ("POST", "object"): {
        "uploads": (Operation.CREATE_MULTIPART, frozenset()),
        "uploadId": (Operation.COMPLETE_MULTIPART, frozenset()),
    },
    ("DELETE", "object"): {
        "uploadId": (Operation.ABORT_MULTIPART, frozenset()),
        "": (Operation.DELETE_OBJECT, frozenset({"versionId"})),
    },
}
# The version of objects in a bucket that keeps no others.
ONLY_VERSION = "null"
# With a source to copy from, a PUT means something else.
_COPIES = {
    Operation.PUT_OBJECT: Operation.COPY_OBJECT,
    Operation.UPLOAD_PART: Operation.COPY_PART,
}
# They promise what we do not keep: silence would be taken for a yes.
_REFUSED_HEADERS = (
    "x-amz-server-side-encryption-customer-",
    "x-amz-object-lock-",
    "x-amz-if-match-",
)
_REFUSED_EXACT = frozenset(
    {"x-amz-write-offset-bytes", "x-amz-mfa", "x-amz-bypass-governance-retention"}
)


def parse_target(path: str) -> Target:
    """Bucket and key of a raw path that begins with `/s3`.  Raises InvalidArgument."""
    rest = path.removeprefix("/s3").removeprefix("/")
    bucket, _, key = rest.partition("/")
    try:
        return Target(unquote(bucket, errors="strict"), unquote(key, errors="strict"))
    except UnicodeDecodeError:
        raise InvalidArgument("The key is not valid UTF-8.") from None


def decide_operation(
    method: str, target: Target, query: Mapping[str, str], headers: Mapping[str, str]
) -> Operation:
    """The operation.  Raises NotImplementedYet, MethodNotAllowed."""
    rules = _RULES.get((method, target.level))
    if rules is None:
        raise MethodNotAllowed
    names = {name for name in query if not is_carried(name)}
    marker = next((name for name in rules if name and name in names), "")
    if marker not in rules:
        raise NotImplementedYet
    operation, understood = rules[marker]
    unknown = names - understood - {marker}
    if unknown:
        raise NotImplementedYet(f"The sub-resource {sorted(unknown)[0][:100]} is not implemented.")
    if query.get("versionId", ONLY_VERSION) != ONLY_VERSION:
        raise NotImplementedYet("Versions are not implemented.")
    for name in headers:
        if name.startswith(_REFUSED_HEADERS) or name in _REFUSED_EXACT:
            raise NotImplementedYet(f"The header {name[:100]} is not implemented.")
    if "if-match" in headers and method not in ("GET", "HEAD"):
        # A condition that is not kept would cost somebody their data.
        raise NotImplementedYet("If-Match is implemented for reading only.")
    if "x-amz-copy-source" in headers:
        if operation not in _COPIES:
            raise InvalidArgument("Only PUT takes a source to copy from.")
        return _COPIES[operation]
    return operation


def is_carried(name: str) -> bool:
    """Whether a parameter belongs to the signature, is a header in disguise, or a client's mark."""
    return name.lower().startswith("x-amz-") or name == "x-id"
