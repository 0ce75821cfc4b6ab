"""Laying out SQL for people: clauses on lines of their own, two spaces of indentation.

Works on PostgreSQL's own tokens, so that strings, comments and dollar quotes stay untouched and no
token is ever changed, added or lost; only the space between them is.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import postgast

from selfbase.meta.errors import BadRequest

INDENT = "  "
INLINE_MAX = 50

# Clauses whose content goes on the next line, indented.
_CLAUSES = (
    *("select", "from", "where", "group by", "order by", "having", "limit", "offset", "fetch"),
    *("values", "set", "returning", "window", "insert into", "with", "with recursive"),
    *("select distinct", "on conflict", "partition by"),
)
_SET_OPERATIONS = (*("union", "union all", "intersect", "intersect all", "except", "except all"),)
_JOINS = tuple(
    f"{side}{outer}join"
    for side, outer in (
        ("", ""),
        *((f"{side} ", outer) for side in ("left", "right", "full") for outer in ("", "outer ")),
        *((f"{kind} ", "") for kind in ("inner", "cross", "natural")),
    )
)
_PHRASES = sorted((*_CLAUSES, *_SET_OPERATIONS, *_JOINS), key=lambda text: -len(text.split()))
# Statements in which the clause words above are just words.
_PLAIN_STARTS = frozenset(
    {"create", "alter", "drop", "grant", "revoke", "comment", "copy", "set", "show", "do", "call"}
    | {"begin", "commit", "rollback", "start", "vacuum", "analyze", "lock", "listen", "notify"}
)
_TIGHT_BEFORE = frozenset({",", ")", ".", ";", "::", "[", "]", ":"})
_TIGHT_AFTER = frozenset({"(", ".", "::", "[", ":"})


@dataclass(slots=True)
class Token:
    """A piece of the text.  `glued` tells that no space stood before it."""

    text: str
    word: str
    glued: bool
    is_comment: bool


def format_sql(sql: str) -> str:
    """The laid out text, ending with a newline.  Raises BadRequest for text with no tokens in it,
    such as an open string."""
    statements: list[list[Token]] = [[]]
    ends: list[bool] = []
    for token in read_tokens(sql):
        if token.text == ";":
            ends.append(True)
            statements.append([])
        else:
            statements[-1].append(token)
    ends.append(False)
    texts = [
        _Layout(tokens).render() + (";" if ended else "")
        for tokens, ended in zip(statements, ends, strict=True)
        if tokens or ended
    ]
    return "\n\n".join(texts) + "\n"


def format_statement(sql: str) -> str:
    """One statement without its semicolon."""
    return _Layout(read_tokens(sql)).render()


def read_tokens(sql: str) -> list[Token]:
    """PostgreSQL's tokens, comments included."""
    try:
        scanned = postgast.scan(sql)
    except postgast.PgQueryError as error:
        raise BadRequest(error.message) from None
    except UnicodeEncodeError:
        raise BadRequest("SQL is not valid Unicode") from None
    raw = sql.encode()
    tokens: list[Token] = []
    end = 0
    for item in scanned.tokens:
        text = raw[item.start : item.end].decode()
        word = text.lower() if text[:1].isalpha() else ""
        is_comment = text.startswith(("--", "/*"))
        tokens.append(Token(text.rstrip("\n"), word, item.start == end and end > 0, is_comment))
        end = item.end
    return tokens


@dataclass(slots=True)
class _Layout:
    """Writes one statement.  `_blocks` holds, for each open parenthesis that got lines of its own,
    the depth to return to."""

    tokens: list[Token]
    _lines: list[str] = field(default_factory=list)
    _line: str = ""
    _indent: str = ""
    _depth: int = 0
    _content: int = 0
    _blocks: list[tuple[int, int, bool]] = field(default_factory=list)
    _between: bool = False
    _plain: bool = False

    def render(self) -> str:
        first = next((token.word for token in self.tokens if not token.is_comment), "")
        self._plain = first in _PLAIN_STARTS
        at = 0
        while at < len(self.tokens):
            at = self._write(at)
        self._break(0)
        return "\n".join(self._lines)

    def _write(self, at: int) -> int:
        token = self.tokens[at]
        phrase = None if self._plain else self._phrase_at(at)
        if token.is_comment:
            self._put(token)
            if token.text.startswith("--"):
                self._break(self._content)
        elif phrase is not None:
            return self._write_phrase(at, phrase)
        elif token.text == "(":
            return self._open(at)
        elif token.text == ")":
            self._close(token)
        elif token.text == ",":
            self._put(token)
            if not self._plain or self._blocks:
                self._break(self._content)
        elif token.word in {"and", "or"} and not self._plain:
            if token.word == "or" or not self._between:
                self._break(self._content)
            self._between = self._between and token.word == "or"
            self._put(token)
        else:
            self._between = self._between or token.word == "between"
            self._put(token)
        return at + 1

    def _phrase_at(self, at: int) -> int | None:
        """The number of words of a clause or join that begins here."""
        if not self.tokens[at].word or (at and self.tokens[at - 1].text == "."):
            return None
        for phrase in _PHRASES:
            words = phrase.split()
            found = [token.word for token in self.tokens[at : at + len(words)]]
            if found == words:
                return len(words)
        return None

    def _write_phrase(self, at: int, count: int) -> int:
        words = " ".join(token.word for token in self.tokens[at : at + count])
        is_join = words in _JOINS
        self._break(self._content if is_join else self._depth)
        for token in self.tokens[at : at + count]:
            self._put(token)
        if not is_join:
            self._content = self._depth + (0 if words in _SET_OPERATIONS else 1)
            self._break(self._content)
        return at + count

    def _open(self, at: int) -> int:
        closing = self._matching(at)
        inner = self.tokens[at + 1 : closing]
        if self._fits(inner):
            for token in self.tokens[at : closing + 1]:
                self._put(token)
            return closing + 1
        self._put(self.tokens[at])
        self._blocks.append((self._depth, self._content, self._plain))
        self._plain = self._plain and not (inner and inner[0].word in {"select", "with"})
        self._depth = self._content = self._content + 1
        self._break(self._depth)
        return at + 1

    def _close(self, token: Token) -> None:
        if self._blocks:
            self._depth, self._content, self._plain = self._blocks.pop()
            self._break(self._content)
        self._put(token)

    def _matching(self, at: int) -> int:
        depth = 0
        for index in range(at, len(self.tokens)):
            depth += {"(": 1, ")": -1}.get(self.tokens[index].text, 0)
            if depth == 0:
                return index
        return len(self.tokens) - 1

    def _fits(self, inner: list[Token]) -> bool:
        if any(token.is_comment or token.word in {"select", "with"} for token in inner):
            return False
        return sum(len(token.text) + 1 for token in inner) <= INLINE_MAX

    def _put(self, token: Token) -> None:
        if not self._line:
            self._line = self._indent + token.text
            return
        if self._wants_space(token):
            self._line += " "
        self._line += token.text

    def _wants_space(self, token: Token) -> bool:
        if token.text in _TIGHT_BEFORE:
            return not token.glued and token.text in {"[", ":"}
        before = self._line[-1]
        if before in _TIGHT_AFTER or self._line.endswith("::"):
            return False
        return not (token.text == "(" and token.glued)

    def _break(self, depth: int) -> None:
        if self._line:
            self._lines.append(self._line)
        self._line = ""
        self._indent = INDENT * depth
