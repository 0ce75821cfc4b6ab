"""CPU time and memory of processes, from /proc."""

from __future__ import annotations

import os
import time
from pathlib import Path

_TICK_S = 1 / os.sysconf("SC_CLK_TCK")


def cpu_s(pid: int) -> float:
    """User and system time of a process and of its ended children."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except OSError:
        return 0.0
    return sum(int(fields[index]) for index in (11, 12, 13, 14)) * _TICK_S


def children_of(pid: int) -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            parent = int((entry / "stat").read_text().rsplit(")", 1)[1].split()[1])
        except (OSError, IndexError):
            continue
        if parent == pid:
            found.append(int(entry.name))
    return found


def tree_cpu_s(pid: int) -> float:
    """The same for a process and all below it that live."""
    return cpu_s(pid) + sum(tree_cpu_s(child) for child in children_of(pid))


def settle(pid: int, before: set[int]) -> None:
    """Waits until the children that are not in `before` have ended, so that their time is counted."""
    deadline_s = time.monotonic() + 10
    while not set(children_of(pid)) <= before and time.monotonic() < deadline_s:
        time.sleep(0.01)


def tree_of(pid: int) -> list[int]:
    return [pid, *(inner for child in children_of(pid) for inner in tree_of(child))]


def pss_bytes(pid: int) -> int:
    """Proportional set size: what the process costs with shared pages counted once."""
    try:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass  # the process has ended meanwhile and costs nothing
    return 0
