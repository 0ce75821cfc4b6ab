"""Which unprivileged user PostgreSQL runs as when we are root, and what that user can reach.

PostgreSQL refuses to run as root. When the caller is root, this module picks the user and answers
whether a path is within that user's reach. It starts no server.
"""

import grp
import os
import pwd
import shutil
import stat
import subprocess
from dataclasses import dataclass
from pathlib import Path

from selfbase.database.cluster_errors import ClusterError

PREFERRED_NAMES = ("selfbase", "postgres")
LAST_RESORT_NAME = "nobody"


@dataclass(frozen=True)
class ServerUser:
    """The user and group that own the data folder and run the server."""

    name: str
    uid: int
    gid: int
    group_ids: frozenset[int]


def find_server_user(data_dir: Path) -> ServerUser | None:
    """The user PostgreSQL must run as, or None when it may run as the caller (who is not root).

    A data folder that exists keeps the user it belongs to.
    """
    if os.geteuid() != 0:
        return None
    if data_dir.exists() and (owner_uid := data_dir.stat().st_uid) != 0:
        return _get_user(owner_uid, data_dir.stat().st_gid)
    for name in PREFERRED_NAMES:
        if (user := _find_user(name)) is not None:
            return user
    if (useradd := shutil.which("useradd")) is not None:
        # Two starts may race here: what counts is that the user exists afterwards.
        subprocess.run(
            [
                useradd,
                "--system",
                "--user-group",
                "--no-create-home",
                "--shell",
                "/usr/sbin/nologin",
                PREFERRED_NAMES[0],
            ],
            check=False,
            capture_output=True,
        )
        if (user := _find_user(PREFERRED_NAMES[0])) is not None:
            return user
    return _find_user(LAST_RESORT_NAME)


def can_traverse(folder: Path, user: ServerUser) -> bool:
    """Whether the user may pass through every existing folder on the way to, and including, this one."""
    resolved = folder.resolve()
    return all(
        _may_enter(part.stat(), user) for part in (resolved, *resolved.parents) if part.exists()
    )


def check_not_strangers(folder: Path, user: ServerUser | None = None) -> None:
    """Raise when another user, not root, made this folder or one above it outside our control.

    In a world-writable place such as /tmp somebody else could have been there first, and would then
    own what we put below: programs we run, and the socket we trust.
    """
    trusted_uids = {0, os.geteuid(), *([user.uid] if user else [])}
    for part in (folder, *folder.parents):
        if part.exists() and part.stat().st_uid not in trusted_uids:
            raise ClusterError(
                f"{part} belongs to user id {part.stat().st_uid}, who could take over what is put "
                "there. Remove it, or choose another folder."
            )


def own(path: Path, user: ServerUser | None, mode: int) -> None:
    """Give one file or folder to the user with exactly this mode, whatever the umask is."""
    path.chmod(mode)
    if user is not None:
        os.chown(path, user.uid, user.gid)


def _get_user(uid: int, gid: int) -> ServerUser:
    try:
        name = pwd.getpwuid(uid).pw_name
    except KeyError:  # a user id of another machine or container
        return ServerUser(str(uid), uid, gid, frozenset({gid}))
    user = _find_user(name)
    assert user is not None
    return user


def _find_user(name: str) -> ServerUser | None:
    try:
        entry = pwd.getpwnam(name)
    except KeyError:
        return None
    groups = {group.gr_gid for group in grp.getgrall() if name in group.gr_mem}
    return ServerUser(name, entry.pw_uid, entry.pw_gid, frozenset(groups | {entry.pw_gid}))


def _may_enter(status: os.stat_result, user: ServerUser) -> bool:
    if status.st_uid == user.uid:
        return bool(status.st_mode & stat.S_IXUSR)
    if status.st_gid in user.group_ids:
        return bool(status.st_mode & stat.S_IXGRP)
    return bool(status.st_mode & stat.S_IXOTH)
