"""What is written into the configuration files, and how failures and pid files are read."""

import os
import socket
from pathlib import Path

import pytest

from selfbase.database import cluster_errors as errors
from selfbase.database.cluster_settings import (
    SIZES,
    ClusterSettings,
    is_socket_dir_usable,
    plan_server_settings,
    render_configuration,
    render_host_access,
)
from selfbase.database.ports import (
    CHOSEN_FROM,
    EPHEMERAL_RANGE,
    describe_port_in_use,
    find_free_port,
    is_port_free,
)
from selfbase.database.postmaster import parse_pid_file
from selfbase.database.server_user import ServerUser, can_traverse, check_not_strangers
from selfbase.database.start_failure import is_memory_still_attached, parse_start_failure

SOCKETS = Path("/run/x")


def plan(version: int = 18, **settings: object) -> dict[str, str]:
    return plan_server_settings(
        ClusterSettings(data_dir=Path("/data"), **settings),  # type: ignore[arg-type]
        version,
        SOCKETS,
    )


def test_overrides_win() -> None:
    assert plan(overrides={"shared_buffers": "1MB", "fsync": "off"})["shared_buffers"] == "1MB"


def test_every_size_is_durable_and_logical() -> None:
    for size in SIZES:
        planned = plan(size=size)
        assert planned["wal_level"] == "logical"
        assert "fsync" not in planned
        assert "synchronous_commit" not in planned
        assert "full_page_writes" not in planned
    assert plan(durable=False)["fsync"] == "off"


def test_settings_of_18_are_not_given_to_older_servers() -> None:
    assert "io_method" in plan(18)
    assert "io_method" not in plan(17)
    assert "autovacuum_worker_slots" not in plan(15)


def test_tcp_only_when_asked() -> None:
    assert plan()["listen_addresses"] == ""
    assert plan(port=54322, host="0.0.0.0")["listen_addresses"] == "0.0.0.0"
    assert "host " not in render_host_access(ClusterSettings(data_dir=Path("/d")))
    tcp = [
        line.split()
        for line in render_host_access(ClusterSettings(data_dir=Path("/d"), port=1)).splitlines()
        if line.startswith("host")
    ]
    assert tcp
    assert all(fields[-1] == "scram-sha-256" for fields in tcp)


def test_machine_without_zone_files_gets_the_only_zone_it_knows() -> None:
    planned = plan_server_settings(
        ClusterSettings(data_dir=Path("/d")), 18, SOCKETS, has_time_zones=False
    )
    assert planned["timezone"] == planned["log_timezone"] == "GMT"


def test_values_cannot_break_out_of_their_line() -> None:
    text = render_configuration({"application_name": "it's a \\ test"})
    assert "application_name = 'it''s a \\\\ test'" in text
    with pytest.raises(ValueError, match="line break"):
        render_configuration({"application_name": "x\nfsync = off"})


def test_socket_path_limit() -> None:
    assert is_socket_dir_usable(Path("/run/selfbase/abc"), 54322)
    assert not is_socket_dir_usable(Path("/" + "x" * 100), 54322)
    assert not is_socket_dir_usable(Path("/my files/run"), 54322)


PID_FILE = "4242\n/data\n1700000000\n54322\n/run/x\n127.0.0.1\n  12345  67\nready   \n"


def test_pid_file() -> None:
    found = parse_pid_file(PID_FILE)
    assert found is not None
    assert (found.pid, found.data_dir, found.port, found.socket_dir) == (
        4242,
        "/data",
        54322,
        "/run/x",
    )
    assert found.shared_memory_id == 67
    assert found.is_ready


@pytest.mark.parametrize("lines", range(1, 8))
def test_pid_file_that_is_still_being_written(lines: int) -> None:
    found = parse_pid_file("\n".join(PID_FILE.split("\n")[:lines]))
    assert found is not None
    assert found.pid == 4242
    assert not found.is_ready


@pytest.mark.parametrize("text", ["", "\n", "garbage\n", "12x\n"])
def test_no_pid_file(text: str) -> None:
    assert parse_pid_file(text) is None


def test_pid_file_of_single_user_mode() -> None:
    found = parse_pid_file("-77\n/data\n")
    assert found is not None
    assert found.pid == 77


@pytest.mark.parametrize(
    ("said", "error"),
    [
        (
            'FATAL:  could not write lock file "postmaster.pid": No space left on device',
            errors.DiskFullError,
        ),
        ("initdb: error: could not write file: No space left on device", errors.DiskFullError),
        ("FATAL:  could not create any TCP/IP sockets", errors.PortInUseError),
        ("FATAL:  database files are incompatible with server", errors.VersionMismatchError),
        ('FATAL:  lock file "postmaster.pid" already exists', errors.ClusterInUseError),
        (
            "FATAL:  pre-existing shared memory block (key 1, ID 2) is still in use",
            errors.ClusterInUseError,
        ),
        ("FATAL:  something new", errors.StartFailedError),
        ("", errors.StartFailedError),
    ],
)
def test_start_failures(said: str, error: type[Exception]) -> None:
    failure = parse_start_failure(said, Path("/data"))
    assert type(failure) is error
    assert "/data" in str(failure) or error is errors.PortInUseError
    assert said in str(failure)


def test_memory_of_a_killed_server_is_worth_waiting_for() -> None:
    assert is_memory_still_attached(
        "FATAL:  pre-existing shared memory block (key 1, ID 2) is still in use"
    )
    assert not is_memory_still_attached("FATAL:  out of memory")


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0", "localhost", "*"])
def test_ports(host: str) -> None:
    port = find_free_port("127.0.0.1")
    assert is_port_free(host, port)
    with socket.create_server(("127.0.0.1", port)):
        assert not is_port_free(host, port)
        assert f"(pid {os.getpid()})" in describe_port_in_use(host, port, "Database")


def test_a_chosen_port_is_none_that_an_outgoing_connection_may_get() -> None:
    first, _, last = EPHEMERAL_RANGE.read_text().partition("\t")
    ports = {find_free_port("127.0.0.1") for _ in range(50)}
    assert not any(int(first) <= port <= int(last) for port in ports)
    besides = set(range(CHOSEN_FROM, int(first))) - {min(ports)}
    assert find_free_port("127.0.0.1", besides) not in besides


def test_reach_of_a_user(tmp_path: Path) -> None:
    stranger = ServerUser("stranger", 61234, 61234, frozenset({61234}))
    (tmp_path / "closed").mkdir(mode=0o700)
    (tmp_path / "closed" / "inner").mkdir(mode=0o755)
    assert can_traverse(Path("/usr/bin"), stranger)
    assert not can_traverse(tmp_path / "closed", stranger)
    assert not can_traverse(tmp_path / "closed" / "inner", stranger)
    assert not can_traverse(tmp_path / "closed" / "inner" / "missing", stranger)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
def test_folder_made_by_a_stranger_is_refused(tmp_path: Path) -> None:
    stranger = ServerUser("stranger", 61234, 61234, frozenset({61234}))
    trap = tmp_path / "selfbase"
    trap.mkdir()
    os.chown(trap, 61234, 61234)
    with pytest.raises(errors.ClusterError, match="belongs to user id 61234"):
        check_not_strangers(trap / "cache")
    check_not_strangers(trap, stranger)
