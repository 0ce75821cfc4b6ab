"""Where people may be sent: the allow list, and the addresses with results in them.

Source: reference sections 3.3 and 3.12.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from ipaddress import ip_address
from urllib.parse import SplitResult, parse_qsl, urlencode, urlsplit, urlunsplit

ADDRESS_CHARS_MAX = 4096
_SAFE_HOST = re.compile(r"^[A-Za-z0-9.-]+$")
_DECIMAL_HOST = re.compile(r"^[0-9.]+$")
_HEX_HOST = re.compile(r"^0x[0-9a-f.x]*$", re.IGNORECASE)
_LOCAL_NAMES = frozenset({"localhost"})


def decide_redirect(candidates: Iterable[str], site_url: str, allowed: Sequence[str]) -> str:
    """The first candidate that may be used, else the site."""
    for candidate in candidates:
        if candidate and is_allowed(candidate, site_url, allowed):
            return candidate
    return site_url


def is_allowed(target: str, site_url: str, allowed: Sequence[str]) -> bool:
    """Whether people may be sent to `target`."""
    split = _split(target)
    if split is None:
        return False
    site = _split(site_url)
    if site is not None and _is_site(split, site):
        return True
    host = split.hostname or ""
    if not _is_host_fine(split.scheme, host):
        return False
    without_fragment = target.partition("#")[0]
    return any(
        (pattern := compile_glob(glob)) is not None and pattern.fullmatch(without_fragment)
        for glob in allowed
    )


def _split(text: str) -> SplitResult | None:
    # Browsers drop tabs and line breaks and read a backslash as a slash: refuse what is read twice.
    if len(text) > ADDRESS_CHARS_MAX or re.search(r"[\x00-\x20\x7f\\]", text):
        return None
    try:
        split = urlsplit(text)
        _ = split.port
    except ValueError:
        return None
    if not split.scheme or "@" in split.netloc or "%" in split.netloc:
        return None
    if split.scheme in ("javascript", "data", "vbscript", "file"):
        return None
    return split


def _is_site(split: SplitResult, site: SplitResult) -> bool:
    if split.scheme != site.scheme or not split.netloc:
        return False
    host, site_host = split.hostname or "", site.hostname or ""
    if host != site_host:
        return False
    return _is_loopback(host) or _port(split) == _port(site)


def _port(split: SplitResult) -> int | None:
    return split.port or {"http": 80, "https": 443}.get(split.scheme)


def _is_loopback(host: str) -> bool:
    if host in _LOCAL_NAMES:
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def _is_host_fine(scheme: str, host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        pass
    # 2130706433 and 127.1 are addresses to a browser, not names.
    if _DECIMAL_HOST.match(host) or _HEX_HOST.match(host):
        return False
    return scheme not in ("http", "https") or bool(_SAFE_HOST.match(host))


@lru_cache(maxsize=1000)
def compile_glob(glob: str) -> re.Pattern[str] | None:
    """A glob as a pattern, or None when it is not well formed.

    `*` is a run without `.` and `/`, `**` anything, `?` one character that is neither, `[abc]`,
    `[a-z]`, `[!a]`, `{a,b}`, and a backslash takes the next character as it is.
    """
    try:
        return re.compile(_translate(glob), re.DOTALL)
    except (ValueError, re.error, RecursionError):
        return None


def _translate(glob: str) -> str:
    out: list[str] = []
    depth, index = 0, 0
    while index < len(glob):
        char = glob[index]
        index += 1
        if char == "*":
            if glob[index : index + 1] == "*":
                while glob[index : index + 1] == "*":
                    index += 1
                out.append(".*")
            else:
                out.append("[^./]*")
        elif char == "?":
            out.append("[^./]")
        elif char == "[":
            end = glob.index("]", index + 1)
            body = glob[index:end]
            index = end + 1
            negated = body.startswith("!")
            body = body[1:] if negated else body
            safe = re.sub(r"([\\\]\[^&~|])", r"\\\1", body)
            out.append(f"[{'^' if negated else ''}{safe}]")
        elif char == "{":
            depth += 1
            out.append("(?:")
        elif char == "}" and depth:
            depth -= 1
            out.append(")")
        elif char == "," and depth:
            out.append("|")
        elif char == "\\" and index < len(glob):
            out.append(re.escape(glob[index]))
            index += 1
        else:
            out.append(re.escape(char))
    if depth:
        raise ValueError("unclosed {")
    return "".join(out)


def with_query(target: str, values: Mapping[str, str]) -> str:
    """The address with further query members; those of the same name are replaced."""
    split = urlsplit(target)
    kept = [
        (name, value)
        for name, value in parse_qsl(split.query, keep_blank_values=True)
        if name not in values
    ]
    # Sorted by name as Go writes them, so that the address is the same for every caller.
    query = urlencode(sorted([*kept, *values.items()], key=lambda pair: pair[0]))
    return urlunsplit(split._replace(query=query))


def with_fragment(target: str, values: Mapping[str, str]) -> str:
    """The address with a fragment of sorted members, marked as ours by an empty `sb`."""
    split = urlsplit(target)
    fragment = urlencode(sorted({**values, "sb": ""}.items()))
    return urlunsplit(split._replace(fragment=fragment))


_ERROR_NAMES = {
    400: "invalid_request",
    401: "unauthorized_client",
    403: "access_denied",
    500: "server_error",
    503: "temporarily_unavailable",
}


def render_error_redirect(
    target: str, *, status: int, code: str, message: str, pkce: bool, name: str | None = None
) -> str:
    """Where a failed step sends people: members in the fragment, with PKCE in the query too."""
    members = {"error_code": code, "error_description": message}
    error = name or _ERROR_NAMES.get(status)
    if error is not None:
        members["error"] = error
    if pkce:
        target = with_query(target, members)
    return with_fragment(target, members)
