"""The plan stage for reading: select, filters, orders and limits become a tree of nodes.

Source: reference/rest.md sections 1.3 to 1.6 and 3.3.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from selfbase.rest.errors import RestFailure, not_embedded, not_implemented, range_failure
from selfbase.rest.logic.catalog import Catalog, Column, ComputedRelationship, Table
from selfbase.rest.logic.grammar import parse_order, parse_select
from selfbase.rest.logic.lookup import get_relationship
from selfbase.rest.logic.names import Name, make_alias
from selfbase.rest.logic.plan import (
    LIMIT,
    OFFSET,
    Compare,
    Condition,
    EmbedIsNull,
    Junctor,
    Order,
    Output,
    ReadNode,
    Reference,
)
from selfbase.rest.logic.scan import (
    FilterItem,
    Item,
    LogicItem,
    OrderItem,
    RangeItem,
    TextItem,
    parse_key,
)
from selfbase.rest.logic.syntax import Condition as Tree
from selfbase.rest.logic.syntax import (
    Field,
    Filter,
    Operation,
    OrderTerm,
    SelectField,
    SelectItem,
    SelectRelation,
)

_SEARCH = frozenset({"fts", "plfts", "phfts", "wfts"})
NODES_MAX = 500


@dataclass(frozen=True, slots=True)
class ReadContext:
    """What planning a read depends on besides the request."""

    catalog: Catalog
    aggregates: bool
    rows_max: int | None


def find_text(items: Sequence[Item], kind: str) -> str | None:
    for item in items:
        if isinstance(item, TextItem) and item.kind == kind:
            return item.text
    return None


def plan_read(
    context: ReadContext,
    table: Name,
    items: Sequence[Item],
    *,
    writing: bool = False,
    from_source: bool = False,
    limited: bool = False,
    offset: bool = False,
) -> ReadNode:
    """The tree of a request on `table`.

    With `writing` the root's filters belong to the write and ranges do not count; with
    `from_source` the root reads what a write or a call gave.  Raises RestFailure.
    """
    select = find_text(items, "select")
    root = ReadNode(table, table.name, table.name, 0)
    root.from_source = from_source
    root.known = context.catalog.tables.get(table)
    chosen = parse_select("*" if select is None else select)
    orders = [
        (*parse_key(item.key), parse_order(item.text))
        for item in items
        if isinstance(item, OrderItem)
    ]
    _add_items(context, root, chosen)
    _limit_nodes(root)
    _add_conditions(context, root, items, writing)
    for path, _, terms in orders:
        node = _find_node(root, path)
        node.order = [_plan_order(context, node, term) for term in terms]
    if not writing:
        _add_ranges(context, root, items, limited, offset)
    for node in root.walk():
        node.outputs = [_name_output(node, output) for output in node.outputs]
    _expand_stars(context, root, False)
    _check_aggregates(context, root)
    _lift(root)
    return root


# Selected items


def _add_items(context: ReadContext, node: ReadNode, items: Sequence[SelectItem]) -> None:
    for item in items:
        if isinstance(item, SelectField):
            node.outputs.append(_plan_output(context, node.known, item))
        else:
            child = _make_child(context, node, item)
            node.children.append(child)
            _add_items(context, child, item.items)


def _make_child(context: ReadContext, parent: ReadNode, item: SelectRelation) -> ReadNode:
    depth = parent.depth + 1
    link = get_relationship(
        context.catalog, parent.table.schema, parent.table.name, item.name, item.hint
    )
    child = ReadNode(
        link.target,
        make_alias(link.target.name, depth),
        item.name,
        depth,
        label=item.alias,
        join=item.join,
        link=link,
        key=make_alias(parent.table.name, item.alias or item.name, depth),
        parent=parent,
    )
    if item.spread:
        child.spread = "one" if link.to_one else "many"
    child.known = context.catalog.tables.get(link.target)
    return child


def _plan_output(context: ReadContext, table: Table | None, item: SelectField) -> Output:
    reference = _refer(table, item.field)
    column = _find_column(table, item.field.name)
    if column is not None and not reference.to_json:
        transform = context.catalog.representations.get((column.nominal_type, "json"))
        if transform is not None:
            reference = replace(reference, transform=transform)
    return Output(reference, item.alias, item.cast, item.aggregate, item.aggregate_cast)


def _find_column(table: Table | None, name: str) -> Column | None:
    return table.columns.get(name) if table is not None else None


def _refer(table: Table | None, field: Field) -> Reference:
    column = _find_column(table, field.name)
    to_json = bool(field.path) and (column is None or column.nominal_type not in ("json", "jsonb"))
    return Reference(field.name, field.path, to_json)


def _name_output(node: ReadNode, output: Output) -> Output:
    """Gives a name to what PostgreSQL would name differently than clients expect."""
    if output.alias is not None:
        return output
    if output.aggregate is not None:
        return replace(output, alias=output.aggregate) if node.spread else output
    path = output.reference.path
    if path:
        keys = [step.operand for step in path if not step.index]
        if not path[-1].index:
            return replace(output, alias=path[-1].operand)
        return replace(output, alias=keys[-1] if keys else output.reference.name)
    if output.reference.transform is not None:
        return replace(output, alias=output.reference.name)
    return output


def _expand_stars(context: ReadContext, node: ReadNode, aggregated: bool) -> None:
    """Writes `*` out as columns where a list is needed: beside or below aggregates, in to-many
    spreads, and where a column has a representation."""
    aggregated = aggregated or any(o.aggregate for o in node.outputs) or node.spread == "many"
    columns = list(node.known.columns.values()) if node.known is not None else []
    representations = context.catalog.representations
    represented = any((c.nominal_type, "json") in representations for c in columns)
    if columns and (aggregated or represented):
        expanded: list[Output] = []
        for output in node.outputs:
            if output.reference.name != "*" or output.reference.path:
                expanded.append(output)
            elif output.aggregate is None:
                expanded += (
                    _plan_star_column(representations.get((c.nominal_type, "json")), c)
                    for c in columns
                )
            elif node.spread and output.aggregate == "count":
                expanded.append(replace(output, reference=Reference("*", whole_row=True)))
            else:
                expanded.append(output)
        node.outputs = expanded
    for child in node.children:
        _expand_stars(context, child, aggregated)


def _plan_star_column(transform: str | None, column: Column) -> Output:
    reference = Reference(column.name, transform=transform)
    return Output(reference, alias=column.name if transform else None)


# Filters, orders, ranges


def _find_node(root: ReadNode, path: Sequence[str]) -> ReadNode:
    node = root
    for name in path:
        for child in node.children:
            if name in (child.name, child.label):
                node = child
                break
        else:
            raise not_embedded(name)
    return node


def _add_conditions(
    context: ReadContext, root: ReadNode, items: Sequence[Item], writing: bool
) -> None:
    for item in items:
        if isinstance(item, FilterItem):
            path, field = parse_key(item.key)
            if path or not writing:
                node = _find_node(root, path)
                condition = plan_filter(context.catalog, node.known, field, item.operation)
                node.where.append(_check_embed(node, condition))
        elif isinstance(item, LogicItem) and (item.embeds or not writing):
            node = _find_node(root, item.embeds)
            tree = plan_tree(context.catalog, node.known, item.tree)
            node.where.append(_check_embed(node, tree))


def plan_filter(
    catalog: Catalog, table: Table | None, field: Field, operation: Operation
) -> Compare:
    """A filter on a column of `table`, which may be unknown."""
    reference = _refer(table, field)
    column = _find_column(table, field.name)
    if column is not None:
        if operation.op in _SEARCH and (reference.path or column.type != "tsvector"):
            reference = replace(reference, vectorize=True)
        transform = catalog.representations.get(("text", column.nominal_type))
        if transform is not None and not field.path:
            reference = replace(reference, transform=transform)
    return Compare(reference, operation)


def plan_tree(catalog: Catalog, table: Table | None, tree: Tree) -> Condition:
    if isinstance(tree, Filter):
        return plan_filter(catalog, table, tree.field, tree.operation)
    return Junctor(
        tree.op,
        tree.negated,
        tuple(plan_tree(catalog, table, part) for part in tree.conditions),
    )


def _check_embed(node: ReadNode, condition: Condition) -> Condition:
    """Turns `embed=is.null` into a test of the join."""
    if isinstance(condition, Junctor):
        parts = tuple(_check_embed(node, part) for part in condition.parts)
        return Junctor(condition.op, condition.negated, parts)
    if isinstance(condition, Compare) and not condition.reference.path:
        operation = condition.operation
        if operation.op == "is" and operation.word in ("null", "not_null"):
            for child in node.children:
                if child.title == condition.reference.name:
                    child.null_checked = True
                    negated = operation.negated != (operation.word == "not_null")
                    return EmbedIsNull(child, negated)
    return condition


def _plan_order(context: ReadContext, node: ReadNode, term: OrderTerm) -> Order:
    if term.relation is None:
        return Order(_refer(node.known, term.field), term.direction, term.nulls)
    for child in node.children:
        if child.title == term.relation:
            break
    else:
        raise not_embedded(term.relation)
    if not child.to_one:
        raise RestFailure(
            "PGRST118",
            400,
            f"A related order on '{term.relation}' is not possible",
            f"'{node.table.name}' and '{term.relation}' do not form a many-to-one or one-to-one"
            " relationship",
        )
    field = term.field
    reference = Reference(field.name, field.path, bool(field.path))
    return Order(reference, term.direction, term.nulls, child)


def _add_ranges(
    context: ReadContext, root: ReadNode, items: Sequence[Item], limited: bool, offset: bool
) -> None:
    if context.rows_max is not None:
        for node in root.walk():
            node.limit = str(context.rows_max).encode()
    for item in items:
        if isinstance(item, RangeItem):
            if item.kind == "negative":
                raise range_failure("Limit should be greater than or equal to zero.")
            node = _find_node(root, item.embeds)
            if item.kind == "limit":
                node.limit = item.slot
            else:
                node.offset = item.slot
    root.limit = LIMIT if limited else None
    root.offset = OFFSET if offset else None


def _limit_nodes(root: ReadNode) -> None:
    if sum(1 for _ in root.walk()) > NODES_MAX:
        raise not_implemented(f"More than {NODES_MAX} embedded resources in one request.")


# Aggregates


def _check_aggregates(context: ReadContext, root: ReadNode) -> None:
    for node in root.walk():
        if any(output.aggregate for output in node.outputs) and not context.aggregates:
            raise RestFailure("PGRST123", 400, "Use of aggregate functions is not allowed")


def _lift(node: ReadNode) -> None:
    """Decides what each spread child hands to its parent, from the leaves up.

    A to-one spread hands its aggregates on uncomputed: its parent computes them over its own groups
    (or hands them on again, when it is a to-one spread itself).
    """
    for child in node.children:
        _lift(child)
        if child.spread is None:
            continue
        lifted: list[Output] = []
        for output in child.outputs:
            plain = Output(Reference(output.name))
            if output.aggregate is not None and child.spread == "one":
                plain = replace(
                    plain,
                    alias=output.alias,
                    aggregate=output.aggregate,
                    aggregate_cast=output.aggregate_cast,
                )
            elif output.aggregate is not None:
                raise _spread_aggregates()
            lifted.append(plain)
        for grandchild in child.children:
            lifted += _lift_grandchild(child, grandchild)
        if child.spread == "one":
            child.outputs = [
                replace(output, aggregate=None, aggregate_cast=None) for output in child.outputs
            ]
        child.lifted = lifted


def _lift_grandchild(child: ReadNode, grandchild: ReadNode) -> list[Output]:
    if grandchild.spread is None:
        return [] if grandchild.is_empty else [Output(Reference(grandchild.title))]
    lifted: list[Output] = []
    for output in grandchild.lifted:
        if output.aggregate is not None and child.spread == "many":
            raise _spread_aggregates()
        name = output.alias or output.reference.name
        lifted.append(
            Output(
                Reference(name),
                output.alias if output.aggregate else None,
                None,
                output.aggregate,
                output.aggregate_cast,
            )
        )
    if child.spread == "one":
        grandchild.lifted = [
            replace(output, aggregate=None, aggregate_cast=None) for output in grandchild.lifted
        ]
    return lifted


def _spread_aggregates() -> RestFailure:
    return not_implemented(
        "Aggregates are not implemented for one-to-many or many-to-many spreads."
    )


def list_needed_columns(root: ReadNode, keys: Sequence[str]) -> tuple[str, ...]:
    """The columns a write or a call must return for `root` to be read from it."""
    names = {output.reference.name for output in root.outputs}
    if "*" in names:
        return ("*",)
    for child in root.children:
        if isinstance(child.link, ComputedRelationship):
            return ("*",)
        if child.link is not None:
            junction = child.link.junction
            pairs = child.link.columns if junction is None else junction.columns_from
            names |= {column for column, _ in pairs}
    return tuple(sorted(names | set(keys)))


def list_filtered_columns(root: ReadNode) -> set[str]:
    """The columns the filters of `root` look at."""
    found: set[str] = set()

    def visit(condition: Condition) -> None:
        if isinstance(condition, Compare):
            found.add(condition.reference.name)
        elif isinstance(condition, Junctor):
            for part in condition.parts:
                visit(part)

    for condition in root.where:
        visit(condition)
    found |= {order.reference.name for order in root.order if order.child is None}
    return found
