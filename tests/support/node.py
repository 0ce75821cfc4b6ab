"""Runs the scripts of `tests/js` with Node.js and the official JavaScript clients."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

JS = Path(__file__).parents[1] / "js"


def find_node() -> str:
    """Node.js with the clients installed; skips the test where `make test` could not have them."""
    node = shutil.which("node")
    if node is None or not (JS / "node_modules").exists():
        pytest.skip("Node.js is not on this machine and could not be installed by `make test`")
    return node


def run_script(name: str, variables: Mapping[str, str], *arguments: str) -> Any:
    """The JSON a script prints on its last line.  Fails with what it wrote when it ends badly."""
    node = find_node()
    done = subprocess.run(
        [node, str(JS / name), *arguments],
        cwd=JS,
        env={**variables, "PATH": str(Path(node).parent)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout.splitlines()[-1])
