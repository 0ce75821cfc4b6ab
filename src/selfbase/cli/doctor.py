"""`selfbase doctor`: looks at the machine and says what would go wrong, and what to do."""

from __future__ import annotations

import os
import platform
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import click
import orjson

from selfbase.cli.context import Context
from selfbase.database.binaries import find_binaries
from selfbase.database.ports import find_port_holder, is_port_free
from selfbase.kit.failures import ConfigurationError
from selfbase.kit.settings import GiB, MiB
from selfbase.supervisor.options import AUTO, parse_port
from selfbase.supervisor.state import find_state

DISK_BYTES_MIN = 1 * GiB
MEMORY_BYTES_MIN = 512 * MiB
SHARED_BYTES_MIN = 64 * MiB


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked at.  `advice` is there when something is to be done."""

    subject: str
    state: Literal["ok", "warn", "fail"]
    found: str
    advice: str = ""


def examine(context: Context) -> list[Finding]:
    """All findings, in the order a start would meet them."""
    checks: tuple[Callable[[Context], list[Finding]], ...] = (
        _check_python,
        _check_postgres,
        _check_ports,
        _check_disk,
        _check_memory,
        _check_secrets,
        _check_folder,
    )
    return [finding for check in checks for finding in check(context)]


def _check_python(context: Context) -> list[Finding]:
    found = f"Python {platform.python_version()} on {platform.system()} {platform.machine()}"
    return [Finding("python", "ok", found)]


def _check_postgres(context: Context) -> list[Finding]:
    stack = context.stack()
    if stack.db_url:
        return [Finding("postgres", "ok", "an external server")]
    try:
        binaries = find_binaries(stack.postgres)
    except Exception as error:
        return [Finding("postgres", "fail", str(error), "Choose another one with --postgres.")]
    found = f"PostgreSQL {binaries.version} ({binaries.kind})"
    if binaries.kind == "embedded":
        return [
            Finding(
                "postgres",
                "ok",
                found,
                "For production use --postgres system, which your distribution keeps patched.",
            )
        ]
    return [Finding("postgres", "ok", found)]


def _check_ports(context: Context) -> list[Finding]:
    stack = context.stack()
    running = find_state(context.layout)
    findings = []
    for what, asked, option in (
        ("api port", stack.api_port, "--port"),
        ("database port", stack.db_port, "--db-port"),
        ("mail port", stack.mail_port, "--mail-port"),
    ):
        if asked != AUTO:
            findings.append(
                _check_port(what, asked, option, stack.host, is_running=running is not None)
            )
    return findings


def _check_port(what: str, asked: str, option: str, host: str, *, is_running: bool) -> Finding:
    try:
        port = parse_port(asked, what)
        free = is_port_free(host, port)
    except ConfigurationError as error:
        return Finding(what, "fail", error.message, f"Choose another with: {option}")
    except OSError as error:
        found = f"cannot listen on {host}: {error.strerror}"
        return Finding(what, "fail", found, "Name an address of this machine with --host.")
    if free:
        return Finding(what, "ok", f"{port} is free")
    if is_running:
        return Finding(what, "ok", f"{port} is ours")
    holder = find_port_holder(port) or "another program"
    advice = f"Stop it, or start with: {option} auto"
    return Finding(what, "fail", f"{port} is taken by {holder}", advice)


def _check_disk(context: Context) -> list[Finding]:
    place = context.layout.root
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free
    found = f"{free / GiB:.1f} GiB free at {place}"
    if free < DISK_BYTES_MIN:
        return [Finding("disk", "fail", found, "Free at least 1 GiB, or use --dir elsewhere.")]
    if not os.access(place, os.W_OK):
        return [Finding("disk", "fail", f"{place} cannot be written", "Use --dir elsewhere.")]
    return [Finding("disk", "ok", found)]


def _check_memory(context: Context) -> list[Finding]:
    findings = []
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    state: Literal["ok", "warn"] = "ok" if total >= MEMORY_BYTES_MIN else "warn"
    findings.append(Finding("memory", state, f"{total / GiB:.1f} GiB"))
    shared = Path("/dev/shm")  # noqa: S108  # where Linux keeps shared memory, not a temporary file
    if shared.exists():
        size = shutil.disk_usage(shared).total
        small = size < SHARED_BYTES_MIN
        findings.append(
            Finding(
                "shared memory",
                "warn" if small else "ok",
                f"{size / MiB:.0f} MiB in {shared}",
                "In a container, start it with --shm-size=256m." if small else "",
            )
        )
    return findings


def _check_secrets(context: Context) -> list[Finding]:
    path = context.layout.secrets_path
    if not path.exists():
        return [Finding("secrets", "ok", "made at the first start")]
    mode = path.stat().st_mode & 0o777
    if mode & 0o077:
        advice = f"Run: chmod 600 {path}"
        return [Finding("secrets", "fail", f"{path} has mode {mode:o}", advice)]
    return [Finding("secrets", "ok", f"{path} is for its owner only")]


def _check_folder(context: Context) -> list[Finding]:
    if context.folder.config:
        return [Finding("supabase folder", "ok", "supabase/config.toml is used")]
    return [Finding("supabase folder", "ok", "none here; defaults are used")]


_MARK = {"ok": ("✓", "green"), "warn": ("!", "yellow"), "fail": ("✗", "red")}


def print_findings(findings: list[Finding], *, as_json: bool) -> None:
    if as_json:
        shown = [asdict(finding) for finding in findings]
        click.echo(orjson.dumps(shown, option=orjson.OPT_INDENT_2).decode())
        return
    for finding in findings:
        mark, colour = _MARK[finding.state]
        click.secho(f" {mark} ", fg=colour, nl=False)
        click.echo(f"{finding.subject:<18}{finding.found}")
        if finding.advice:
            click.secho(f"   {'':<18}{finding.advice}", dim=True)
