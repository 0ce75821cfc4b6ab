"""The whole: time to the first answer, memory when idle, CPU for a single-row read, and its ratio to
pgbench running the same SQL on the same server."""

from __future__ import annotations

import shutil
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path

from rich.console import Console
from rich.table import Table

from bench._load import Load, make_request, run_load
from bench._processes import children_of, pss_bytes, settle, tree_cpu_s, tree_of
from bench._stack import Stack, open_folder

READS = 20_000
CONNECTIONS = 32
ROWS = 1000


SCHEMA = """
create table reads (id int primary key, name text, n int);
insert into reads select i, 'name ' || i, i * 7 from generate_series(1, {rows}) i;
alter table reads enable row level security;
create policy everyone on reads for select using (true);
"""


def main() -> None:
    console = Console(highlight=False)
    with open_folder() as stack:
        migrations = stack.folder / "supabase" / "migrations"
        migrations.mkdir(parents=True)
        (migrations / "1_reads.sql").write_text(SCHEMA.format(rows=ROWS))
        cold_s = time_start(stack)
        stack.run("stop")
        warm_s = time_start(stack)
        time.sleep(2)  # let start-up work end before memory is read: this is a measurement
        idle = {pid: pss_bytes(pid) for pid in tree_of(stack.state()["pid"])}
        table = Table("What", "Measured", "Aim")
        table.add_row("empty folder to first REST answer", f"{cold_s:.2f} s", "2 s")
        table.add_row("warm start to first REST answer", f"{warm_s:.2f} s", "1 s")
        table.add_row(
            f"PSS of all {len(idle)} processes, idle",
            f"{sum(idle.values()) / 2**20:.0f} MB",
            "120 MB",
        )
        measure_reads(stack, table)
        console.print(table)


def time_start(stack: Stack) -> float:
    """Seconds from the command to the first answer of REST."""
    started_s = time.perf_counter()
    stack.run("start", "--port", "auto", "--detach", "--quiet")
    values = stack.status()
    request = urllib.request.Request(
        f"{values['API_URL']}/rest/v1/reads?id=eq.1", headers={"apikey": values["SECRET_KEY"]}
    )
    while True:
        try:
            with urllib.request.urlopen(request, timeout=5) as answer:
                answer.read()
            return time.perf_counter() - started_s
        except (urllib.error.URLError, ConnectionError):
            if time.perf_counter() - started_s > 60:
                raise


def measure_reads(stack: Stack, table: Table) -> None:
    values = stack.status()
    headers = {"apikey": values["PUBLISHABLE_KEY"], "accept": "application/json"}
    url = f"{values['API_URL']}/rest/v1/reads"
    requests = [
        make_request("GET", f"{url}?select=*&id=eq.{i}", headers) for i in range(1, ROWS + 1)
    ]
    run_load(url, requests, connections=CONNECTIONS, count=2000)
    state = stack.state()
    before = tree_cpu_s(state["workers"][0]), tree_cpu_s(state["postgres_pid"])
    load = run_load(url, requests, connections=CONNECTIONS, count=READS)
    after = tree_cpu_s(state["workers"][0]), tree_cpu_s(state["postgres_pid"])
    server_ms, postgres_ms = (
        (b - a) * 1000 / (READS / 1000) for a, b in zip(before, after, strict=True)
    )
    table.add_row(
        "CPU for 1,000 reads: server + PostgreSQL",
        f"{server_ms:.0f} + {postgres_ms:.0f} = {server_ms + postgres_ms:.0f} ms",
        "60 ms",
    )
    table.add_row(
        f"reads a second, {CONNECTIONS} connections",
        f"{load.per_second:,.0f} (p50 {load.p50_ms:.1f} ms, p99 {load.p99_ms:.1f} ms,"
        f" {load.bad} bad)",
        "",
    )
    limit_ms = measure_pgbench(values["DB_URL"], state["postgres_pid"])
    if limit_ms is not None:
        ours = server_ms + postgres_ms
        table.add_row(
            "ratio to pgbench with the same SQL, by CPU", f"{limit_ms / ours:.2f}", "0.35"
        )


# What a read sends: the settings and the statement, in one round trip.
SCRIPT = """\\set id random(1, {rows})
\\startpipeline
select num_nonnulls(set_config('search_path', '"public", "extensions"', true), set_config('statement_timeout', '3s', true), set_config('role', 'anon', true), set_config('request.jwt.claims', '{{"role":"anon"}}', true), set_config('request.method', 'GET', true), set_config('request.path', '/reads', true), set_config('request.headers', '{{}}', true), set_config('request.cookies', '{{}}', true));
select count(*), coalesce(json_agg(t), '[]') from (select * from reads where id = :id) t;
\\endpipeline
"""


def measure_pgbench(url: str, postmaster: int) -> float | None:
    """CPU ms for 1,000 transactions of pgbench and PostgreSQL together."""
    candidates = [
        shutil.which("pgbench"),
        *map(str, Path("/usr/lib/postgresql").glob("*/bin/pgbench")),
    ]
    program = next((path for path in candidates if path), None)
    if program is None:
        return None
    script = Path("/tmp") / f"selfbase-bench-{postmaster}.sql"
    script.write_text(SCRIPT.format(rows=ROWS))
    try:
        there = set(children_of(postmaster))
        before = tree_cpu_s(postmaster)
        usage = _children_cpu_s()
        subprocess.run(
            [
                program,
                "-n",
                "-M",
                "prepared",
                "-c",
                "4",
                "-j",
                "1",
                "-t",
                str(READS // 4),
                "-f",
                str(script),
                url,
            ],
            check=True,
            capture_output=True,
        )
        settle(postmaster, there)
        spent = _children_cpu_s() - usage + tree_cpu_s(postmaster) - before
    finally:
        script.unlink()
    return spent * 1000 / (READS / 1000)


def _children_cpu_s() -> float:
    import resource

    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


__all__ = ["Load", "main"]
