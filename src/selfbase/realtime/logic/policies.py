"""Row level security policies that can be judged without asking PostgreSQL for every caller.

A policy is understood when it is made of columns compared for equality with values that depend on
the caller alone, such as `auth.uid()`, joined by AND, OR and NOT.  The values are computed by
PostgreSQL itself, once for each caller; here they are only compared.  Whatever is not understood
completely is left to PostgreSQL.  Source: PostgreSQL documentation, 5.9; reference section 12.1.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pglast
from pglast import ast
from pglast.enums import A_Expr_Kind, BoolExprType, NullTestType, SQLValueFunctionOp, SubLinkType
from pglast.stream import RawStream

from selfbase.realtime.logic.pgoutput import Unchanged, Value

CONSTANTS_MAX = 16
# Functions whose result depends on the caller's claims and role only.
_CALLER_FUNCTIONS = frozenset(
    {
        *(("auth", name) for name in ("uid", "role", "email", "jwt")),
        *(("current_setting",), ("pg_catalog", "current_setting")),
        *(("lower",), ("upper",), ("pg_catalog", "lower"), ("pg_catalog", "upper")),
    }
)
# Claims that differ between two tokens of one session: callers are told apart without them.
_CHANGING_CLAIMS = ("'exp'", "'iat'", "'jti'", "'nbf'")
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
    except (NotUnderstood, pglast.parser.ParseError):
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
        parts = [node]
        if _is(node, ast.BoolExpr) and node.boolop == BoolExprType.AND_EXPR:
            parts = list(node.args)
        for part in parts:
            if not _is(part, ast.A_Expr) or self._is_constant(part):
                continue
            found = self._equality(part)
            if found is None or part.name[0].sval != "=":
                continue
            if self._columns[found[0]] not in _FAMILIES[3]:
                return found
        return None

    def _truth(self, node: Any) -> Judge:
        if _is(node, ast.BoolExpr):
            parts = [self._truth(arg) for arg in node.args]
            if node.boolop == BoolExprType.AND_EXPR:
                return _all(parts)
            return _any(parts) if node.boolop == BoolExprType.OR_EXPR else _not(parts[0])
        if _is(node, ast.A_Const) and _is(node.val, ast.Boolean):
            value = bool(node.val.boolval)
            return lambda row, constants: value
        if _is(node, ast.NullTest):
            name = self._column(node.arg)
            is_null = node.nulltesttype == NullTestType.IS_NULL
            return lambda row, constants: (_value(row, name) is None) is is_null
        if _is(node, ast.ColumnRef):
            name = self._column(node, _FAMILIES[3])
            return lambda row, constants: _boolean(_value(row, name))
        if _is(node, ast.A_Expr):
            return self._comparison(node)
        raise NotUnderstood

    def _comparison(self, node: Any) -> Judge:
        if self._is_constant(node):
            # The whole comparison is the caller's, such as auth.role() = 'authenticated'.
            position = self._constant(node, _FAMILIES[3])
            return lambda row, constants: _boolean(constants[position], "true")
        found = self._equality(node)
        if found is None:
            raise NotUnderstood
        name, position = found
        wanted = node.name[0].sval == "="
        is_boolean = self._columns[name] in _FAMILIES[3]

        def judge(row: Row, constants: Sequence[str | None]) -> Truth:
            value, constant = _value(row, name), constants[position]
            if value is None or constant is None:
                return None
            # A boolean is t in the log and true as text.
            return (value == (constant[:1] if is_boolean else constant)) is wanted

        return judge

    def _equality(self, node: Any) -> tuple[str, int] | None:
        plain = node.kind == A_Expr_Kind.AEXPR_OP and len(node.name) == 1
        if not plain or node.name[0].sval not in ("=", "<>"):
            return None
        for column, constant in ((node.lexpr, node.rexpr), (node.rexpr, node.lexpr)):
            if self._is_constant(constant):
                name = self._column(_uncast(column))
                family = _family(self._columns[name])
                return name, self._constant(constant, family)
        return None

    def _column(self, node: Any, family: frozenset[str] | None = None) -> str:
        if not _is(node, ast.ColumnRef) or not _is(node.fields[-1], ast.String):
            raise NotUnderstood
        name = str(node.fields[-1].sval)
        if len(node.fields) != 1 or name not in self._columns:
            raise NotUnderstood
        if family is not None and self._columns[name] not in family:
            raise NotUnderstood
        return name

    def _constant(self, node: Any, family: frozenset[str]) -> int:
        text = str(RawStream()(node))
        if any(name in text for name in _CHANGING_CLAIMS):
            raise NotUnderstood
        for position, known in enumerate(self.constants):
            if known == text and self.families[position] == family:
                return position
        self.constants.append(text)
        self.families.append(family)
        return len(self.constants) - 1

    def _is_constant(self, node: Any) -> bool:
        if _is(node, ast.A_Const):
            return True
        if _is(node, ast.TypeCast):
            return _is_plain_type(node.typeName) and self._is_constant(node.arg)
        if _is(node, ast.FuncCall):
            name = tuple(part.sval for part in node.funcname)
            return name in _CALLER_FUNCTIONS and all(map(self._is_constant, node.args or ()))
        if _is(node, ast.SQLValueFunction):
            return node.op in (
                SQLValueFunctionOp.SVFOP_CURRENT_USER,
                SQLValueFunctionOp.SVFOP_CURRENT_ROLE,
            )
        if _is(node, ast.CoalesceExpr):
            return all(map(self._is_constant, node.args))
        if _is(node, ast.SubLink):
            return self._is_constant_select(node)
        if _is(node, ast.A_Expr):
            known = node.kind == A_Expr_Kind.AEXPR_NULLIF or (
                node.kind == A_Expr_Kind.AEXPR_OP
                and len(node.name) == 1
                and node.name[0].sval in (*_CALLER_OPERATORS, "=", "<>")
            )
            return known and self._is_constant(node.lexpr) and self._is_constant(node.rexpr)
        return False

    def _is_constant_select(self, node: Any) -> bool:
        query = node.subselect
        if node.subLinkType != SubLinkType.EXPR_SUBLINK or len(query.targetList or ()) != 1:
            return False
        others = (
            *(query.fromClause, query.whereClause, query.groupClause, query.havingClause),
            *(query.withClause, query.valuesLists, query.limitCount, query.limitOffset),
            *(query.larg, query.distinctClause, query.windowClause, query.sortClause),
        )
        return not any(others) and self._is_constant(query.targetList[0].val)


def _is(node: Any, kind: type) -> bool:
    # pglast types every field of every node as optional; what the parser makes is what we check.
    return isinstance(node, kind)


def _parse(qual: str) -> Any:
    statements: Any = pglast.parse_sql(f"select {qual}")
    statement = statements[0].stmt
    if len(statements) != 1 or len(statement.targetList) != 1:
        raise NotUnderstood
    return statement.targetList[0].val


def _uncast(node: Any) -> Any:
    """varchar compares as text: PostgreSQL shows the column with a cast that changes nothing."""
    if _is(node, ast.TypeCast) and node.typeName.names[-1].sval == "text":
        return node.arg
    return node


def _is_plain_type(node: Any) -> bool:
    names = [part.sval for part in node.names]
    known = len(names) == 1 or (len(names) == 2 and names[0] == "pg_catalog")
    return known and names[-1] in _PLAIN_TYPES and not node.typmods and not node.arrayBounds


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
