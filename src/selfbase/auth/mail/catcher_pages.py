"""The catcher's two pages.  Everything from a mail is escaped; its HTML runs in a sandbox."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from html import escape
from typing import Protocol


class ShownMail(Protocol):
    """What a page shows of a mail."""

    @property
    def id(self) -> str: ...
    @property
    def recipients(self) -> tuple[str, ...]: ...
    @property
    def subject(self) -> str: ...
    @property
    def text(self) -> str: ...
    @property
    def at(self) -> datetime: ...


_STYLE = """<style>
body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#1c1c1c}
a{color:#0b6e4f}table{border-collapse:collapse;width:100%}td,th{text-align:left;padding:.4rem .6rem;
border-bottom:1px solid #ddd;vertical-align:top}iframe{width:100%;height:26rem;border:1px solid #ccc;
border-radius:6px}pre{white-space:pre-wrap;background:#f6f6f6;padding:1rem;border-radius:6px}
.quiet{color:#666}
@media (prefers-color-scheme:dark){body{background:#161616;color:#eee}a{color:#6fdcb4}
pre{background:#222}td,th{border-color:#333}iframe{background:#fff}}
</style>"""


def _page(title: str, content: str) -> str:
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width">'
        f"<title>{escape(title)}</title>{_STYLE}</head><body>{content}</body></html>"
    )


def render_index(mails: Sequence[ShownMail]) -> str:
    """The list of mails, newest first."""
    rows = "".join(
        f'<tr><td class="quiet">{mail.at:%H:%M:%S}</td>'
        f"<td>{escape(', '.join(mail.recipients))}</td>"
        f'<td><a href="/mail/{escape(mail.id)}">{escape(mail.subject) or "(no subject)"}</a></td></tr>'
        for mail in mails
    )
    table = f"<table><tr><th>Time</th><th>To</th><th>Subject</th></tr>{rows}</table>"
    empty = '<p class="quiet">No mail yet. What your project sends appears here.</p>'
    return _page("Mails", "<h1>Mails</h1>" + (table if mails else empty))


def render_mail_page(mail: ShownMail, links: Sequence[str]) -> str:
    """One mail: its links, its HTML in a sandbox, its text."""
    listed = "".join(
        f'<li><a href="{escape(link)}" rel="noreferrer" target="_blank">{escape(link)}</a></li>'
        for link in links
        if link.startswith(("http://", "https://"))
    )
    content = (
        f'<p><a href="/">All mails</a></p><h1>{escape(mail.subject)}</h1>'
        f'<p class="quiet">To {escape(", ".join(mail.recipients))}, {mail.at:%Y-%m-%d %H:%M:%S} UTC</p>'
        + (f"<h2>Links</h2><ul>{listed}</ul>" if listed else "")
        + f'<h2>HTML</h2><iframe sandbox="allow-popups" src="/view/{escape(mail.id)}.html"></iframe>'
        f"<h2>Text</h2><pre>{escape(mail.text)}</pre>"
    )
    return _page(mail.subject or "Mail", content)


def render_frame(html: str) -> str:
    """The mail's own HTML, as it came; the policy sent with it lets nothing run."""
    return html or "<p>This mail has no HTML.</p>"
