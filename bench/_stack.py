"""An installation to measure: started with the real command in a folder of its own."""

from __future__ import annotations

import compileall
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SOURCE = Path(__file__).parents[1] / "src"


@dataclass(frozen=True)
class Stack:
    folder: Path

    def run(self, *arguments: str) -> str:
        return subprocess.run(
            [sys.executable, "-m", "selfbase", *arguments],
            cwd=self.folder,
            env={**os.environ, "PYTHONPATH": str(SOURCE)},
            check=True,
            capture_output=True,
            text=True,
        ).stdout

    def status(self) -> dict[str, str]:
        loaded: dict[str, str] = json.loads(self.run("status", "-o", "json"))
        return loaded

    def state(self) -> dict[str, Any]:
        path = self.folder / ".selfbase" / "run" / "state.json"
        loaded: dict[str, Any] = json.loads(path.read_text())
        return loaded


@contextmanager
def open_folder() -> Iterator[Stack]:
    """An empty folder; what runs in it is stopped and deleted at the end."""
    # As `make` and an ordinary install do; Python alone may have been told not to.
    compileall.compile_dir(SOURCE, quiet=1)
    folder = Path(tempfile.mkdtemp(prefix="selfbase-bench-", dir="/tmp"))
    folder.chmod(0o755)
    stack = Stack(folder)
    try:
        yield stack
    finally:
        if (folder / ".selfbase").exists():
            stack.run("stop", "--purge", "--yes")
        shutil.rmtree(folder, ignore_errors=True)
