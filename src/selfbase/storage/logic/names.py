"""Which names buckets and objects may have.

The reference takes a set of ASCII characters; ours takes the letters and signs of every script
besides, because clients only ever saw an error for them and the name never reaches a file system.
Names are kept as sent: no normalisation.  Source: reference/storage.md section 5.1.
"""

from __future__ import annotations

import re
import unicodedata

from selfbase.storage.errors import InvalidBucketName, InvalidKey

KEY_LENGTH_MAX = 1024
BUCKET_LENGTH_MAX = 100
RESERVED_SUFFIX = "--table-s3"

_ASCII_KEY = re.compile(r"[A-Za-z0-9_/!.*'() &$@=;:+,?-]+")
_KEY = re.compile(r"[A-Za-z0-9_/!.*'() &$@=;:+,?\u0080-\U0010ffff-]+")
_BUCKET = re.compile(r"[A-Za-z0-9_!.*'() &$@=;:+,?-]+")
# Control characters, lone surrogates and code points that are no characters.
_REFUSED_CATEGORIES = frozenset({"Cc", "Cs", "Cn"})


def check_key(name: str | None, *, unicode_keys: bool) -> str:
    """The name of an object.  Raises InvalidKey.

    Segments `.` and `..` are refused although no path is made of them: proxies and browsers would
    rewrite a URL that holds one into that of another object.
    """
    if not name or len(name.encode("utf-8", "surrogatepass")) > KEY_LENGTH_MAX:
        raise InvalidKey(f"Invalid key: {_shown(name)}")
    known = _KEY.fullmatch(name) and _is_text(name) if unicode_keys else _ASCII_KEY.fullmatch(name)
    if not known:
        raise InvalidKey(f"Invalid key: {_shown(name)}")
    if any(segment in (".", "..") for segment in name.split("/")):
        raise InvalidKey(f"Invalid key: {_shown(name)}")
    return name


def check_bucket_id(name: str | None) -> str:
    """The id of a bucket that may exist.  Raises InvalidBucketName."""
    if not name or len(name) > BUCKET_LENGTH_MAX or _BUCKET.fullmatch(name) is None:
        raise InvalidBucketName
    return name


def check_new_bucket_id(name: str | None) -> str:
    """The id of a bucket to be made.  Raises InvalidBucketName."""
    checked = check_bucket_id(name)
    if checked.strip() != checked or checked.endswith(RESERVED_SUFFIX) or checked in (".", ".."):
        raise InvalidBucketName
    return checked


def _is_text(name: str) -> bool:
    return not any(unicodedata.category(character) in _REFUSED_CATEGORIES for character in name)


def _shown(name: str | None) -> str:
    return (name or "")[:200].encode("utf-8", "replace").decode()
