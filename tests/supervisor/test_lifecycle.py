"""Starting, stopping and every way to be interrupted, with the real command and real signals."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
from typing import Any

import httpx
from tests.support.installation import Installation, is_alive, wait_until


def answers(installation: Installation) -> bool:
    try:
        return httpx.get(f"{installation.state()['api_url']}/health").status_code == 200
    except (httpx.HTTPError, OSError, ValueError):
        return False


def test_start_status_stop_and_nothing_is_left(installation: Installation) -> None:
    installation.start()
    values = installation.status()
    health = httpx.get(f"{values['API_URL']}/health").json()
    assert health["services"]["database"]["status"] == "HEALTHY"
    assert httpx.get(f"{values['API_URL']}/live").json() == {"status": "LIVE"}
    assert installation.sql("select current_user::text") == [("postgres",)]
    assert (installation.state_dir / "secrets.toml").stat().st_mode & 0o777 == 0o600
    printed = installation.run("status").stdout
    assert values["SECRET_KEY"] in printed
    shell = installation.run("status", "-o", "env").stdout
    assert f'API_URL="{values["API_URL"]}"\n' in shell
    for file in (installation.state_dir / "logs").iterdir():
        text = file.read_text()
        for name in (
            "SECRET_KEY",
            "SERVICE_ROLE_KEY",
            "JWT_SECRET",
            "S3_PROTOCOL_ACCESS_KEY_SECRET",
        ):
            assert values[name] not in text, file.name
    assert len(installation.processes()) >= 3
    installation.stop()
    assert installation.processes() == []
    assert installation.run("status", check=False).returncode == 1


def test_data_keys_and_files_survive_a_restart(installation: Installation) -> None:
    installation.start()
    installation.sql("create table kept (n int)")
    installation.sql("insert into kept values (7)")
    before = installation.status()
    installation.run("restart", "--detach")
    assert installation.sql("select n from kept") == [(7,)]
    assert installation.status() == before  # the ports it had chosen included


def test_a_second_start_is_refused(installation: Installation) -> None:
    installation.start()
    for arguments in (("--detach",), ()):
        second = installation.run("start", "--port", "auto", *arguments, check=False)
        assert second.returncode == 1
        assert "already runs" in second.stderr
    assert answers(installation)


def test_a_taken_port_is_named_and_nothing_stays(installation: Installation) -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = str(holder.getsockname()[1])
        failed = installation.run(
            "start", "--port", port, "--db-port", "auto", "--mail-port", "auto", check=False
        )
    assert failed.returncode == 1
    assert port in failed.stderr
    assert "--port auto" in failed.stderr
    assert installation.processes() == []


def test_migrations_and_seed_are_applied_at_start(installation: Installation) -> None:
    supabase = installation.folder / "supabase"
    (supabase / "migrations").mkdir(parents=True)
    (supabase / "config.toml").write_text('project_id = "my-app"\n')
    (supabase / "migrations" / "1_t.sql").write_text("create table t (n int);")
    (supabase / "seed.sql").write_text("insert into t values (42);")
    installation.start()
    assert installation.sql("select n from t") == [(42,)]
    assert installation.state()["ref"] == "my-app"
    installation.run("restart", "--port", "auto", "--detach")
    assert installation.sql("select n from t") == [(42,)]


def test_a_failing_migration_stops_the_start_with_its_reason(installation: Installation) -> None:
    migrations = installation.folder / "supabase" / "migrations"
    migrations.mkdir(parents=True)
    (migrations / "1_bad.sql").write_text("create table t (n nonsense);")
    failed = installation.run("start", "--port", "auto", "--detach", check=False)
    assert failed.returncode == 1
    assert '1_bad.sql, statement 1: type "nonsense" does not exist' in failed.stderr
    assert installation.processes() == []


def test_a_wrong_setting_is_told(installation: Installation) -> None:
    installation.environment["SELFBASE_WORKERS"] = "many"
    failed = installation.run("start", "--port", "auto", "--detach", check=False)
    assert failed.returncode == 1
    assert "workers: 'many' from environment" in failed.stderr
    assert "Traceback" not in failed.stderr


def test_a_worker_that_ends_or_hangs_is_replaced(installation: Installation) -> None:
    installation.environment["SELFBASE_WORKER_PROBE_S"] = "1"
    installation.start()
    for number in (signal.SIGKILL, signal.SIGSTOP):
        [worker] = installation.state()["workers"]
        os.kill(worker, number)
        wait_until(lambda old=worker: installation.state()["workers"] != [old], "a new worker")
        wait_until(lambda: answers(installation), "an answer")
        assert not is_alive(worker)
    assert installation.sql("select 1") == [(1,)]


def test_a_killed_postgres_is_replaced_and_recovers(installation: Installation) -> None:
    installation.start()
    installation.sql("create table kept (n int)")
    installation.sql("insert into kept values (7)")
    postgres = installation.state()["postgres_pid"]
    os.kill(postgres, signal.SIGKILL)
    wait_until(lambda: installation.state()["postgres_pid"] not in (postgres, None), "a new server")
    wait_until(lambda: answers(installation), "an answer")
    assert installation.sql("select n from kept") == [(7,)]


def test_a_killed_supervisor_leaves_nobody_and_loses_nothing(installation: Installation) -> None:
    installation.start("--workers", "2")
    installation.sql("create table kept (n int)")
    installation.sql("insert into kept values (7)")
    os.kill(installation.state()["pid"], signal.SIGKILL)
    wait_until(lambda: installation.processes() == [], "the end of all processes")
    assert installation.run("status", check=False).returncode == 1
    assert "Nothing runs" in installation.run("stop").stdout
    installation.start()
    assert installation.sql("select n from kept") == [(7,)]


def test_what_a_killed_supervisor_left_is_in_nobodys_way(installation: Installation) -> None:
    """Its workers are killed too, so that PostgreSQL stays and holds its port."""

    def kill_all_but_postgres() -> dict[str, Any]:
        state = installation.state()
        os.kill(state["pid"], signal.SIGSTOP)  # so that it replaces nobody meanwhile
        for pid in (*state["workers"], state["pid"]):
            os.kill(pid, signal.SIGKILL)
        assert is_alive(state["postgres_pid"])
        return state

    installation.start()
    left = kill_all_but_postgres()
    ports = {"--port": "api_port", "--db-port": "db_port", "--mail-port": "mail_port"}
    same = [text for option, name in ports.items() for text in (option, str(left[name]))]
    installation.run("start", *same, "--detach")
    assert installation.sql("select 1") == [(1,)]
    assert not is_alive(left["postgres_pid"])
    kill_all_but_postgres()
    installation.stop()
    wait_until(lambda: installation.processes() == [], "the end of all processes")


def test_several_workers_share_the_port(installation: Installation) -> None:
    installation.start("--workers", "2")
    workers = installation.state()["workers"]
    assert len(workers) == 2
    os.kill(workers[1], signal.SIGKILL)
    wait_until(
        lambda: len(set(installation.state()["workers"]) - set(workers)) == 1, "a new worker"
    )
    metrics = httpx.get(f"http://127.0.0.1:{installation.state()['admin_port']}/metrics").text
    assert 'worker="0"' in metrics


def test_interrupting_the_foreground_ends_everything(installation: Installation) -> None:
    with subprocess.Popen(
        installation.command("start", "--port", "auto"),
        cwd=installation.folder,
        env=installation.variables(),
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        lines = iter(process.stdout.readline, "")
        assert any("Press Ctrl-C" in line for line in lines)
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0
    assert installation.processes() == []


def test_logs_are_json_lines_and_can_be_read(installation: Installation) -> None:
    installation.start()
    httpx.get(f"{installation.state()['api_url']}/rest/v1/x")
    installation.stop()
    lines = [json.loads(line) for line in installation.run("logs", "--json").stdout.splitlines()]
    assert [line["ts"] for line in lines] == sorted(line["ts"] for line in lines)
    events = {line["event"] for line in lines}
    assert {"postgres.created", "stack.started", "gateway.request", "stack.stopped"} <= events
    assert "ready to accept connections" in installation.run("logs", "postgres").stdout
    unknown = installation.run("logs", "nobody", check=False)
    assert unknown.returncode == 1
    assert "gateway, postgres, " in unknown.stderr
    only = installation.run("logs", "gateway").stdout
    assert "gateway.request" in only
    assert "postgres.created" not in only


def test_purge_deletes_everything_and_asks_first(installation: Installation) -> None:
    installation.start()
    asked = installation.run("stop", "--purge", check=False)
    assert asked.returncode != 0
    assert installation.state_dir.exists()
    installation.run("stop", "--purge", "--yes")
    assert not installation.state_dir.exists()
    assert installation.processes() == []
