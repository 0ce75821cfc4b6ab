"""Read who runs a data folder: postmaster.pid, and whether that process is really its server.

Never starts or stops anything. Source: PostgreSQL, src/include/utils/pidfile.h (the order of lines).
"""

import os
import socket
from dataclasses import dataclass
from pathlib import Path

PID_FILE = "postmaster.pid"
READY_STATUS = "ready"


@dataclass(frozen=True)
class PidFile:
    """The lines of postmaster.pid; those the server has not written yet are None."""

    pid: int
    data_dir: str | None
    port: int | None
    socket_dir: str | None
    shared_memory_id: int | None
    status: str | None

    @property
    def is_ready(self) -> bool:
        return self.status == READY_STATUS


def parse_pid_file(text: str) -> PidFile | None:
    """The pid file's content; None when it is empty or not one."""
    lines = [line.strip() for line in text.splitlines()]
    if not lines or not lines[0].lstrip("-").isdigit():
        return None

    def line(number: int) -> str | None:
        return lines[number - 1] or None if len(lines) >= number else None

    port, memory = line(4), (line(7) or "").split()
    return PidFile(
        # A standalone backend (single-user mode) writes its pid negated.
        pid=abs(int(lines[0])),
        data_dir=line(2),
        port=int(port) if port and port.isdigit() else None,
        socket_dir=line(5),
        shared_memory_id=int(memory[1]) if len(memory) == 2 and memory[1].isdigit() else None,
        status=line(8),
    )


def find_pid_file(data_dir: Path) -> PidFile | None:
    """The data folder's pid file, None when there is none (or none readable as one)."""
    try:
        return parse_pid_file((data_dir / PID_FILE).read_text())
    except FileNotFoundError:
        return None


def find_postmaster(data_dir: Path) -> PidFile | None:
    """The living server of this data folder, None when nobody runs it.

    A pid alone proves nothing: after a crash or a reboot the number may belong to any process. The
    server's working directory is its data folder, which is what we compare.
    """
    found = find_pid_file(data_dir)
    if found is None or not is_alive(found.pid):
        return None
    return found if _runs_in(found, data_dir) else None


def is_alive(pid: int) -> bool:
    """Whether a process with this number exists and is not merely waiting to be reaped."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return not Path("/proc/self/stat").exists()  # no /proc on this system: trust the signal
    return status.rpartition(")")[2].split()[0] != "Z"


def _runs_in(found: PidFile, data_dir: Path) -> bool:
    try:
        return Path(f"/proc/{found.pid}/cwd").resolve(strict=True) == data_dir.resolve()
    except PermissionError:
        # Another user's process: ours would be readable to us.
        return False
    except (FileNotFoundError, ProcessLookupError):
        return not Path("/proc/self/cwd").exists() and _answers(found)


def _answers(found: PidFile) -> bool:
    """Whether a server listens on the socket that the pid file names (systems without /proc)."""
    if found.socket_dir is None or found.port is None:
        return False
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(f"{found.socket_dir}/.s.PGSQL.{found.port}")
        except OSError:
            return False
    return True
