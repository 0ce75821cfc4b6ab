"""The reference page names every setting and route limit there is."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from selfbase.auth.routes import ROUTES
from selfbase.auth.settings import AuthSettings
from selfbase.kit.routes import Router

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "auth.md"


def test_every_setting_is_documented() -> None:
    page = PAGE.read_text()
    missing = [
        spec.name
        for spec in dataclasses.fields(AuthSettings)
        if (info := spec.metadata.get("setting")) is not None
        and (info.env[0] if info.env else f"SELFBASE_AUTH_{spec.name}".upper()) not in page
    ]
    assert missing == []


def test_operations_and_paths_are_named_once() -> None:
    operations = [route.operation for route in ROUTES]
    assert len(set(operations)) == len(operations)
    places = [(route.method, route.path) for route in ROUTES]
    assert len(set(places)) == len(places)
    assert len(Router(ROUTES).routes) == len(ROUTES)
