"""SQL to its syntax tree and back, through PostgreSQL's own parser (libpg_query).

The tree is protobuf JSON with libpg_query's names, `{"version": …, "stmts": […]}`.  Only the
parser's child process may import this: see `parser`.
"""

from __future__ import annotations

from typing import Any

import orjson
import postgast
from google.protobuf import json_format
from google.protobuf.message import DecodeError
from postgast import ParseResult

from selfbase.meta.errors import BadRequest
from selfbase.meta.logic.format_sql import format_statement


def parse_sql(sql: str) -> dict[str, Any]:
    """The tree as dictionaries.  Raises BadRequest with the parser's words."""
    if "\x00" in sql:
        raise BadRequest("SQL cannot contain a null character")
    try:
        tree: dict[str, Any] = json_format.MessageToDict(postgast.parse(sql))
    except postgast.PgQueryError as error:
        raise BadRequest(error.message) from None
    except UnicodeEncodeError:
        raise BadRequest("SQL is not valid Unicode") from None
    except DecodeError:
        # Messages nested deeper than protobuf reads.
        raise BadRequest("The SQL is nested too deep to be parsed") from None
    tree.setdefault("stmts", [])
    return tree


def parse_tree(sql: str) -> bytes:
    """The tree as JSON.  Raises BadRequest."""
    return orjson.dumps(parse_sql(sql))


def deparse_tree(tree: dict[str, Any]) -> str:
    """SQL text from a tree, laid out, each statement with a semicolon.  Raises BadRequest."""
    result = ParseResult()
    try:
        json_format.ParseDict(tree, result)
        texts = [
            postgast.deparse(ParseResult(version=result.version, stmts=[statement]))
            for statement in result.stmts
        ]
    except (json_format.ParseError, TypeError, ValueError, AttributeError):
        raise BadRequest("body/ast is not a syntax tree") from None
    except postgast.PgQueryError as error:
        raise BadRequest(error.message) from None
    return "\n\n".join(format_statement(text) + ";" for text in texts)
