"""Types of a database for a programming language."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace

from selfbase.http.values import Response
from selfbase.meta.call import Call, answer_text
from selfbase.meta.catalog import SYSTEM_SCHEMAS
from selfbase.meta.connection import MetaConnection
from selfbase.meta.errors import BadRequest, NotFound
from selfbase.meta.introspection import load_introspection
from selfbase.meta.logic.types_go import render_go
from selfbase.meta.logic.types_python import render_python
from selfbase.meta.logic.types_swift import render_swift
from selfbase.meta.logic.types_typescript import render_typescript
from selfbase.meta.settings import MetaSettings

LANGUAGES = ("typescript", "go", "swift", "python")
ACCESS_CONTROLS = ("internal", "public", "private", "package")


@dataclass(frozen=True, slots=True)
class TypeOptions:
    """What shapes the output besides the schema."""

    one_to_one: bool = False
    postgrest_version: str | None = None
    access_control: str = "internal"
    default_schema: str = "public"

    @classmethod
    def from_settings(cls, settings: MetaSettings) -> TypeOptions:
        return cls(
            access_control=settings.swift_access_control, default_schema=settings.default_schema
        )


async def answer_types(call: Call) -> Response:
    language = call.request.params["language"]
    if language not in LANGUAGES:
        raise NotFound
    page = call.read_page(system=True)
    excluded = [*SYSTEM_SCHEMAS, *(page.excluded or [])]
    options = replace(
        TypeOptions.from_settings(call.settings),
        one_to_one=call.is_true("detect_one_to_one_relationships"),
        postgrest_version=call.find_text("postgrest_version") or None,
    )
    access_control = call.find_text("access_control")
    if access_control:
        if access_control not in ACCESS_CONTROLS:
            raise BadRequest(f"access_control must be one of {', '.join(ACCESS_CONTROLS)}")
        options = replace(options, access_control=access_control)
    async with call.connect() as connection:
        text = await generate_types(connection, language, page.included or (), options, excluded)
    return answer_text(text)


async def generate_types(
    connection: MetaConnection,
    language: str,
    schemas: Sequence[str],
    options: TypeOptions,
    excluded: Sequence[str] = SYSTEM_SCHEMAS,
) -> str:
    """The whole file.  No schemas means all but the excluded ones.  Raises BadRequest."""
    if language not in LANGUAGES:
        raise BadRequest(f"Unsupported language: use one of {', '.join(LANGUAGES)}")
    found = await load_introspection(
        connection, list(schemas) or None, None if schemas else list(excluded)
    )
    # Rendering takes seconds for thousands of tables: a thread keeps the loop answering meanwhile.
    if language == "typescript":
        return await asyncio.to_thread(
            render_typescript,
            found,
            one_to_one=options.one_to_one,
            postgrest_version=options.postgrest_version,
            default_schema=options.default_schema,
        )
    if language == "swift":
        return await asyncio.to_thread(render_swift, found, options.access_control)
    return await asyncio.to_thread(render_go if language == "go" else render_python, found)
