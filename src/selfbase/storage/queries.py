"""The fixed SQL of a service, read from a file of named blocks.

A block begins with `-- name: <name>`; comment lines after it say what goes in and comes out and are
not sent.  A block whose name begins with `_` is a fragment: `<name>` stands for it in those below.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import resources
from importlib.resources.abc import Traversable


def load_queries(file: Traversable) -> Mapping[str, bytes]:
    """The blocks of a file by name, fragments put in."""
    blocks: dict[str, list[str]] = {}
    lines: list[str] = []
    for line in file.read_text(encoding="utf-8").splitlines():
        if line.startswith("-- name:"):
            lines = blocks.setdefault(line.removeprefix("-- name:").strip(), [])
        elif line.strip() and not line.lstrip().startswith("--"):
            lines.append(line.strip())
    texts = {name: " ".join(parts).removesuffix(";") for name, parts in blocks.items()}
    fragments: dict[str, str] = {}
    for name, text in texts.items():
        for fragment, content in fragments.items():
            text = text.replace(f"<{fragment}>", content)
        if name.startswith("_"):
            fragments[name[1:]] = text
        texts[name] = text
    return {name: text.encode() for name, text in texts.items() if not name.startswith("_")}


SQL = load_queries(resources.files("selfbase.storage") / "sql" / "queries.sql")
