"""Names that a statement uses and this database does not have, told so that the writer can mend them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

from attrs import frozen

from governed_db.catalog import suggest, vetting
from governed_db.catalog.versions import is_syntax, release

if TYPE_CHECKING:
    from governed_db.catalog.context import Context
    from governed_db.catalog.scope import Scope

_IN_FROM = frozenset("rvmfpS")  # pg_class.relkind of what FROM can name


@frozen
class Absent:
    """One such name: where the text has it (in bytes), and what may have been meant."""

    what: str
    name: str
    location: int
    hint: Callable[[], str] | None

    def told(self, text: str | None) -> str:
        """Return the name, its place and a hint; without a ``text`` (in a view, a body) the name alone."""
        said = f"{self.what} {self.name}"
        if text is None:
            return said
        place = self.location
        if place > 0 and not text.isascii():
            place = len(text.encode()[:place].decode(errors="ignore"))
        if place >= 0:
            said += f" at character {place + 1}"
        hint = self.hint() if self.hint is not None else ""
        quoted = self.what == "column" and place >= 0 and text[place : place + 1] == '"'
        if quoted and not hint.startswith("did you mean"):
            hint = "double quotes name a column; a text value takes single quotes"
        return f"{said} ({hint})" if hint else said


def relation_hint(ctx: Context, schema: str | None, name: str) -> str:
    """Return what a relation may have been meant to be: of the schema written, and of the search_path."""
    here = list(_relations(ctx, ctx.session.search_path, name))
    if not schema:
        return suggest.hint(name, here)
    there = list(_relations(ctx, ctx.session.schemas(schema), name))
    if not there:
        return suggest.offered(suggest.similar(name, here))
    return suggest.hint(name, there)


def _relations(ctx: Context, schemas: Iterable[str], name: str) -> Iterator[str]:
    # PostgreSQL's own are only meant by names like theirs.
    wanted = {s for s in schemas if s != "pg_catalog" or name.startswith("pg_")}
    for relation in ctx.catalog.relations.values():
        if relation.schema in wanted and relation.kind in _IN_FROM:
            yield relation.name


def column_hint(scope: Scope, names: list[str]) -> str:
    """Return what a column may have been meant to be: of what it is qualified with, else of any in reach."""
    items: dict[str, None] = {}
    columns: dict[str, None] = {}
    level: Scope | None = scope
    while level is not None:
        for item in level.items:
            if item.name:
                items[item.name] = None
            if item.by_column:
                columns |= dict.fromkeys(c.name for c in item.columns)
        level = level.outer
    # A qualified column that gets here has a qualifier that is nothing in FROM.
    return (
        suggest.hint(names[-2], items)
        if len(names) > 1
        else suggest.hint(names[-1] if names else "", columns)
    )


def function_hint(ctx: Context, schema: str | None, name: str) -> str:
    """Return what a function may have been meant to be; of PostgreSQL's own only vetted ones are told."""
    if not is_syntax(name, ctx.catalog.server_version):
        return f"syntax from PostgreSQL {release(name)} on, and this server is older"
    if not schema and name in suggest.ELSEWHERE:
        return f"PostgreSQL has {suggest.ELSEWHERE[name]}"
    schemas = frozenset(ctx.session.schemas(schema))
    here = (n for n, found in ctx.catalog.functions.items() if any(f.schema in schemas for f in found))
    return suggest.offered([n for n in suggest.similar(name, here) if _told(ctx, schemas, n)])


def _told(ctx: Context, schemas: frozenset[str], name: str) -> bool:
    found = [f for f in ctx.catalog.functions[name] if f.schema in schemas and f.kind != "p"]
    return any(f.schema != "pg_catalog" or vetting.unvetted(f) is None for f in found)
