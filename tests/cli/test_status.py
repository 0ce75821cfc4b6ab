"""The names under which `status` tells addresses and keys."""

from __future__ import annotations

import pytest

from selfbase.cli.status import OVERRIDABLE, make_values, rename_values, render_env
from selfbase.kit.failures import ConfigurationError
from selfbase.supervisor.state import State

STATE = State(
    pid=1,
    started_at="",
    ref="selfbase",
    api_url="http://127.0.0.1:54321",
    host="0.0.0.0",
    api_port=54321,
    db_port=54322,
    mail_port=54324,
    admin_port=5,
    external_database=False,
    workspace="/x",
)
SECRETS = {"database_passwords": {"postgres": "p@ss/word"}, "anon_key": 'a"b$c'}


def test_names_are_those_of_the_official_cli() -> None:
    values = make_values(STATE, SECRETS)
    assert set(values) == set(OVERRIDABLE.values())
    assert values["DB_URL"] == "postgresql://postgres:p%40ss%2Fword@127.0.0.1:54322/postgres"


def test_names_can_be_chosen_as_with_the_official_cli() -> None:
    values = make_values(STATE, SECRETS)
    renamed = rename_values(values, ["api.url=NEXT_PUBLIC_SUPABASE_URL", "auth.anon_key=KEY"])
    assert renamed["NEXT_PUBLIC_SUPABASE_URL"] == values["API_URL"]
    assert "API_URL" not in renamed
    assert len(renamed) == len(values)
    assert 'KEY="a\\"b\\$c"\n' in render_env(renamed)
    for wrong in ("API_URL=X", "api.url", "api.url="):
        with pytest.raises(ConfigurationError, match="is not understood"):
            rename_values(values, [wrong])
