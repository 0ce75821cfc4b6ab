"""Commands that ask the running project: types of its schema, maintenance of its files."""

from __future__ import annotations

import asyncio
import urllib.error
import urllib.parse
import urllib.request
from typing import Any

import orjson

from selfbase.cli.context import Context, fail
from selfbase.cli.status import make_values
from selfbase.supervisor.scrape import ask_socket
from selfbase.supervisor.state import State, find_state

TIMEOUT_S = 120.0


def get_state(context: Context) -> State:
    """The running project; ends the command when there is none."""
    state = find_state(context.layout)
    if state is None:
        fail(f"Nothing runs in {context.layout.root}", "Start it with: selfbase start")
    return state


def fetch_types(context: Context, language: str, schemas: tuple[str, ...]) -> str:
    """The generated file, made by the metadata API."""
    values = make_values(get_state(context), context.read_secrets())
    query = urllib.parse.urlencode(
        {
            "included_schemas": ",".join(schemas),
            "detect_one_to_one_relationships": "true",
        }
    )
    request = urllib.request.Request(  # noqa: S310  # our own http address
        f"{values['API_URL']}/pg/generators/{urllib.parse.quote(language)}?{query}",
        headers={"apikey": values["SECRET_KEY"]},
    )
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_S) as answer:  # noqa: S310
            text: str = answer.read().decode()
            return text
    except urllib.error.HTTPError as error:
        told = orjson.loads(error.read() or b"{}")
        fail(str(told.get("error") or told.get("message") or error))


def collect_garbage(context: Context, *, dry_run: bool) -> dict[str, Any]:
    """What the collector of storage found, and removed unless `dry_run`."""
    get_state(context)
    socket = str(context.layout.run_dir / "worker-0.sock")
    path = f"/storage/gc?dry_run={str(dry_run).lower()}"
    answer = asyncio.run(ask_socket(socket, path, "POST"))
    if not answer:
        fail("The project does not answer", "See: selfbase logs")
    found: dict[str, Any] = orjson.loads(answer)
    return found
