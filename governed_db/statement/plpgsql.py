"""PL/pgSQL: the SQL statements and expressions in a block, in the order of its text.

libpg_query has a reader of PL/pgSQL, made from the server's own. It knows no catalog and so no composite
types (``o orders%ROWTYPE; ... o.total := 1`` is an error to it), it leaves out what GET DIAGNOSTICS and
declarations say, and it is C code that need not survive every text. So blocks are taken apart here, the way
``pl_gram.y`` and ``pl_scanner.c`` do it: PL/pgSQL ends an expression at the first keyword or semicolon
outside of brackets, and hands what is in between to the SQL grammar, as we do. tests/statement hold
both readers against each other.

What is not understood raises :class:`NotUnderstood`; nothing is ever passed over.
"""

from __future__ import annotations

from attrs import evolve, frozen

from governed_db.statement import lexer
from governed_db.statement.nodes import words
from governed_db.statement.plpgsql_tokens import NotUnderstood, Piece, Tokens, bracket, is_equals, name_of


@frozen
class Block:
    """What a block holds: its SQL, the names in it that are no columns, and ``name.column%TYPE`` types."""

    pieces: tuple[Piece, ...]
    variables: frozenset[str]
    column_types: tuple[tuple[str, ...], ...] = ()


# plpgsql_build_variable's and plpgsql_compile's own (pl_comp.c), those of triggers and handlers included.
BUILT_IN = words(
    """found sqlstate sqlerrm new old tg_name tg_when tg_level tg_op tg_relid tg_relname tg_table_name
    tg_table_schema tg_nargs tg_argv tg_event tg_tag"""
)

MAX_NESTING = 100
"""Blocks, loops and branches inside one another; each takes a few frames of Python's stack."""

_LEVELS = words("debug log info notice warning exception")
_RAISED = words("message detail hint errcode column constraint datatype table schema")


def read_block(text: str) -> Block:
    """Return what the PL/pgSQL block ``text`` (the body of a function, procedure or DO) holds.

    Raises:
        NotUnderstood: something in it is not PL/pgSQL as far as it is known here.
    """
    return _Reader(text).block()


class _Reader(Tokens):
    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.depth = 0
        self.pieces: list[Piece] = []
        self.variables: set[str] = set()
        self.cursors: set[str] = set()
        self.opened: set[str] = set()
        self.column_types: list[tuple[str, ...]] = []

    def block(self) -> Block:
        while self.is_("#"):
            self.next()
            # plpgsql.variable_conflict and its kin: names are taken for columns and variables at once here.
            self.name("an option")
            self.name("an option's value")
        self.labels()
        self.nested()
        self.take(";")
        if self.at != len(self.tokens):
            raise NotUnderstood("text after the end of the block")
        return Block(tuple(self.pieces), frozenset(self.variables | BUILT_IN), tuple(self.column_types))

    # -- what is found

    def add(self, text: str, what: str, *, target: tuple[str, ...] = (), dynamic: bool = False) -> None:
        self.pieces.append(Piece(text, what, target, dynamic))

    def expression(
        self, text: str, what: str, *, target: tuple[str, ...] = (), dynamic: bool = False
    ) -> None:
        if not text:
            raise NotUnderstood(f"no expression where {what} wants one")
        self.add(f"SELECT {text}", what, target=target, dynamic=dynamic)

    # -- blocks

    def labels(self) -> None:
        while self.take("<<"):
            self.variables.add(self.name("a label"))
            self.need(">>")

    def nested(self) -> None:
        """Read [DECLARE ...] BEGIN ... [EXCEPTION ...] END [label]."""
        if self.take("declare"):
            while not self.is_("begin"):
                if self.take("declare"):
                    continue
                self.labels()
                if not self.is_("begin"):
                    self.declaration()
        self.need("begin")
        self.statements("end", "exception")
        if self.take("exception"):
            while self.take("when"):
                self.until("then")  # names of conditions and SQLSTATE codes
                self.statements("when", "end")
        self.need("end")
        self.label()

    def label(self) -> None:
        if not self.is_(";", ""):
            self.name("a label")

    def statements(self, *ends: str) -> None:
        self.depth += 1
        if self.depth > MAX_NESTING:
            raise NotUnderstood(f"blocks nested more than {MAX_NESTING} deep")
        while not self.is_(*ends):
            if self.at >= len(self.tokens):
                raise NotUnderstood("a block without an END")
            self.labels()
            self.statement()
        self.depth -= 1

    def declaration(self) -> None:
        name = self.name("a variable")
        self.variables.add(name)
        if self.take("alias"):
            self.until(";")
            return
        after = self.word(1) if self.is_("no") else ""
        if self.is_("cursor") or self.is_("scroll") or after == "scroll":
            self.bound_cursor(name)
            return
        self.take("constant")
        text, stop = self.until("collate", "not", "default", ":=", "=", ";")
        self.type(text)
        if stop == "collate":
            _, stop = self.until("not", "default", ":=", "=", ";")
        if stop == "not":
            self.need("null")
            stop = self.slice(self.next()).lower()
        if stop != ";":
            if stop not in ("default", ":=", "="):
                raise NotUnderstood("a declaration")
            self.expression(self.until(";")[0], "DECLARE", target=(name,))

    def type(self, text: str) -> None:
        """Note a type: values of it may run the checks of a domain."""
        found = lexer.tokens(text)
        if not found:
            raise NotUnderstood("a declaration without a type")
        percent = next((i for i, t in enumerate(found) if text[t.start : t.end].startswith("%")), None)
        if percent is None:
            self.add(f"SELECT NULL::{text}", "DECLARE")
            return
        names = tuple(
            name_of(text[t.start : t.end])
            for t in found[:percent]
            if t.kind in (lexer.NAME, lexer.QUOTED_NAME)
        )
        kind = text[found[percent].end :].split("[", 1)[0].strip().lower()
        if kind.startswith("rowtype"):
            self.add(f"SELECT NULL::{text[: found[percent].start]}", "DECLARE")
        elif kind.startswith("type"):
            if names and names[0] not in self.variables:
                self.column_types.append(names)
        else:
            raise NotUnderstood("a declaration's type")

    def bound_cursor(self, name: str) -> None:
        self.take("no")
        self.take("scroll")
        self.need("cursor")
        self.cursors.add(name)
        if self.take("("):
            while not self.take(")"):
                self.variables.add(self.name("a cursor's argument"))
                start, brackets = self.at, 0
                while brackets or not self.is_(",", ")"):
                    word = self.slice(self.next())
                    brackets += bracket(word)
                self.type(self.between(start, self.at))
                self.take(",")
        self.need("for", "is")
        self.add(self.until(";")[0], "CURSOR")

    # -- statements

    def statement(self) -> None:
        word = self.word()
        token = self.tokens[self.at]
        if token.kind in (lexer.NAME, lexer.QUOTED_NAME) and self.assigns():
            self.assignment()
            return
        handler = getattr(self, f"on_{word}", None) if token.kind == lexer.NAME else None
        if handler is not None:
            handler()
        else:
            self.sql()

    def assigns(self) -> bool:
        # Reserved words cannot be variables; others are keywords only where no assignment follows.
        following = self.word(1)
        if self.word() in _RESERVED:
            return False
        return following in (":=", ".", "[") or is_equals(following)

    def assignment(self) -> None:
        start = self.at
        names = [self.name("a variable")]
        brackets = 0
        subscripted = False
        while True:
            word = self.slice(self.next())
            if brackets == 0 and (word == ":=" or is_equals(word)):
                break
            if bracket(word):
                subscripted = True
                brackets += bracket(word)
            elif word == ";":
                raise NotUnderstood("a statement that begins like an assignment")
            elif brackets == 0 and word != ".":
                names.append(name_of(word))
        if subscripted:
            self.expression(self.between(start, self.at - 1), "assignment")
        first = self.tokens[self.at - 1]
        extra = first.end - first.start - 1 if self.slice(first) != ":=" else 0
        text = self.until(";")[0]
        if extra:  # `x =-1`: the lexer's operator is longer than the assignment
            text = self.slice(first)[1:] + text
        self.expression(text, "assignment", target=tuple(names))

    def sql(self) -> None:
        """Read a statement of SQL, less the INTO that PL/pgSQL takes for itself (make_execsql_stmt)."""
        start, brackets, blocks = self.at, 0, 0
        creates = self.is_("create")
        imports = self.is_("import")
        into: tuple[int, int] | None = None
        targets: tuple[tuple[str, ...], ...] = ()
        before = ""
        while True:
            word = self.slice(self.next()).lower()
            if word == ";" and brackets == 0 and blocks == 0:
                break
            if bracket(word):
                brackets += bracket(word)
            elif creates and word in ("begin", "case"):
                blocks += 1
            elif creates and word == "end" and blocks:
                blocks -= 1
            elif word == "into" and before not in ("insert", "merge") and not imports:
                if into is not None:
                    raise NotUnderstood("INTO twice in a statement")
                first = self.at - 1
                targets = self.targets()
                into = (first, self.at)
                word = ""
            before = word
        end = self.at - 1
        if end == start:
            raise NotUnderstood("an empty statement")
        text = self.between(start, end)
        if into is not None:
            head = self.between(start, into[0])
            rest = self.between(into[1], end)
            text = f"{head} {rest}"
        self.pieces.append(Piece(text, "SQL", into=targets))

    def targets(self) -> tuple[tuple[str, ...], ...]:
        self.take("strict")
        found: list[tuple[str, ...]] = []
        while True:
            names = [self.name("a variable after INTO")]
            while self.take("."):
                names.append(self.name("a field after INTO"))
            found.append(tuple(names))
            if not self.take(","):
                return tuple(found)

    def on_begin(self) -> None:
        self.nested()
        self.need(";")

    on_declare = on_begin

    def on_null(self) -> None:
        self.next()
        self.need(";")

    def on_if(self) -> None:
        self.next()
        self.expression(self.until("then")[0], "IF")
        self.statements("elsif", "elseif", "else", "end")
        while self.take("elsif", "elseif"):
            self.expression(self.until("then")[0], "IF")
            self.statements("elsif", "elseif", "else", "end")
        if self.take("else"):
            self.statements("end")
        self.need("end")
        self.need("if")
        self.need(";")

    def on_case(self) -> None:
        self.next()
        operand = ""
        if not self.is_("when"):
            operand = self.until("when")[0]
            self.expression(operand, "CASE")
            self.at -= 1
        while self.take("when"):
            text = self.until("then")[0]
            self.expression(f"({operand}) IN ({text})" if operand else text, "CASE")
            self.statements("when", "else", "end")
        if self.take("else"):
            self.statements("end")
        self.need("end")
        self.need("case")
        self.need(";")

    def on_loop(self) -> None:
        self.need("loop")
        self.statements("end")
        self.need("end")
        self.need("loop")
        self.label()
        self.need(";")

    def on_while(self) -> None:
        self.next()
        self.expression(self.until("loop")[0], "WHILE")
        self.at -= 1
        self.on_loop()

    def on_for(self) -> None:
        self.next()
        names = [self.name("a loop's variable")]
        while self.take(",", "."):
            names.append(self.name("a loop's variable"))
        self.variables.update(names)
        self.need("in")
        if self.take("execute"):
            self.dynamic("loop")
        else:
            self.take("reverse")
            self.loop_over()
        self.at -= 1
        self.on_loop()

    def loop_over(self) -> None:
        bound = self.word() in self.cursors and self.word(1) in ("(", "loop")
        if bound:
            self.next()
            if self.is_("("):
                self.expression(self.until("loop")[0], "FOR")
            else:
                self.need("loop")
            return
        text, stop = self.until("..", "loop")
        if stop == "loop":
            self.add(text, "FOR")
            return
        self.expression(text, "FOR")
        text, stop = self.until("by", "loop")
        self.expression(text, "FOR")
        if stop == "by":
            self.expression(self.until("loop")[0], "FOR")

    def on_foreach(self) -> None:
        self.next()
        self.variables.add(self.name("a loop's variable"))
        while self.take(",", "."):
            self.variables.add(self.name("a loop's variable"))
        if self.take("slice"):
            self.next()
        self.need("in")
        self.need("array")
        self.expression(self.until("loop")[0], "FOREACH")
        self.at -= 1
        self.on_loop()

    def on_exit(self) -> None:
        self.next()
        if not self.is_(";", "when"):
            self.name("a label")
        if self.take("when"):
            self.expression(self.until(";")[0], "EXIT")
        else:
            self.need(";")

    on_continue = on_exit

    def on_return(self) -> None:
        self.next()
        if self.take(";"):
            return
        if self.take("query"):
            if self.take("execute"):
                self.dynamic(";")
            else:
                self.add(self.until(";")[0], "RETURN")
            return
        if self.take("next") and self.take(";"):
            return
        self.expression(self.until(";")[0], "RETURN")

    def on_perform(self) -> None:
        self.next()
        self.expression(self.until(";")[0], "PERFORM")

    def on_execute(self) -> None:
        self.next()
        self.dynamic(";")

    def dynamic(self, end: str) -> None:
        """Read an expression whose value is run as SQL, with [INTO target] [USING ...] up to ``end``."""
        text, stop = self.until("into", "using", end)
        self.expression(text, "EXECUTE", dynamic=True)
        while stop != end:
            if stop == "into":
                self.pieces[-1] = evolve(self.pieces[-1], into=self.targets())
                stop = self.slice(self.next()).lower()
                if stop not in ("using", end):
                    raise NotUnderstood("an EXECUTE")
            else:
                text, stop = self.until("into", end)
                self.expression(text, "USING")

    def on_open(self) -> None:
        self.next()
        self.opened.add(self.name("a cursor"))
        if self.take(";"):
            return
        if self.is_("("):
            self.expression(self.until(";")[0], "OPEN")
            return
        self.take("no")
        self.take("scroll")
        self.need("for")
        if self.take("execute"):
            self.dynamic(";")
        else:
            self.add(self.until(";")[0], "OPEN")

    def on_fetch(self) -> None:
        self.next()
        if self.take("absolute", "relative", "forward", "backward") and not self.is_("all", "from", "in"):
            # The count is an expression; without FROM it is hard to tell from the cursor's name.
            start = self.at
            while not self.is_("from", "in", ";"):
                self.next()
            if not self.is_(";"):
                self.expression(self.between(start, self.at), "FETCH")
            elif self.at != start + 1:
                raise NotUnderstood("a FETCH without FROM")
        cursor = ""
        while not self.take(";"):
            token = self.next()
            if not cursor and self.is_("into", ";"):
                cursor = name_of(self.slice(token))
            if token.kind not in (lexer.NAME, lexer.QUOTED_NAME, lexer.NUMBER, lexer.PUNCTUATION):
                raise NotUnderstood("a FETCH")
            if self.is_("("):
                raise NotUnderstood("a FETCH")
        if cursor not in self.opened:
            # A variable can hold the name of any cursor of the session, of columns nobody knows.
            raise NotUnderstood("a FETCH from a cursor that was opened elsewhere")

    on_move = on_fetch

    def on_close(self) -> None:
        self.next()
        self.name("a cursor")
        self.need(";")

    def on_get(self) -> None:
        self.next()
        self.take("current", "stacked")
        self.need("diagnostics")
        self.until(";")  # targets and the names of items, which compute nothing

    def on_assert(self) -> None:
        self.next()
        self.expression(self.until(";")[0], "ASSERT")

    def on_raise(self) -> None:
        self.next()
        self.take(*_LEVELS)
        if self.take(";"):
            return
        if not self.is_("using"):
            if self.take("sqlstate") or self.tokens[self.at].kind == lexer.STRING:
                if self.next().kind != lexer.STRING:
                    raise NotUnderstood("a RAISE")
            elif self.tokens[self.at].kind == lexer.DOLLAR_STRING:
                self.next()
            else:
                self.name("a condition's name")
            if self.take(","):
                text, stop = self.until("using", ";")
                self.expression(text, "RAISE")
                self.at -= stop == "using"
        if self.take("using"):
            stop = ","
            while stop == ",":
                if self.name("an option of RAISE") not in _RAISED:
                    raise NotUnderstood("an option of RAISE")
                if not is_equals(self.word()) and not self.is_(":="):
                    raise NotUnderstood("an option of RAISE")
                glued = self.slice(self.next())[1:].lstrip("=")
                text, stop = self.until(",", ";")
                self.expression(glued + text, "RAISE")
        elif self.text[self.tokens[self.at - 1].start] != ";":
            self.need(";")

    def on_call(self) -> None:
        self.add(self.until(";")[0], "SQL")

    on_do = on_call
    on_commit = on_call
    on_rollback = on_call


_RESERVED = words(
    """all begin by case declare else end execute for foreach from if in into loop not null or strict then
    to using when while"""
)
"""pl_reserved_kwlist.h; the rest of PL/pgSQL's keywords can name variables."""
