"""From a kind of mail and its values to a message: addresses, subject, HTML and text.

Pure.  Header values are checked by the message class, which refuses line breaks.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from html import unescape
from typing import Any
from urllib.parse import urlencode, urljoin, urlsplit

import orjson

from selfbase.auth.logic.templates import parse_template, render_template
from selfbase.auth.mail.texts import TEXTS
from selfbase.auth.settings_mail import MailText

SUBJECT_CHARS_MAX = 500


def build_link(base: str, path: str, *, token: str, kind: str, redirect_to: str) -> str:
    """The address in a mail: the verify endpoint below `base`, or an absolute `path`.

    A path that begins with a slash and already holds the base's own path is not doubled.
    """
    query = urlencode({"token": token, "type": kind, "redirect_to": redirect_to})
    if urlsplit(path).scheme:
        where = path
    else:
        own = urlsplit(base).path.rstrip("/")
        rest = path or "/verify"
        if own and rest.startswith(own + "/"):
            where = urljoin(base, rest)
        else:
            where = base.rstrip("/") + "/" + rest.lstrip("/")
    return f"{where}{'&' if '?' in where else '?'}{query}"


def render_mail(mail: MailText, fetched: str | None, values: Mapping[str, Any]) -> tuple[str, str]:
    """Subject and HTML.  `fetched` is the text of a template kept elsewhere.
    Raises TemplateError."""
    builtin = TEXTS[mail.kind]
    subject = render_template(parse_template(mail.subject or builtin.subject), values, escape=False)
    html = render_template(parse_template(fetched or mail.content or builtin.html), values)
    return " ".join(subject.split())[:SUBJECT_CHARS_MAX], html


def build_message(
    *,
    to: str,
    sender: str,
    sender_name: str,
    subject: str,
    html: str,
    message_id: str,
    headers: Mapping[str, list[str]],
) -> EmailMessage:
    """The message, with a text version made from the HTML.  Raises ValueError on a bad address or
    header."""
    message = EmailMessage(policy=SMTP)
    message["From"] = Address(display_name=sender_name, addr_spec=sender)
    message["To"] = Address(addr_spec=to)
    message["Subject"] = subject
    message["Message-ID"] = message_id
    for name, values in headers.items():
        for value in values:
            message[name] = value
    message.set_content(html_to_text(html))
    message.add_alternative(html, subtype="html")
    return message


def parse_headers(text: str, kind: str) -> dict[str, list[str]]:
    """Further headers from their JSON setting; `$messageType` becomes the kind of mail."""
    if not text.strip():
        return {}
    try:
        parsed = orjson.loads(text)
    except orjson.JSONDecodeError:
        return {}
    if not isinstance(parsed, dict):
        return {}
    return {
        str(name): [str(value).replace("$messageType", kind) for value in values]
        for name, values in parsed.items()
        if isinstance(values, list) and str(name).lower() not in _OWN_HEADERS
    }


_OWN_HEADERS = frozenset({"from", "to", "subject", "message-id", "content-type", "mime-version"})
_LINK = re.compile(
    r"""<a\b[^>]*?\bhref\s*=\s*(?:"([^"]*)"|'([^']*)')[^>]*>(.*?)</a>""", re.IGNORECASE | re.DOTALL
)
_BREAK = re.compile(r"<(?:br|/p|/h[1-6]|/div|/li|/tr)\b[^>]*>", re.IGNORECASE)
_DROPPED = re.compile(r"<(style|script|head)\b.*?</\1\s*>", re.IGNORECASE | re.DOTALL)
_TAG = re.compile(r"<[^>]*>")


def html_to_text(html: str) -> str:
    """A plain reading of the HTML with its links written out."""
    text = _DROPPED.sub("", html)
    text = _LINK.sub(lambda m: f"{m[3]} ( {m[1] or m[2]} )", text)
    text = _TAG.sub("", _BREAK.sub("\n", text))
    lines = [" ".join(line.split()) for line in unescape(text).splitlines()]
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip() + "\n"


def find_links(html: str) -> list[str]:
    """The addresses of the HTML's links, in order, each once."""
    found = [unescape(match[1] or match[2] or "") for match in _LINK.finditer(html)]
    return list(dict.fromkeys(link for link in found if link))
