"""`selfbase config`: every setting with its value and where it came from."""

from __future__ import annotations

import click
import orjson

from selfbase.app import load_settings_classes
from selfbase.cli.context import Context
from selfbase.kit.settings import Effective, load_with_origins

# Lines of a pipe are for programs such as grep, which want each setting on one.
PIPED_WIDTH = 1000


def list_effective(context: Context) -> list[Effective]:
    """All settings of the stack and its services, in the order of their declaration."""
    rows: list[Effective] = []
    for owner, cls in load_settings_classes().items():
        rows += load_with_origins(cls, context.layers, owner=owner)[1]
    return rows


def print_effective(rows: list[Effective], *, as_json: bool) -> None:
    if as_json:
        shown = [
            {
                "setting": f"{row.owner}.{row.field}",
                "value": row.shown(),
                "origin": row.origin,
                "env": list(row.info.env),
                "toml": row.info.toml,
                "help": row.info.help,
            }
            for row in rows
        ]
        click.echo(orjson.dumps(shown, option=orjson.OPT_INDENT_2).decode())
        return
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table(box=None, padding=(0, 2, 0, 0))
    for title in ("Setting", "Value", "From", "Variable"):
        table.add_column(title, overflow="fold")  # cut short, a name is of no use
    for row in rows:
        style = None if row.origin == "default" else "bold"
        own = f"SELFBASE_{row.owner}_{row.field}".upper()
        variable = row.info.env[0] if row.info.env else own
        table.add_row(
            f"{row.owner}.{row.field}", escape(row.shown()), row.origin, variable, style=style
        )
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = PIPED_WIDTH
    console.print(table)
