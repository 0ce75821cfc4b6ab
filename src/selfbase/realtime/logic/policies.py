"""Row level security policies that can be judged without asking PostgreSQL for every caller.

A policy is understood when it is made of columns compared for equality with values that depend on
the caller alone, such as `auth.uid()`, joined by AND, OR and NOT.  The values are computed by
PostgreSQL itself, once for each caller; here they are only compared.  Whatever is not understood
completely is left to PostgreSQL.  Source: PostgreSQL documentation, 5.9; reference section 12.1.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from selfbase.realtime.logic.pgoutput import Unchanged, Value

CONSTANTS_MAX = 16
# libpg_query is recursive C: an expression nested tens of thousands deep would end this process.
QUAL_CHARS_MAX = 4000
# Functions whose result depends on the caller's claims and role only.
_CALLER_FUNCTIONS = frozenset(
    {
        *(("auth", name) for name in ("uid", "role", "email", "jwt")),
        *(("current_setting",), ("pg_catalog", "current_setting")),
        *(("lower",), ("upper",), ("pg_catalog", "lower"), ("pg_catalog", "upper")),
    }
)
# Claims that differ between two tokens of one session: callers are told apart without them.
# Their names stand in SQL text as 'exp', '{exp}', '{"exp"}', and in capitals inside lower().
_CHANGING_CLAIMS = re.compile(r"""['",{.]\s*(exp|iat|jti|nbf)\s*['",}]""", re.IGNORECASE)
_CALLER_OPERATORS = frozenset({"->", "->>", "#>", "#>>"})
_PLAIN_TYPES = frozenset(
    [
        "text",
        "varchar",
        "uuid",
        "json",
        "jsonb",
        "bool",
        "boolean",
        "int2",
        "int4",
        "int8",
        "integer",
        "bigint",
        "smallint",
    ]
)
# Which types of a compared value fit which column: their text forms are equal when they are.
_FAMILIES = (
    frozenset({"uuid"}),
    frozenset({"text", "varchar", "character varying", "name"}),
    frozenset({"int2", "int4", "int8", "smallint", "integer", "bigint"}),
    frozenset({"bool", "boolean"}),
)

Truth = bool | None
Row = Mapping[str, Value]
Judge = Callable[[Row, Sequence[str | None]], Truth]


class NotUnderstood(Exception):
    """This expression is PostgreSQL's to judge."""


class NotSent(Exception):
    """A column the policy needs did not travel with the change."""


@dataclass(frozen=True, slots=True)
class Policy:
    """One policy for SELECT that applies to the role, `qual` as pg_get_expr shows it with an empty
    search path."""

    permissive: bool
    qual: str


@dataclass(slots=True)
class Plan:
    """How to judge rows.

    `constants` are SQL expressions to be computed for each caller; `families` say which types
    their results may have.  `index` names a column and a constant whose equality is necessary.
    """

    judge: Judge
    constants: list[str] = field(default_factory=list)
    families: list[frozenset[str]] = field(default_factory=list)
    index: tuple[str, int] | None = None


def plan_policies(policies: Sequence[Policy], columns: Mapping[str, str]) -> Plan | None:
    """A plan for all policies together, or None when one of them is not understood.

    `columns` maps those columns whose text equality is equality to their type names.
    """
    compiler = _Compiler(columns)
    try:
        allowing = [compiler.compile(p.qual) for p in policies if p.permissive]
        limiting = [compiler.compile(p.qual) for p in policies if not p.permissive]
    except NotUnderstood:
        return None
    if len(compiler.constants) > CONSTANTS_MAX:
        return None
    judge = _all([_any(allowing), *limiting])
    index = compiler.find_index(policies)
    return Plan(judge, compiler.constants, compiler.families, index)


def fits(families: Sequence[frozenset[str]], types: Sequence[str]) -> bool:
    """Whether computed constants have types their comparisons were planned for."""
    return all(kind in family for family, kind in zip(families, types, strict=True))


class _Compiler:
    def __init__(self, columns: Mapping[str, str]) -> None:
        self._columns = columns
        self.constants: list[str] = []
        self.families: list[frozenset[str]] = []

    def compile(self, qual: str) -> Judge:
        return self._truth(_parse(qual))

    def find_index(self, policies: Sequence[Policy]) -> tuple[str, int] | None:
        """The equality that a row has to meet, when there is only one permissive policy."""
        allowing = [policy for policy in policies if policy.permissive]
        if len(allowing) != 1:
            return None
        node = _parse(allowing[0].qual)
        kind, inner = _open(node)
        parts = [node]
        if kind == "bool_expr" and _choice(inner, "boolop") == "AND_EXPR":
            parts = list(inner.args)
        for part in parts:
            kind, inner = _open(part)
            if kind != "a_expr" or self._is_constant(part):
                continue
            found = self._equality(inner)
            if found is None or _operator(inner) != "=":
                continue
            if self._columns[found[0]] not in _FAMILIES[3]:
                return found
        return None

    def _truth(self, node: Any) -> Judge:
        kind, inner = _open(node)
        if kind == "bool_expr":
            parts = [self._truth(arg) for arg in inner.args]
            if _choice(inner, "boolop") == "AND_EXPR":
                return _all(parts)
            return _any(parts) if _choice(inner, "boolop") == "OR_EXPR" else _not(parts[0])
        if kind == "a_const" and inner.WhichOneof("val") == "boolval":
            value = bool(inner.boolval.boolval)
            return lambda row, constants: value
        if kind == "null_test" and _has_only(inner, "arg", "nulltesttype"):
            name = self._column(inner.arg)
            is_null = _choice(inner, "nulltesttype") == "IS_NULL"
            return lambda row, constants: (_value(row, name) is None) is is_null
        if kind == "column_ref":
            name = self._column(node, _FAMILIES[3])
            return lambda row, constants: _boolean(_value(row, name))
        if kind == "a_expr":
            return self._comparison(node)
        raise NotUnderstood

    def _comparison(self, node: Any) -> Judge:
        if self._is_constant(node):
            # The whole comparison is the caller's, such as auth.role() = 'authenticated'.
            position = self._constant(node, _FAMILIES[3])
            return lambda row, constants: _boolean(constants[position], "true")
        _, inner = _open(node)
        found = self._equality(inner)
        if found is None:
            raise NotUnderstood
        name, position = found
        wanted = _operator(inner) == "="
        is_boolean = self._columns[name] in _FAMILIES[3]

        def judge(row: Row, constants: Sequence[str | None]) -> Truth:
            value, constant = _value(row, name), constants[position]
            if value is None or constant is None:
                return None
            # A boolean is t in the log and true as text.
            return (value == (constant[:1] if is_boolean else constant)) is wanted

        return judge

    def _equality(self, expression: Any) -> tuple[str, int] | None:
        if _operator(expression) not in ("=", "<>"):
            return None
        left, right = expression.lexpr, expression.rexpr
        for column, constant in ((left, right), (right, left)):
            if self._is_constant(constant):
                name = self._column(_uncast(column))
                family = _family(self._columns[name])
                return name, self._constant(constant, family)
        return None

    def _column(self, node: Any, family: frozenset[str] | None = None) -> str:
        kind, inner = _open(node)
        names = _names(inner.fields) if kind == "column_ref" else ()
        if len(names) != 1 or names[0] not in self._columns:
            raise NotUnderstood
        if family is not None and self._columns[names[0]] not in family:
            raise NotUnderstood
        return names[0]

    def _constant(self, node: Any, family: frozenset[str]) -> int:
        text = _render(node)
        if _CHANGING_CLAIMS.search(text):
            raise NotUnderstood
        for position, known in enumerate(self.constants):
            if known == text and self.families[position] == family:
                return position
        self.constants.append(text)
        self.families.append(family)
        return len(self.constants) - 1

    def _is_constant(self, node: Any) -> bool:
        kind, inner = _open(node)
        match kind:
            case "a_const":
                return True
            case "type_cast":
                return _is_plain_type(inner.type_name) and self._is_constant(inner.arg)
            case "func_call":
                known = _names(inner.funcname) in _CALLER_FUNCTIONS
                plain = _has_only(inner, "funcname", "args", "funcformat")
                return known and plain and all(map(self._is_constant, inner.args))
            case "sqlvalue_function":
                return _choice(inner, "op") in ("SVFOP_CURRENT_USER", "SVFOP_CURRENT_ROLE")
            case "coalesce_expr":
                return all(map(self._is_constant, inner.args))
            case "sub_link":
                plain = _has_only(inner, "sub_link_type", "subselect")
                if not plain or _choice(inner, "sub_link_type") != "EXPR_SUBLINK":
                    return False
                value = _find_only_value(inner.subselect)
                return value is not None and self._is_constant(value)
            case "a_expr":
                known = _choice(inner, "kind") == "AEXPR_NULLIF" or (
                    _operator(inner) in (*_CALLER_OPERATORS, "=", "<>")
                )
                return known and self._is_constant(inner.lexpr) and self._is_constant(inner.rexpr)
        return False


def _parse(qual: str) -> Any:
    """The node of an expression."""
    # Only here and below, because the parser's tree is large and not every project has policies.
    import postgast
    from google.protobuf.message import DecodeError

    if len(qual) > QUAL_CHARS_MAX:
        raise NotUnderstood
    try:
        statements = postgast.parse(f"select {qual}").stmts
    except (postgast.PgQueryError, DecodeError):
        # DecodeError: nested deeper than protobuf reads.
        raise NotUnderstood from None
    value = _find_only_value(statements[0].stmt) if len(statements) == 1 else None
    if value is None:
        raise NotUnderstood
    return value


def _render(node: Any) -> str:
    """The SQL text of an expression."""
    import postgast

    result = postgast.parse("select null")
    _find_only_value(result.stmts[0].stmt).CopyFrom(node)
    try:
        return str(postgast.deparse(result)).removeprefix("SELECT ")
    except postgast.PgQueryError:
        raise NotUnderstood from None


def _find_only_value(node: Any) -> Any:
    """What `select <value>` selects; None when the statement has any other part."""
    kind, query = _open(node)
    if kind != "select_stmt" or not _has_only(query, "target_list", "limit_option", "op"):
        return None
    if _choice(query, "op") != "SETOP_NONE" or len(query.target_list) != 1:
        return None
    _, target = _open(query.target_list[0])
    return target.val if _has_only(target, "name", "val") else None


def _open(node: Any) -> tuple[str, Any]:
    """What kind a node is and its content; an absent node is of the kind ""."""
    kind = node.WhichOneof("node")
    return (kind, getattr(node, kind)) if kind else ("", None)


def _has_only(message: Any, *fields: str) -> bool:
    """Whether nothing is set but these fields: syntax nobody thought of is not understood."""
    return all(
        described.name == "location" or described.name in fields
        for described, _ in message.ListFields()
    )


def _choice(message: Any, field: str) -> str:
    """The name of an enumerated value."""
    kind = message.DESCRIPTOR.fields_by_name[field].enum_type
    return str(kind.values_by_number[getattr(message, field)].name)


def _names(nodes: Any) -> tuple[str, ...]:
    """The parts of a name; none at all when a part is not a name, such as `*`."""
    opened = [_open(node) for node in nodes]
    if any(kind != "string" for kind, _ in opened):
        return ()
    return tuple(str(part.sval) for _, part in opened)


def _operator(expression: Any) -> str | None:
    """The name of a plain operator; None for one with a schema and for ANY, LIKE, BETWEEN …"""
    names = _names(expression.name)
    plain = _choice(expression, "kind") == "AEXPR_OP" and len(names) == 1
    return names[0] if plain else None


def _uncast(node: Any) -> Any:
    """varchar compares as text: PostgreSQL shows the column with a cast that changes nothing."""
    kind, inner = _open(node)
    if kind == "type_cast" and _is_plain_type(inner.type_name, ("text",)):
        return inner.arg
    return node


def _is_plain_type(node: Any, known: Collection[str] = _PLAIN_TYPES) -> bool:
    """Whether a type is one of PostgreSQL's own, neither an array nor of limited length."""
    names = _names(node.names)
    own = len(names) == 1 or (len(names) == 2 and names[0] == "pg_catalog")
    return own and names[-1] in known and _has_only(node, "names", "typemod")


def _family(type_name: str) -> frozenset[str]:
    for family in _FAMILIES:
        if type_name in family:
            return family
    raise NotUnderstood


def _value(row: Row, name: str) -> str | None:
    value = row.get(name, Unchanged.TOAST)
    if isinstance(value, Unchanged):
        raise NotSent(name)
    return value


def _boolean(value: str | None, true: str = "t") -> Truth:
    return None if value is None else value == true


def _all(parts: Sequence[Judge]) -> Judge:
    if len(parts) == 1:
        return parts[0]

    def judge(row: Row, constants: Sequence[str | None]) -> Truth:
        result: Truth = True
        for part in parts:
            truth = part(row, constants)
            if truth is False:
                return False
            if truth is None:
                result = None
        return result

    return judge


def _any(parts: Sequence[Judge]) -> Judge:
    if len(parts) == 1:
        return parts[0]

    def judge(row: Row, constants: Sequence[str | None]) -> Truth:
        result: Truth = False
        for part in parts:
            truth = part(row, constants)
            if truth is True:
                return True
            if truth is None:
                result = None
        return result

    return judge


def _not(part: Judge) -> Judge:
    def judge(row: Row, constants: Sequence[str | None]) -> Truth:
        truth = part(row, constants)
        return None if truth is None else not truth

    return judge
