"""Extensions we bring: SQL-only ones, and leave for `postgres` to create the server's own.

PostgreSQL 18 reads control files from folders named in `extension_control_path`. We publish one
folder per distribution, before the system's, that holds
- our SQL-only extensions, where the server has no working one of that name, and
- copies of the control files of harmless extensions of the server with `trusted = true` added, so
  that the project's owner, who is no superuser, may create them.
Servers before 18 know no such path, except Debian's, which look below `extension_destdir` first.
Elsewhere bootstrap makes the objects of our extensions itself, and only a superuser can create the
untrusted ones (docs/decisions/extensions-for-postgres.md).

Starts no server and runs no SQL.
"""

import hashlib
import re
import shutil
import tempfile
from collections.abc import Mapping
from importlib import resources
from pathlib import Path

from selfbase.database.binaries import PostgresBinaries, make_shared_dir

# Its library in the embedded build needs another library that no machine has.
BROKEN_IN_EMBEDDED = frozenset({"uuid-ossp"})
PRELOADED = "pg_stat_statements"
# Debian's servers look for extensions below this folder first.
DESTDIR_MARK = b"extension_destdir"


def publish_extensions(binaries: PostgresBinaries, cache_dir: Path) -> dict[str, str]:
    """Write our extension folder for this server, once, and return the settings that point to it."""
    share_dir = find_share_dir(binaries)
    if share_dir is None:
        return {}
    files = plan_files(binaries, read_controls(share_dir), share_dir)
    digest = hashlib.sha256(repr(sorted(files.items())).encode()).hexdigest()[:12]
    root = cache_dir / "extensions" / f"{binaries.version}-{digest}"
    if binaries.version >= 18:
        _publish(files, root, Path("extension"))
        return {"extension_control_path": f"{root}:$system"}
    if _knows_destdir(binaries):
        _publish(files, root, (share_dir / "extension").relative_to("/"))
        return {"extension_destdir": str(root)}
    return {}


def plan_files(
    binaries: PostgresBinaries, controls: Mapping[str, str], share_dir: Path
) -> dict[str, str]:
    """File name → text of everything that goes into our folder. `controls` are the server's own."""
    files: dict[str, str] = {}
    for name, text in list_own_files().items():
        extension = re.split(r"--|\.control", name)[0]
        works = extension in controls and not (
            binaries.kind == "embedded" and extension in BROKEN_IN_EMBEDDED
        )
        if not works:
            files[name] = text
    allowed = list_owner_may_create()
    for extension, control in controls.items():
        name = f"{extension}.control"
        if extension in allowed and name not in files and not is_trusted(control):
            files[name] = render_trusted(control, share_dir)
    return files


def plan_preload(binaries: PostgresBinaries) -> tuple[str, ...]:
    """Libraries the server must load at its start for the extensions of bootstrap."""
    share_dir = find_share_dir(binaries)
    if share_dir is None or not (share_dir / "extension" / f"{PRELOADED}.control").is_file():
        return ()
    return (PRELOADED,)


def list_own_files() -> dict[str, str]:
    """Every control and script file of our SQL-only extensions, by name."""
    folder = resources.files(__name__) / "files"
    return {
        file.name: file.read_text(encoding="utf-8") for file in folder.iterdir() if file.is_file()
    }


def list_owner_may_create() -> frozenset[str]:
    """Names of the extensions that `postgres` may create."""
    text = (resources.files(__name__) / "owner_may_create.txt").read_text(encoding="utf-8")
    return frozenset(line for line in text.splitlines() if line and not line.startswith("#"))


def find_share_dir(binaries: PostgresBinaries) -> Path | None:
    """The folder that holds `extension/`, None when the distribution's layout is unknown to us."""
    prefix = binaries.bin_dir.parent
    candidates = (
        prefix / "share",
        prefix / "share" / "postgresql",
        Path(f"/usr/share/postgresql/{binaries.version}"),  # Debian keeps it apart
        prefix / "share" / f"postgresql@{binaries.version}",  # Homebrew
    )
    return next(
        (folder for folder in candidates if (folder / "extension" / "plpgsql.control").is_file()),
        None,
    )


def read_controls(share_dir: Path) -> dict[str, str]:
    """The server's own control files, by extension name."""
    return {
        file.stem: file.read_text(encoding="utf-8")
        for file in sorted((share_dir / "extension").glob("*.control"))
    }


def is_trusted(control: str) -> bool:
    """Whether a control file lets any user with CREATE on the database create the extension."""
    return re.search(r"^\s*trusted\s*=\s*'?(true|on|yes|1)\b", control, re.M | re.I) is not None


def render_trusted(control: str, share_dir: Path) -> str:
    """A copy of a control file that is trusted and finds its scripts where they are."""
    text = re.sub(r"^\s*trusted\s*=.*$", "", control, flags=re.M | re.I).rstrip()
    directory = re.search(r"^\s*directory\s*=\s*'?([^'\n]*)'?", text, re.M)
    scripts = share_dir / (directory.group(1) if directory else "extension")
    text = re.sub(r"^\s*directory\s*=.*$", "", text, flags=re.M).rstrip()
    return f"{text}\ntrusted = true\ndirectory = '{scripts}'\n"


def _knows_destdir(binaries: PostgresBinaries) -> bool:
    return DESTDIR_MARK in (binaries.bin_dir / "postgres").read_bytes()


def _publish(files: Mapping[str, str], root: Path, folder: Path) -> None:
    if root.exists():
        return
    make_shared_dir(root.parent)
    with tempfile.TemporaryDirectory(dir=root.parent, prefix="writing-") as temporary:
        fresh = Path(temporary) / "root"
        make_shared_dir(fresh / folder)
        for name, text in files.items():
            path = fresh / folder / name
            path.write_text(text, encoding="utf-8")
            path.chmod(0o644)
        try:
            fresh.rename(root)
        except OSError:
            if not root.exists():  # otherwise another process was first, with the same content
                raise
        shutil.rmtree(fresh, ignore_errors=True)
