"""The fixed part of a generated TypeScript file: `Json`, and the helper types over `Database`.

Clients import these names, and the official generator's text is matched byte for byte, so the
layout is part of the contract.  Source: reference/meta.md section 6.
"""

from __future__ import annotations

from textwrap import indent

HEAD = """\
export type Json =
  | string
  | number
  | boolean
  | null
  | { [key: string]: Json | undefined }
  | Json[]
"""

# `{version}` is a string literal.  The two comments are for the reader of the generated file.
INTERNAL = """\
// Allows to automatically instantiate createClient with right options
// instead of createClient<Database, {{ PostgrestVersion: 'XX' }}>(URL, KEY)
__InternalSupabase: {{
  PostgrestVersion: {version}
}}"""

_NAMES = """\
type DatabaseWithoutInternals = Omit<Database, "__InternalSupabase">

type DefaultSchema = DatabaseWithoutInternals[Extract<
  keyof Database,
  @DEFAULT_SCHEMA@
>]
"""

_NAMES_SHORT = """\
type DatabaseWithoutInternals = Omit<Database, "__InternalSupabase">

type DefaultSchema = DatabaseWithoutInternals[Extract<keyof Database, @DEFAULT_SCHEMA@>]
"""


def render_helpers(default_schema: str) -> str:
    """The helper types; `default_schema` is a string literal."""
    names = _NAMES_SHORT
    if (
        max(len(line) for line in names.replace("@DEFAULT_SCHEMA@", default_schema).split("\n"))
        > 80
    ):
        names = _NAMES
    parts = [
        names.replace("@DEFAULT_SCHEMA@", default_schema),
        _render_tables(),
        _render_rows("TablesInsert", "Insert", "I"),
        _render_rows("TablesUpdate", "Update", "U"),
        _render_names("Enums", "DefaultSchemaEnum", "EnumName"),
        _render_names("CompositeTypes", "PublicCompositeType", "CompositeTypeName"),
    ]
    return "\n".join(parts)


def _render_head(helper: str, option: str, known: str, name: str, members: str) -> str:
    return f"""\
export type {helper}<
  {option} extends
    | {known}
    | {{ schema: keyof DatabaseWithoutInternals }},
  {name} extends {option} extends {{
    schema: keyof DatabaseWithoutInternals
  }}
    ? {members}
    : never = never,
> = {option} extends {{
  schema: keyof DatabaseWithoutInternals
}}
"""


def _render_infer(source: str, row: str, variable: str, depth: int) -> str:
    """A conditional type that takes one row type out of a table's."""
    text = f"""\
{source} extends {{
  {row}: infer {variable}
}}
? {variable}
: never
"""
    first, rest = text.split("\n", 1)
    return first + "\n" + indent(rest, " " * depth)


def _render_rows(helper: str, row: str, variable: str) -> str:
    option = "DefaultSchemaTableNameOrOptions"
    chosen = f'DatabaseWithoutInternals[{option}["schema"]]["Tables"]'
    head = _render_head(
        helper, option, 'keyof DefaultSchema["Tables"]', "TableName", f"keyof {chosen}"
    )
    return (
        head
        + "  ? "
        + _render_infer(f"{chosen}[TableName]", row, variable, 4)
        + f'  : {option} extends keyof DefaultSchema["Tables"]\n    ? '
        + _render_infer(f'DefaultSchema["Tables"][{option}]', row, variable, 6)
        + "    : never\n"
    )


def _render_tables() -> str:
    option = "DefaultSchemaTableNameOrOptions"
    schema = f'DatabaseWithoutInternals[{option}["schema"]]'
    known = 'keyof (DefaultSchema["Tables"] & DefaultSchema["Views"])'
    members = f'keyof ({schema}["Tables"] &\n        {schema}["Views"])'
    return (
        _render_head("Tables", option, known, "TableName", members)
        + f'  ? ({schema}["Tables"] &\n      '
        + _render_infer(f'{schema}["Views"])[TableName]', "Row", "R", 4)
        + f'  : {option} extends keyof (DefaultSchema["Tables"] &\n'
        + '        DefaultSchema["Views"])\n    ? (DefaultSchema["Tables"] &\n        '
        + _render_infer(f'DefaultSchema["Views"])[{option}]', "Row", "R", 6)
        + "    : never\n"
    )


def _render_names(section: str, prefix: str, name: str) -> str:
    option = f"{prefix}NameOrOptions"
    chosen = f'DatabaseWithoutInternals[{option}["schema"]]["{section}"]'
    known = f'keyof DefaultSchema["{section}"]'
    return (
        _render_head(section, option, known, name, f"keyof {chosen}")
        + f"  ? {chosen}[{name}]\n"
        + f"  : {option} extends {known}\n"
        + f'    ? DefaultSchema["{section}"][{option}]\n'
        + "    : never\n"
    )
