"""Conditions about where, what columns, which functions and how much; contradictions; nothing gets milder."""

from __future__ import annotations

from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from policy_cases import AGENT, HUMAN, K, ask, effect, policy_of, relation

from governed_db import Governor
from governed_db.catalog.bound import Bound, ColumnUse, FunctionUse, RelationUse
from governed_db.catalog.model import Function, Relation
from governed_db.errors import PolicyError
from governed_db.policy import Estimate, Policy, Request, Verdict
from governed_db.policy.answers import SEVERITY
from governed_db.statement.facts import Access, Effect, EffectKind, FunctionRef, Statement

ALLOW, APPROVE, BLOCK = Verdict.ALLOW, Verdict.NEEDS_APPROVAL, Verdict.BLOCK
READ, INSERT, UPDATE = Access.READ, Access.INSERT, Access.UPDATE


def text_of(*lines: str, head: str = "") -> str:
    text = head
    for i, line in enumerate(lines):
        when, _, then = line.partition(" -> ")
        answer, _, more = then.partition(" ")
        text += f'\n[[rule]]\nid = "r{i}"\nwhen = {{ {when} }}\nthen = "{answer}"\nbecause = "so"\n{more}\n'
    return text


def rules(*lines: str, head: str = "") -> Policy:
    return policy_of(text_of(*lines, head=head))


def bound(
    request: Request,
    *columns: tuple[str, str, Access],
    relations: tuple[tuple[str, Access], ...] = (),
    functions: tuple[FunctionUse, ...] = (),
    told: bool = True,
) -> Request:
    uses = []
    for oid, (name, access) in enumerate(relations, 1):
        schema, _, bare = name.rpartition(".")
        found = Relation(oid=oid, schema=schema, name=bare, kind="r", columns=())
        uses.append(RelationUse(relation=found, access=access, location=-1))
    statement: Statement = request.statement
    known = Bound(
        statement=statement,
        effects=statement.effects,
        relations=tuple(uses),
        functions=functions,
        outputs=(),
        uses=(),
        unknown=(),
        complete=True,
        columns=tuple(ColumnUse(relation(r), c, a) for r, c, a in columns) if told else None,
    )
    return attrs.evolve(request, bound=known)


# -- columns

SALARY = "columns = ['hr.people.salary'] -> block"
SELECTED = ask(effect(K.SELECT))
PEOPLE = (("hr.people", READ),)


def test_a_column_that_is_read_is_a_part_of_its_own() -> None:
    policy = rules(SALARY, "effects = ['select'] -> allow")
    name = bound(SELECTED, ("hr.people", "name", READ), relations=PEOPLE)
    assert policy.decide(name).verdict is ALLOW
    both = bound(SELECTED, ("hr.people", "name", READ), ("hr.people", "salary", READ), relations=PEOPLE)
    decision = policy.decide(both)
    assert (decision.verdict, decision.rule) == (BLOCK, "r0")
    assert "hr.people.salary" in decision.reason
    other = bound(SELECTED, ("hr.pay", "salary", READ), relations=(("hr.pay", READ),))
    assert policy.decide(other).verdict is ALLOW
    assert rules("columns = ['*.*.salary'] -> block", " -> allow").decide(other).verdict is BLOCK


def test_an_allowed_column_allows_no_other() -> None:
    policy = rules("effects = ['select'], columns = ['hr.people.name', 'hr.people.id'] -> allow")
    assert policy.decide(bound(SELECTED, ("hr.people", "id", READ), relations=PEOPLE)).verdict is ALLOW
    both = bound(SELECTED, ("hr.people", "id", READ), ("hr.people", "salary", READ), relations=PEOPLE)
    assert policy.decide(both).verdict is BLOCK
    count = bound(SELECTED, relations=PEOPLE)  # count(*): of no column at all
    assert policy.decide(count).rule == "default"


def test_what_a_write_sets_and_what_it_reads() -> None:
    write = ask(effect(K.UPDATE, "hr.people", constrained=True))
    target = (("hr.people", UPDATE),)
    sets_name = bound(write, ("hr.people", "name", UPDATE), ("hr.people", "id", READ), relations=target)
    by_salary = bound(write, ("hr.people", "name", UPDATE), ("hr.people", "salary", READ), relations=target)
    only_name = rules("effects = ['update'], columns = ['hr.people.name'] -> allow")
    assert only_name.decide(sets_name).verdict is ALLOW
    guarded = rules(SALARY, "effects = ['update'] -> allow")
    assert guarded.decide(sets_name).verdict is ALLOW
    assert guarded.decide(by_salary).rule == "r0"
    sets_salary = bound(write, ("hr.people", "salary", UPDATE), relations=target)
    assert guarded.decide(sets_salary).rule == "r0"
    assert only_name.decide(sets_salary).verdict is BLOCK
    inserted = bound(
        ask(effect(K.INSERT, "hr.people")),
        ("hr.people", "salary", INSERT),
        relations=(("hr.people", INSERT),),
    )
    assert rules(SALARY, " -> allow").decide(inserted).verdict is BLOCK


def test_an_earlier_rule_that_takes_the_part_speaks_for_its_columns() -> None:
    policy = rules(
        "effects = ['select'], identity = { kind = ['human'] } -> allow",
        SALARY,
        "effects = ['select'] -> allow",
    )
    request = bound(SELECTED, ("hr.people", "salary", READ), relations=PEOPLE)
    assert policy.decide(attrs.evolve(request, identity=HUMAN)).verdict is ALLOW
    assert policy.decide(attrs.evolve(request, identity=AGENT)).verdict is BLOCK


def test_columns_that_cannot_be_told_may_be_any() -> None:
    blocking = rules(SALARY, "effects = ['select', 'update'] -> allow")
    allowing = rules("effects = ['select'], columns = ['hr.people.*'] -> allow")
    untold = bound(SELECTED, relations=PEOPLE, told=False)
    assert blocking.decide(untold).verdict is BLOCK
    assert allowing.decide(untold).verdict is BLOCK
    assert blocking.decide(bound(SELECTED, relations=(("hr.pay", READ),), told=False)).verdict is ALLOW
    assert blocking.decide(ask(effect(K.SELECT), reads=("people",))).verdict is BLOCK  # no database
    assert blocking.decide(ask(effect(K.SELECT), reads=("orders",))).verdict is ALLOW
    assert blocking.decide(ask(effect(K.UPDATE, "people", constrained=True))).verdict is BLOCK


# -- functions


def call(name: str, *, vetted: bool = True, schema: str = "pg_catalog") -> FunctionUse:
    function: Any = attrs.evolve(_FUNCTION, schema=schema, name=name)
    return FunctionUse(ref=FunctionRef(None, name, 1, "call", 7), candidates=(function,), vetted=vetted)


_FUNCTION = Function(
    oid=1,
    schema="",
    name="",
    arguments=(),
    returns=25,
    defaults=0,
    variadic=False,
    returns_set=False,
    kind="f",
    volatility="i",
    language="internal",
    security_definer=False,
)


def test_functions_are_all_that_are_called() -> None:
    policy = rules("functions = ['pg_catalog.lower', 'app.*'] -> block", "effects = ['select'] -> allow")
    assert policy.decide(bound(SELECTED, functions=(call("upper"),))).verdict is ALLOW
    decision = policy.decide(bound(SELECTED, functions=(call("lower"),)))
    assert (decision.verdict, decision.rule) == (BLOCK, "r0")
    assert policy.decide(bound(SELECTED, functions=(call("lower", schema="public"),))).verdict is ALLOW
    assert policy.decide(bound(SELECTED, functions=(call("x", schema="app"),))).verdict is BLOCK
    unqualified = ask(effect(K.SELECT), functions=(FunctionRef(None, "lower", 1, "call", 7),))
    assert policy.decide(unqualified).verdict is BLOCK  # without a database it may be the one
    qualified = ask(effect(K.SELECT), functions=(FunctionRef("public", "lower", 1, "call", 7),))
    assert policy.decide(qualified).rule != "r0"


def test_a_vetted_call_needs_no_rule_of_its_own() -> None:
    policy = rules(
        "functions = ['app.refund'] -> allow",
        "effects = ['function'] -> block",
        "effects = ['select'] -> allow",
    )
    assert policy.decide(bound(SELECTED, functions=(call("lower"),))).verdict is ALLOW
    named = ask(effect(K.SELECT), effect(K.FUNCTION, name="app.refund", note="defined by users"))
    assert (
        policy.decide(bound(named, functions=(call("refund", schema="app", vetted=False),))).verdict is ALLOW
    )
    other = ask(effect(K.SELECT), effect(K.FUNCTION, name="app.other", note="defined by users"))
    assert policy.decide(bound(other, functions=(call("other", schema="app", vetted=False),))).rule == "r1"


# -- where


def test_the_environment_is_the_policys_else_the_processs_else_not_known() -> None:
    lines = ("environment = ['prod*'] -> block", " -> allow")
    request = ask(effect(K.SELECT))
    assert rules(*lines, head="environment = 'production'").decide(request).verdict is BLOCK
    assert rules(*lines, head="environment = 'test'").decide(request).verdict is ALLOW
    unknown = rules(*lines)
    assert unknown.decide(request).verdict is BLOCK
    assert unknown.in_environment("test").decide(request).verdict is ALLOW
    fixed = rules(*lines, head="environment = 'production'")
    assert fixed.in_environment("test").decide(request).verdict is BLOCK  # a variable loosens nothing
    assert unknown.in_environment("test").version == unknown.version


def test_the_governor_takes_the_environment_of_the_process(monkeypatch, tmp_path) -> None:
    monkeypatch.setenv("GOVERNED_DB_ENVIRONMENT", "staging")
    governor = Governor(rules("environment = ['staging'] -> allow"), state_dir=tmp_path)
    assert governor.check("SELECT 1").verdict is ALLOW
    monkeypatch.setenv("GOVERNED_DB_ENVIRONMENT", "production")
    governor = Governor(rules("environment = ['staging'] -> allow"), state_dir=tmp_path)
    assert governor.check("SELECT 1").verdict is BLOCK


def test_the_database_by_its_name() -> None:
    policy = rules("database = ['sales_*'] -> block", " -> allow")
    request = ask(effect(K.SELECT))
    for name, verdict in {"sales_eu": BLOCK, "test": ALLOW, "": BLOCK}.items():
        assert policy.decide(attrs.evolve(request, database=name)).verdict is verdict


# -- how much


def test_an_estimate_is_wanted_where_it_can_change_the_answer_and_may_be_asked_for() -> None:
    costly = "effects = ['select'], cost_over = 10, rows_over = 5 -> block"
    policy = rules(costly, "effects = ['select', 'function'] -> allow")
    request = ask(effect(K.SELECT))
    unknown = policy.decide(request)
    assert (unknown.verdict, unknown.rule, unknown.wants_estimate) == (BLOCK, "r0", True)
    for cost, rows, verdict in ((11, 6, BLOCK), (10, 6, ALLOW), (11, 5, ALLOW), (float("nan"), 6, BLOCK)):
        told = policy.decide(attrs.evolve(request, estimate=Estimate(cost=cost, rows=rows)))
        assert (told.verdict, told.wants_estimate) == (verdict, False)
    assert not policy.decide(ask(effect(K.DROP))).wants_estimate
    assert not policy.decide(
        ask(effect(K.SELECT), effect(K.DROP))
    ).wants_estimate  # blocked whatever it costs
    # Planning can run what is called: only where all but the estimate allows it.
    with_call = ask(effect(K.SELECT), effect(K.FUNCTION, name="app.f"))
    assert policy.decide(with_call).wants_estimate
    unapproved = rules(costly, "effects = ['function'] -> approve", "effects = ['select'] -> allow")
    assert not unapproved.decide(with_call).wants_estimate
    assert policy.decide(request) is not unknown  # never kept


def test_a_shadow_is_estimated_too() -> None:
    policy = rules("effects = ['select'], cost_over = 10 -> block shadow = true", " -> allow")
    request = ask(effect(K.SELECT))
    assert policy.decide(request).wants_estimate
    cheap = policy.decide(attrs.evolve(request, estimate=Estimate(cost=1, rows=1)))
    assert not cheap.shadowed
    costly = policy.decide(attrs.evolve(request, estimate=Estimate(cost=11, rows=1)))
    assert [s.rule for s in costly.shadowed] == ["r0"]


def test_several_people() -> None:
    policy = rules(
        "effects = ['drop'] -> approve approvers = ['dba']\ncount = 3",
        "effects = ['alter'] -> approve count = 2",
        "effects = ['insert'] -> allow rows = 5\ncount = 4",
    )
    assert policy.decide(ask(effect(K.DROP), effect(K.ALTER))).approvals_needed == 3
    assert policy.decide(ask(effect(K.ALTER))).approvals_needed == 2
    assert policy.decide(ask(effect(K.INSERT, rows=1))).approvals_needed == 4  # where it is over its cap


# -- at load

BAD = [
    ("functions = ['lower'] -> block", "a function is written schema.name"),
    ("columns = ['people.salary'] -> block", "a column is written schema.relation.column"),
    ("columns = ['a.b.c'], effects = ['drop'] -> block", "reads or sets columns"),
    ("functions = ['a.b'], effects = ['select'] -> block", "about calls"),
    ("functions = ['a.b'], relations = ['a.b'] -> block", "two rules"),
    ("cost_over = -1 -> block", "number from 0"),
    ("cost_over = inf -> block", "number from 0"),
    ("rows_over = true -> block", "number from 0"),
    ("environment = 'production' -> block", "array of strings"),
    ("database = [] -> block", "empty"),
    ("effects = ['drop'] -> block count = 2", "then = 'approve'"),
    ("effects = ['drop'] -> approve count = 0", "above 0"),
]


@pytest.mark.parametrize(("line", "words"), BAD)
def test_a_mistake_is_an_error_with_its_place(line: str, words: str) -> None:
    with pytest.raises(PolicyError, match=r"^p\.toml:\d+:\d+: ") as caught:
        rules(line)
    assert words in str(caught.value)


CONTRADICTIONS = [
    ("columns = ['hr.*.salary']", "columns = ['hr.people.salary']"),
    ("columns = ['hr.people.*'], effects = ['select']", "columns = ['hr.people.id'], effects = ['select']"),
    ("functions = ['app.*']", "functions = ['app.refund']"),
    ("environment = ['prod*']", "environment = ['production']"),
    ("database = ['*']", "database = ['x']"),
    ("effects = ['select'], cost_over = 10", "effects = ['select'], cost_over = 50"),
    ("rows_over = 10", "rows_over = 10, cost_over = 5"),
]


@pytest.mark.parametrize(("general", "special"), CONTRADICTIONS)
def test_a_rule_that_an_earlier_one_takes_all_from_is_an_error(general: str, special: str) -> None:
    for first, second in ((general, special), (general, general)):
        with pytest.raises(PolicyError, match=r"^p\.toml:\d+:1: .*which it contradicts"):
            rules(f"{first} -> allow", f"{second} -> block")
        with pytest.raises(PolicyError, match="which it repeats"):
            rules(f"{first} -> block", f"{second} -> block")
    rules(f"{special} -> allow", f"{general} -> block")


# -- nothing gets milder

CONDITIONS = [
    "effects = ['select']",
    "effects = ['select', 'insert']",
    "effects = ['update'], constrained = true",
    "relations = ['hr.*']",
    "relations = ['*.orders']",
    "columns = ['hr.people.salary']",
    "effects = ['update'], columns = ['*.*.name']",
    "functions = ['app.*']",
    "functions = ['pg_catalog.lower']",
    "environment = ['production']",
    "database = ['sales']",
    "effects = ['select'], cost_over = 100",
    "rows_over = 10",
    "identity = { kind = ['agent'] }",
    "effects = ['function']",
    "",
]
LINES = st.lists(
    st.tuples(st.sampled_from(CONDITIONS), st.sampled_from(["allow", "approve", "block"])),
    min_size=1,
    max_size=5,
)
HEADS = st.sampled_from(["", "environment = 'production'", "environment = 'test'"])
EFFECTS = st.builds(
    Effect,
    kind=st.sampled_from([K.SELECT, K.INSERT, K.UPDATE, K.DELETE, K.DROP, K.FUNCTION]),
    target=st.sampled_from([None, relation("hr.people"), relation("public.orders"), relation("orders")]),
    name=st.sampled_from(["", "app.refund"]),
    constrained=st.sampled_from([None, True, False]),
)
COLUMNS = st.lists(
    st.tuples(
        st.sampled_from(["hr.people", "public.orders"]),
        st.sampled_from(["salary", "name"]),
        st.sampled_from([READ, UPDATE]),
    ),
    max_size=3,
    unique=True,
)
ESTIMATES = st.sampled_from([None, Estimate(cost=50, rows=5), Estimate(cost=500, rows=50)])


@st.composite
def questions(draw: Any) -> Request:
    request = ask(
        *draw(st.lists(EFFECTS, min_size=1, max_size=3)), identity=draw(st.sampled_from([AGENT, HUMAN]))
    )
    request = attrs.evolve(
        request, database=draw(st.sampled_from(["", "sales", "x"])), estimate=draw(ESTIMATES)
    )
    if draw(st.booleans()):
        relations = draw(
            st.lists(st.sampled_from([("hr.people", READ), ("public.orders", UPDATE)]), unique=True)
        )
        functions = draw(st.lists(st.sampled_from([call("lower"), call("x", schema="app")]), max_size=2))
        told = draw(st.booleans())
        request = bound(
            request, *draw(COLUMNS), relations=tuple(relations), functions=tuple(functions), told=told
        )
    return request


def loaded(lines: list[tuple[str, str]], head: str) -> Policy:
    """Rules that say nothing new would not load; here they may stand."""
    read = [rules(f"{when} -> {then}").rules[0] for when, then in lines]
    named = tuple(attrs.evolve(rule, id=f"r{i}") for i, rule in enumerate(read))
    return attrs.evolve(policy_of(head), rules=named)


@given(LINES, HEADS, questions(), st.sampled_from(CONDITIONS), st.integers(0, 5))
def test_one_more_rule_that_blocks_never_makes_an_answer_milder(
    lines: list[tuple[str, str]], head: str, request: Request, when: str, at: int
) -> None:
    before = loaded(lines, head).decide(request)
    after = loaded([*lines[:at], (when, "block"), *lines[at:]], head).decide(request)
    assert SEVERITY[after.verdict] >= SEVERITY[before.verdict]


@given(LINES, HEADS, questions())
def test_not_knowing_never_makes_an_answer_milder(
    lines: list[tuple[str, str]], head: str, request: Request
) -> None:
    policy = loaded(lines, head)
    told = SEVERITY[policy.decide(request).verdict]
    assert SEVERITY[policy.decide(attrs.evolve(request, estimate=None)).verdict] >= told
    assert SEVERITY[policy.decide(attrs.evolve(request, database="")).verdict] >= told
    assert SEVERITY[loaded(lines, "").decide(request).verdict] >= told
    if request.bound is not None:
        blind = attrs.evolve(request, bound=attrs.evolve(request.bound, columns=None))
        assert SEVERITY[policy.decide(blind).verdict] >= told


PAIRS = st.tuples(
    st.sampled_from(CONDITIONS), st.sampled_from(CONDITIONS), st.sampled_from(["allow", "approve", "block"])
)
APART = ("effects = ['drop']", "effects = ['delete']")


@given(LINES, HEADS, questions(), PAIRS, st.integers(0, 5))
def test_neighbours_that_say_the_same_can_change_places(
    lines: list[tuple[str, str]], head: str, request: Request, pair: tuple[str, str, str], at: int
) -> None:
    one, other, then = pair
    first = [*lines[:at], (one, then), (other, then), *lines[at:]]
    second = [*lines[:at], (other, then), (one, then), *lines[at:]]
    assert loaded(first, head).decide(request).verdict is loaded(second, head).decide(request).verdict


@given(LINES, HEADS, questions(), st.sampled_from(["allow", "block"]), st.integers(0, 5))
def test_neighbours_that_are_about_different_parts_can_change_places(
    lines: list[tuple[str, str]], head: str, request: Request, then: str, at: int
) -> None:
    one, other = (APART[0], then), (APART[1], "approve")
    first, second = [*lines[:at], one, other, *lines[at:]], [*lines[:at], other, one, *lines[at:]]
    assert loaded(first, head).decide(request).verdict is loaded(second, head).decide(request).verdict


def test_every_kind_of_effect_can_be_asked_about_columns() -> None:
    policy = rules("columns = ['*.*.*'] -> block", " -> allow")
    for kind in EffectKind:
        policy.decide(ask(effect(kind, "public.t")))
        policy.decide(
            bound(ask(effect(kind, "public.t")), ("public.t", "a", READ), relations=(("public.t", READ),))
        )
