"""Mail templates: what they render, what they refuse, and that no value can break out."""

from __future__ import annotations

import re
from html import unescape
from html.parser import HTMLParser
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from selfbase.auth.logic.templates import TemplateError, parse_template, render_template
from selfbase.auth.mail.message import build_link, build_message, find_links, html_to_text
from selfbase.auth.mail.texts import TEXTS

VALUES: dict[str, Any] = {
    "Email": "a@b.test", "Token": "123456", "N": 3, "Flag": True, "Off": False, "Empty": "",
    "Data": {"name": "Ada", "items": ["x", "y"], "nested": {"a": 1}, "none": None},
}  # fmt: skip


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("Hi {{ .Data.name }}!", "Hi Ada!"),
        ("{{.Token}}", "123456"),
        ("{{ .Missing }}|{{ .Data.missing.deeper }}|{{ .Data.none }}", "||"),
        ("{{ if .Flag }}yes{{ else }}no{{ end }}", "yes"),
        ("{{ if .Off }}a{{ else if .Flag }}b{{ else }}c{{ end }}", "b"),
        ('{{ if eq .Token "123456" "x" }}same{{ end }}', "same"),
        ("{{ if and .Flag (not .Off) }}both{{ end }}", "both"),
        ("{{ if or .Off .Empty }}x{{ else }}neither{{ end }}", "neither"),
        ("{{ range .Data.items }}[{{ . }}]{{ end }}", "[x][y]"),
        ("{{ range .Data.nothing }}x{{ else }}none{{ end }}", "none"),
        ("{{ range .Data.items }}{{ $.Token }}{{ end }}", "123456123456"),
        ("{{ with .Data }}{{ .name }}{{ end }}", "Ada"),
        ("a  {{- /* note */ -}}  b", "ab"),
        ("a {{- .Token -}} b", "a123456b"),
        ("{{ if gt .N 2 }}more{{ end }}{{ len .Data.items }}", "more2"),
        ("{{ `raw` }}{{ \"q\\\"\" }}", "rawq&quot;"),
        ("", ""),
    ],
)  # fmt: skip
def test_what_templates_render(template: str, expected: str) -> None:
    assert render_template(parse_template(template), VALUES) == expected


@pytest.mark.parametrize(
    "template",
    [
        "{{ .Token", "{{ if .A }}", "{{ end }}", "{{ else }}", "{{ }}", "{{ .Token | printf }}",
        "{{ $x := .Token }}", "{{ template \"x\" }}", "{{ define \"x\" }}{{ end }}", "{{ call .X }}",
        "{{ eq .A }}", "{{ (.A }}", "{{ .A.. }}", "{{ __import__ }}", "{{ 'x' }}",
        "{{ if .A }}" * 100,
    ],
)  # fmt: skip
def test_what_is_not_known_is_refused_by_line(template: str) -> None:
    with pytest.raises(TemplateError, match=r"^line 2"):
        parse_template("first line\n" + template)


class _Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.links += [value or "" for name, value in attrs if name == "href"]
        assert all(name == "href" for name, _ in attrs)


@given(st.text(max_size=60))
@example("JavaScript:alert(1)")
@example("\x01java\tscript\n:alert(1)")
@example(" data:text/html,x")
@example("VBSCRIPT")
def test_no_value_breaks_out_of_the_html(value: str) -> None:
    template = parse_template('<p>{{ .V }}</p><a href="{{ .V }}">x</a>')
    parser = _Tags()
    parser.feed(render_template(template, {"V": value}))
    assert parser.tags == ["p", "a"]
    # What a browser leaves out of an address before it reads the scheme; without a colon it has none.
    scheme, colon, _ = re.sub(r"[\x00-\x20]", "", parser.links[0]).lower().partition(":")
    assert not colon or scheme not in ("javascript", "data", "vbscript")


@given(st.text(max_size=40))
def test_any_text_parses_or_is_refused(text: str) -> None:
    try:
        rendered = render_template(parse_template(text), VALUES)
    except TemplateError:
        return
    assert isinstance(rendered, str)


@given(st.text(alphabet='{}. -abifelsnd"/*$()|', max_size=40))
def test_action_like_text_parses_or_is_refused(text: str) -> None:
    try:
        render_template(parse_template(text), VALUES)
    except TemplateError:
        return


def test_built_in_texts_are_good_templates() -> None:
    for text in TEXTS.values():
        parse_template(text.subject)
        html = render_template(parse_template(text.html), VALUES)
        assert html_to_text(html)


@pytest.mark.parametrize(
    ("base", "path", "expected"),
    [
        ("https://p.test/auth/v1", "/verify", "https://p.test/auth/v1/verify"),
        ("https://p.test/auth/v1/", "verify", "https://p.test/auth/v1/verify"),
        ("https://p.test/auth/v1", "/auth/v1/verify", "https://p.test/auth/v1/verify"),
        ("http://localhost:9999", "/verify", "http://localhost:9999/verify"),
        ("https://p.test/auth/v1", "https://other.test/v", "https://other.test/v"),
        ("https://p.test", "", "https://p.test/verify"),
    ],
)
def test_links_keep_the_path_of_their_base(base: str, path: str, expected: str) -> None:
    link = build_link(base, path, token="t", kind="signup", redirect_to="https://a.test/?x=1&y=2")
    where, _, query = link.partition("?")
    assert where == expected
    assert query == "token=t&type=signup&redirect_to=https%3A%2F%2Fa.test%2F%3Fx%3D1%26y%3D2"


@given(st.text(max_size=80))
def test_no_subject_makes_a_second_header(subject: str) -> None:
    clean = " ".join(subject.split())
    try:
        message = build_message(
            to="a@b.test", sender="s@b.test", sender_name="S", subject=clean, html="<p>x</p>",
            message_id="<1@b.test>", headers={},
        )  # fmt: skip
    except (ValueError, UnicodeError):
        return
    assert message.keys() == [
        "From", "To", "Subject", "Message-ID", "MIME-Version", "Content-Type",
    ]  # fmt: skip


def test_links_are_found_in_html() -> None:
    html = (
        '<a class="b" href="https://a.test/?x=1&amp;y=2">one</a> <A HREF=\'https://b.test\'>two</A>'
    )
    assert find_links(html) == ["https://a.test/?x=1&y=2", "https://b.test"]
    assert unescape(html_to_text(html)).startswith("one ( https://a.test/?x=1&y=2 )")
