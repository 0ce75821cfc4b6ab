"""One PostgreSQL cluster of ours: create it, start it, stop it, and say how to reach it.

The server is a plain child process of the caller, never a daemon: whoever starts a cluster holds
its lock (a file beside the data folder) until it stops it or dies. So a second start while the
owner lives is refused, and a server found running while nobody holds the lock is an orphan (its
owner was killed): the next start stops it cleanly and starts its own, which keeps one rule for who
may signal it, who reads its exit status, and which settings are in force.

Knows nothing of roles and schemas (bootstrap) nor of who uses the connections (executor).
"""

import contextlib
import errno
import fcntl
import glob
import itertools
import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TypedDict

from selfbase.database import cluster_errors as errors
from selfbase.database.binaries import PostgresBinaries, default_cache_dir
from selfbase.database.cluster_settings import (
    PORT_WITHOUT_TCP,
    ClusterSettings,
    is_socket_dir_usable,
    plan_server_settings,
    plan_short_name,
    render_configuration,
    render_host_access,
)
from selfbase.database.extensions import plan_preload, publish_extensions
from selfbase.database.ports import describe_port_in_use, is_port_free
from selfbase.database.postmaster import PID_FILE, find_pid_file, find_postmaster, is_alive
from selfbase.database.server_user import (
    ServerUser,
    can_traverse,
    check_not_strangers,
    find_server_user,
    own,
)
from selfbase.database.start_failure import is_memory_still_attached, parse_start_failure

SUPERUSER = "supabase_admin"
CONFIGURATION, INCLUDE_LINE = "selfbase.conf", "include_if_exists = 'selfbase.conf'"
POLL_S = 0.002
RETRY_S = 0.05
QUIT_TIMEOUT_S = 10.0
LOCK_TIMEOUT_S = 5.0
ROOT_DATA_DIR = Path("/var/lib/selfbase")
ROOT_SOCKET_DIR = Path("/run/selfbase")
ZONE_FILES = Path("/usr/share/zoneinfo")


class _Identity(TypedDict, total=False):
    user: int
    group: int
    extra_groups: list[int]


class Cluster:
    """One data folder and the server that runs it. Not safe for use from several threads."""

    def __init__(
        self, binaries: PostgresBinaries, settings: ClusterSettings, cache_dir: Path | None = None
    ) -> None:
        self.binaries = binaries
        self.settings = settings
        self.cache_dir = cache_dir or default_cache_dir()
        # The folder itself: where the asked one leads, when root's had to be put elsewhere.
        self.data_dir = settings.data_dir.absolute().resolve()
        self.user: ServerUser | None = find_server_user(self.data_dir)
        self.socket_dir = self._choose_socket_dir()
        self.log_path = settings.log_path or settings.data_dir.with_name("postgres.log")
        self._identity: _Identity = (
            {"user": self.user.uid, "group": self.user.gid, "extra_groups": []} if self.user else {}
        )
        self._process: subprocess.Popen[bytes] | None = None
        self._lock: int | None = None

    # What it is

    @property
    def port(self) -> int:
        """The TCP port, or without TCP the number in the name of the socket."""
        return self.settings.port or PORT_WITHOUT_TCP

    @property
    def pid(self) -> int | None:
        """The server's process id, None when it does not run."""
        found = find_postmaster(self.data_dir)
        return found.pid if found else None

    @property
    def process(self) -> subprocess.Popen[bytes] | None:
        """The child started by this object, for a supervisor to wait on."""
        return self._process

    def exists(self) -> bool:
        """Whether the data folder has been created."""
        return (self.data_dir / "PG_VERSION").is_file()

    def is_running(self) -> bool:
        """Whether a server runs the data folder, ours or another's, and accepts connections."""
        found = find_postmaster(self.data_dir)
        return found is not None and found.is_ready

    def superuser_dsn(self, database: str = "postgres", user: str = SUPERUSER) -> str:
        """A libpq connection string over the private socket.

        Of a server that runs, its own word counts: whoever started it may have had other settings.
        """
        found = find_postmaster(self.data_dir)
        parts = {
            "host": (found and found.socket_dir) or str(self.socket_dir),
            "port": str((found and found.port) or self.port),
            "dbname": database,
            "user": user,
        }
        return " ".join(f"{name}={quote_conninfo(value)}" for name, value in parts.items())

    # Life

    def create(self) -> None:
        """Make the data folder. Either the whole of it appears, or nothing does."""
        with self._explained(), self._locked():
            if self.exists():
                raise errors.ClusterError(f"{self.data_dir} already holds a cluster.")
            asked, self.data_dir = self.data_dir, self._choose_place()
            self._make_own_dir(self.data_dir.parent)
            if self.data_dir.exists() and any(self.data_dir.iterdir()):
                raise errors.ClusterError(
                    f"{self.data_dir} is not empty and holds no cluster. Move its content away."
                )
            # Beside the final place, so that the rename is one step on one file system.
            parent, prefix = self.data_dir.parent, f".{self.data_dir.name}-creating-"
            for half_made in parent.glob(f"{glob.escape(prefix)}*"):
                shutil.rmtree(half_made)  # by a process that was killed
            with tempfile.TemporaryDirectory(
                dir=parent, prefix=prefix, ignore_cleanup_errors=True
            ) as temporary:
                own(Path(temporary), self.user, 0o700)
                fresh = Path(temporary) / "data"
                self._run_initdb(fresh)
                with (fresh / "postgresql.conf").open("a") as file:
                    file.write(f"\n{INCLUDE_LINE}\n")
                if self.data_dir.exists():
                    self.data_dir.rmdir()
                fresh.rename(self.data_dir)
            _sync_folder(self.data_dir.parent)
            if asked != self.data_dir:
                asked.symlink_to(self.data_dir)

    def start(self) -> None:
        """Start the server and return when it accepts connections. Idempotent.

        Also restarts one that crashed: it repairs itself from its write-ahead log. Raises one of
        cluster_errors, with nothing left running.
        """
        if self._process is not None and self._process.poll() is None:
            return
        self._check_version()
        self._check_reach()
        with self._explained():
            self._take_lock()
            try:
                self._end_orphan()
                self._clear_stale_files()
                self._check_port()
                self._write_configuration()
                self._spawn_until_ready()
            except BaseException:
                self._release_lock()
                raise

    def stop(self) -> None:
        """Stop the server: a fast shutdown, an immediate one after the deadline. Idempotent.

        Also stops an orphan; refuses (ClusterInUseError) when another living process is the owner.
        """
        if self._lock is None:
            if find_postmaster(self.data_dir) is None:
                return
            self._take_lock()
        try:
            if self._process is not None:
                if self._process.poll() is None:
                    self._end(self._process.pid)
            else:
                self._end_orphan()
            with contextlib.suppress(OSError):  # it stays when something else is in it
                self.socket_dir.rmdir()
        finally:
            self._process = None
            self._release_lock()

    def hasten(self) -> None:
        """Let a start or stop that another thread waits for end at once.  The next start repairs."""
        found = find_postmaster(self.data_dir)
        if found is not None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(found.pid, signal.SIGQUIT)

    def remove(self) -> None:
        """Delete the stopped cluster with all its data, log and socket folder."""
        with self._explained(), self._locked():
            if find_postmaster(self.data_dir) is not None:
                raise errors.ClusterInUseError(f"A server still runs in {self.data_dir}.")
            asked = self.settings.data_dir.absolute()
            if asked.is_symlink():
                asked.unlink()
                shutil.rmtree(self.data_dir.parent)
            elif self.data_dir.exists():
                shutil.rmtree(self.data_dir)
            shutil.rmtree(self.socket_dir, ignore_errors=True)
            self.log_path.unlink(missing_ok=True)

    # Places

    def _choose_place(self) -> Path:
        """Where a new data folder goes: as asked, or for root where the server's user can reach it."""
        if self.user is None or can_traverse(self.data_dir.parent, self.user):
            return self.data_dir
        name = plan_short_name(self.data_dir)
        # A folder of that name without a link to it was left by somebody: never taken over.
        names = (name if number == 0 else f"{name}-{number}" for number in itertools.count())
        return next(
            ROOT_DATA_DIR / name / "data" for name in names if not (ROOT_DATA_DIR / name).exists()
        )

    def _check_reach(self) -> None:
        """Raise when the server's user cannot work in the existing data folder."""
        owner_uid = self.data_dir.stat().st_uid
        if self.user is None and owner_uid != os.geteuid():
            raise errors.ClusterError(
                f"{self.data_dir} belongs to user id {owner_uid}. Start as that user, or as root."
            )
        if self.user is not None and not can_traverse(self.data_dir, self.user):
            raise errors.ClusterError(
                f"PostgreSQL runs as user {self.user.name}, who cannot enter {self.data_dir}. Move "
                "the data where that user may go, or open the folders above it (chmod o+x)."
            )

    def _choose_socket_dir(self) -> Path:
        asked = self.settings.socket_dir.absolute() if self.settings.socket_dir else None
        if (
            asked is not None
            and is_socket_dir_usable(asked, self.port)
            and (self.user is None or can_traverse(asked.parent, self.user))
        ):
            return asked
        # Of the asked place, which stays the same when the data itself has to go elsewhere.
        name = plan_short_name(self.settings.data_dir.absolute())
        if self.user is not None:
            return ROOT_SOCKET_DIR / name
        runtime = Path(f"/run/user/{os.geteuid()}")
        if runtime.is_dir() and os.access(runtime, os.W_OK):
            return runtime / "selfbase" / name
        # Fixed, not the caller's TMPDIR: other processes must find the same place.
        return Path(f"/tmp/selfbase-{os.geteuid()}") / name  # noqa: S108

    def _make_own_dir(self, folder: Path) -> None:
        """Make a folder that is the server user's alone; what is missing above it stays ours."""
        missing = [part for part in (folder, *folder.parents) if not part.exists()]
        for part in reversed(missing):
            part.mkdir(exist_ok=True)
            if part == folder:
                own(part, self.user, 0o700)
            else:
                part.chmod(0o711)  # to pass through

    # Lock

    def _take_lock(self) -> None:
        if self._lock is not None:
            return  # a restart by the owner
        # Beside the asked place, so that all who mean this cluster meet at the same file.
        path = self.settings.data_dir.absolute()
        if not path.parent.exists():
            path.parent.mkdir(parents=True)
            if self.user is not None:
                path.parent.chmod(0o711)  # or the server's user could not pass through to its data
        lock = os.open(path.with_name(f"{path.name}.lock"), os.O_RDWR | os.O_CREAT, 0o644)
        try:
            self._wait_for_lock(lock)
            os.ftruncate(lock, 0)
            os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
        except BaseException:
            os.close(lock)
            raise
        self._lock = lock

    def _wait_for_lock(self, lock: int) -> None:
        deadline = time.monotonic() + LOCK_TIMEOUT_S
        while not _try_lock(lock):
            owner = os.pread(lock, 32, 0).decode().strip()
            # Children of a killed owner may have inherited the lock; they end when they notice.
            if (owner.isdigit() and is_alive(int(owner))) or time.monotonic() > deadline:
                raise errors.ClusterInUseError(
                    f"{self.data_dir} is in use by Selfbase process {owner or '(unknown)'}. "
                    "Stop that one first."
                )
            time.sleep(RETRY_S)

    def _release_lock(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        self._take_lock()
        try:
            yield
        finally:
            self._release_lock()

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        """Turn what the operating system refuses into words of ours."""
        try:
            yield
        except OSError as error:
            if error.errno == errno.ENOSPC:
                raise parse_start_failure(f"FATAL: {error}", self.data_dir) from error
            raise errors.ClusterError(f"{self.data_dir} cannot be used: {error}") from error

    # Steps of create and start

    def _run_initdb(self, folder: Path) -> None:
        if self.binaries.version >= 17:
            # Needs no library and no installed locale, and never changes its sort order.
            locale = ["--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C.UTF-8"]
        else:
            locale = ["--locale=C.UTF-8"]
        command = [
            self.binaries.program("initdb"),
            f"--pgdata={folder}",
            f"--username={SUPERUSER}",
            "--encoding=UTF8",
            *locale,
            "--wal-segsize=1",
            "--auth-local=trust",
            "--auth-host=scram-sha-256",
            "--data-checksums",
            "--no-instructions",
            *([] if self.settings.durable else ["--no-sync"]),
        ]
        ended = subprocess.run(
            command,
            capture_output=True,
            text=True,
            check=False,
            cwd="/",
            env=self.binaries.environment(),
            **self._identity,
        )
        if ended.returncode != 0:
            raise parse_start_failure(ended.stdout + ended.stderr, self.data_dir)

    def _check_version(self) -> None:
        try:
            made_by = (self.data_dir / "PG_VERSION").read_text().strip()
        except FileNotFoundError:
            raise errors.ClusterError(f"There is no cluster in {self.data_dir}.") from None
        if made_by != str(self.binaries.version):
            raise errors.VersionMismatchError(
                f"{self.data_dir} was made by PostgreSQL {made_by}, but {self.binaries.bin_dir} is "
                f"PostgreSQL {self.binaries.version}. Nothing was changed. Use the programs of "
                f"version {made_by} (--postgres system, or their bin folder), or move the data with "
                "pg_dump or pg_upgrade."
            )

    def _check_port(self) -> None:
        host, port = self.settings.host, self.settings.port
        if port is None:
            return
        try:
            free = is_port_free(host, port)
        except OSError as error:
            raise errors.ClusterError(
                f"PostgreSQL cannot listen on {host} port {port}: {error.strerror}."
            ) from error
        if not free:
            raise errors.PortInUseError(describe_port_in_use(host, port, "Database"))

    def _end_orphan(self) -> None:
        found = find_postmaster(self.data_dir)
        if found is not None:
            self._end(found.pid)

    def _clear_stale_files(self) -> None:
        """Remove what a killed server left and a new one would stumble over.

        Called with the lock held and no server running, so nothing here belongs to anybody.
        """
        left = find_pid_file(self.data_dir)
        if left is not None and is_alive(left.pid):
            # The number now belongs to another process, and the server would refuse to start. The
            # file must stay: its shared memory id lets the server see backends that outlived their
            # killed parent. The server takes its own parent's pid for stale, so we put in ours.
            _rewrite_pid(self.data_dir / PID_FILE)
        elif left is None:
            (self.data_dir / PID_FILE).unlink(missing_ok=True)  # empty: the disk was full
        check_not_strangers(self.socket_dir.parent, self.user)
        self._make_own_dir(self.socket_dir)
        own(self.socket_dir, self.user, 0o700)
        for stale in self.socket_dir.glob(".s.PGSQL.*"):
            stale.unlink()

    def _write_configuration(self) -> None:
        extension_dir = publish_extensions(self.binaries, self.cache_dir)
        planned = plan_server_settings(
            self.settings,
            self.binaries.version,
            self.socket_dir,
            has_time_zones=(ZONE_FILES / "UTC").exists(),
            preload=plan_preload(self.binaries),
            extension_settings=extension_dir,
        )
        self._write_own(self.data_dir / CONFIGURATION, render_configuration(planned))
        self._write_own(self.data_dir / "pg_hba.conf", render_host_access(self.settings))
        main = self.data_dir / "postgresql.conf"
        if INCLUDE_LINE not in main.read_text():  # a folder restored from elsewhere
            with main.open("a") as file:
                file.write(f"\n{INCLUDE_LINE}\n")

    def _write_own(self, path: Path, text: str) -> None:
        fresh = path.with_name(f"{path.name}.new")
        fresh.write_text(text)
        own(fresh, self.user, 0o600)
        fresh.rename(path)

    def _spawn_until_ready(self) -> None:
        deadline = time.monotonic() + self.settings.start_timeout_s
        while True:
            said = self._spawn()
            if said is None:
                return
            if not is_memory_still_attached(said) or time.monotonic() > deadline:
                raise parse_start_failure(said, self.data_dir)
            time.sleep(RETRY_S)  # backends of a killed server end as soon as they notice

    def _spawn(self) -> str | None:
        """Start the server once: None when it is ready, what it said when it ended before."""
        self.log_path.parent.mkdir(parents=True, exist_ok=True)
        # Statements that failed stand in it, with their values: for the owner's eyes only.
        self.log_path.touch(mode=0o600)
        with self.log_path.open("ab") as log:
            log_start = log.tell()
            process = subprocess.Popen(
                [self.binaries.program("postgres"), "-D", str(self.data_dir)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.data_dir,
                # A Ctrl-C in the terminal is for the supervisor, which stops us in its order.
                start_new_session=True,
                env=self.binaries.environment(),
                **self._identity,
            )
        try:
            if self._wait_until_ready(process):
                self._process = process
                return None
        except BaseException:
            self._kill_unready(process)
            raise
        with self.log_path.open("rb") as log:
            log.seek(log_start)
            return log.read().decode(errors="replace")

    def _wait_until_ready(self, process: subprocess.Popen[bytes]) -> bool:
        """True when it accepts connections, False when it ended before."""
        said_bytes = -1
        deadline = 0.0
        while process.poll() is None:
            found = find_pid_file(self.data_dir)
            if found is not None and found.pid == process.pid and found.is_ready:
                return True
            # A long recovery reports its progress every 10 s: only silence is a failure.
            if (size := self.log_path.stat().st_size) != said_bytes:
                said_bytes = size
                deadline = time.monotonic() + self.settings.start_timeout_s
            if time.monotonic() > deadline:
                raise errors.StartFailedError(
                    f"PostgreSQL was silent and not ready for {self.settings.start_timeout_s:g} s. "
                    f"See {self.log_path}."
                )
            time.sleep(POLL_S)
        return False

    def _kill_unready(self, process: subprocess.Popen[bytes]) -> None:
        process.send_signal(signal.SIGQUIT)
        try:
            process.wait(QUIT_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def _end(self, pid: int) -> None:
        """SIGINT is a fast shutdown; SIGQUIT an immediate one, repaired by the next start."""
        for number, timeout_s in (
            (signal.SIGINT, self.settings.stop_timeout_s),
            (signal.SIGQUIT, QUIT_TIMEOUT_S),
        ):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
            if self._wait_for_end(pid, timeout_s):
                return
        raise errors.StopFailedError(
            f"PostgreSQL (pid {pid}) on {self.data_dir} does not end. See {self.log_path}."
        )

    def _wait_for_end(self, pid: int, timeout_s: float) -> bool:
        if self._process is not None and self._process.pid == pid:
            try:
                self._process.wait(timeout_s)
            except subprocess.TimeoutExpired:
                return False
            return True
        deadline = time.monotonic() + timeout_s
        while is_alive(pid):
            if time.monotonic() > deadline:
                return False
            time.sleep(POLL_S)
        return True


def end_orphan(data_dir: Path) -> bool:
    """Stop the server that a killed owner left running, and say whether there was one.

    Raises ClusterInUseError when its owner lives.
    """
    # With which programs it was started does not matter for its end.
    cluster = Cluster(
        PostgresBinaries(0, Path(), None, "folder"), ClusterSettings(data_dir=data_dir)
    )
    if find_postmaster(cluster.data_dir) is None:
        return False
    cluster.stop()
    return True


def _try_lock(file: int) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _rewrite_pid(path: Path) -> None:
    _, _, rest = path.read_text().partition("\n")
    path.write_text(f"{os.getpid()}\n{rest}")


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def quote_conninfo(value: str) -> str:
    """A value as a libpq connection string wants it (PostgreSQL documentation, 32.1.1.1).  psycopg
    could say it too, but the supervisor, which needs nothing else of it, would have to load it."""
    if re.fullmatch(r"[\w./:@-]+", value):
        return value
    escaped = value.replace("\\", r"\\").replace("'", r"\'")
    return f"'{escaped}'"
