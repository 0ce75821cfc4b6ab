"""Log lines on a terminal: what a client wrote is shown and not obeyed."""

from __future__ import annotations

import click

from selfbase.cli.loglines import render_line


def test_a_line_as_a_person_reads_it() -> None:
    line = {
        "ts": "2026-11-28T08:31:41.000+00:00",
        "level": "error",
        "service": "rest",
        "event": "rest.failed",
        "process": "worker-0",
        "status": 500,
        "key": "",
    }
    assert (
        click.unstyle(render_line(line)) == "08:31:41.000 error   rest       rest.failed status=500"
    )


def test_what_a_client_wrote_can_neither_rule_the_terminal_nor_look_like_an_entry() -> None:
    line = {"service": "postgres", "message": 'type "\x1b[2J\x9b1m"\n08:00:00.000 info faked'}
    shown = click.unstyle(render_line(line))
    assert "\x1b" not in shown
    assert "\x9b" not in shown
    assert r'type "\x1b[2J\x9b1m"' in shown
    assert shown.splitlines()[1].startswith("    08:00")
