"""Names for generated code: what a language cannot read as a name is changed, the rest is kept.

Upstream prints some columns as text its own language refuses (`1st`, `日本`, `class`, two columns that
become one name); only those are treated differently here.
"""

from __future__ import annotations

import keyword
import re
from collections.abc import Callable, Iterable


def name_all(columns: Iterable[str], convert: Callable[[str], str]) -> list[str]:
    """The converted names in order; a name that was there before gets a number."""
    names: list[str] = []
    taken: set[str] = set()
    for column in columns:
        name = wanted = convert(column)
        number = 2
        while name in taken:
            name = f"{wanted}_{number}"
            number += 1
        taken.add(name)
        names.append(name)
    return names


def pascal_case(text: str) -> str:
    """`victory-road` becomes `VictoryRoad`."""
    return "".join(word[:1].upper() + word[1:] for word in re.split(r"[^a-zA-Z0-9]+", text))


def exported_name(text: str) -> str:
    """A type or field that may be used from outside: it begins with a capital letter."""
    name = pascal_case(text)
    return name if name[:1].isalpha() else f"X{name}"


def python_attribute(text: str) -> str:
    """`Victory-Road` becomes `victory_road`."""
    name = "_".join(word.lower() for word in re.split(r"[^a-zA-Z0-9]+", text))
    if not name[:1].isalpha():
        # A leading underscore would make it private to pydantic.
        return f"field_{name.strip('_')}"
    return f"{name}_" if keyword.iskeyword(name) else name


def quote_code(text: str) -> str:
    """A string literal that Python, Go and Swift read alike."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + escaped.replace("\n", "\\n").replace("\r", "\\r").replace("\t", "\\t") + '"'
