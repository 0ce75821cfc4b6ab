"""The commands.  Each one opens its context, does one thing, and says what comes next."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import click

from selfbase import __version__
from selfbase.cli.context import Context, fail, open_context, told_errors
from selfbase.database.postmaster import is_alive
from selfbase.supervisor.state import State, find_holder, find_state, wait_for_workers

DIR = click.option("--dir", "directory", metavar="D", help="Folder of the project's state.")
START_WAIT_S = 330.0
STOP_WAIT_S = 60.0


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="selfbase")
def cli() -> None:
    """Selfbase: the whole Supabase platform in one program."""


def start_options(command: Any) -> Any:
    """The options that `start` and `restart` share."""
    options = (
        DIR,
        click.option("--host", help="Address to listen on."),
        click.option("--port", metavar="N|auto", help="Port of the API."),
        click.option("--db-port", metavar="N|auto", help="Port of PostgreSQL."),
        click.option("--mail-port", metavar="N|auto", help="Port of the mail catcher."),
        click.option("--workers", type=click.IntRange(1, 64), help="Processes that serve."),
        click.option("--db-url", help="Use this server instead of one of our own."),
        click.option("--postgres", metavar="embedded|system|DIR", help="Which PostgreSQL to run."),
        click.option("--detach", is_flag=True, help="Return when it is ready."),
        click.option("--quiet", is_flag=True, help="Print no addresses and keys."),
    )
    for option in reversed(options):
        command = option(command)
    return command


def plan_overrides(options: dict[str, Any]) -> dict[str, Any]:
    """Command line options as settings by `owner.field`."""
    auto = options.get("port") == "auto"
    return {
        "stack.host": options.get("host"),
        "stack.api_port": options.get("port"),
        # A user who lets us choose one port wants no clash on any of them.
        "stack.db_port": options.get("db_port") or ("auto" if auto else None),
        "stack.mail_port": options.get("mail_port") or ("auto" if auto else None),
        "stack.workers": options.get("workers"),
        "stack.db_url": options.get("db_url"),
        "stack.postgres": options.get("postgres"),
    }


@cli.command()
@start_options
def start(directory: str | None, detach: bool, quiet: bool, **options: Any) -> None:
    """Start the project of this folder."""
    with told_errors():
        context = open_context(directory, plan_overrides(options))
        if detach:
            _start_detached(context, quiet=quiet)
        else:
            _start_here(context, quiet=quiet)


def _start_here(context: Context, *, quiet: bool) -> None:
    # Here alone, since the other commands come and go faster without.
    import asyncio

    from selfbase.supervisor.options import StartOptions
    from selfbase.supervisor.supervisor import Supervisor

    stack = context.stack()
    options = StartOptions(
        workspace=context.folder.root,
        state_dir=context.layout.root,
        overrides=context.overrides,
    )

    async def on_ready(state: State) -> None:
        if not quiet:
            _print_status(context, state, "pretty")
        click.echo("\nPress Ctrl-C to stop.")
        sys.stdout.flush()

    async def run() -> None:
        supervisor = Supervisor(options, stack, stack.project_ref, lambda text: click.echo(text))
        await supervisor.run(on_ready)

    asyncio.run(run())


def _start_detached(context: Context, *, quiet: bool) -> None:
    if find_holder(context.layout) is not None:
        fail(
            f"Selfbase already runs in {context.layout.root}",
            "See it with: selfbase status. End it with: selfbase stop.",
        )
    context.layout.make()
    # Quiet, because what it prints goes to a file, and no key belongs in one.
    arguments = [sys.executable, "-m", "selfbase", "start", "--quiet"]
    arguments += ["--dir", str(context.layout.root)]
    for name, flag in FLAGS.items():
        if name in context.overrides:
            arguments += [flag, str(context.overrides[name])]
    environment = dict(os.environ)
    if "stack.db_url" in context.overrides:
        # Not as an argument: other users of the machine can read those.
        environment["SELFBASE_DB_URL"] = str(context.overrides["stack.db_url"])
    report = context.layout.logs_dir / "start.log"
    with report.open("w") as output:
        process = subprocess.Popen(
            arguments,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=environment,
            start_new_session=True,
        )
    try:
        state = _wait_for_start(context, process)
    except KeyboardInterrupt:
        process.terminate()
        process.wait()
        raise
    if state is None and process.returncode is not None:
        sys.stderr.write(report.read_text())
        sys.exit(process.returncode or 1)
    if state is None:
        process.terminate()
        fail("The start took too long", f"See the logs in {context.layout.logs_dir}")
    if not quiet:
        _print_status(context, state, "pretty")


def _wait_for_start(context: Context, process: subprocess.Popen[bytes]) -> State | None:
    """What the started process says of itself when it is ready; None when it ended, or takes too
    long."""
    deadline_s = time.monotonic() + START_WAIT_S
    while time.monotonic() < deadline_s:
        state = find_state(context.layout)
        if state is not None and state.pid == process.pid and state.status != "starting":
            return state
        if process.poll() is not None:
            return None
        time.sleep(0.02)
    return None


FLAGS = {
    "stack.host": "--host",
    "stack.api_port": "--port",
    "stack.db_port": "--db-port",
    "stack.mail_port": "--mail-port",
    "stack.workers": "--workers",
    "stack.postgres": "--postgres",
}


@cli.command()
@DIR
@click.option("--purge", is_flag=True, help="Delete the database, files and keys too.")
@click.option("--yes", is_flag=True, help="Do not ask.")
def stop(directory: str | None, purge: bool, yes: bool) -> None:
    """Stop the project, and with --purge delete it."""
    with told_errors():
        context = open_context(directory)
        if purge and not yes:
            click.confirm(f"Delete everything in {context.layout.root}?", abort=True)
        stopped = _stop(context)
        click.echo("Stopped." if stopped else f"Nothing runs in {context.layout.root}.")
        if purge:
            _purge(context)
            click.echo(f"Deleted {context.layout.root}.")


def _stop(context: Context) -> bool:
    layout = context.layout
    pid = find_holder(layout)
    if pid is None:
        return _stop_orphan(context)
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGTERM)
    deadline_s = time.monotonic() + STOP_WAIT_S
    # The lock goes a moment before the process does.
    while find_holder(layout) == pid or is_alive(pid):
        if time.monotonic() > deadline_s:
            fail(f"Process {pid} does not end", f"Force it with: kill -9 {pid}")
        time.sleep(0.02)
    return True


def _stop_orphan(context: Context) -> bool:
    """Ends what a killed supervisor left: workers end themselves, the last one PostgreSQL too."""
    from selfbase.database.cluster import end_orphan

    wait_for_workers(context.layout, STOP_WAIT_S)
    return end_orphan(context.layout.data_dir)


def _open_cluster(context: Context) -> Any:
    from selfbase.database.binaries import find_binaries
    from selfbase.database.cluster import Cluster
    from selfbase.database.cluster_settings import ClusterSettings

    return Cluster(
        find_binaries(context.stack().postgres), ClusterSettings(data_dir=context.layout.data_dir)
    )


def _purge(context: Context) -> None:
    if context.layout.data_dir.parent.exists():
        _open_cluster(context).remove()
    if context.layout.root.exists():
        shutil.rmtree(context.layout.root)


@cli.command()
@start_options
def restart(directory: str | None, detach: bool, quiet: bool, **options: Any) -> None:
    """Stop and start again, with the options it was started with unless others are given."""
    with told_errors():
        given = {k: v for k, v in plan_overrides(options).items() if v is not None}
        state = find_state(open_context(directory).layout)
        context = open_context(directory, {**(keep_overrides(state) if state else {}), **given})
        if state is not None and state.external_database and not context.stack().db_url:
            fail("The project runs on an external database", "Name it again with --db-url.")
        _stop(context)
        if detach:
            _start_detached(context, quiet=quiet)
        else:
            _start_here(context, quiet=quiet)


def keep_overrides(state: State) -> dict[str, Any]:
    """What a project was started with; ports that it chose stay what they are."""
    chosen = {
        "stack.api_port": state.api_port,
        "stack.db_port": state.db_port,
        "stack.mail_port": state.mail_port,
    }
    ports = {name: str(port) for name, port in chosen.items() if name in state.overrides and port}
    return {**state.overrides, **ports}


@cli.command()
@DIR
@click.option("-o", "--output", type=click.Choice(["pretty", "json", "env"]), default="pretty")
@click.option(
    "--override-name", "names", multiple=True, metavar="NAME=VARIABLE", help="As the official CLI."
)
def status(directory: str | None, output: str, names: tuple[str, ...]) -> None:
    """Show addresses and keys, under the names of the official CLI."""
    with told_errors():
        context = open_context(directory)
        state = find_state(context.layout)
        if state is None:
            fail(f"Nothing runs in {context.layout.root}", "Start it with: selfbase start")
        _print_status(context, state, output, names)


def _print_status(context: Context, state: State, output: str, names: tuple[str, ...] = ()) -> None:
    from selfbase.cli.status import (
        make_values,
        print_pretty,
        rename_values,
        render_env,
        render_json,
    )

    values = make_values(state, context.read_secrets())
    if output == "env":
        click.echo(render_env(rename_values(values, names)), nl=False)
    elif output == "json":
        click.echo(render_json(rename_values(values, names)))
    else:
        print_pretty(state, values)


@cli.command()
@DIR
@click.argument("service", required=False)
@click.option("-f", "--follow", is_flag=True, help="Go on with what is written from now on.")
@click.option("-n", "--lines", default=200, show_default=True, help="How many of the last lines.")
@click.option("--json", "as_json", is_flag=True, help="Lines as they are in the files.")
def logs(
    directory: str | None, service: str | None, follow: bool, lines: int, as_json: bool
) -> None:
    """Show the log, of one SERVICE or of all."""
    from collections import deque

    import orjson

    from selfbase.cli.loglines import render_line
    from selfbase.supervisor.logfiles import follow_logs, read_logs

    with told_errors():
        folder = open_context(directory).layout.logs_dir
        if not folder.exists():
            fail(f"There are no logs in {folder}", "Start the project with: selfbase start")

        def show(line: dict[str, Any]) -> None:
            click.echo(orjson.dumps(line).decode() if as_json else render_line(line))

        last = deque(read_logs(folder, service), maxlen=lines)
        if service is not None and not last and not follow:
            known = sorted({str(line.get("service")) for line in read_logs(folder)})
            fail(f"{service} has written nothing", f"Who has: {', '.join(known)}")
        for line in last:
            show(line)
        if follow:
            with contextlib.suppress(KeyboardInterrupt):
                for line in follow_logs(folder, service, lambda: time.sleep(0.2)):
                    show(line)


@cli.command(context_settings={"ignore_unknown_options": True})
@DIR
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def psql(directory: str | None, arguments: tuple[str, ...]) -> None:
    """Open psql on the project's database as postgres; ARGUMENTS go to psql."""
    from selfbase.database.binaries import find_binaries
    from selfbase.supervisor.options import render_host

    with told_errors():
        context = open_context(directory)
        state = find_state(context.layout)
        if state is None:
            fail(f"Nothing runs in {context.layout.root}", "Start it with: selfbase start")
        if state.db_port is None:
            fail("The project runs on an external database", 'Use: psql "$SELFBASE_DB_URL"')
        secrets = context.read_secrets()
        binaries = find_binaries(context.stack().postgres)
        bundled = Path(binaries.bin_dir) / "psql"
        program = str(bundled) if bundled.exists() else shutil.which("psql")
        if program is None:
            fail("psql is not installed", "Install the PostgreSQL client of your distribution.")
        environment = {
            **os.environ,
            **(binaries.environment() if bundled.exists() else {}),
            "PGPASSWORD": str(secrets.get("database_passwords", {}).get("postgres", "")),
        }
        host = render_host(state.host).strip("[]")
        where = f"host={host} port={state.db_port} user=postgres dbname=postgres"
        os.execve(program, [program, where, *arguments], environment)  # noqa: S606


@cli.command()
@DIR
@click.option("--json", "as_json", is_flag=True)
def config(directory: str | None, as_json: bool) -> None:
    """Print every setting, its value, and where the value came from; secrets are masked."""
    from selfbase.cli.configuration import list_effective, print_effective

    with told_errors():
        print_effective(list_effective(open_context(directory)), as_json=as_json)


@cli.command()
@DIR
@click.option("--json", "as_json", is_flag=True)
def doctor(directory: str | None, as_json: bool) -> None:
    """Check this machine and explain what is wrong."""
    from selfbase.cli.doctor import examine, print_findings

    with told_errors():
        findings = examine(open_context(directory))
        print_findings(findings, as_json=as_json)
        if any(finding.state == "fail" for finding in findings):
            sys.exit(1)


@cli.command()
@click.argument("service")
@click.option("--host", default="", help="Default: what its settings say, or 127.0.0.1.")
@click.option("--port", type=int, help="Default: what its settings say, or its upstream's port.")
def serve(service: str, host: str, port: int | None) -> None:
    """Run one SERVICE alone, configured by the environment names of its upstream."""
    from selfbase.cli.serving import serve_service

    with told_errors():
        serve_service(service, host, port, dict(os.environ))


@cli.group()
def gen() -> None:
    """Generate code from the running project."""


@gen.command("types")
@DIR
@click.argument("language", required=False)
@click.option(
    "--lang", default="typescript", show_default=True, help="typescript, go, swift, python"
)
@click.option("-s", "--schema", "schemas", multiple=True, help="Default: public.")
def gen_types(
    directory: str | None, language: str | None, lang: str, schemas: tuple[str, ...]
) -> None:
    """Print the types of the schema."""
    from selfbase.cli.asking import fetch_types

    with told_errors():
        context = open_context(directory)
        click.echo(fetch_types(context, language or lang, schemas or ("public",)), nl=False)


@cli.group()
def storage() -> None:
    """Look after the files of the running project."""


@storage.command("gc")
@DIR
@click.option("--dry-run", is_flag=True, help="Only count.")
@click.option("--json", "as_json", is_flag=True)
def storage_gc(directory: str | None, dry_run: bool, as_json: bool) -> None:
    """Remove blobs that no object names any more."""
    import orjson

    from selfbase.cli.asking import collect_garbage

    with told_errors():
        found = collect_garbage(open_context(directory), dry_run=dry_run)
        if as_json:
            click.echo(orjson.dumps(found, option=orjson.OPT_INDENT_2).decode())
            return
        done = "would be removed" if dry_run else "removed"
        click.echo(f"{found['seen']} blobs seen, {found['orphans']} orphans {done}", nl=False)
        click.echo(f" ({found['orphan_bytes']} bytes)")


@cli.command()
def version() -> None:
    """Print the version."""
    click.echo(__version__)
