"""The shape of the source tree: imports go down only, logic stays pure, files stay rooms."""

from __future__ import annotations

import ast
from pathlib import Path

SRC = Path(__file__).parents[2] / "src" / "selfbase"
SERVICES = [
    "rest",
    "graphql",
    "auth",
    "realtime",
    "storage",
    "images",
    "functions",
    "meta",
    "logs",
    "jobs",
    "pooler",
    "backups",
    "studio",
    "platform",
]

# From the top down; a module may import from its own layer's folder and from lower layers.
LAYERS: list[set[str]] = [
    {"cli"},
    {"supervisor", "asgi"},
    {"app"},
    {*SERVICES, "gateway"},
    {"project", "workspace"},
    {"database", "http"},
    {"identity"},
    {"kit"},
]
RANK = {name: rank for rank, names in enumerate(LAYERS) for name in names}
# Words that have no business in pure logic: the clock, the network, chance, the environment.
IMPURE = {"asyncio", "socket", "subprocess", "random", "secrets", "psycopg", "httpx", "os", "time"}


def modules() -> list[Path]:
    return sorted(SRC.rglob("*.py"))


def owner(path: Path) -> str:
    return path.relative_to(SRC).parts[0].removesuffix(".py")


def imports(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert node.level == 0, f"{path}: imports are absolute"
            found.add(node.module)
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def inner_imports(path: Path) -> set[str]:
    return {
        name.split(".")[1]
        for name in imports(path)
        if name.startswith("selfbase.") and name.split(".")[1] in RANK
    }


def test_every_folder_has_a_layer() -> None:
    unknown = {owner(path) for path in modules()} - RANK.keys() - {"__init__", "__main__"}
    assert unknown == set()


def test_imports_go_down_only() -> None:
    wrong = [
        f"{path.relative_to(SRC)} imports {name}"
        for path in modules()
        if owner(path) in RANK
        for name in inner_imports(path)
        if name != owner(path) and RANK[name] <= RANK[owner(path)]
    ]
    assert wrong == []


def test_logic_is_pure() -> None:
    wrong = []
    for path in modules():
        if "logic" not in path.relative_to(SRC).parts:
            continue
        used = {name.split(".")[0] for name in imports(path)} & IMPURE
        asynchronous = any(
            isinstance(n, ast.AsyncFunctionDef) for n in ast.walk(ast.parse(path.read_text()))
        )
        if used or asynchronous:
            wrong.append(f"{path.relative_to(SRC)}: {sorted(used) or 'async'}")
    assert wrong == []


def test_every_module_says_its_charge() -> None:
    silent = [
        str(path.relative_to(SRC))
        for path in modules()
        if path.read_text().strip() and ast.get_docstring(ast.parse(path.read_text())) is None
    ]
    assert silent == []


def test_the_environment_is_read_in_one_place() -> None:
    wrong = [
        str(path.relative_to(SRC))
        for path in modules()
        if owner(path) not in {"cli", "asgi"}
        and ("os.environ" in path.read_text() or "getenv" in path.read_text())
        and owner(path) != "database"
    ]
    assert wrong == []
