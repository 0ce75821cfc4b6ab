"""`supabase/config.toml` and `.env` files."""

from __future__ import annotations

from pathlib import Path

import pytest

from selfbase.kit.failures import ConfigurationError
from selfbase.kit.settings import EnvLayer, TomlLayer, ValuesLayer, load_settings
from selfbase.workspace.config_toml import list_secrets, open_user_folder
from selfbase.workspace.dotenv import parse_dotenv
from selfbase.workspace.settings import StackSettings


def test_dotenv_lines() -> None:
    text = (
        'A=1\nexport B = two words # comment\n# C=3\nD=\'$x #y\'\nE="a\\nb\\"c" \nnonsense\nF=\n'
        "G=a#b\n"
    )
    assert parse_dotenv(text) == {
        "A": "1",
        "B": "two words",
        "D": "$x #y",
        "E": 'a\nb"c',
        "F": "",
        "G": "a#b",
    }


def test_env_references_are_filled_from_the_environment_and_dotenv(tmp_path: Path) -> None:
    (tmp_path / "supabase").mkdir()
    (tmp_path / "supabase" / "config.toml").write_text(
        'project_id = "env(NAME)"\n[auth]\na = "env(MISSING)"\nb = ["env(FROM_FILE)", "env(NO)"]\n'
    )
    (tmp_path / "supabase" / ".env").write_text("FROM_FILE=file\nNAME=file\n")
    folder = open_user_folder(tmp_path, {"NAME": "environment"})
    assert folder.config == {"project_id": "environment", "auth": {"b": ["file"]}}


def test_the_strongest_source_of_a_setting_wins(tmp_path: Path) -> None:
    (tmp_path / "supabase").mkdir()
    (tmp_path / "supabase" / "config.toml").write_text("[api]\nport = 1111\n[db]\nport = 2222\n")
    folder = open_user_folder(tmp_path, {"SELFBASE_DB_PORT": "3333", "SELFBASE_WORKERS": "2"})
    layers = [
        ValuesLayer({"stack.workers": 4}),
        EnvLayer(folder.variables),
        TomlLayer(folder.config),
    ]
    stack = load_settings(StackSettings, layers, owner="stack")
    assert (stack.api_port, stack.db_port, stack.workers, stack.mail_port) == (
        "1111",
        "3333",
        4,
        "54324",
    )


def test_secrets_that_the_file_decides(tmp_path: Path) -> None:
    (tmp_path / "supabase").mkdir()
    config = tmp_path / "supabase" / "config.toml"
    config.write_text(
        '[auth]\njwt_secret = "env(JWT)"\nanon_key = ""\nsecret_key = "sb_secret_x"\n'
        'signing_keys_path = "./keys.json"\n'
    )
    with pytest.raises(ConfigurationError, match=r"signing_keys_path is no file: \./keys\.json"):
        open_user_folder(tmp_path, {})
    (tmp_path / "supabase" / "keys.json").write_text("[{}]")
    given = list_secrets(open_user_folder(tmp_path, {"JWT": "shared"}))
    assert given == {"jwt_secret": "shared", "secret_key": "sb_secret_x", "signing_key": "[{}]"}
    config.write_text("auth = 3\n")
    assert list_secrets(open_user_folder(tmp_path, {})) == {}


def test_a_file_that_is_not_toml_is_named(tmp_path: Path) -> None:
    (tmp_path / "supabase").mkdir()
    (tmp_path / "supabase" / "config.toml").write_text("[api\n")
    with pytest.raises(ConfigurationError, match=r"supabase/config\.toml is not valid TOML"):
        open_user_folder(tmp_path, {})


def test_texts_of_mails_are_read_from_their_files(tmp_path: Path) -> None:
    folder = tmp_path / "supabase"
    (folder / "templates").mkdir(parents=True)
    (folder / "templates" / "invite.html").write_text("<p>{{ .Token }}</p>")
    config = '[auth.email.template.invite]\nsubject = "Hi"\ncontent_path = "./supabase/templates/invite.html"\n'
    (folder / "config.toml").write_text(config)
    tree = open_user_folder(tmp_path, {}).config
    assert tree["auth"]["email"]["template"]["invite"]["content"] == "<p>{{ .Token }}</p>"
    (folder / "config.toml").write_text(config.replace("invite.html", "missing.html"))
    with pytest.raises(ConfigurationError, match="content_path"):
        open_user_folder(tmp_path, {})


def test_seeded_objects_are_looked_for_in_the_supabase_folder(tmp_path: Path) -> None:
    (tmp_path / "supabase").mkdir()
    (tmp_path / "supabase" / "config.toml").write_text(
        '[storage.buckets.a]\nobjects_path = "./images"\n'
        '[storage.buckets.b]\nobjects_path = "/srv/files"\n'
        "[storage.buckets.c]\npublic = true\n"
    )
    buckets = open_user_folder(tmp_path, {}).config["storage"]["buckets"]
    assert buckets["a"]["objects_path"] == str(tmp_path / "supabase" / "images")
    assert buckets["b"]["objects_path"] == "/srv/files"
    assert buckets["c"] == {"public": True}
