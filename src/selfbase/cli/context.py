"""What every command begins with: the folders, the settings, and errors a person can act on."""

from __future__ import annotations

import os
import sys
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import click

from selfbase.kit.failures import Failure
from selfbase.kit.settings import EnvLayer, Layer, TomlLayer, ValuesLayer, load_settings
from selfbase.workspace.config_toml import UserFolder, open_user_folder
from selfbase.workspace.layout import Layout
from selfbase.workspace.settings import StackSettings

STATE_DIR = ".selfbase"


@dataclass(frozen=True)
class Context:
    """The folder a command was run in, and where the project's state is."""

    folder: UserFolder
    layout: Layout
    layers: tuple[Layer, ...]
    overrides: dict[str, Any]

    def stack(self) -> StackSettings:
        return load_settings(StackSettings, self.layers, owner="stack")

    def read_secrets(self) -> dict[str, Any]:
        """The secrets file as it is, or nothing before the first start."""
        try:
            return tomllib.loads(self.layout.secrets_path.read_text())
        except FileNotFoundError:
            return {}


def open_context(directory: str | None, overrides: dict[str, Any] | None = None) -> Context:
    """`directory` is the state folder; the default is `.selfbase` here."""
    root = Path.cwd()
    state = Path(directory or os.environ.get("SELFBASE_DIR") or root / STATE_DIR).resolve()
    folder = open_user_folder(root, os.environ)
    given = {name: value for name, value in (overrides or {}).items() if value is not None}
    layers = (ValuesLayer(given), EnvLayer(folder.variables), TomlLayer(folder.config))
    return Context(folder, Layout(state), layers, given)


def fail(message: str, hint: str | None = None) -> NoReturn:
    """Says what is wrong and what to do, and ends with code 1."""
    click.secho("Error: ", fg="red", bold=True, nl=False, err=True)
    click.echo(message, err=True)
    if hint:
        click.secho("  → ", fg="yellow", nl=False, err=True)
        click.echo(hint, err=True)
    sys.exit(1)


@contextmanager
def told_errors() -> Iterator[None]:
    """Turns the errors we expect into two lines; anything else is a bug and shows itself whole."""
    from selfbase.database.cluster_errors import ClusterError

    try:
        yield
    except Failure as failure:
        fail(failure.message, failure.hint)
    except ClusterError as error:
        fail(str(error))
    except PermissionError as error:
        fail(
            f"{error.filename}: permission denied", "Run this as the user who started the project."
        )
    except Exception as error:
        if not _is_expected(error):
            raise
        fail(str(error).strip())


def _is_expected(error: Exception) -> bool:
    """Errors of the database and its migrations, looked up only when something went wrong."""
    import psycopg

    from selfbase.database.bootstrap import BootstrapError
    from selfbase.database.migrations import MigrationError

    return isinstance(error, (psycopg.Error, BootstrapError, MigrationError))
