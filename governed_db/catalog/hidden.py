"""Functions that run without being named: behind defaults, checks, indexes, policies and partition keys.

PostgreSQL keeps such expressions as trees of nodes (pg_node_tree) in which functions and operators stand by
OID. Everything of the form ``:field OID`` is looked at, by the fields that src/include/nodes/primnodes.h and
parsenodes.h have for them in PostgreSQL 13 to 18. A name that looks like one finds too much, never too
little.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache

from governed_db.catalog import extensions, vetting
from governed_db.catalog.model import Column, Function, Hidden, OperatorClass, Type
from governed_db.catalog.queries import FIRST_USER_OID

# What kind of expression the query says it is: where, whether reading rows runs it, whether writing does.
_WHERE = {
    "d": ("a column default", False, True),
    "s": ("a generated column", False, True),
    "v": ("a generated column", True, True),  # VIRTUAL: computed whenever it is read
    "c": ("a check constraint", False, True),
    "i": ("an index", False, True),
    "x": ("an index", True, True),  # comparing, which a search does as well
    "a": ("a row security policy", False, True),  # FOR INSERT
    "p": ("a row security policy", True, True),
    "t": ("a trigger's condition", False, True),
    "k": ("a partition key", True, True),
    "D": ("a domain's check", False, True),
}
_POLICIES = frozenset("ap")

_CALLS = re.compile(
    r":(?:funcid|opfuncid|aggfnoid|winfnoid|elemfuncid|startInRangeFunc|endInRangeFunc) (\d+)"
)
_OPERATORS = re.compile(r":(?:opno|eqop|sortop) (\d+)")
_LISTS = re.compile(r":opnos \(o ([\d ]+)\)")
_MADE = re.compile(r":(?:resulttype|consttype) (\d+)")

_Rows = Sequence[tuple[str | None, ...]]


# As many expressions as a large schema has; they hardly change from one snapshot to the next.
@lru_cache(maxsize=4096)
def _mentioned(tree: str) -> tuple[frozenset[int], frozenset[int], frozenset[int]]:
    """Return the OIDs of functions, of operators and of the types of values in an expression."""
    operators = {int(n) for n in _OPERATORS.findall(tree)}
    for several in _LISTS.findall(tree):
        operators.update(map(int, several.split()))
    return (
        frozenset(int(n) for n in _CALLS.findall(tree)),
        frozenset(operators),
        frozenset(oid for n in _MADE.findall(tree) if (oid := int(n)) >= FIRST_USER_OID),
    )


def hidden(
    expressions: _Rows,
    compared: _Rows,
    *,
    columns: Mapping[int, tuple[Column, ...]],
    secured: set[int],
    types: Mapping[int, Type],
    functions: Mapping[int, Function],
    operators: _Rows,
    classes: Sequence[OperatorClass],
) -> tuple[dict[int, tuple[Hidden, ...]], dict[int, tuple[int, ...]]]:
    """Return, by relation, the functions that touching it runs and that are not vetted.

    Beside it, by type, the same for the checks of the domains that a value of the type is made of.

    Args:
        expressions: relation or domain, column, what it is, pg_node_tree; of ``queries.PARTS``.
        compared: relation, operator class, what it is; likewise.
        columns: by relation.
        secured: relations whose row security policies are in force.
        types, functions: by OID.
        operators: of ``queries.PARTS``: OID first, OID of its function last.
        classes: operator classes that PostgreSQL did not bring.
    """
    finder = _Finder(types, functions, operators, classes, expressions)
    return finder.relations(expressions, compared, columns, secured), finder.checked(columns)


class _Finder:
    def __init__(
        self,
        types: Mapping[int, Type],
        functions: Mapping[int, Function],
        operators: _Rows,
        classes: Sequence[OperatorClass],
        expressions: _Rows,
    ) -> None:
        self.types = types
        self.functions = functions
        # Operators of PostgreSQL itself call functions of PostgreSQL, all of them vetted: see
        # tests/catalog/test_catalog_vetting.py.
        self.behind = {int(row[0] or 0): int(row[-1] or 0) for row in operators}
        self.classes = {c.oid: c for c in classes}
        self.checks: dict[int, list[str]] = defaultdict(list)
        for oid, _, kind, tree in expressions:
            if kind == "D":
                self.checks[int(oid or 0)].append(tree or "")
        self.known: dict[int, bool] = {}
        self.of_types: dict[int, frozenset[int]] = {}

    def relations(
        self,
        expressions: _Rows,
        compared: _Rows,
        columns: Mapping[int, tuple[Column, ...]],
        secured: set[int],
    ) -> dict[int, tuple[Hidden, ...]]:
        found: dict[int, dict[Hidden, None]] = defaultdict(dict)
        for relation, column, kind, tree in expressions:
            if kind is None or kind == "D":
                continue
            oid = int(relation or 0)
            if kind in _POLICIES and oid not in secured:
                continue
            for function in self._unvetted(self._of(tree or "", columns)):
                if kind != "d" or not self._numbers(function):
                    found[oid][_hidden(function, kind, int(column or 0))] = None
        for relation, class_, kind in compared:
            behind = self.classes.get(int(class_ or 0))
            called = behind.functions if behind is not None else ()
            for function in self._unvetted(f for f in called if not self._supports(f)):
                found[int(relation or 0)][_hidden(function, kind or "x", 0)] = None
        if self.checks:
            for oid, own in columns.items():
                for each in own:
                    if each.type_oid >= FIRST_USER_OID:
                        for function in self._unvetted(self._of_type(each.type_oid, columns)):
                            found[oid][_hidden(function, "D", each.number)] = None
        return {oid: tuple(each) for oid, each in found.items()}

    def checked(self, columns: Mapping[int, tuple[Column, ...]]) -> dict[int, tuple[int, ...]]:
        if not self.checks:
            return {}
        found = {
            oid: tuple(self._unvetted(self._of_type(oid, columns)))
            for oid in self.types
            if oid >= FIRST_USER_OID
        }
        return {oid: functions for oid, functions in found.items() if functions}

    def _of(self, tree: str, columns: Mapping[int, tuple[Column, ...]]) -> Iterator[int]:
        functions, operators, made = _mentioned(tree)
        yield from functions
        yield from (self.behind[o] for o in operators if o in self.behind)
        for oid in made:
            yield from self._of_type(oid, columns)

    def _of_type(self, oid: int, columns: Mapping[int, tuple[Column, ...]]) -> frozenset[int]:
        """Return the functions in the checks of every domain that a value of type ``oid`` is made of."""
        known = self.of_types.get(oid)
        if known is not None or not self.checks:
            return known or frozenset()
        self.of_types[oid] = frozenset()  # a type that contains itself adds nothing to itself
        found: set[int] = set()
        type_ = self.types.get(oid)
        if type_ is not None and oid >= FIRST_USER_OID:
            for tree in self.checks.get(oid, ()):
                found.update(self._of(tree, columns))
            for inner in (type_.base, type_.element):
                if inner:
                    found |= self._of_type(inner, columns)
            for column in columns.get(type_.relation, ()) if type_.relation else ():
                found |= self._of_type(column.type_oid, columns)
        self.of_types[oid] = frozenset(found)
        return self.of_types[oid]

    def _unvetted(self, oids: Sequence[int] | Iterator[int] | frozenset[int]) -> Iterator[int]:
        for oid in dict.fromkeys(oids):
            if oid not in self.known:
                function = self.functions.get(oid)
                # One that the snapshot does not show (of another session's temporary schema) is not vetted.
                self.known[oid] = oid == 0 or (function is not None and vetting.unvetted(function) is None)
            if not self.known[oid]:
                yield oid

    def _supports(self, oid: int) -> bool:
        function = self.functions.get(oid)
        return function is not None and extensions.supports(function)

    def _numbers(self, oid: int) -> bool:
        function = self.functions.get(oid)
        return function is not None and str(function) == "pg_catalog.nextval" and oid < FIRST_USER_OID


def _hidden(function: int, kind: str, column: int) -> Hidden:
    where, reads, writes = _WHERE[kind]
    return Hidden(function=function, reads=reads, writes=writes, where=where, column=column)
