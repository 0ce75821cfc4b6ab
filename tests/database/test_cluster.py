"""The life of a cluster, and every way it can go wrong."""

import contextlib
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from tests.database.cluster_makers import (
    ask,
    find_available,
    kill_server,
    list_processes_in,
    made_cluster,
    open_folder,
    reap,
    run,
    wait_until,
)

from selfbase.database import cluster_errors as errors
from selfbase.database.binaries import PostgresBinaries, find_binaries
from selfbase.database.cluster import Cluster
from selfbase.database.cluster_settings import ClusterSettings
from selfbase.database.ports import find_free_port
from selfbase.database.server_user import find_server_user

AVAILABLE = find_available()
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can do this")


@pytest.fixture(params=AVAILABLE, ids=lambda found: f"{found.kind}{found.version}")
def binaries(request: pytest.FixtureRequest) -> PostgresBinaries:
    return request.param


@pytest.fixture
def embedded() -> PostgresBinaries:
    return find_binaries("embedded")


@pytest.fixture
def cluster(embedded: PostgresBinaries) -> Iterator[Cluster]:
    with made_cluster(embedded, durable=False) as made:
        yield made


def test_life(binaries: PostgresBinaries) -> None:
    with open_folder() as folder:
        cluster = Cluster(binaries, ClusterSettings(data_dir=folder / "data"))
        assert not cluster.exists()
        cluster.create()
        assert cluster.exists()
        assert not cluster.is_running()
        cluster.start()
        assert cluster.is_running()
        assert cluster.process is not None
        assert cluster.pid == cluster.process.pid
        assert ask(cluster, "show server_encoding") == "UTF8"
        assert ask(cluster, "show wal_level") == "logical"
        assert ask(cluster, "show fsync") == "on"
        assert ask(cluster, "show wal_segment_size") == "1MB"
        assert (
            ask(cluster, "select datcollate from pg_database where datname = 'postgres'")
            == "C.UTF-8"
        )
        assert ask(cluster, "select upper('äöü')") == "ÄÖÜ"
        assert (
            ask(cluster, "select count(*) from pg_available_extensions where name = 'pgcrypto'")
            == 1
        )
        run(cluster, "create table kept (n int); insert into kept values (1)")
        cluster.stop()
        assert not cluster.is_running()
        assert cluster.pid is None
        cluster.stop()  # once more does nothing
        cluster.start()
        assert ask(cluster, "select n from kept") == 1
        cluster.stop()
        assert not cluster.socket_dir.exists()


def test_create_refuses_a_folder_that_is_taken(
    cluster: Cluster, embedded: PostgresBinaries
) -> None:
    with pytest.raises(errors.ClusterError, match="already holds a cluster"):
        cluster.create()
    with open_folder() as folder:
        (folder / "data").mkdir()
        (folder / "data" / "letter.txt").write_text("mine")
        other = Cluster(embedded, ClusterSettings(data_dir=folder / "data"))
        with pytest.raises(errors.ClusterError, match="not empty"):
            other.create()
        assert (folder / "data" / "letter.txt").read_text() == "mine"


def test_creation_that_was_killed_leaves_nothing_behind(embedded: PostgresBinaries) -> None:
    with open_folder() as folder:
        half_made = folder / ".data-creating-abc" / "data"
        half_made.mkdir(parents=True)
        cluster = Cluster(embedded, ClusterSettings(data_dir=folder / "data", durable=False))
        cluster.create()
        assert sorted(path.name for path in folder.iterdir()) == ["data", "data.lock"]


def test_running_server_is_found_with_other_settings(cluster: Cluster) -> None:
    cluster.start()
    other = Cluster(cluster.binaries, ClusterSettings(data_dir=cluster.data_dir, port=1))
    assert ask(other, "select 1") == 1


def test_start_without_a_cluster_says_so(embedded: PostgresBinaries) -> None:
    with open_folder() as folder:
        cluster = Cluster(embedded, ClusterSettings(data_dir=folder / "data"))
        with pytest.raises(errors.ClusterError, match="no cluster"):
            cluster.start()


def test_size_and_overrides(embedded: PostgresBinaries) -> None:
    with made_cluster(
        embedded,
        size="medium",
        durable=False,
        overrides={"work_mem": "7MB", "application_name": "it's"},
    ) as cluster:
        cluster.start()
        assert ask(cluster, "show shared_buffers") == "128MB"
        assert ask(cluster, "show work_mem") == "7MB"
        assert (
            ask(cluster, "select reset_val from pg_settings where name = 'application_name'")
            == "it's"
        )


def test_socket_is_private_and_tcp_wants_a_password(embedded: PostgresBinaries) -> None:
    port = find_free_port("127.0.0.1")
    with made_cluster(embedded, durable=False, port=port) as cluster:
        cluster.start()
        assert stat.S_IMODE(cluster.socket_dir.stat().st_mode) == 0o700
        assert stat.S_IMODE(cluster.data_dir.stat().st_mode) == 0o700
        run(cluster, "create role someone login password 'right'")
        address = f"host=127.0.0.1 port={port} dbname=postgres user=someone"
        with psycopg.connect(f"{address} password=right") as connection:
            used = connection.execute("select current_user").fetchone()
            assert used == ("someone",)
        with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
            psycopg.connect(f"{address} password=wrong")
        with pytest.raises(psycopg.OperationalError, match="no password supplied"):
            psycopg.connect(f"host=127.0.0.1 port={port} dbname=postgres user=supabase_admin")


def test_no_port_means_no_tcp(cluster: Cluster) -> None:
    cluster.start()
    assert ask(cluster, "show listen_addresses") == ""


def test_long_socket_folder_is_replaced_by_a_short_one(embedded: PostgresBinaries) -> None:
    with open_folder() as folder:
        long = folder / ("x" * 120)
        cluster = Cluster(embedded, ClusterSettings(data_dir=folder / "data", socket_dir=long))
        assert len(str(cluster.socket_dir)) < 80
        again = Cluster(embedded, ClusterSettings(data_dir=folder / "data", socket_dir=long))
        assert again.socket_dir == cluster.socket_dir


def test_folder_with_odd_characters(embedded: PostgresBinaries) -> None:
    with open_folder() as folder:
        odd = folder / "my 'own' project, ü"
        cluster = Cluster(
            embedded, ClusterSettings(data_dir=odd / "data", socket_dir=odd / "run", durable=False)
        )
        cluster.create()
        cluster.start()
        try:
            assert ask(cluster, "select 1") == 1
            assert stat.S_IMODE(cluster.log_path.stat().st_mode) == 0o600
        finally:
            cluster.stop()


def test_port_in_use_names_the_holder(embedded: PostgresBinaries) -> None:
    with socket.create_server(("127.0.0.1", 0)) as holder:
        port = holder.getsockname()[1]
        with made_cluster(embedded, durable=False, port=port) as cluster:
            with pytest.raises(errors.PortInUseError, match=rf"{port}.*pid {os.getpid()}"):
                cluster.start()
            assert cluster.pid is None
            holder.close()
            cluster.start()
            assert cluster.is_running()


def test_foreign_host_is_a_clear_error(embedded: PostgresBinaries) -> None:
    with (
        made_cluster(embedded, durable=False, host="192.0.2.1", port=5432) as cluster,
        pytest.raises(errors.ClusterError, match=r"cannot listen on 192\.0\.2\.1"),
    ):
        cluster.start()


def test_folder_of_another_major_version(cluster: Cluster) -> None:
    version_file = cluster.data_dir / "PG_VERSION"
    version_file.write_text("16\n")
    with pytest.raises(
        errors.VersionMismatchError, match=r"made by PostgreSQL 16.*is PostgreSQL 18"
    ):
        cluster.start()
    version_file.write_text("18\n")
    cluster.start()


def test_second_owner_is_refused_while_the_first_lives(cluster: Cluster) -> None:
    cluster.start()
    other = Cluster(cluster.binaries, cluster.settings)
    assert other.is_running()  # it can be seen and used
    assert ask(other, "select 1") == 1
    with pytest.raises(errors.ClusterInUseError, match=f"process {os.getpid()}"):
        other.start()
    with pytest.raises(errors.ClusterInUseError):
        other.stop()
    assert cluster.is_running()


OWNER = """
import sys
from pathlib import Path
from selfbase.database.binaries import find_binaries
from selfbase.database.cluster import Cluster
from selfbase.database.cluster_settings import ClusterSettings
cluster = Cluster(find_binaries("embedded"), ClusterSettings(data_dir=Path(sys.argv[1])))
cluster.start()
print(cluster.pid, flush=True)
sys.stdin.read()
"""


def test_orphan_of_a_killed_owner_is_replaced(embedded: PostgresBinaries) -> None:
    with made_cluster(embedded) as cluster:
        owner = subprocess.Popen(
            [sys.executable, "-c", OWNER, str(cluster.data_dir)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )
        assert owner.stdout is not None
        orphan_pid = int(owner.stdout.readline())
        run(cluster, "create table kept (n int); insert into kept values (1)")
        reap(owner)
        owner.stdout.close()
        assert owner.stdin is not None
        owner.stdin.close()
        assert cluster.pid == orphan_pid
        cluster.start()
        assert cluster.pid != orphan_pid
        assert ask(cluster, "select n from kept") == 1


def test_stale_pid_that_belongs_to_another_process_now(cluster: Cluster) -> None:
    cluster.start()
    kill_server(cluster)
    pid_file = cluster.data_dir / "postmaster.pid"
    user = find_server_user(cluster.data_dir)
    stranger = subprocess.Popen(
        ["sleep", "600"], cwd="/", **({"user": user.uid, "group": user.gid} if user else {})
    )
    try:
        _, _, rest = pid_file.read_text().partition("\n")
        pid_file.write_text(f"{stranger.pid}\n{rest}")
        assert not cluster.is_running()
        cluster.start()
        assert cluster.is_running()
        assert stranger.poll() is None, "the stranger was left alone"
    finally:
        reap(stranger)


def test_empty_pid_file(cluster: Cluster) -> None:
    (cluster.data_dir / "postmaster.pid").write_text("")
    cluster.start()
    assert cluster.is_running()


def test_stale_socket_and_socket_lock(cluster: Cluster) -> None:
    cluster.start()
    kill_server(cluster)
    stale = cluster.socket_dir / f".s.PGSQL.{cluster.port}"
    assert stale.exists()
    # The lock file names a process that lives and belongs to the server's user or to us.
    (cluster.socket_dir / f".s.PGSQL.{cluster.port}.lock").write_text("1\n/elsewhere\n")
    cluster.start()
    assert ask(cluster, "select 1") == 1


def test_killed_server_loses_no_acknowledged_write(binaries: PostgresBinaries) -> None:
    with made_cluster(binaries) as cluster:
        cluster.start()
        run(cluster, "create table written (n int primary key)")
        acknowledged: list[int] = []
        enough = threading.Event()

        def write() -> None:
            try:
                with psycopg.connect(cluster.superuser_dsn(), autocommit=True) as connection:
                    for number in range(1_000_000):
                        connection.execute("insert into written values (%s)", [number])
                        acknowledged.append(number)
                        if number == 200:
                            enough.set()
            except psycopg.OperationalError:
                return

        writer = threading.Thread(target=write)
        writer.start()
        assert enough.wait(20)
        kill_server(cluster)
        writer.join(20)
        assert not writer.is_alive()
        cluster.start()
        with psycopg.connect(cluster.superuser_dsn()) as connection:
            kept = {row[0] for row in connection.execute("select n from written")}
        assert set(acknowledged) <= kept
        assert len(kept) - len(acknowledged) <= 1


def test_killed_backend_does_not_stop_the_cluster(cluster: Cluster) -> None:
    cluster.start()
    with psycopg.connect(cluster.superuser_dsn()) as connection:
        os.kill(connection.info.backend_pid, signal.SIGKILL)
        with pytest.raises(psycopg.OperationalError):
            connection.execute("select 1")
    assert cluster.process is not None

    def answers() -> bool:
        try:
            return ask(cluster, "select 1") == 1
        except psycopg.OperationalError:
            return False

    wait_until(answers, "the server has recovered")
    assert cluster.process.poll() is None


def test_stop_does_not_wait_for_clients(cluster: Cluster) -> None:
    cluster.start()
    with contextlib.closing(psycopg.connect(cluster.superuser_dsn())) as connection:
        connection.execute("select 1")
        cluster.stop()
        assert not cluster.is_running()


def test_broken_setting_is_shown_in_the_servers_words(embedded: PostgresBinaries) -> None:
    with (
        made_cluster(embedded, durable=False, overrides={"shared_buffers": "lots"}) as cluster,
        pytest.raises(errors.StartFailedError, match="shared_buffers"),
    ):
        cluster.start()


@contextlib.contextmanager
def slow_programs(real: PostgresBinaries, before: str) -> Iterator[PostgresBinaries]:
    """The same programs, but the server does `before` (shell) first."""
    with open_folder() as folder:
        for program in real.bin_dir.iterdir():
            (folder / program.name).symlink_to(program)
        (folder / "postgres").unlink()
        (folder / "postgres").write_text(
            f'#!/bin/sh\n{before}\nexec {real.program("postgres")} "$@"\n'
        )
        (folder / "postgres").chmod(0o755)
        yield PostgresBinaries(real.version, folder, real.lib_dir, "folder")


def test_long_recovery_is_waited_for_while_it_reports(embedded: PostgresBinaries) -> None:
    report = "for i in 1 2 3 4 5 6; do echo 'LOG:  redo in progress'; sleep 0.3; done"
    with (
        slow_programs(embedded, report) as slow,
        made_cluster(embedded, durable=False, start_timeout_s=1.0) as cluster,
    ):
        cluster.binaries = slow
        cluster.start()
        assert cluster.is_running()


def test_silent_server_is_given_up_and_not_left_running(embedded: PostgresBinaries) -> None:
    with (
        slow_programs(embedded, "exec sleep 60") as slow,
        made_cluster(embedded, durable=False, start_timeout_s=0.5) as cluster,
    ):
        cluster.binaries = slow
        with pytest.raises(errors.StartFailedError, match=r"silent and not ready for 0\.5 s"):
            cluster.start()
        assert list_processes_in(cluster.data_dir) == []
        cluster.binaries = embedded
        cluster.start()


def test_remove_leaves_nothing(embedded: PostgresBinaries) -> None:
    with open_folder() as folder:
        cluster = Cluster(embedded, ClusterSettings(data_dir=folder / "data", durable=False))
        cluster.create()
        cluster.start()
        with pytest.raises(errors.ClusterInUseError):
            Cluster(embedded, cluster.settings).remove()
        cluster.stop()
        cluster.remove()
        assert sorted(path.name for path in folder.iterdir()) == ["data.lock"]
        assert not cluster.socket_dir.exists()


@needs_root
def test_root_runs_the_server_as_somebody_else(cluster: Cluster) -> None:
    cluster.start()
    status = Path(f"/proc/{cluster.pid}").stat()
    assert cluster.user is not None
    assert status.st_uid == cluster.user.uid != 0
    assert cluster.data_dir.stat().st_uid == cluster.user.uid
    groups = Path(f"/proc/{cluster.pid}/status").read_text()
    assert "\nGroups:\t \n" in groups, "no group of root is left"


@needs_root
def test_folder_out_of_the_servers_reach_is_put_elsewhere(embedded: PostgresBinaries) -> None:
    with open_folder() as folder:
        home = folder / "home"
        home.mkdir(mode=0o700)
        settings = ClusterSettings(data_dir=home / "project" / "data", durable=False)
        cluster = Cluster(embedded, settings)
        cluster.create()
        try:
            assert settings.data_dir.is_symlink()
            assert settings.data_dir.resolve() == cluster.data_dir
            cluster.start()
            again = Cluster(embedded, settings)  # found again through the link
            assert again.data_dir == cluster.data_dir
            assert again.is_running()
            assert ask(again, "select 1") == 1
        finally:
            cluster.stop()
            cluster.remove()
        assert not cluster.data_dir.parent.exists()
        assert not settings.data_dir.is_symlink()


@needs_root
def test_orphaned_data_is_never_taken_over(embedded: PostgresBinaries) -> None:
    with open_folder() as folder:
        home = folder / "home"
        home.mkdir(mode=0o700)
        settings = ClusterSettings(data_dir=home / "data", durable=False)
        first = Cluster(embedded, settings)
        first.create()
        (home / "data").unlink()  # the user deleted the project's folder
        second = Cluster(embedded, settings)
        assert not second.exists()
        second.create()
        try:
            assert second.data_dir != first.data_dir
        finally:
            second.remove()
            shutil.rmtree(first.data_dir.parent)


@pytest.fixture
def small_disk() -> Iterator[Path]:
    if os.geteuid() != 0:
        pytest.skip("only root can mount a small file system")
    with open_folder() as folder:
        mounted = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=48m,mode=0755", "tmpfs", str(folder)],
            capture_output=True,
            check=False,
        )
        if mounted.returncode != 0:
            pytest.skip("this machine lets nobody mount a file system")
        try:
            yield folder
        finally:
            subprocess.run(["umount", str(folder)], check=True)


def fill(folder: Path) -> Path:
    ballast = folder / "ballast"
    with ballast.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(b"x" * 4096)
        except OSError:
            return ballast


def test_full_disk(embedded: PostgresBinaries, small_disk: Path) -> None:
    cluster = Cluster(embedded, ClusterSettings(data_dir=small_disk / "data"))
    ballast = fill(small_disk)
    with pytest.raises(errors.DiskFullError, match="No space left"):
        cluster.create()
    ballast.unlink()
    assert not cluster.exists(), "nothing half-made is left"
    cluster.create()
    cluster.start()
    try:
        run(cluster, "create table kept (n int); insert into kept values (1)")
        ballast = fill(small_disk)
        with pytest.raises(psycopg.Error):
            run(
                cluster,
                "create table big as select repeat('x', 2000) from generate_series(1, 100000)",
            )
        kill_server(cluster)
        (cluster.data_dir / "postmaster.pid").unlink(missing_ok=True)
        ballast.unlink(missing_ok=True)
        ballast = fill(small_disk)
        with pytest.raises(errors.DiskFullError, match="Nothing is lost"):
            cluster.start()
        ballast.unlink()
        cluster.start()
        assert ask(cluster, "select n from kept") == 1
    finally:
        cluster.stop()
