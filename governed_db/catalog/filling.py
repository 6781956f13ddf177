"""What a trigger fills columns with: values of its row, straight or through variables, wherever they are put.

``NEW.handle := lower(v)``, ``SELECT ... INTO NEW.digest``, ``UPDATE copies SET info = NEW.email``: what is
stored there is made of other columns, and as sensitive as they are. The order of statements does not count: a
variable holds whatever is assigned to it anywhere.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from attrs import frozen

from governed_db.catalog.bound import Source
from governed_db.catalog.model import Function, Relation, Trigger
from governed_db.catalog.scope import NOTHING
from governed_db.statement.plpgsql import BUILT_IN

# src/backend/utils/adt/tsvector_op.c: the column to fill, a configuration or the column that has it, then the
# columns it is made of.
_INDEXING = frozenset({"tsvector_update_trigger", "tsvector_update_trigger_column"})


@frozen
class Flow:
    """Values made of ``sources`` and of what is in ``variables`` go into ``sink``: a column or a variable."""

    sink: Source | str
    sources: frozenset[Source]
    variables: frozenset[str]


def variables_in(tree: Any, known: frozenset[str]) -> frozenset[str]:
    """Return the variables that a statement of a body names, but for those that every trigger has."""
    found: set[str] = set()
    todo = [tree]
    while todo:
        node = todo.pop()
        if type(node) is list or type(node) is tuple:
            todo += node
        elif isinstance(node, Mapping):
            for tag, value in node.items():
                if tag == "ColumnRef":
                    found.update(n["String"].get("sval", "") for n in value["fields"][:1] if "String" in n)
                else:
                    todo.append(value)
    return frozenset(found & known - BUILT_IN)


def sinks(relation: Relation, targets: Iterable[tuple[str, ...]]) -> Iterator[Source | str]:
    """Yield what the targets of assignments are: columns of NEW, or variables."""
    for target in targets:
        if len(target) == 2 and target[0] == "new":
            column = relation.column(target[1])
            if column is not None:
                yield Source(relation.oid, column.number)
        elif target and target[0] not in BUILT_IN:
            yield target[0]


def filled(flows: Iterable[Flow], everything: frozenset[Source]) -> frozenset[tuple[Source, Source]]:
    """Return every column that is filled, each with a column that it is filled from.

    Args:
        flows: of one body.
        everything: the columns that the body looks at: what a variable can hold that nothing is known of.
    """
    flows = tuple(flows)
    into: dict[Source | str, set[Flow]] = {}
    for flow in flows:
        into.setdefault(flow.sink, set()).add(flow)
    held: dict[str, frozenset[Source]] = {}
    named = {name for flow in flows for name in flow.variables}
    for name in named:
        seen, todo = {name}, [name]
        sources = NOTHING
        while todo:
            known = into.get(todo.pop())
            if known is None:
                sources = everything
                break
            for flow in known:
                sources |= flow.sources
                todo += flow.variables - seen
                seen |= flow.variables
        held[name] = sources
    return frozenset(
        (source, flow.sink)
        for flow in flows
        if isinstance(flow.sink, Source)
        for source in flow.sources.union(*(held[name] for name in flow.variables))
        if source != flow.sink
    )


def indexed(relation: Relation, trigger: Trigger, function: Function) -> frozenset[tuple[Source, Source]]:
    """Return the same of PostgreSQL's own triggers that keep the words of columns in a tsvector."""
    if function.name not in _INDEXING or function.schema != "pg_catalog":
        return frozenset()
    every = frozenset(c.number for c in relation.columns)
    arguments = _arguments(trigger.definition or "")
    sink = relation.column(arguments[0]) if arguments else None
    if sink is None:
        return frozenset()
    columns = [relation.column(name) for name in arguments[2:]]
    numbers = frozenset(c.number for c in columns if c is not None) if all(columns) else every
    return frozenset(
        (Source(relation.oid, n), Source(relation.oid, sink.number)) for n in numbers - {sink.number}
    )


def _arguments(definition: str) -> list[str]:
    from governed_db.statement import Unreadable, read  # noqa: PLC0415 - few tables have such triggers

    try:
        tree = read(definition).tree
    except Unreadable:
        return []
    nodes = tree[0].get("stmt", {}).get("CreateTrigStmt", {}).get("args", ())
    return [node["String"].get("sval", "") for node in nodes if "String" in node]
