"""Installs what the tests need besides Python packages, and says what it could not install.

Node.js packages come from `tests/js/package.json`.  System programs are installed with apt when we
are root on Debian; tests of a program that could not be had are skipped with that reason.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
JS = ROOT / "tests" / "js"
NODE_MAJOR_MIN = 18
# Program and the Debian package that holds it.
SYSTEM = {
    "redis-server": "redis-server",
    "rclone": "rclone",
    "psql": "postgresql-client",
    "aws": "awscli",
    "node": "nodejs",
    "npm": "npm",
}


def main() -> int:
    install_system_packages()
    install_node_packages()
    return 0


def install_node_packages() -> None:
    """`npm install` when the list of packages has changed since the last time."""
    manifest = JS / "package.json"
    if not manifest.exists():
        return
    digest = hashlib.sha256(manifest.read_bytes()).hexdigest()
    stamp = JS / "node_modules" / ".selfbase"
    if stamp.exists() and stamp.read_text() == digest:
        return
    environment = dict(os.environ)
    npm = find_npm()
    if npm is None:
        say("npm was not found: tests with the official JavaScript client are skipped")
        return
    print("Installing the official JavaScript clients", flush=True)
    command = [npm, "install", "--no-audit", "--no-fund", "--no-package-lock", "--silent"]
    done = subprocess.run(command, cwd=JS, env=environment, check=False)
    if done.returncode != 0:
        say(f"npm install failed with code {done.returncode}")
        sys.exit(done.returncode)
    stamp.write_text(digest)


def find_npm() -> str | None:
    """npm, when the Node.js beside it is new enough for the clients."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        return None
    told = subprocess.run([node, "--version"], capture_output=True, text=True, check=True)
    return npm if int(told.stdout.strip().lstrip("v").split(".")[0]) >= NODE_MAJOR_MIN else None


def install_system_packages() -> None:
    missing = sorted({package for program, package in SYSTEM.items() if not shutil.which(program)})
    if not missing:
        return
    apt = shutil.which("apt-get")
    if apt is None or os.geteuid() != 0:
        say(f"not installed, and not ours to install: {', '.join(missing)}")
        return
    print(f"Installing {', '.join(missing)}", flush=True)
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    install = [apt, "install", "-y", "-q", "--no-install-recommends", *missing]
    quiet = {"env": environment, "stdout": subprocess.DEVNULL, "check": False}
    if subprocess.run(install, **quiet).returncode != 0:  # type: ignore[call-overload]
        subprocess.run([apt, "update", "-q"], **quiet)  # type: ignore[call-overload]
        if subprocess.run(install, **quiet).returncode != 0:  # type: ignore[call-overload]
            say(f"apt could not install {', '.join(missing)}")


def say(text: str) -> None:
    print(f"prepare_tests: {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
