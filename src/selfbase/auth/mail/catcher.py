"""The mail catcher: takes every mail of a developer's project and shows it, sending none.

An SMTP server (aiosmtpd) in front of a bounded list, and a handler for HTTP behind which the page
and JSON live.  The JSON has the shape of Mailpit's API v1 and of Inbucket's mailboxes, which
existing tests of apps use.  Mails hold sign-in links, so pages of foreign names are refused.
"""

from __future__ import annotations

import asyncio
import email
from base64 import urlsafe_b64encode
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.message import EmailMessage
from email.policy import default as default_policy
from email.utils import getaddresses
from hashlib import sha256
from ipaddress import ip_address
from typing import Any
from urllib.parse import unquote

from aiosmtpd.smtp import SMTP, AuthResult, Envelope, Session

from selfbase.auth.mail.catcher_pages import render_frame, render_index, render_mail_page
from selfbase.auth.mail.message import find_links, html_to_text
from selfbase.http.values import Request, Response, WebSocket, json_response

MAILS_MAX = 500
MAIL_BYTES_MAX = 10 * 1024 * 1024
CONNECTIONS_MAX = 50


@dataclass(frozen=True, slots=True)
class CaughtMail:
    """One mail as it came."""

    id: str
    sender: str
    recipients: tuple[str, ...]
    message: EmailMessage = field(repr=False)
    size: int
    at: datetime

    @property
    def subject(self) -> str:
        return str(self.message.get("subject", ""))

    @property
    def html(self) -> str:
        return self._body("html")

    @property
    def text(self) -> str:
        return self._body("plain") or html_to_text(self.html)

    def _body(self, kind: str) -> str:
        part = self.message.get_body((kind,))
        if part is None:
            return ""
        try:
            return str(part.get_content())
        except (LookupError, ValueError):
            return ""


class Mailbox:
    """The last mails, newest first."""

    def __init__(self, mails_max: int = MAILS_MAX) -> None:
        self._mails: deque[CaughtMail] = deque(maxlen=mails_max)
        self._count = 0

    def add(self, sender: str, recipients: Iterable[str], content: bytes) -> CaughtMail:
        self._count += 1
        parsed = email.message_from_bytes(content, policy=default_policy)
        assert isinstance(parsed, EmailMessage)
        name = sha256(self._count.to_bytes(8, "big") + content).digest()[:12]
        caught = CaughtMail(
            id=urlsafe_b64encode(name).decode().replace("-", "a").replace("_", "b"),
            sender=sender,
            recipients=tuple(recipients),
            message=parsed,
            size=len(content),
            at=datetime.now(UTC),
        )
        self._mails.appendleft(caught)
        return caught

    def list(self, to: str = "") -> list[CaughtMail]:
        """Newest first; `to` is an address or its part before the @."""
        wanted = to.lower()
        return [mail for mail in self._mails if not wanted or _is_for(mail, wanted)]

    def find(self, mail_id: str) -> CaughtMail | None:
        if mail_id == "latest":
            return self._mails[0] if self._mails else None
        return next((mail for mail in self._mails if mail.id == mail_id), None)

    def clear(self) -> None:
        self._mails.clear()

    def remove(self, gone: Iterable[CaughtMail]) -> None:
        ids = {mail.id for mail in gone}
        kept = [mail for mail in self._mails if mail.id not in ids]
        self._mails.clear()
        self._mails.extend(kept)


def _is_for(mail: CaughtMail, wanted: str) -> bool:
    return any(
        wanted in (recipient.lower(), recipient.lower().partition("@")[0])
        for recipient in mail.recipients
    )


class _Taker:
    """aiosmtpd's handler: everything is accepted."""

    def __init__(self, mailbox: Mailbox) -> None:
        self._mailbox = mailbox

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802  # aiosmtpd's name
        content = envelope.content
        raw = content if isinstance(content, bytes) else (content or "").encode()
        self._mailbox.add(envelope.mail_from or "", envelope.rcpt_tos, raw)
        return "250 OK"


class MailCatcher:
    """The catcher's SMTP server and HTTP handler."""

    def __init__(self, host: str, smtp_port: int, mailbox: Mailbox | None = None) -> None:
        self.mailbox = mailbox or Mailbox()
        self._host = host
        self._smtp_port = smtp_port
        self._server: asyncio.Server | None = None

    @property
    def smtp_port(self) -> int:
        """The port in use; the given one was 0 when any would do."""
        if self._server is None:
            return self._smtp_port
        return int(self._server.sockets[0].getsockname()[1])

    async def open(self) -> None:
        """Listens.  Raises OSError when the port is taken."""
        taker = _Taker(self.mailbox)

        def make() -> SMTP:
            return SMTP(
                taker, data_size_limit=MAIL_BYTES_MAX, enable_SMTPUTF8=True, hostname="selfbase",
                auth_require_tls=False, authenticator=_accept_all, timeout=60,
            )  # fmt: skip

        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(
            make, self._host, self._smtp_port, backlog=CONNECTIONS_MAX
        )

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None

    async def connect(self, socket: WebSocket) -> None:
        await socket.reject(Response(404))

    async def answer(self, request: Request) -> Response:
        """The page, and the JSON of Mailpit and Inbucket."""
        if not _is_own_name(request.host or request.headers.get("host")):
            return json_response({"Error": "this host name may not show mails"}, 403)
        parts = [unquote(part) for part in request.path.strip("/").split("/")]
        answer = self._answer(request, parts)
        return answer or json_response({"Error": "not found"}, 404)

    def _answer(self, request: Request, parts: list[str]) -> Response | None:
        if parts == [""] and request.method == "GET":
            return _html(render_index(self.mailbox.list(request.query_value("to") or "")))
        if parts[0] in ("mail", "view") and len(parts) == 2 and request.method == "GET":
            return self._view(parts[0], parts[1])
        if parts[:2] != ["api", "v1"]:
            return None
        rest = parts[2:]
        if rest[:1] == ["mailbox"] and len(rest) in (2, 3):
            return self._inbucket(request, rest[1], rest[2] if len(rest) == 3 else None)
        return self._mailpit(request, rest)

    def _view(self, kind: str, name: str) -> Response | None:
        mail_id, _, form = name.partition(".")
        mail = self.mailbox.find(mail_id)
        if mail is None:
            return None
        if kind == "mail":
            return _html(render_mail_page(mail, find_links(mail.html)))
        if form == "txt":
            plain = [("content-type", "text/plain; charset=utf-8"), *_SAFE]
            return Response(200, plain, mail.text.encode())
        return _html(render_frame(mail.html), sandbox=True)

    def _mailpit(self, request: Request, rest: list[str]) -> Response | None:
        if rest in (["messages"], ["search"]) and request.method == "GET":
            query = request.query_value("query") or ""
            to = query.removeprefix("to:").strip('"') if query.startswith("to:") else ""
            found = self.mailbox.list(to)
            if query and not to:
                found = [mail for mail in found if query.lower() in mail.subject.lower()]
            start = _number(request.query_value("start"), 0)
            shown = found[start : start + _number(request.query_value("limit"), 50)]
            return json_response(
                {
                    "total": len(self.mailbox.list()), "unread": 0, "count": len(shown),
                    "messages_count": len(found), "messages_unread": 0, "start": start,
                    "tags": [], "messages": [_summary(mail) for mail in shown],
                }
            )  # fmt: skip
        if rest == ["messages"] and request.method == "DELETE":
            self.mailbox.clear()
            return Response(200, [("content-type", "text/plain")], b"ok")
        if rest == ["info"] and request.method == "GET":
            return json_response({"Version": "selfbase", "Messages": len(self.mailbox.list())})
        if len(rest) == 2 and rest[0] == "message" and request.method == "GET":
            mail = self.mailbox.find(rest[1])
            return None if mail is None else json_response(_detail(mail))
        return None

    def _inbucket(self, request: Request, name: str, mail_id: str | None) -> Response | None:
        found = self.mailbox.list(name)
        if mail_id is None:
            if request.method == "DELETE":
                self.mailbox.remove(found)
                return Response(200, [("content-type", "application/json")], b'"OK"')
            return json_response([_inbucket_summary(name, mail) for mail in reversed(found)])
        mail = found[0] if mail_id == "latest" and found else self.mailbox.find(mail_id)
        if mail is None:
            return None
        body = {"text": mail.text, "html": mail.html}
        headers: dict[str, list[str]] = {}
        for key, value in mail.message.items():
            headers.setdefault(key, []).append(str(value))
        return json_response({**_inbucket_summary(name, mail), "body": body, "header": headers})


def _accept_all(*_: object) -> Any:
    return AuthResult(success=True)


_SAFE = [("cache-control", "no-store"), ("x-content-type-options", "nosniff")]


def _html(page: str, *, sandbox: bool = False) -> Response:
    policy = "default-src 'none'; style-src 'unsafe-inline'; img-src data: https: http:;"
    policy += " sandbox allow-popups" if sandbox else " frame-src 'self'; form-action 'self'"
    headers = [("content-type", "text/html; charset=utf-8"), ("content-security-policy", policy)]
    return Response(200, [*headers, *_SAFE], page.encode())


def _is_own_name(host: str) -> bool:
    """An address, localhost, or a name without dots: a web page of a foreign name that points its
    DNS here (rebinding) must not read mails."""
    name = host.rsplit(":", 1)[0].strip("[]").lower() if host else "localhost"
    if host.count(":") > 1 and not host.startswith("["):
        name = host
    try:
        ip_address(name)
    except ValueError:
        return "." not in name or name.endswith(".localhost") or name == "host.docker.internal"
    return True


def _number(text: str | None, default: int) -> int:
    return min(int(text), MAILS_MAX) if text and text.isascii() and text.isdigit() else default


def _addresses(mail: CaughtMail, header: str) -> list[dict[str, str]]:
    values = [str(value) for value in mail.message.get_all(header, [])]
    return [{"Name": name, "Address": address} for name, address in getaddresses(values)]


def _summary(mail: CaughtMail) -> dict[str, Any]:
    sender = _addresses(mail, "from") or [{"Name": "", "Address": mail.sender}]
    return {
        "ID": mail.id,
        "MessageID": str(mail.message.get("message-id", "")).strip("<>"),
        "Read": False,
        "From": sender[0],
        "To": _addresses(mail, "to"),
        "Cc": _addresses(mail, "cc"),
        "Bcc": [],
        "ReplyTo": _addresses(mail, "reply-to"),
        "Subject": mail.subject,
        "Created": mail.at.isoformat().replace("+00:00", "Z"),
        "Tags": [],
        "Size": mail.size,
        "Attachments": 0,
        "Snippet": " ".join(mail.text.split())[:250],
    }


def _detail(mail: CaughtMail) -> dict[str, Any]:
    return {
        **_summary(mail),
        "Date": mail.at.isoformat().replace("+00:00", "Z"),
        "Text": mail.text,
        "HTML": mail.html,
        "Inline": [],
        "Attachments": [],
        "Links": find_links(mail.html),
    }


def _inbucket_summary(name: str, mail: CaughtMail) -> dict[str, Any]:
    return {
        "mailbox": name,
        "id": mail.id,
        "from": str(mail.message.get("from", mail.sender)),
        "to": list(mail.recipients),
        "subject": mail.subject,
        "date": mail.at.isoformat().replace("+00:00", "Z"),
        "posix-millis": int(mail.at.timestamp() * 1000),
        "size": mail.size,
        "seen": False,
    }
