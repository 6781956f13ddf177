"""``[[example]]``: what can be written, what is refused with its place, and that nothing else changes."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from policy_cases import policy_of

from governed_db.errors import PolicyError
from governed_db.identity import Identity
from governed_db.policy import PRESETS, Verdict, preset

WHOLE = """extends = "standard"
[[example]]
sql = ["SELECT %s", "SELECT 2"]
params = [1, "x"]
as = "agent:copilot"
on_behalf_of = "human:maria"
groups = ["support"]
at = 2026-03-02T22:00:00Z
environment = "production"
expect = "approve"
rule = "schema-changes"
masked = ["email"]
because = "it is an example"
[test]
schema = "schema.sql"
"""


def test_every_key_is_read() -> None:
    suite = policy_of(WHOLE).suite
    first, second = suite.examples
    assert (first.sql, first.line, second.sql, second.line) == ("SELECT %s", 3, "SELECT 2", 3)
    assert first.params == (1, "x")
    assert first.identity == Identity.agent(
        "copilot", on_behalf_of=Identity.human("maria"), groups=("support",)
    )
    assert first.at == datetime(2026, 3, 2, 22, tzinfo=UTC)
    assert first.environment == "production"
    assert first.expect is Verdict.NEEDS_APPROVAL
    assert (first.rule, first.masked, first.because) == ("schema-changes", ("email",), "it is an example")
    assert suite.schema == "schema.sql"


def test_examples_are_no_part_of_the_version() -> None:
    assert policy_of(WHOLE).version == policy_of('extends = "standard"\n').version


def test_a_file_does_not_inherit_the_examples_of_its_preset() -> None:
    assert policy_of('extends = "standard"\n').suite.examples == ()
    assert policy_of('extends = "standard"\n').suite.schema == ""


def test_the_presets_carry_examples() -> None:
    counts = {name: len(preset(name).suite.examples) for name in PRESETS}
    assert counts["standard"] >= 30
    assert all(counts.values())


@pytest.mark.parametrize(
    ("text", "place", "said"),
    [
        ('[[example]]\nexpect = "allow"', "1:1", "no 'sql'"),
        ('[[example]]\nsql = "SELECT 1"', "1:1", "no 'expect'"),
        ('[[example]]\nsql = "SELECT 1"\nexpct = "allow"', "3:1", "did you mean 'expect'"),
        ('[[example]]\nsql = "SELECT 1"\nexpect = "deny"', "3:1", "unknown answer 'deny'"),
        ('[[example]]\nsql = []\nexpect = "allow"', "2:1", "empty"),
        ('[[example]]\nsql = ["SELECT 1", 2]\nexpect = "allow"', "2:20", "an integer"),
        ('[[example]]\nsql = "SELECT 1"\nexpect = "allow"\nas = "robot:x"', "4:1", "kind:subject"),
        ('[[example]]\nsql = "SELECT 1"\nexpect = "allow"\ngroups = ["dba"]', "4:1", "needs 'as'"),
        ('[[example]]\nsql = "SELECT 1"\nexpect = "allow"\nat = 2026-03-02T22:00:00', "4:1", "offset"),
        ('[[example]]\nsql = "SELECT 1"\nexpect = "allow"\nat = "noon"', "4:1", "a date and time"),
        ('[[example]]\nsql = "SELECT 1"\nexpect = "allow"\nparams = 1', "4:1", "an array of values"),
        ('[[example]]\nsql = "SELECT 1"\nexpect = "allow"\nmasked = "email"', "4:1", "an array of column"),
        ('[[example]]\nsql = "SELECT 1"\nexpect = "allow"\nrule = "raeds"', "4:1", "no rule 'raeds'"),
        ('example = "SELECT 1"', "1:1", "[[example]]"),
        ('[test]\nscheme = "x"', "2:1", "did you mean 'schema'"),
    ],
)
def test_a_slip_is_an_error_with_its_place(text: str, place: str, said: str) -> None:
    with pytest.raises(PolicyError) as caught:
        policy_of(text)
    assert str(caught.value).startswith(f"p.toml:{place}: ")
    assert said in str(caught.value)


@pytest.mark.parametrize("rule", ["default", "masking.derived", "driver.copy", "statement.syntax"])
def test_a_stage_beside_the_rules_can_be_expected(rule: str) -> None:
    policy_of(f'[[example]]\nsql = "SELECT 1"\nexpect = "block"\nrule = "{rule}"')
