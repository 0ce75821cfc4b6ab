"""The metadata API on schemas that grow: seconds for a page, for the last page, for every table at
once and for all generated types, and the memory of the serving processes after each."""

from __future__ import annotations

import json
import time
import urllib.request

import psycopg
from rich.console import Console
from rich.table import Table

from bench._processes import pss_bytes, tree_of
from bench._stack import Stack, open_folder

SIZES = (100, 1_000, 10_000)
PAGE = 100

# Tables with a key to the table before, an index, a comment and a policy.
GROW = """
do $$
begin
  for i in {first}..{last} loop
    execute format(
      'create table many.t%s (id int primary key, name text not null default %L,
       born timestamptz, tags text[], before int references many.t%s)', i, 'x', greatest(i - 1, 0));
    execute format('create index on many.t%s (name)', i);
    execute format('create policy p on many.t%s using (true)', i);
    if i %% 500 = 0 then commit; end if;
  end loop;
end $$
""".replace("%%", "%")
PATHS = {
    "first page": f"tables?included_schemas=many&limit={PAGE}",
    "last page": f"tables?included_schemas=many&limit={PAGE}&offset={{last}}",
    "columns page": f"columns?included_schemas=many&limit={PAGE}",
    "policies page": f"policies?included_schemas=many&limit={PAGE}",
    "indexes page": f"indexes?included_schemas=many&limit={PAGE}",
    "rights page": f"table-privileges?included_schemas=many&limit={PAGE}",
    "all tables": "tables?included_schemas=many",
    "TypeScript": "generators/typescript?included_schemas=many",
}
NAMES = (*PATHS, "memory after pages", "memory after all")


def main() -> None:
    console = Console(highlight=False)
    table = Table("What", *(f"{size:,} tables" for size in SIZES))
    with open_folder() as stack:
        stack.run("start", "--port", "auto", "--detach", "--quiet")
        rows: dict[str, list[str]] = {name: [] for name in NAMES}
        with psycopg.connect(stack.status()["DB_URL"], autocommit=True) as connection:
            connection.execute("create schema many; create table many.t0 (id int primary key)")
            made = 0
            for size in SIZES:
                connection.execute(GROW.format(first=made + 1, last=size - 1).encode())
                connection.execute(
                    "vacuum analyze pg_class, pg_attribute, pg_constraint, pg_depend"
                )
                made = size - 1
                for name, path in PATHS.items():
                    if name == "all tables":
                        rows["memory after pages"].append(measure_memory(stack))
                    rows[name].append(measure(stack, path.format(last=size - PAGE)))
                rows["memory after all"].append(measure_memory(stack))
        for name, values in rows.items():
            table.add_row(name, *values)
    console.print(table)


def measure_memory(stack: Stack) -> str:
    """What all processes of the installation hold, PostgreSQL included."""
    held = sum(pss_bytes(pid) for pid in tree_of(stack.state()["pid"]))
    return f"{held / 2**20:.0f} MB"


def measure(stack: Stack, path: str) -> str:
    """Seconds of the best of three requests, and how much came."""
    values = stack.status()
    request = urllib.request.Request(
        f"{values['API_URL']}/pg/{path}", headers={"apikey": values["SECRET_KEY"]}
    )
    best_s = float("inf")
    for _ in range(3):
        started_s = time.perf_counter()
        with urllib.request.urlopen(request, timeout=150) as answer:
            body = answer.read()
        best_s = min(best_s, time.perf_counter() - started_s)
    if path.startswith("generators"):
        return f"{best_s:.2f} s, {len(body) / 2**20:.1f} MB"
    return f"{best_s:.3f} s, {len(json.loads(body)):,}"
