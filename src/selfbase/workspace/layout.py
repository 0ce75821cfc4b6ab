"""Where the state of a project lies: everything under one folder, `.selfbase` by default."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from selfbase.kit.failures import ConfigurationError


@dataclass(frozen=True, slots=True)
class Layout:
    """Paths under the state folder.  Nothing is made by asking for a path."""

    root: Path

    @property
    def data_dir(self) -> Path:
        return self.root / "db" / "data"

    @property
    def logs_dir(self) -> Path:
        return self.root / "logs"

    @property
    def run_dir(self) -> Path:
        return self.root / "run"

    @property
    def secrets_path(self) -> Path:
        return self.root / "secrets.toml"

    @property
    def state_path(self) -> Path:
        """What the running supervisor says of itself, as JSON; see `supervisor.state`."""
        return self.root / "run" / "state.json"

    @property
    def lock_path(self) -> Path:
        return self.root / "run" / "supervisor.lock"

    @property
    def workers_lock_path(self) -> Path:
        """Held, shared, by every worker that lives."""
        return self.root / "run" / "workers.lock"

    def make(self) -> None:
        """Makes the folders; logs and sockets are for the owner only.

        Raises ConfigurationError where that is not allowed or there is no room.
        """
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            ignore = self.root / ".gitignore"
            if not ignore.exists():
                ignore.write_text("*\n")
            for folder in (self.logs_dir, self.run_dir):
                folder.mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            raise ConfigurationError(
                f"{self.root} cannot be used: {error.strerror}",
                hint="Name another folder with --dir or SELFBASE_DIR.",
            ) from error
