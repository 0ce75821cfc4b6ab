"""Storage and Realtime beside REST and Auth, through the official JavaScript client."""

from __future__ import annotations

import shutil
from typing import Any

from tests.contract.conftest import EXAMPLE
from tests.support.installation import Installation
from tests.support.node import run_script


def test_files_and_live_changes(todos: Installation) -> None:
    check(run_script("platform.mjs", todos.status()))


def test_several_workers_are_one_platform(installation: Installation) -> None:
    """Clients of different workers meet in a room, and each hears what they may."""
    shutil.copytree(EXAMPLE, installation.folder, dirs_exist_ok=True)
    installation.start("--workers", "3")
    for _ in range(3):
        check(run_script("platform.mjs", installation.status()))


def check(seen: dict[str, Any]) -> None:
    assert seen["listed"] == ["a.txt"]
    assert seen["public"] == "hello"
    assert seen["signed"] == "hello"
    assert seen["tampered"] == 400
    assert seen["refused"] == "new row violates row-level security policy"
    assert seen["alice"] == [
        ["broadcast", "hi"],
        ["INSERT", "write"],
        ["UPDATE", "rewrite"],
        ["DELETE", seen["id"]],
    ]
    # Bob is in the same room and hears the note, but not what happens to Alice's rows.
    assert seen["bob"] == [["broadcast", "hi"]]


def test_types_and_orphans_from_the_command_line(todos: Installation) -> None:
    types = todos.run("gen", "types").stdout
    assert "todos: {" in types
    assert "task: string" in types
    assert "type PublicTodosSelect struct" in todos.run("gen", "types", "--lang", "go").stdout
    failed = todos.run("gen", "types", "--lang", "cobol", check=False)
    assert failed.returncode == 1
    assert "Traceback" not in failed.stderr
    assert "0 orphans would be removed" in todos.run("storage", "gc", "--dry-run").stdout
