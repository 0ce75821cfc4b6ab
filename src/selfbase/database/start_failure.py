"""Turn what initdb or the server said before it ended into one of our errors. Pure.

Source: the messages of PostgreSQL 15 to 18 with lc_messages = C.
"""

from pathlib import Path

from selfbase.database.cluster_errors import (
    ClusterError,
    ClusterInUseError,
    DiskFullError,
    PortInUseError,
    StartFailedError,
    VersionMismatchError,
)

NO_SPACE = "No space left on device"
LINES_SHOWN_MAX = 12


def parse_start_failure(said: str, data_dir: Path) -> ClusterError:
    """The error for a server that ended while starting, from the text it wrote."""
    if NO_SPACE in said:
        return DiskFullError(
            f"No space left on the file system of {data_dir}. Nothing is lost: make room and start "
            f"again.\n{_pick_lines(said)}"
        )
    if "Address already in use" in said or "could not create any TCP/IP sockets" in said:
        return PortInUseError(f"PostgreSQL could not listen on its port.\n{_pick_lines(said)}")
    if "is not compatible with this version" in said or "incompatible with server" in said:
        return VersionMismatchError(
            f"{data_dir} was made by another PostgreSQL version.\n{_pick_lines(said)}"
        )
    if is_memory_still_attached(said) or ('lock file "' in said and "already exists" in said):
        return ClusterInUseError(
            f"Processes of an earlier server still use {data_dir}.\n{_pick_lines(said)}"
        )
    return StartFailedError(f"PostgreSQL did not start on {data_dir}.\n{_pick_lines(said)}")


def is_memory_still_attached(said: str) -> bool:
    """Whether backends of a killed server are still ending: worth another try in a moment."""
    return "pre-existing shared memory block" in said


def _pick_lines(said: str) -> str:
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    return "\n".join(f"  {line}" for line in lines[-LINES_SHOWN_MAX:])
