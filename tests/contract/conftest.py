"""A running installation for black-box tests: started once for the folder, with the real command."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.installation import Installation

EXAMPLE = Path(__file__).parents[2] / "examples" / "todos"


@pytest.fixture(scope="session")
def todos() -> Iterator[Installation]:
    """The example app's folder, started: two tables' worth of policies, no mail confirmation."""
    folder = Path(tempfile.mkdtemp(prefix="selfbase-todos-", dir="/tmp"))
    folder.chmod(0o755)
    shutil.copytree(EXAMPLE, folder, dirs_exist_ok=True)
    made = Installation(folder)
    made.start()
    yield made
    made.remove()
