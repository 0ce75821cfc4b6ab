"""Reading settings: types, units, errors that name the setting, and secrets that stay secret."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import pytest

from selfbase.kit.failures import ConfigurationError
from selfbase.kit.settings import (
    EnvLayer,
    Secret,
    TomlLayer,
    load_settings,
    load_with_origins,
    parse_seconds,
    parse_size,
    setting,
)


@dataclass(frozen=True, kw_only=True)
class Sample:
    size: int = setting(1, env="SIZE")
    wait_s: float = setting(1.0, env="WAIT", toml="sample.wait")
    on: bool = setting(False, env=("ON", "OLD_ON"))
    names: tuple[str, ...] = setting((), env="NAMES", toml="sample.names")
    kind: Literal["a", "b"] = setting("a", env="KIND")
    maybe: int | None = setting(None, env="MAYBE")
    table: dict[str, str] = setting(factory=dict, env="TABLE")
    key: Secret = setting(Secret(""), env="KEY", secret=True)


def load(env: dict[str, str], toml: dict[str, object] | None = None) -> Sample:
    return load_settings(Sample, [EnvLayer(env), TomlLayer(toml or {})], owner="sample")


def test_values_get_their_types() -> None:
    made = load(
        {
            "SIZE": "50MiB",
            "WAIT": "1m30s",
            "OLD_ON": "yes",
            "NAMES": "a, b,,c",
            "KIND": "b",
            "MAYBE": "7",
            "TABLE": '{"a":"b"}',
        }
    )
    assert made == Sample(
        size=50 * 1024 * 1024,
        wait_s=90.0,
        on=True,
        names=("a", "b", "c"),
        kind="b",
        maybe=7,
        table={"a": "b"},
    )


def test_our_own_variable_wins_over_the_upstream_one() -> None:
    assert load({"SIZE": "1", "SELFBASE_SAMPLE_SIZE": "2"}).size == 2


def test_toml_values_are_typed_already() -> None:
    made = load({}, {"sample": {"wait": 3, "names": ["x"]}})
    assert (made.wait_s, made.names) == (3.0, ("x",))


@pytest.mark.parametrize(
    ("env", "told"),
    [
        ({"SIZE": "many"}, "size: 'many' from environment"),
        ({"WAIT": "soon"}, "wait_s: 'soon'"),
        ({"ON": "maybe"}, "on: 'maybe'"),
        ({"KIND": "c"}, "kind: 'c'"),
        ({"TABLE": "{"}, "table:"),
    ],
)
def test_a_wrong_value_is_named(env: dict[str, str], told: str) -> None:
    with pytest.raises(ConfigurationError) as raised:
        load(env)
    assert raised.value.message.startswith(told)


def test_a_missing_value_says_which_variable_to_set() -> None:
    @dataclass(frozen=True, kw_only=True)
    class Needs:
        url: str = setting(env="THE_URL")

    with pytest.raises(ConfigurationError) as raised:
        load_settings(Needs, [EnvLayer({})], owner="needs")
    assert raised.value.hint == "Set THE_URL."


def test_secrets_are_masked_where_settings_are_shown() -> None:
    made, rows = load_with_origins(Sample, [EnvLayer({"KEY": "hush"})], owner="sample")
    assert made.key.reveal() == "hush"
    assert "hush" not in repr(made)
    shown = {row.field: (row.shown(), row.origin) for row in rows}
    assert shown["key"] == ("********", "environment")
    assert shown["size"] == ("1", "default")


@pytest.mark.parametrize(
    ("text", "size"),
    [("0", 0), ("1k", 1024), ("50MB", 52428800), ("1.5GiB", 1610612736), ("10 B", 10)],
)
def test_sizes(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize(
    ("text", "seconds"), [("5", 5.0), ("1h", 3600.0), ("250ms", 0.25), ("1h2m3.5s", 3723.5)]
)
def test_durations(text: str, seconds: float) -> None:
    assert parse_seconds(text) == seconds
