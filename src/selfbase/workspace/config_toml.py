"""The user's `supabase/config.toml`, in the format of the official CLI.

`env(NAME)` stands for an environment variable; `.env` files beside and above are read for it.
Source: supabase CLI, pkg/config (2026-10).
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from selfbase.kit.failures import ConfigurationError
from selfbase.workspace.dotenv import parse_dotenv

FOLDER = "supabase"
_ENV = re.compile(r"^env\(([A-Za-z_][A-Za-z0-9_]*)\)$")
_DOTENVS = ("supabase/.env.local", "supabase/.env", ".env.local", ".env")


@dataclass(frozen=True, slots=True)
class UserFolder:
    """What the working directory holds: the parsed file, or an empty tree when there is none."""

    root: Path
    config: Mapping[str, Any]
    variables: Mapping[str, str]

    @property
    def supabase_dir(self) -> Path:
        return self.root / FOLDER


def open_user_folder(root: Path, environment: Mapping[str, str]) -> UserFolder:
    """Reads `supabase/config.toml` below `root`.  Raises ConfigurationError when it is not TOML."""
    variables: dict[str, str] = {}
    for name in reversed(_DOTENVS):
        path = root / name
        if path.is_file():
            variables.update(parse_dotenv(path.read_text()))
    variables.update(environment)
    path = root / FOLDER / "config.toml"
    if not path.is_file():
        return UserFolder(root, {}, variables)
    try:
        tree = tomllib.loads(path.read_text())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{FOLDER}/config.toml is not valid TOML: {error}") from None
    config = substitute(tree, variables)
    for group in ("template", "notification"):
        _read_contents(root, config, group)
    _read_signing_keys(root, config)
    _place_objects(root / FOLDER, config)
    return UserFolder(root, config, variables)


def _read_contents(root: Path, config: Any, group: str) -> None:
    """Puts the text of each mail's `content_path` beside it as `content`."""
    node = config
    for part in ("auth", "email", group):
        node = node.get(part) if isinstance(node, dict) else None
    for name, mail in node.items() if isinstance(node, dict) else ():
        place = mail.get("content_path") if isinstance(mail, dict) else None
        if not isinstance(place, str):
            continue
        # The CLI takes the path from the project's root; older files mean the supabase folder.
        found = next((p for p in (root / place, root / FOLDER / place) if p.is_file()), None)
        if found is None:
            raise ConfigurationError(
                f"{FOLDER}/config.toml: content_path of auth.email.{group}.{name} is no file: {place}"
            )
        mail["content"] = found.read_text()


def _read_signing_keys(root: Path, config: Any) -> None:
    """Puts the JWKs of `auth.signing_keys_path` beside it as `signing_keys`."""
    auth = config.get("auth")
    place = auth.get("signing_keys_path") if isinstance(auth, dict) else None
    if not isinstance(place, str) or not place:
        return
    path = root / FOLDER / place
    if not path.is_file():
        raise ConfigurationError(
            f"{FOLDER}/config.toml: auth.signing_keys_path is no file: {place}",
            hint="Make one with: supabase gen signing-key",
        )
    auth["signing_keys"] = path.read_text()


# The names of the CLI's file and ours.
_SECRETS = {
    "jwt_secret": "jwt_secret",
    "signing_keys": "signing_key",
    "anon_key": "anon_key",
    "service_role_key": "service_role_key",
    "publishable_key": "publishable_key",
    "secret_key": "secret_key",
}


def list_secrets(folder: UserFolder) -> dict[str, str]:
    """The project's secrets that the file decides, by our own names."""
    auth = folder.config.get("auth")
    if not isinstance(auth, Mapping):
        return {}
    return {
        ours: auth[theirs]
        for theirs, ours in _SECRETS.items()
        if isinstance(auth.get(theirs), str) and auth[theirs]
    }


def _place_objects(supabase_dir: Path, config: Any) -> None:
    """Makes each bucket's `objects_path` absolute: it is meant from the supabase folder."""
    storage = config.get("storage")
    buckets = storage.get("buckets") if isinstance(storage, dict) else None
    for bucket in buckets.values() if isinstance(buckets, dict) else ():
        place = bucket.get("objects_path") if isinstance(bucket, dict) else None
        if isinstance(place, str) and place:
            bucket["objects_path"] = str((supabase_dir / place).resolve())


def substitute(node: Any, variables: Mapping[str, str]) -> Any:
    """Replaces `env(NAME)`; a variable that is not set leaves the setting out."""
    if isinstance(node, Mapping):
        replaced = {key: substitute(value, variables) for key, value in node.items()}
        return {key: value for key, value in replaced.items() if value is not None}
    if isinstance(node, list):
        items = (substitute(item, variables) for item in node)
        return [item for item in items if item is not None]
    if isinstance(node, str):
        match = _ENV.match(node.strip())
        if match:
            return variables.get(match[1])
    return node
