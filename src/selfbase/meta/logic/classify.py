"""What a piece of SQL would do, told from its syntax tree and never from its words.

For tools that warn before they run something, and for the read-only mode.  A function that a SELECT
calls may do anything: its name is listed, and in read-only mode the transaction itself stops it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Literal

from selfbase.meta.errors import ReadOnly
from selfbase.meta.logic.syntax import parse_sql

Effect = Literal["read", "write", "schema", "rights", "transaction", "session", "unknown"]
Node = dict[str, Any]

_READS = frozenset({"SelectStmt", "VariableShowStmt", "ExplainStmt", "DeclareCursorStmt"})
_WRITES = frozenset(
    {"InsertStmt", "UpdateStmt", "DeleteStmt", "MergeStmt", "TruncateStmt", "RefreshMatViewStmt"}
)
_RIGHTS = frozenset(
    {"GrantStmt", "GrantRoleStmt", "AlterDefaultPrivilegesStmt", "CreateRoleStmt", "AlterRoleStmt"}
    | {"DropRoleStmt", "AlterRoleSetStmt", "CreatePolicyStmt", "AlterPolicyStmt", "DropOwnedStmt"}
    | {"ReassignOwnedStmt", "AlterOwnerStmt"}
)
_SESSION = frozenset(
    {"VariableSetStmt", "DiscardStmt", "ListenStmt", "UnlistenStmt", "LockStmt", "FetchStmt"}
    | {"PrepareStmt", "DeallocateStmt", "ClosePortalStmt", "NotifyStmt", "ConstraintsSetStmt"}
)
_OPAQUE = frozenset({"DoStmt", "CallStmt", "ExecuteStmt", "LoadStmt"})
_TARGETS = {
    "InsertStmt": "insert",
    "UpdateStmt": "update",
    "DeleteStmt": "delete",
    "MergeStmt": "merge",
}
_DROPPED_RELATIONS = frozenset(
    {"OBJECT_TABLE", "OBJECT_VIEW", "OBJECT_MATVIEW", "OBJECT_FOREIGN_TABLE", "OBJECT_SEQUENCE"}
)
_DESTRUCTIVE_ALTERS = {
    "AT_DropColumn": "drops a column",
    "AT_DropConstraint": "drops a constraint",
    "AT_AlterColumnType": "rewrites the values of a column",
    "AT_DisableRowSecurity": "turns row level security off",
    "AT_DetachPartition": "detaches a partition",
}


def classify_sql(sql: str) -> Node:
    """`{"statements": […], "reads_only", "destructive"}`.  Raises BadRequest for bad SQL."""
    raw = sql.encode()
    statements = [_classify(item, raw) for item in parse_sql(sql)["stmts"]]
    return {
        "statements": statements,
        "reads_only": all(statement["effect"] == "read" for statement in statements),
        "destructive": any(statement["destructive"] for statement in statements),
    }


def check_read_only(sql: str) -> None:
    """Raises ReadOnly for the first statement that does more than read, BadRequest for bad SQL."""
    for statement in classify_sql(sql)["statements"]:
        if statement["effect"] != "read":
            raise ReadOnly(f"cannot execute {statement['command']} in a read-only connection")


def _classify(item: Node, raw: bytes) -> Node:
    start = item.get("stmt_location", 0)
    length = item.get("stmt_len", 0) or len(raw) - start
    name, body = next(iter(item["stmt"].items()))
    effect = _find_effect(name, body)
    reasons = _find_reasons(name, body)
    return {
        "command": _command(name, body),
        "effect": effect,
        "destructive": bool(reasons),
        "reasons": reasons,
        "tables": _list_tables(name, body),
        "functions": _list_functions(body),
        "text": raw[start : start + length].decode("utf-8", "replace").strip(),
    }


def _command(name: str, body: Node) -> str:
    """The statement's words: `DeleteStmt` is DELETE, `CreateTableAsStmt` is CREATE TABLE AS."""
    if name == "TransactionStmt":
        return str(body.get("kind", "")).removeprefix("TRANS_STMT_").replace("_", " ")
    if name in {"DropStmt", "AlterTableStmt", "RenameStmt", "CommentStmt"}:
        kind = body.get("removeType") or body.get("objtype") or body.get("renameType") or ""
        verb = {"DropStmt": "DROP", "CommentStmt": "COMMENT ON"}.get(name, "ALTER")
        return f"{verb} {str(kind).removeprefix('OBJECT_').replace('_', ' ')}".strip()
    if name == "GrantStmt":
        return "GRANT" if body.get("is_grant") else "REVOKE"
    known = {"CreateStmt": "CREATE TABLE", "VariableSetStmt": "SET", "VariableShowStmt": "SHOW"}
    known |= {"ViewStmt": "CREATE VIEW", "IndexStmt": "CREATE INDEX"}
    words = re.findall(r"[A-Z][a-z]*", name.removesuffix("Stmt"))
    return known.get(name, " ".join(words).upper())


def _find_effect(name: str, body: Node) -> Effect:
    if name == "ExplainStmt":
        inner, inner_body = next(iter(body["query"].items()))
        runs = any(option["DefElem"]["defname"] == "analyze" for option in body.get("options", []))
        return _find_effect(inner, inner_body) if runs else "read"
    if name == "CopyStmt":
        return _find_copy_effect(body)
    if name in _READS:
        return "write" if _changes_rows(body) else "read"
    if name in _WRITES:
        return "write"
    if name in _RIGHTS:
        return "rights"
    if name == "TransactionStmt":
        return "transaction"
    if name in _SESSION:
        return "session"
    return "unknown" if name in _OPAQUE else "schema"


def _find_copy_effect(body: Node) -> Effect:
    if body.get("is_program"):
        return "unknown"
    if body.get("is_from") or _changes_rows(body.get("query", {})):
        return "write"
    return "unknown" if body.get("filename") else "read"


def _changes_rows(body: Node) -> bool:
    """SELECT INTO, a row lock, or a common table expression that writes."""
    return any(
        name in _WRITES or name in {"IntoClause", "LockingClause"} or "intoClause" in node
        for name, node in _walk(body)
    )


def _walk(value: Any) -> Iterator[tuple[str, Node]]:
    """Every node below `value` with the name of its kind, or of the member that holds it."""
    stack: list[tuple[str, Any]] = [("", value)]
    while stack:
        name, node = stack.pop()
        if isinstance(node, dict):
            yield name, node
            stack.extend(node.items())
        elif isinstance(node, list):
            stack.extend((name, item) for item in node)


def _find_reasons(name: str, body: Node) -> list[str]:
    reasons: list[str] = []
    if name == "DropStmt" or (name.startswith("Drop") and name != "DropOwnedStmt"):
        reasons.append("drops an object")
    elif name == "DropOwnedStmt":
        reasons.append("drops everything a role owns")
    elif name == "TruncateStmt":
        reasons.append("removes all rows of a table")
    elif name == "AlterTableStmt":
        for command in body.get("cmds", []):
            subtype = command["AlterTableCmd"].get("subtype", "")
            if subtype in _DESTRUCTIVE_ALTERS:
                reasons.append(_DESTRUCTIVE_ALTERS[subtype])
    elif name == "ExplainStmt" and _find_effect(name, body) == "read":
        return []
    for kind, node in [(name, body), *_walk(body)]:
        if kind == "DeleteStmt":
            every = "" if "whereClause" in node else "all "
            reasons.append(f"deletes {every}rows of a table")
        elif kind == "UpdateStmt" and "whereClause" not in node:
            reasons.append("updates all rows of a table")
    return list(dict.fromkeys(reasons))


def _list_tables(name: str, body: Node) -> list[Node]:
    """Relations named in the statement and what happens to each, in order of appearance."""
    local = {node["ctename"] for kind, node in _walk(body) if kind == "CommonTableExpr"}
    found: dict[tuple[str | None, str, str], Node] = {}

    def add(schema: str | None, table: str, access: str) -> None:
        key = (schema, table, access)
        found.setdefault(key, {"schema": schema, "name": table, "access": access})

    targets = [(kind, node) for kind, node in [(name, body), *_walk(body)] if kind in _TARGETS]
    written = {id(node["relation"]) for _, node in targets if "relation" in node}
    for kind, node in targets:
        if "relation" in node:
            relation = node["relation"]
            add(relation.get("schemaname"), relation["relname"], _TARGETS[kind])
    for kind, node in _walk(body):
        if "relname" in node and id(node) not in written:
            if node["relname"] in local and "schemaname" not in node:
                continue
            add(node.get("schemaname"), node["relname"], _access(name, kind, body))
    if name == "DropStmt" and body.get("removeType") in _DROPPED_RELATIONS:
        for parts in body.get("objects", []):
            names = [part["String"]["sval"] for part in parts["List"]["items"]]
            add(names[-2] if len(names) > 1 else None, names[-1], "drop")
    return list(found.values())


def _access(name: str, kind: str, body: Node) -> str:
    """What happens to a relation in place `kind`: a bare member is the statement's subject, and a
    listed one is what the statement looks at, except where the list is the subject."""
    if name == "TruncateStmt":
        return "truncate"
    if name == "CopyStmt" and kind == "relation":
        return "insert" if body.get("is_from") else "read"
    is_subject = kind != "RangeVar" or name in {"GrantStmt", "LockStmt"}
    return "change" if is_subject else "read"


def _list_functions(body: Node) -> list[str]:
    names = [
        ".".join(part["String"]["sval"] for part in node["funcname"])
        for _, node in _walk(body)
        if isinstance(node.get("funcname"), list) and "agg_within_group" not in node
    ]
    return sorted(set(names))
