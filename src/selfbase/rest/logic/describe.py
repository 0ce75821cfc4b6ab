"""What OPTIONS answers: the methods that make sense for a relation, a function, the root."""

from __future__ import annotations

from selfbase.rest.logic.catalog import Catalog
from selfbase.rest.logic.lookup import get_function, get_table
from selfbase.rest.logic.names import Name
from selfbase.rest.logic.request import Ask
from selfbase.rest.logic.scan import ArgumentItem, FilterItem


def list_methods(ask: Ask, catalog: Catalog) -> str:
    """The value of `Allow`.  Raises RestFailure PGRST202, PGRST205."""
    name = Name(ask.schema, ask.name)
    if ask.target == "root":
        return "OPTIONS,GET,HEAD"
    if ask.target == "function":
        keys = [i.key for i in ask.shape if isinstance(i, (ArgumentItem, FilterItem))]
        function = get_function(catalog, name, keys, ask.content_type, False)
        return "OPTIONS,POST" if function.volatility == "v" else "OPTIONS,GET,HEAD,POST"
    table = get_table(catalog, name)
    methods = ["OPTIONS,GET,HEAD"]
    if table.insertable:
        methods.append("POST")
    if table.insertable and table.updatable and table.primary_key:
        methods.append("PUT")
    if table.updatable:
        methods.append("PATCH")
    if table.deletable:
        methods.append("DELETE")
    return ",".join(methods)
