"""Signing requests for OAuth 1.0a (RFC 5849, HMAC-SHA1), which Twitter's old sign-in needs."""

from __future__ import annotations

import hashlib
import hmac
from base64 import b64encode
from collections.abc import Mapping
from urllib.parse import parse_qsl, quote, urlsplit, urlunsplit


def _escape(text: str) -> str:
    return quote(text, safe="-._~")


def render_authorization(
    method: str,
    url: str,
    *,
    consumer_key: str,
    consumer_secret: str,
    nonce: str,
    timestamp_s: int,
    token: str = "",
    token_secret: str = "",
    members: Mapping[str, str] | None = None,
) -> str:
    """The Authorization header.  `members` are further `oauth_` members, such as `oauth_callback`;
    the query of `url` is part of what is signed."""
    oauth = {
        "oauth_consumer_key": consumer_key,
        "oauth_nonce": nonce,
        "oauth_signature_method": "HMAC-SHA1",
        "oauth_timestamp": str(timestamp_s),
        "oauth_version": "1.0",
        **({"oauth_token": token} if token else {}),
        **(members or {}),
    }
    parts = urlsplit(url)
    signed = [*oauth.items(), *parse_qsl(parts.query, keep_blank_values=True)]
    listed = "&".join(f"{k}={v}" for k, v in sorted((_escape(k), _escape(v)) for k, v in signed))
    address = urlunsplit((parts.scheme.lower(), parts.netloc.lower(), parts.path, "", ""))
    base = "&".join((method.upper(), _escape(address), _escape(listed)))
    key = f"{_escape(consumer_secret)}&{_escape(token_secret)}"
    digest = hmac.new(key.encode(), base.encode(), hashlib.sha1).digest()
    oauth["oauth_signature"] = b64encode(digest).decode()
    return "OAuth " + ", ".join(f'{_escape(k)}="{_escape(v)}"' for k, v in sorted(oauth.items()))


def read_token_answer(body: bytes) -> tuple[str, str]:
    """The token and its secret in a form-encoded answer; empty where it has none."""
    answer = dict(parse_qsl(body.decode("utf-8", "replace")))
    return answer.get("oauth_token", ""), answer.get("oauth_token_secret", "")
