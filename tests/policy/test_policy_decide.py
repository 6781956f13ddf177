from datetime import UTC, datetime
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from policy_cases import AGENT, HUMAN, SERVICE, K, ask, effect, policy_of, relation, statement

from governed_db.catalog.bound import Bound, RelationUse
from governed_db.catalog.model import Relation
from governed_db.identity.model import NOBODY, Identity
from governed_db.policy import Policy, Verdict, preset
from governed_db.policy.answers import SEVERITY
from governed_db.policy.model import Request
from governed_db.policy.parts import milliseconds
from governed_db.statement.facts import Access, Effect, EffectKind, RelationRef

ALLOW, APPROVE, BLOCK = Verdict.ALLOW, Verdict.NEEDS_APPROVAL, Verdict.BLOCK


def rules(*given: str, head: str = "") -> Policy:
    """One rule for each ``when -> then``; ids are r0, r1, ..."""
    text = head
    for i, line in enumerate(given):
        when, _, then = line.partition(" -> ")
        answer, _, more = then.partition(" ")
        text += f'\n[[rule]]\nid = "r{i}"\nwhen = {{ {when} }}\nthen = "{answer}"\nbecause = "so"\n{more}\n'
    return policy_of(text)


def test_the_first_rule_that_fits_speaks_and_nothing_else_is_allowed() -> None:
    policy = rules(
        "effects = ['select'], relations = ['public.secret'] -> block", "effects = ['select'] -> allow"
    )
    assert policy.decide(ask(effect(K.SELECT, "public.a"))).rule == "r1"
    decision = policy.decide(ask(effect(K.SELECT, "public.secret")))
    assert (decision.verdict, decision.rule) == (BLOCK, "r0")
    decision = policy.decide(ask(effect(K.SELECT), effect(K.INSERT, "public.a", location=3)))
    assert (decision.verdict, decision.rule) == (BLOCK, "default")
    assert "INSERT into public.a at character 4" in decision.reason


def test_every_effect_and_every_relation_is_judged() -> None:
    policy = rules(
        "effects = ['select'], relations = ['hr.*'] -> approve approvers = ['hr']",
        "effects = ['select', 'update'] -> allow",
    )
    write = effect(K.UPDATE, "public.a", constrained=True)
    assert policy.decide(ask(write)).verdict is ALLOW
    decision = policy.decide(ask(write, reads=("hr.pay",)))
    assert (decision.verdict, decision.approvers, decision.retryable) == (APPROVE, ("hr",), True)
    assert "hr.pay" in decision.reason


def test_the_relations_that_are_read_say_more_than_that_rows_are_read() -> None:
    policy = rules("effects = ['select'], relations = ['public.*'] -> allow")
    assert policy.decide(ask(effect(K.SELECT), reads=("public.a", "public.b"))).verdict is ALLOW
    assert policy.decide(ask(effect(K.SELECT), reads=("public.a", "hr.b"))).verdict is BLOCK
    assert policy.decide(ask(effect(K.SELECT))).verdict is BLOCK


def test_a_statement_that_does_nothing_we_know_of_is_blocked() -> None:
    policy = rules(" -> allow")
    assert policy.decide(ask()).verdict is BLOCK


def test_what_is_incomplete_is_blocked_unless_a_rule_about_that_says_otherwise() -> None:
    request = ask(effect(K.SELECT), complete=False, incomplete_because="a new clause")
    assert rules(" -> allow").decide(request).verdict is BLOCK
    decision = rules("complete = false -> approve", " -> allow").decide(request)
    assert decision.verdict is APPROVE
    assert "a new clause" in decision.reason


def bound_of(request: Request, *uses: RelationUse, **more: Any) -> Request:
    facts: dict[str, Any] = {
        "statement": request.statement,
        "effects": request.statement.effects,
        "relations": uses,
        "functions": (),
        "outputs": (),
        "uses": (),
        "unknown": (),
        "complete": True,
    }
    return attrs.evolve(request, bound=Bound(**(facts | more)))


def use(
    schema: str, name: str, access: Access = Access.READ, location: int = 0, via: Relation | None = None
) -> RelationUse:
    return RelationUse(
        relation=Relation(oid=1, schema=schema, name=name, kind="r"),
        access=access,
        location=location,
        via=via,
    )


def test_names_are_judged_as_the_catalog_resolves_them() -> None:
    policy = rules("relations = ['hr.*'] -> block", "effects = ['select'] -> allow")
    request = ask(effect(K.SELECT, "pay"), reads=("pay",))
    assert policy.decide(bound_of(request, use("public", "pay"))).verdict is ALLOW
    decision = policy.decide(bound_of(request, use("hr", "pay")))
    assert decision.verdict is BLOCK
    assert "hr.pay" in decision.reason
    # Without a catalog both may be meant, and the severer answer stands.
    assert policy.decide(request).verdict is BLOCK


def test_what_a_view_reads_is_judged_too() -> None:
    policy = rules("relations = ['hr.*'] -> block", "effects = ['select'] -> allow")
    view = Relation(oid=2, schema="public", name="v", kind="v")
    request = bound_of(
        ask(effect(K.SELECT, "v"), reads=("v",)), use("public", "v"), use("hr", "pay", via=view)
    )
    decision = policy.decide(request)
    assert decision.verdict is BLOCK
    assert "through public.v" in decision.reason


def test_an_incomplete_bound_is_as_bad_as_an_incomplete_statement() -> None:
    request = bound_of(ask(effect(K.SELECT)), complete=False, incomplete_because="no such function")
    assert rules(" -> allow").decide(request).verdict is BLOCK


@pytest.mark.parametrize(
    ("lines", "verdict"),
    [
        (("relations = ['public.orders'] -> allow",), BLOCK),
        (("relations = ['public.orders'] -> allow", " -> approve"), APPROVE),
        (("relations = ['public.orders'] -> approve", " -> block"), BLOCK),
        (("relations = ['public.orders'] -> block", " -> allow"), BLOCK),
        (("relations = ['public.other'] -> block", " -> allow"), ALLOW),
        (("relations = ['*.orders'] -> allow", "effects = ['select', 'drop'] -> block"), ALLOW),
        (("relations = ['pg_catalog.*'] -> block", " -> allow"), ALLOW),
    ],
)
def test_not_knowing_the_schema_never_makes_an_answer_milder(
    lines: tuple[str, ...], verdict: Verdict
) -> None:
    assert rules(*lines).decide(ask(effect(K.INSERT, "orders"))).verdict is verdict


def test_a_bare_name_of_postgresql_is_its_own() -> None:
    policy = rules("relations = ['pg_catalog.*'] -> allow")
    assert policy.decide(ask(effect(K.SELECT, "pg_class"))).verdict is ALLOW


def test_row_caps() -> None:
    policy = rules(
        "effects = ['insert'] -> allow rows = 10", "effects = ['update', 'delete'] -> allow rows = 5"
    )
    decision = policy.decide(ask(effect(K.INSERT, "public.a", rows=10)))
    assert (decision.verdict, decision.row_cap) == (ALLOW, 10)
    decision = policy.decide(ask(effect(K.INSERT, "public.a", rows=11)))
    assert (decision.verdict, decision.row_cap, decision.rule) == (APPROVE, 10, "r0")
    assert "11 rows" in decision.reason
    both = ask(effect(K.INSERT, "public.a"), effect(K.DELETE, "public.a"))
    assert policy.decide(both).row_cap == 5
    assert policy.caps(AGENT)
    assert not rules("effects = ['insert'] -> allow").caps(AGENT)
    people = rules("effects = ['insert'], identity = { kind = ['human'] } -> allow rows = 10")
    assert people.caps(HUMAN)
    assert not people.caps(AGENT)


def test_a_rule_in_shadow_is_noted_and_passed_over() -> None:
    policy = rules(
        "effects = ['select'] -> block shadow = true",
        "relations = ['public.a'] -> approve shadow = true",
        "effects = ['select', 'insert'] -> allow",
    )
    decision = policy.decide(ask(effect(K.SELECT, "public.a")))
    assert decision.verdict is ALLOW
    assert [(s.rule, s.verdict) for s in decision.shadowed] == [("r0", BLOCK), ("r1", APPROVE)]
    assert policy.decide(ask(effect(K.INSERT, "public.b"))).shadowed == ()


IDENTITIES = [
    ("kind = ['human']", HUMAN, True),
    ("kind = ['human']", AGENT, False),
    ("subject = ['u-*']", HUMAN, True),
    ("subject = ['u-2']", HUMAN, False),
    ("group = ['dba', 'hr*']", Identity.human("x", groups=("hr-eu",)), True),
    ("group = ['dba']", HUMAN, False),
    ("verified = true", HUMAN, False),
    ("verified = false", HUMAN, True),
    ("issuer = ['https://idp.*']", attrs.evolve(HUMAN, issuer="https://idp.example"), True),
    ("on_behalf_of = { kind = ['human'] }", Identity.agent("a", on_behalf_of=HUMAN), True),
    ("on_behalf_of = { kind = ['human'] }", Identity.agent("a", on_behalf_of="u-1"), False),
    (
        "on_behalf_of = { subject = ['u-1'] }",
        Identity.agent("tool", on_behalf_of=Identity.agent("a", on_behalf_of=HUMAN)),
        True,
    ),
    ("on_behalf_of = { subject = ['u-1'] }", HUMAN, False),
    ("named_service = true", SERVICE, True),
    ("named_service = true", Identity.service("other"), False),
    ("named_service = true", Identity.agent("billing"), False),
    ("named_service = true", Identity.service("billing", on_behalf_of=HUMAN), True),
    ("named_service = true", Identity.service("billing", on_behalf_of=AGENT), False),
    ("named_service = false", AGENT, True),
]


@pytest.mark.parametrize(("condition", "who", "fits"), IDENTITIES)
def test_identity_conditions(condition: str, who: Identity, fits: bool) -> None:
    policy = rules(f"identity = {{ {condition} }} -> allow", head="services = ['billing']")
    assert (policy.decide(ask(effect(K.SELECT), identity=who)).verdict is ALLOW) is fits


def test_who_reads_unmasked() -> None:
    head = (
        "identity = 'service:billing'\n[masking]\nunmasked = [{ named_service = true }, { group = ['dpo'] }]"
    )
    policy = rules(" -> allow", head=head)
    expected = [
        (NOBODY, True),
        (AGENT, True),
        (HUMAN, True),
        (SERVICE, False),
        (Identity.service("other"), True),
        (Identity.service("billing", on_behalf_of=AGENT), True),
        (Identity.human("d", groups=("dpo",)), False),
    ]
    for who, masked in expected:
        assert policy.decide(ask(effect(K.SELECT), identity=who)).masked is masked
        assert policy.masks(who) is masked
    off = rules(" -> allow", head="[masking]\nmode = 'off'")
    assert not off.decide(ask(effect(K.SELECT))).masked


WINDOW = "time = { days = ['mon', 'tue'], from = 22:00:00, to = 06:00:00, zone = 'Europe/Berlin' }"


@pytest.mark.parametrize(
    ("now", "inside"),
    [
        ("2024-01-01T21:00:00+00:00", True),  # Monday 22:00 in Berlin
        ("2024-01-01T20:59:59+00:00", False),
        ("2024-01-03T04:59:59+00:00", True),  # the night that began on Tuesday
        ("2024-01-03T05:00:00+00:00", False),
        ("2024-01-03T21:30:00+00:00", False),  # Wednesday
    ],
)
def test_time_windows(now: str, inside: bool) -> None:
    policy = rules(f"{WINDOW} -> allow", " -> approve")
    request = attrs.evolve(ask(effect(K.SELECT)), now=datetime.fromisoformat(now))
    assert (policy.decide(request).verdict is ALLOW) is inside
    assert policy.momentary


def test_not_knowing_the_time_never_makes_an_answer_milder() -> None:
    request = ask(effect(K.SELECT))
    naive = attrs.evolve(request, now=datetime(2024, 1, 1, 23, 0))
    for asked in (request, naive):
        assert rules(f"{WINDOW} -> allow", " -> approve").decide(asked).verdict is APPROVE
        assert rules(f"{WINDOW} -> block", " -> allow").decide(asked).verdict is BLOCK


def test_answers_are_kept_unless_they_depend_on_the_moment() -> None:
    static = rules(" -> allow")
    request = ask(effect(K.SELECT), identity=AGENT)
    later = attrs.evolve(request, now=datetime.now(UTC))
    assert static.decide(request) is static.decide(later)
    other_caller = attrs.evolve(request, identity=HUMAN)
    assert rules("identity = { kind = ['agent'] } -> allow").decide(other_caller).verdict is BLOCK

    policy = rules(f"effects = ['select'], {WINDOW} -> allow", " -> approve")
    night = attrs.evolve(request, now=datetime(2024, 1, 1, 23, 0, tzinfo=UTC))
    day = attrs.evolve(request, now=datetime(2024, 1, 1, 12, 0, tzinfo=UTC))
    assert [policy.decide(r).verdict for r in (night, day, night)] == [ALLOW, APPROVE, ALLOW]
    write = ask(effect(K.INSERT))
    assert policy.decide(write) is policy.decide(write)


def test_kept_answers_are_of_the_same_statement_and_the_same_standing() -> None:
    policy = rules("effects = ['select'], identity = { group = ['a'] } -> allow")
    one = ask(effect(K.SELECT), identity=Identity.agent("x", groups=("a",)))
    assert policy.decide(one).verdict is ALLOW
    assert policy.decide(attrs.evolve(one, identity=Identity.agent("x"))).verdict is BLOCK
    assert policy.decide(attrs.evolve(one, identity=Identity.agent("x", groups=("a",), session="s"))) is (
        policy.decide(one)
    )
    for kind in EffectKind:  # identities of dead objects are used again
        assert policy.decide(ask(effect(kind), identity=one.identity)).verdict is (
            ALLOW if kind == "select" else BLOCK
        )


def set_to(name: str, *arguments: dict[str, Any], kind: str = "VAR_SET_VALUE") -> Request:
    node = {"kind": kind, "name": name, "args": [{"A_Const": a} for a in arguments]}
    return ask(effect(K.SET, name=name), tree=({"stmt": {"VariableSetStmt": node}},))


def text(value: str) -> dict[str, Any]:
    return {"sval": {"sval": value}}


@pytest.mark.parametrize(
    ("request_", "allowed"),
    [
        (set_to("statement_timeout", {"ival": {"ival": 5000}}), True),
        (set_to("statement_timeout", {"ival": {}}), False),  # 0 switches it off
        (set_to("statement_timeout", {"ival": {"ival": -1}}), False),
        (set_to("statement_timeout", text("5s")), True),
        (set_to("statement_timeout", text(" 1 min ")), True),
        (set_to("statement_timeout", text("61s")), False),
        (set_to("statement_timeout", text("0.2ms")), False),  # rounds to 0
        (set_to("statement_timeout", text("1d")), False),
        (set_to("statement_timeout", text("0x10")), False),
        (set_to("statement_timeout", text("1S")), False),
        (set_to("statement_timeout", text("5s"), text("6s")), False),
        (set_to("statement_timeout", {"fval": {"fval": "5.5"}}), False),
        (set_to("statement_timeout", kind="VAR_RESET"), False),
        (set_to("statement_timeout", text("5s"), kind="VAR_SET_DEFAULT"), False),
        (set_to("client_min_messages", text("WARNING")), True),
        (set_to("client_min_messages", text("debug5")), False),
        (ask(effect(K.SET, name="statement_timeout")), False),  # set_config() of something
    ],
)
def test_settings_by_value(request_: Request, allowed: bool) -> None:
    decision = preset("standard").decide(request_)
    assert (decision.verdict is ALLOW) is allowed


def test_a_span_of_time() -> None:
    assert milliseconds(("1500us",)) == 1.5
    assert milliseconds(("2min",)) == 120_000
    assert milliseconds(("",)) is None
    assert milliseconds(None) is None


def test_reasons_hold_names_that_cannot_break_them() -> None:
    policy = rules("effects = ['insert'] -> block remedy = 'not {target}, {name}, {note}, {effect}'")
    evil = effect(K.INSERT, "public." + "x" * 500, name="a{b}\n\x1b[31m", note="n\x00" * 300)
    decision = policy.decide(ask(evil))
    for words in (decision.reason, decision.remedy):
        assert words.isprintable()
        assert len(words) < 1200
    assert "a{b}" in decision.remedy


def test_further_parts_that_are_refused_are_named_too() -> None:
    policy = rules(
        "effects = ['drop'] -> block", "effects = ['set'] -> block", "effects = ['select'] -> allow"
    )
    decision = policy.decide(
        ask(effect(K.SET, name="x", location=9), effect(K.DROP, "public.a"), effect(K.SELECT))
    )
    assert decision.rule == "r0"
    assert "setting x at character 10 (rule 'r1')" in decision.reason


def test_a_judgement_without_a_database_says_so() -> None:
    request = ask(effect(K.SELECT))
    assert "No database was consulted" in rules(" -> allow").decide(request).reason
    assert "No database" not in rules(" -> allow").decide(bound_of(request)).reason


EFFECTS = st.builds(
    Effect,
    kind=st.sampled_from(EffectKind),
    target=st.sampled_from(
        [None, *map(relation, ("orders", "public.orders", "hr.pay", "pg_catalog.pg_class", "pg_authid"))]
    ),
    name=st.sampled_from(["", "timezone", "search_path", "public.f", "_pg3_0", "role"]),
    constrained=st.sampled_from([None, True, False]),
    rows=st.sampled_from([None, 1, 100, 101, 5000]),
    note=st.sampled_from(["", "in a CTE", "withheld: credentials", "defined in this database by users"]),
    location=st.integers(-1, 50),
)
WHO = st.sampled_from([NOBODY, AGENT, HUMAN, SERVICE, Identity.service("other")])
POLICIES = st.sampled_from(
    [
        preset("standard"),
        preset("readonly"),
        policy_of("extends = 'standard'\nservices = ['billing']"),
        rules(
            "effects = ['drop'], relations = ['hr.*'] -> block",
            "relations = ['hr.*', 'public.orders'] -> approve",
            "relations = ['public.*'], identity = { kind = ['human'] } -> allow",
            "effects = ['insert', 'update'] -> allow rows = 100",
            "notes = ['in*'] -> allow",
        ),
    ]
)


@given(POLICIES, WHO, st.lists(EFFECTS, min_size=1, max_size=4), EFFECTS)
def test_one_more_effect_never_makes_an_answer_milder(
    policy: Policy, who: Identity, effects: list[Effect], more: Effect
) -> None:
    before = policy.decide(ask(*effects, identity=who))
    after = policy.decide(ask(*effects, more, identity=who))
    assert SEVERITY[after.verdict] >= SEVERITY[before.verdict]
    if before.row_cap is not None:
        assert after.row_cap is not None
        assert after.row_cap <= before.row_cap


@given(POLICIES, WHO, st.lists(EFFECTS, min_size=1, max_size=4), st.randoms())
def test_the_order_of_effects_and_of_questions_does_not_matter(
    policy: Policy, who: Identity, effects: list[Effect], random: Any
) -> None:
    first = policy.decide(ask(*effects, identity=who))
    random.shuffle(effects)
    again = policy.decide(ask(*effects, identity=who))
    for name in (
        "verdict",
        "rule",
        "reason",
        "row_cap",
        "masked",
        "remedy",
        "effect",
        "retryable",
        "approvers",
    ):
        assert getattr(first, name) == getattr(again, name)


@given(POLICIES, WHO, st.lists(EFFECTS, min_size=1, max_size=3), st.sampled_from(["orders", "hr.pay", "pay"]))
def test_one_more_relation_never_makes_an_answer_milder(
    policy: Policy, who: Identity, effects: list[Effect], read: str
) -> None:
    before = policy.decide(ask(*effects, identity=who, reads=("public.known",)))
    after = policy.decide(ask(*effects, identity=who, reads=("public.known", read)))
    assert SEVERITY[after.verdict] >= SEVERITY[before.verdict]


def test_relations_that_an_effect_names_are_not_judged_twice() -> None:
    told = statement(
        effect(K.SELECT, "public.a"), relations=(RelationRef(relation("public.a"), Access.READ, 14),)
    )
    decision = rules("effects = ['select'] -> block").decide(Request(statement=told, identity=NOBODY))
    assert "The same goes" not in decision.reason
