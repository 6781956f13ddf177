"""Whether a WHERE restricts its target: proven, or not."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from governed_db.statement import EffectKind, RelationName, read, reread
from governed_db.statement.sources import Columns

CORPUS = Path(__file__).parents[1] / "corpus" / "statement_constrained.jsonl"
CASES = [json.loads(line) for line in CORPUS.read_text().splitlines()]


def constrained(sql: str) -> bool | None:
    effects = [e for e in read(sql).effects if e.kind in (EffectKind.UPDATE, EffectKind.DELETE)]
    return effects[-1].constrained


@pytest.mark.parametrize("case", CASES, ids=[c["sql"] for c in CASES])
def test_corpus(case: dict[str, object]) -> None:
    assert constrained(str(case["sql"])) is case["constrained"]


COLUMNS = {
    "t": frozenset({"id", "state", "customer_id"}),
    "orders": frozenset({"order_id", "t_id", "customer_id"}),
}


def columns(name: RelationName) -> frozenset[str] | None:
    return COLUMNS.get(name.name)


@pytest.mark.parametrize(
    ("sql", "by_text", "by_catalog"),
    [
        ("DELETE FROM t WHERE customer_id IN (SELECT customer_id FROM orders)", False, True),
        ("DELETE FROM t WHERE id IN (SELECT id FROM orders)", False, False),
        ("DELETE FROM t WHERE id IN (SELECT id FROM nowhere)", False, False),
        ("DELETE FROM t USING orders WHERE id = t_id", False, True),
        ("DELETE FROM t USING orders WHERE state = 'x'", False, True),
        ("DELETE FROM t USING orders WHERE order_id = 5", False, False),
        ("DELETE FROM t USING orders WHERE customer_id = 5", False, False),
        ("DELETE FROM t USING nowhere WHERE state = 'x'", False, False),
        ("DELETE FROM t", False, False),
        ("DELETE FROM t WHERE id = 1", True, True),
    ],
)
def test_a_catalog_tells_names_apart(sql: str, by_text: bool, by_catalog: bool) -> None:
    statement = read(sql)
    assert [e.constrained for e in statement.effects] == [by_text]
    again = reread(statement, Columns(columns))
    assert [e.constrained for e in again] == [by_catalog]
    assert [(e.kind, e.target, e.location) for e in again] == [
        (e.kind, e.target, e.location) for e in statement.effects
    ]


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        ("USING orders o WHERE o.order_id = t.id", False),
        ("USING orders o WHERE t.id = o.order_id AND o.state = 'x'", True),
        ("USING orders o WHERE t.id = o.order_id AND t.t_id = 3", True),
        ("USING orders o WHERE t.t_id = o.order_id", True),
        ("USING (SELECT * FROM orders) o WHERE t.id = o.order_id", False),
        ("USING (SELECT * FROM orders WHERE state = 'x') o WHERE t.id = o.order_id", True),
        ("WHERE id IN (SELECT order_id FROM orders)", False),
        ("WHERE id IN (SELECT order_id FROM orders WHERE state = 'x')", True),
        ("WHERE id = ANY (ARRAY(SELECT order_id FROM orders))", False),
        ("WHERE id = (SELECT max(order_id) FROM orders)", True),
        ("WHERE EXISTS (SELECT 1 FROM orders o WHERE o.order_id = t.id)", False),
        ("WHERE EXISTS (SELECT 1 FROM orders o WHERE o.order_id = t.id AND o.state = 'x')", True),
    ],
)
def test_the_whole_table_that_a_foreign_key_refers_to_restricts_nothing(where: str, expected: bool) -> None:
    def parents(name: RelationName, column: str) -> list[tuple[RelationName, str]]:
        refers = (name.name, column) == ("t", "id")
        return [(RelationName(None, "orders"), "order_id")] if refers else []

    (effect,) = (
        e for e in reread(read(f"DELETE FROM t {where}"), Columns(columns, parents)) if e.kind == "delete"
    )
    assert effect.constrained is expected


def test_a_select_is_not_read_again() -> None:
    statement = read("SELECT 1")
    assert reread(statement, Columns(columns)) is statement.effects


# Atoms over one integer column, with what they are true of, to compare proofs with the truth.
ATOMS = {
    "id = 1": lambda i: i == 1,
    "id = 2": lambda i: i == 2,
    "id <> 1": lambda i: i != 1,
    "id < 2": lambda i: i < 2,
    "id <= 2": lambda i: i <= 2,
    "id > 2": lambda i: i > 2,
    "id >= 2": lambda i: i >= 2,
    "2 > id": lambda i: i < 2,
    "id IN (1, 3)": lambda i: i in (1, 3),
    "id NOT IN (1, 3)": lambda i: i not in (1, 3),
    "id BETWEEN 1 AND 2": lambda i: 1 <= i <= 2,
    "id NOT BETWEEN 1 AND 2": lambda i: not 1 <= i <= 2,
    "id IS NULL": lambda i: False,
    "id IS NOT NULL": lambda i: True,
    "id = id": lambda i: True,
    "true": lambda i: True,
    "false": lambda i: False,
    "1 = 1": lambda i: True,
    "id = ANY (ARRAY[1, 2])": lambda i: i in (1, 2),
    "id <> ALL (ARRAY[1, 2])": lambda i: i not in (1, 2),
    "id IS DISTINCT FROM 3": lambda i: i != 3,
    "(id > 1) IS TRUE": lambda i: i > 1,
    "(id > 1) IS NOT TRUE": lambda i: not i > 1,
}
conditions = st.recursive(
    st.sampled_from(list(ATOMS.items())),
    lambda inner: st.one_of(
        inner.map(lambda c: (f"NOT ({c[0]})", lambda i, f=c[1]: not f(i))),
        st.tuples(inner, inner).map(
            lambda p: (f"({p[0][0]} AND {p[1][0]})", lambda i, a=p[0][1], b=p[1][1]: a(i) and b(i))
        ),
        st.tuples(inner, inner).map(
            lambda p: (f"({p[0][0]} OR {p[1][0]})", lambda i, a=p[0][1], b=p[1][1]: a(i) or b(i))
        ),
    ),
    max_leaves=6,
)


@given(conditions)
def test_what_is_true_of_every_row_is_never_proven_to_restrict(condition: tuple[str, object]) -> None:
    sql, test = condition
    if constrained(f"DELETE FROM t WHERE {sql}"):
        assert not all(test(i) for i in range(-5, 10))  # type: ignore[operator]
