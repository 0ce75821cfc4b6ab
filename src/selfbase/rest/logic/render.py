"""The render stage: read nodes become SQL.

Every identifier is quoted and every value a parameter; only names of types, limited by the grammar
to letters, digits, blanks, `_` and `$`, stand bare.  Source: reference/rest.md section 3.3.
"""

from __future__ import annotations

from collections.abc import Sequence

from selfbase.rest.logic.catalog import ComputedRelationship
from selfbase.rest.logic.grammar import encode_value
from selfbase.rest.logic.names import quote_ident, quote_name
from selfbase.rest.logic.plan import (
    Compare,
    Condition,
    EmbedIsNull,
    Junctor,
    Order,
    Output,
    ReadNode,
    Reference,
    Source,
)

SOURCE = "selfbase_source"

_SQL_OPERATORS = {
    "eq": "=",
    "neq": "<>",
    "gt": ">",
    "gte": ">=",
    "lt": "<",
    "lte": "<=",
    "like": "LIKE",
    "ilike": "ILIKE",
    "match": "~",
    "imatch": "~*",
    "isdistinct": "IS DISTINCT FROM",
    "cs": "@>",
    "cd": "<@",
    "ov": "&&",
    "sl": "<<",
    "sr": ">>",
    "nxr": "&<",
    "nxl": "&>",
    "adj": "-|-",
}
_SEARCH = {
    "fts": "to_tsquery",
    "plfts": "plainto_tsquery",
    "phfts": "phraseto_tsquery",
    "wfts": "websearch_to_tsquery",
}
_PATTERNS = frozenset({"like", "ilike"})
_IS = {
    "null": "NULL",
    "not_null": "NOT NULL",
    "true": "TRUE",
    "false": "FALSE",
    "unknown": "UNKNOWN",
}


class Sink:
    """The parameters of one statement, numbered as they are met; equal ones share a number.

    `jsonb` asks for embeds as jsonb, which shows where their text is put out as it is.
    """

    __slots__ = ("_numbers", "jsonb", "sources")

    def __init__(self, *, jsonb: bool = False) -> None:
        self.jsonb = jsonb
        self.sources: list[Source] = []
        self._numbers: dict[tuple[Source, str], str] = {}

    def bind(self, source: Source, kind: str = "") -> str:
        """A placeholder.  `kind` is a type the value is cast to; the same value under two types
        takes two parameters."""
        key = (source, kind)
        placeholder = self._numbers.get(key)
        if placeholder is None:
            self.sources.append(source)
            placeholder = f"${len(self.sources)}" + (f"::{kind}" if kind else "")
            self._numbers[key] = placeholder
        return placeholder

    def bind_text(self, text: str, kind: str = "") -> str:
        return self.bind(encode_value(text), kind)


def render_reference(reference: Reference, alias: str, sink: Sink) -> str:
    """The expression of a column or JSON path of the rows named `alias` (already quoted)."""
    if reference.whole_row:
        return alias
    column = f"{alias}.*" if reference.name == "*" else f"{alias}.{quote_ident(reference.name)}"
    if not reference.path:
        return column
    parts = [f"to_jsonb({column})" if reference.to_json else column]
    for step in reference.path:
        kind = "int" if step.index else ""
        parts.append(f"{step.arrow}{sink.bind_text(step.operand, kind)}")
    return "(" + "".join(parts) + ")"


def render_output(output: Output, alias: str, sink: Sink) -> str:
    """One item of a select list, without its name."""
    expression = render_reference(output.reference, alias, sink)
    if output.reference.transform is not None:
        expression = f"{output.reference.transform}({expression})"
    if output.cast is not None:
        expression = f"CAST({expression} AS {output.cast})"
    return _aggregate(output, expression)


def _aggregate(output: Output, expression: str) -> str:
    if output.aggregate is None:
        return expression
    if output.aggregate == "count" and expression.endswith(".*"):
        expression = "*"
    expression = f"{output.aggregate}({expression})"
    if output.aggregate_cast is not None:
        expression = f"CAST({expression} AS {output.aggregate_cast})"
    return expression


def render_conditions(conditions: Sequence[Condition], alias: str, sink: Sink) -> str:
    return " AND ".join(render_condition(condition, alias, sink) for condition in conditions)


def render_condition(condition: Condition, alias: str, sink: Sink) -> str:
    if isinstance(condition, Junctor):
        joiner = " AND " if condition.op == "and" else " OR "
        inner = joiner.join(render_condition(part, alias, sink) for part in condition.parts)
        return f"NOT ({inner})" if condition.negated else f"({inner})"
    if isinstance(condition, EmbedIsNull):
        key = quote_ident(condition.child.key)
        found = f"{key}.{key}" if _is_aggregated(condition.child) else key
        test = "IS DISTINCT FROM" if condition.negated else "IS NOT DISTINCT FROM"
        return f"{found} {test} NULL"
    return render_compare(condition, alias, sink)


def render_compare(compare: Compare, alias: str, sink: Sink) -> str:
    operation = compare.operation
    left = render_reference(compare.reference, alias, sink)
    negation = "NOT " if operation.negated else ""
    if operation.op == "is":
        return f"{negation}{left} IS {_IS[operation.word or '']}"
    if operation.op in _SEARCH:
        language = ""
        if operation.modifier is not None:
            language = sink.bind_text(operation.modifier, "regconfig") + ", "
        if compare.reference.vectorize:
            left = f"to_tsvector({language}{left})"
        query = f"{_SEARCH[operation.op]}({language}{sink.bind(operation.slot)})"
        return f"{negation}{left} @@ {query}"
    transform = compare.reference.transform
    if operation.op == "in" and transform is not None:
        typed = sink.bind(operation.slot, "text[]")
        return f"{negation}{left} = ANY(SELECT {transform}(unnest({typed})))"
    value = sink.bind(operation.slot)
    if operation.op == "in":
        return f"{negation}{left} = ANY({value})"
    if operation.modifier is not None:
        value = f"{operation.modifier.upper()}({value})"
    elif transform is not None and operation.op not in _PATTERNS:
        value = f"{transform}({value})"
    return f"{negation}{left} {_SQL_OPERATORS[operation.op]} {value}"


def _is_aggregated(node: ReadNode) -> bool:
    return not node.to_one


def render_node(node: ReadNode, sink: Sink) -> str:
    """The SELECT of a node with everything below it."""
    alias = quote_ident(node.alias)
    items = [_render_item(output, alias, sink) for output in node.outputs]
    groups: list[str] = []
    grouped = node.has_aggregates
    if grouped:
        groups += (str(i) for i, o in enumerate(node.outputs, 1) if o.aggregate is None)
    joins: list[str] = []
    for child in node.children:
        for item, aggregated in _render_child_items(child, sink.jsonb or _is_compared(node)):
            items.append(item)
            if grouped and not aggregated:
                groups.append(str(len(items)))
        joins.append(_render_join(child, sink))
    if not node.outputs and not node.children:
        items = [f"{alias}.*"]
    if node.spread == "many":
        items += _render_order_columns(node, alias, sink)
    parts = [f"SELECT {', '.join(items)} FROM {_render_from(node)}", *joins]
    conditions = [*_render_links(node), *(render_condition(c, alias, sink) for c in node.where)]
    if conditions:
        parts.append("WHERE " + " AND ".join(conditions))
    if groups:
        parts.append("GROUP BY " + ", ".join(groups))
    if node.order and node.spread != "many":
        parts.append("ORDER BY " + ", ".join(_render_order(o, alias, sink) for o in node.order))
    if node.limit is not None:
        parts.append(f"LIMIT {sink.bind(node.limit)}")
    if node.offset is not None:
        parts.append(f"OFFSET {sink.bind(node.offset)}")
    return " ".join(parts)


def _is_compared(node: ReadNode) -> bool:
    """Whether the node's values are grouped by, here or where a spread lifts them to."""
    if node.has_aggregates:
        return True
    return node.spread is not None and node.parent is not None and _is_compared(node.parent)


def _render_item(output: Output, alias: str, sink: Sink) -> str:
    expression = render_output(output, alias, sink)
    return expression if output.alias is None else f"{expression} AS {quote_ident(output.alias)}"


def _render_child_items(child: ReadNode, jsonb: bool) -> list[tuple[str, bool]]:
    """What a child adds to its parent's select list, and whether it is an aggregate there."""
    key = quote_ident(child.key)
    if child.spread is not None:
        return [_render_lifted(output, key) for output in child.lifted]
    if child.is_empty:
        return []
    title = quote_ident(child.title)
    # Grouping compares, and json has no equality.
    cast = "::jsonb" if jsonb else ""
    if child.to_one:
        return [(f"row_to_json({key}.*){cast} AS {title}", False)]
    return [(f"COALESCE({key}.{key}, '[]'){cast} AS {title}", False)]


def _render_lifted(output: Output, key: str) -> tuple[str, bool]:
    name = output.reference.name
    expression = f"{key}.*" if name == "*" else f"{key}.{quote_ident(name)}"
    if output.aggregate is None:
        return expression, False
    expression = f"{output.aggregate}({expression})"
    if output.aggregate_cast is not None:
        expression = f"CAST({expression} AS {output.aggregate_cast})"
    return f"{expression} AS {quote_ident(output.alias or output.aggregate)}", True


def _render_join(child: ReadNode, sink: Sink) -> str:
    key = quote_ident(child.key)
    kind = "INNER" if child.join == "inner" else "LEFT"
    inner = render_node(child, sink)
    if child.to_one:
        return f"{kind} JOIN LATERAL ({inner}) AS {key} ON TRUE"
    needed = child.join == "inner" or child.null_checked
    if child.spread == "many":
        columns = [f"NULLIF(count(*), 0) AS {key}"] if needed else []
        columns += _render_spread_columns(child, key)
        columns = columns or ["count(*)"]
        selected = f"SELECT {', '.join(columns)} FROM ({inner}) AS {key}"
    else:
        selected = f"SELECT json_agg({key}.*) AS {key} FROM ({inner}) AS {key}"
    condition = f"{key}.{key} IS NOT NULL" if child.join == "inner" else "TRUE"
    return f"{kind} JOIN LATERAL ({selected}) AS {key} ON {condition}"


def _render_spread_columns(child: ReadNode, key: str) -> list[str]:
    order = ", ".join(
        f"{key}.{quote_ident(_order_column(child, number))}{_render_direction(term)}"
        for number, term in enumerate(child.order)
    )
    ordered = f" ORDER BY {order}" if order else ""
    return [
        f"COALESCE(json_agg({key}.{quote_ident(output.name)}{ordered}), '[]')::jsonb"
        f" AS {quote_ident(output.name)}"
        for output in child.lifted
    ]


def _order_column(node: ReadNode, number: int) -> str:
    return f"_order_{node.depth}_{number}"


def _render_order_columns(node: ReadNode, alias: str, sink: Sink) -> list[str]:
    return [
        f"{_render_ordered(term, alias, sink)} AS {quote_ident(_order_column(node, number))}"
        for number, term in enumerate(node.order)
    ]


def _render_ordered(order: Order, alias: str, sink: Sink) -> str:
    if order.child is not None:
        alias = quote_ident(order.child.key)
    return render_reference(order.reference, alias, sink)


def _render_order(order: Order, alias: str, sink: Sink) -> str:
    return _render_ordered(order, alias, sink) + _render_direction(order)


def _render_direction(order: Order) -> str:
    direction = f" {order.direction.upper()}" if order.direction else ""
    return direction + (f" {order.nulls.upper()}" if order.nulls else "")


def _render_from(node: ReadNode) -> str:
    alias = quote_ident(node.alias)
    if node.from_source:
        return f"{SOURCE} AS {alias}"
    link = node.link
    if isinstance(link, ComputedRelationship):
        parent = quote_ident(_parent_alias(node))
        return f"{quote_name(link.function)}({parent}::{quote_name(link.table)}) AS {alias}"
    rendered = f"{quote_name(node.table)} AS {alias}"
    if link is not None and link.junction is not None:
        rendered += f", {quote_name(link.junction.table)} AS {_junction_alias(node)}"
    return rendered


def _junction_alias(node: ReadNode) -> str:
    return quote_ident(f"_junction_{node.depth}")


def _parent_alias(node: ReadNode) -> str:
    assert node.parent is not None
    return node.parent.alias


def _render_links(node: ReadNode) -> list[str]:
    """The conditions that tie a node's rows to its parent's row."""
    link = node.link
    if link is None or isinstance(link, ComputedRelationship):
        return []
    alias, parent = quote_ident(node.alias), quote_ident(_parent_alias(node))
    if link.junction is None:
        return [
            f"{alias}.{quote_ident(theirs)} = {parent}.{quote_ident(ours)}"
            for ours, theirs in link.columns
        ]
    junction = _junction_alias(node)
    return [
        *(
            f"{junction}.{quote_ident(between)} = {parent}.{quote_ident(ours)}"
            for ours, between in link.junction.columns_from
        ),
        *(
            f"{junction}.{quote_ident(between)} = {alias}.{quote_ident(theirs)}"
            for theirs, between in link.junction.columns_to
        ),
    ]


def render_count(node: ReadNode, sink: Sink) -> str:
    """A SELECT with one row for each row of `node`, whatever its limit."""
    alias = quote_ident(node.alias)
    conditions = [*_render_links(node)]
    conditions += (_render_counted(condition, alias, sink) for condition in node.where)
    conditions += (
        f"EXISTS ({render_count(child, sink)})" for child in node.children if child.join == "inner"
    )
    where = " WHERE " + " AND ".join(conditions) if conditions else ""
    return f"SELECT 1 FROM {_render_from(node)}{where}"


def _render_counted(condition: Condition, alias: str, sink: Sink) -> str:
    if isinstance(condition, Junctor):
        joiner = " AND " if condition.op == "and" else " OR "
        inner = joiner.join(_render_counted(part, alias, sink) for part in condition.parts)
        return f"NOT ({inner})" if condition.negated else f"({inner})"
    if isinstance(condition, EmbedIsNull):
        exists = f"EXISTS ({render_count(condition.child, sink)})"
        return exists if condition.negated else f"NOT {exists}"
    return render_compare(condition, alias, sink)
