"""Ports of an installation: different from each other, and clear words when one cannot be had."""

from dataclasses import replace

import pytest

from selfbase.database.ports import find_free_port
from selfbase.kit.failures import ConfigurationError
from selfbase.kit.settings import EnvLayer, TomlLayer, load_settings
from selfbase.supervisor.options import Ports, plan_overrides, plan_ports, render_public_url
from selfbase.workspace.settings import StackSettings

STACK = replace(
    load_settings(StackSettings, [], owner="stack"),
    host="127.0.0.1",
    api_port="auto",
    db_port="auto",
    mail_port="auto",
    admin_port="auto",
    mail_enabled=True,
)


def test_chosen_ports_differ_from_each_other_and_from_those_asked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Of few numbers to choose from, each is given once."""
    first = find_free_port("127.0.0.1")
    few = iter([first, first, first + 1, first, first + 1, first + 2] * 100)
    monkeypatch.setattr("random.randrange", lambda low, high: next(few))
    ports = plan_ports(replace(STACK, admin_port=str(first)))
    given = [ports.api, ports.db, ports.mail, ports.smtp, ports.admin]
    assert ports.admin == first
    assert len(set(given)) == 5


def test_a_number_given_twice_is_told() -> None:
    port = str(find_free_port("127.0.0.1"))
    with pytest.raises(ConfigurationError, match=f"port {port} was given to two"):
        plan_ports(replace(STACK, api_port=port, db_port=port))


def test_what_is_not_built_needs_no_port() -> None:
    ports = plan_ports(replace(STACK, mail_enabled=False, db_url="postgresql://elsewhere/x"))
    assert (ports.db, ports.mail, ports.smtp) == (None, None, None)


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:5"),
        ("0.0.0.0", "http://127.0.0.1:5"),
        ("::", "http://[::1]:5"),
        ("fd00::7", "http://[fd00::7]:5"),
        ("db.internal", "http://db.internal:5"),
    ],
)
def test_where_clients_connect(host: str, url: str) -> None:
    ports = Ports(api=5, db=None, mail=None, smtp=None, admin=6)
    assert render_public_url(replace(STACK, host=host), ports) == url


@pytest.mark.parametrize("port", ["auto", "23456"])
def test_an_address_of_another_machine_is_told(port: str) -> None:
    with pytest.raises(ConfigurationError, match=r"cannot listen on 192\.0\.2\.1") as raised:
        plan_ports(replace(STACK, host="192.0.2.1", api_port=port))
    assert "--host" in (raised.value.hint or "")


def test_settings_of_postgres_come_from_the_file_of_the_cli_or_the_environment() -> None:
    toml = TomlLayer({"db": {"settings": {"max_connections": 40, "track_commit_timestamp": True}}})
    stack = load_settings(StackSettings, [toml], owner="stack")
    assert plan_overrides(stack.db_settings) == {
        "max_connections": "40",
        "track_commit_timestamp": "true",
    }
    env = EnvLayer({"SELFBASE_DB_SETTINGS": '{"work_mem": "16MB"}'})
    stack = load_settings(StackSettings, [env, toml], owner="stack")
    assert plan_overrides(stack.db_settings) == {"work_mem": "16MB"}
    with pytest.raises(ConfigurationError, match="Port is not set there"):
        plan_overrides({"Port": 5})
