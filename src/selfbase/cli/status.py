"""What a running project offers: addresses and keys, under the names of the official CLI.

Source: supabase CLI, internal/status (2026-10).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import quote

import click
import orjson

from selfbase.kit.failures import ConfigurationError
from selfbase.supervisor.options import render_host
from selfbase.supervisor.state import State

S3_REGION = "local"


def make_values(state: State, secrets: Mapping[str, Any]) -> dict[str, str]:
    """Variables by name; secrets in clear text, for the one who asked."""
    url = state.api_url
    passwords = secrets.get("database_passwords", {})
    values = {
        "API_URL": url,
        "REST_URL": f"{url}/rest/v1",
        "GRAPHQL_URL": f"{url}/graphql/v1",
        "STORAGE_S3_URL": f"{url}/storage/v1/s3",
        "FUNCTIONS_URL": f"{url}/functions/v1",
        "STUDIO_URL": url,
        "ANON_KEY": str(secrets.get("anon_key", "")),
        "SERVICE_ROLE_KEY": str(secrets.get("service_role_key", "")),
        "PUBLISHABLE_KEY": str(secrets.get("publishable_key", "")),
        "SECRET_KEY": str(secrets.get("secret_key", "")),
        "JWT_SECRET": str(secrets.get("jwt_secret", "")),
        "S3_PROTOCOL_ACCESS_KEY_ID": str(secrets.get("s3_access_key_id", "")),
        "S3_PROTOCOL_ACCESS_KEY_SECRET": str(secrets.get("s3_access_key_secret", "")),
        "S3_PROTOCOL_REGION": S3_REGION,
    }
    if state.db_port is not None:
        password = quote(str(passwords.get("postgres", "")), safe="")
        where = f"{render_host(state.host)}:{state.db_port}"
        values["DB_URL"] = f"postgresql://postgres:{password}@{where}/postgres"
    if state.mail_port is not None:
        values["MAILPIT_URL"] = values["INBUCKET_URL"] = f"http://127.0.0.1:{state.mail_port}"
    return values


# What `--override-name` of the official CLI calls each variable.
OVERRIDABLE: Mapping[str, str] = {
    "api.url": "API_URL",
    "api.rest_url": "REST_URL",
    "api.graphql_url": "GRAPHQL_URL",
    "api.storage_s3_url": "STORAGE_S3_URL",
    "api.functions_url": "FUNCTIONS_URL",
    "db.url": "DB_URL",
    "studio.url": "STUDIO_URL",
    "inbucket.url": "INBUCKET_URL",
    "mailpit.url": "MAILPIT_URL",
    "auth.publishable_key": "PUBLISHABLE_KEY",
    "auth.secret_key": "SECRET_KEY",
    "auth.jwt_secret": "JWT_SECRET",
    "auth.anon_key": "ANON_KEY",
    "auth.service_role_key": "SERVICE_ROLE_KEY",
    "storage.s3_access_key_id": "S3_PROTOCOL_ACCESS_KEY_ID",
    "storage.s3_secret_access_key": "S3_PROTOCOL_ACCESS_KEY_SECRET",
    "storage.s3_region": "S3_PROTOCOL_REGION",
}


def rename_values(values: Mapping[str, str], overrides: Iterable[str]) -> dict[str, str]:
    """The values with `api.url=NEXT_PUBLIC_SUPABASE_URL` and the like applied to their names.

    Raises ConfigurationError for a name the official CLI does not know either.
    """
    renamed = {}
    for override in overrides:
        known, _, name = override.partition("=")
        if known not in OVERRIDABLE or not name:
            raise ConfigurationError(
                f"--override-name {override} is not understood",
                hint=f"It is NAME=VARIABLE with one of: {', '.join(OVERRIDABLE)}",
            )
        renamed[OVERRIDABLE[known]] = name
    return {renamed.get(name, name): value for name, value in values.items()}


def render_env(values: Mapping[str, str]) -> str:
    """`NAME="value"` lines, sorted, as shells and dotenv readers take them."""
    lines = []
    for name in sorted(values):
        text = values[name].replace("\\", "\\\\").replace('"', '\\"').replace("$", "\\$")
        lines.append(f'{name}="{text}"')
    return "\n".join(lines) + "\n"


def render_json(values: Mapping[str, str]) -> str:
    return orjson.dumps(dict(values), option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS).decode()


GROUPS: tuple[tuple[str, tuple[tuple[str, str], ...]], ...] = (
    (
        "APIs",
        (
            ("Project URL", "API_URL"),
            ("REST", "REST_URL"),
            ("GraphQL", "GRAPHQL_URL"),
            ("Edge Functions", "FUNCTIONS_URL"),
        ),
    ),
    ("Development tools", (("Studio", "STUDIO_URL"), ("Mail catcher", "MAILPIT_URL"))),
    ("Database", (("URL", "DB_URL"),)),
    (
        "API keys",
        (
            ("Publishable", "PUBLISHABLE_KEY"),
            ("Secret", "SECRET_KEY"),
            ("anon (legacy)", "ANON_KEY"),
            ("service_role (legacy)", "SERVICE_ROLE_KEY"),
        ),
    ),
    (
        "Storage (S3)",
        (
            ("URL", "STORAGE_S3_URL"),
            ("Access key", "S3_PROTOCOL_ACCESS_KEY_ID"),
            ("Secret key", "S3_PROTOCOL_ACCESS_KEY_SECRET"),
            ("Region", "S3_PROTOCOL_REGION"),
        ),
    ),
)


def print_pretty(state: State, values: Mapping[str, str]) -> None:
    """Tables for a person.  Long keys are not cut: they are there to be copied."""
    colour = "green" if state.status == "running" else "yellow"
    click.secho("Selfbase", bold=True, nl=False)
    click.echo(" is ", nl=False)
    click.secho(state.status, fg=colour)
    if state.problem:
        click.secho(state.problem, fg="yellow")
    for title, rows in GROUPS:
        shown = [(label, values[name]) for label, name in rows if values.get(name)]
        if shown:
            click.secho(f"\n{title}", bold=True)
        for label, value in shown:
            click.secho(f"  {label:<22}", dim=True, nl=False)
            click.echo(value)
