"""Whether a TCP port can be listened on, and who holds it when not.

Reads /proc where there is one; elsewhere the holder stays unknown.
"""

import errno
import random
import socket
from collections.abc import Collection
from pathlib import Path

# Where `auto` looks: above the ports with well-known uses, below those that the system gives to
# outgoing connections, any of which could take the port before our server listens on it.
CHOSEN_FROM = 10_000
CHOSEN_BELOW_ELSEWHERE = 32_768
CHOICES_MAX = 200
EPHEMERAL_RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")


def is_port_free(host: str, port: int) -> bool:
    """Whether a server could listen on this host and port now.

    Raises OSError when the host is no address of this machine.
    """
    for family, kind, protocol, _, address in socket.getaddrinfo(
        _bind_host(host), port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    ):
        try:
            probe = socket.socket(family, kind, protocol)
        except OSError as error:
            if error.errno == errno.EAFNOSUPPORT:  # a machine without IPv6
                continue
            raise
        with probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            try:
                probe.bind(address)
            except OSError as error:
                if error.errno == errno.EADDRINUSE:
                    return False
                if error.errno != errno.EADDRNOTAVAIL or family != socket.AF_INET6:
                    raise
    return True


def find_free_port(host: str, besides: Collection[int] = ()) -> int:
    """A port nobody listens on at this moment, and none of `besides`.

    The server listens on it later, so it is none that the system would meanwhile give to an outgoing
    connection; only where all of those are taken does the system choose.
    """
    below = _read_ephemeral_start()
    for _ in range(CHOICES_MAX if below > CHOSEN_FROM else 0):
        port = random.randrange(CHOSEN_FROM, below)  # noqa: S311
        if port not in besides and is_port_free(host, port):
            return port
    while True:
        with socket.create_server((_bind_host(host) or "", 0)) as server:
            port = int(server.getsockname()[1])
        if port not in besides:
            return port


def find_port_holder(port: int) -> str | None:
    """`name (pid 123)` of the process that listens on the port, None when it cannot be seen."""
    inodes = {
        fields[9]
        for table in ("/proc/net/tcp", "/proc/net/tcp6")
        for fields in _read_table(Path(table))
        if fields[3] == "0A" and int(fields[1].rpartition(":")[2], 16) == port
    }
    targets = {f"socket:[{inode}]" for inode in inodes}
    if not targets:
        return None
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if any(str(link.readlink()) in targets for link in (process / "fd").iterdir()):
                return f"{(process / 'comm').read_text().strip()} (pid {process.name})"
        except OSError:  # ended meanwhile, or another user's
            continue
    return None


def describe_port_in_use(host: str, port: int, what: str) -> str:
    """One sentence for the user: which port, held by whom, and what to do."""
    holder = find_port_holder(port)
    held = f"is held by {holder}" if holder else "is in use by another program"
    return f"{what} port {port} on {host} {held}. Stop it, or choose another port."


def _read_ephemeral_start() -> int:
    try:
        return int(EPHEMERAL_RANGE.read_text().split()[0])
    except (OSError, ValueError, IndexError):
        return CHOSEN_BELOW_ELSEWHERE


def _read_table(path: Path) -> list[list[str]]:
    try:
        lines = path.read_text().splitlines()[1:]
    except OSError:
        return []
    return [line.split() for line in lines]


def _bind_host(host: str) -> str | None:
    return None if host in ("*", "") else host
