from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from policy_cases import policy_of

from governed_db.errors import PolicyError
from governed_db.identity.model import Identity
from governed_db.masking.model import Strategy, Treatment
from governed_db.policy import PRESETS, load, load_bytes, preset

RULE = '[[rule]]\nid = "a"\nwhen = {{ {when} }}\nthen = "{then}"\nbecause = "so"\n{more}'


def rule(when: str = "effects = ['select']", then: str = "allow", more: str = "") -> str:
    return RULE.format(when=when, then=then, more=more)


BAD = [
    # text, place, words of the message
    ("extend = 'standard'", "1:1", "did you mean 'extends'"),
    ("extends = 'lax'", "1:1", "takes a preset"),
    ("enforce = 1", "1:1", "true or false"),
    ("\nservices = 'billing'", "2:1", "array of strings"),
    ("services = []", "1:1", "empty"),
    ("identity = 'billing'", "1:1", "kind:subject"),
    ("rule = 1", "1:1", "[[rule]]"),
    ("[rules]", "1:1", "unknown key"),
    ("[[rule]]\nid = 'a'", "1:1", "no 'when'"),
    (rule().replace('"a"', '"governed_db.catalog"'), "2:1", "the library's own"),
    (rule().replace('"a"', '"driver.command"'), "2:1", "the library's own"),
    (rule(more="sev = 1"), "6:1", "unknown key 'sev'"),
    (rule(then="deny"), "4:1", "unknown answer"),
    (rule(when="effect = ['select']"), "3:10", "did you mean 'effects'"),
    (rule(when="effects = ['select', 'selekt']"), "3:31", "unknown word 'selekt'"),
    (rule(when="effects = []"), "3:10", "empty"),
    (rule(when="effects = 'select'"), "3:10", "array of strings, not a string"),
    (rule(when="relations = ['orders']"), "3:23", "schema.name"),
    (rule(when="constrained = true"), "3:10", "updates and deletes"),
    (rule(when="effects = ['select'], constrained = true"), "3:32", "updates and deletes"),
    (rule(when="effects = ['update'], constrained = 'yes'"), "3:32", "true or false"),
    (rule(when="complete = true"), "3:10", "only 'complete = false'"),
    (rule(when="complete = false, effects = ['select']"), "3:28", "as a whole"),
    (rule(when="values = ['x']"), "3:10", "about settings"),
    (rule(when="effects = ['set'], up_to_ms = 5"), "3:29", "'names'"),
    (rule(when="effects = ['set'], names = ['lock_timeout'], up_to_ms = 0"), "3:55", "above 0"),
    (rule(when="identity = {}"), "3:10", "fits everybody"),
    (rule(when="identity = { kind = ['robot'] }"), "3:31", "unknown word 'robot'"),
    (rule(when="identity = { groups = ['a'] }"), "3:23", "did you mean 'group'"),
    (rule(when="identity = { on_behalf_of = { sub = ['a'] } }"), "3:40", "did you mean 'subject'"),
    (rule(when="identity = { named_service = true, kind = ['agent'] }"), "3:45", "never match"),
    (rule(when="time = {}"), "3:10", "holds always"),
    (rule(when="time = { days = ['monday'] }"), "3:27", "unknown word"),
    (rule(when="time = { from = '08:00' }"), "3:19", "time of day"),
    (rule(when="time = { from = 08:00:00, zone = 'Mars/Base' }"), "3:36", "unknown time zone"),
    (rule(more="rows = 5"), "6:1", "caps writes"),
    (rule(when="effects = ['insert']", then="approve", more="rows = 5"), "6:1", "then = 'allow'"),
    (rule(when="effects = ['insert']", more="rows = true"), "6:1", "whole number"),
    (rule(more="approvers = ['dba']"), "6:1", "then = 'approve'"),
    (rule(more="remedy = 'use {value}'"), "6:1", "{effect}"),
    (rule(more="remedy = 'use {target.schema}'"), "6:1", "{effect}"),
    (rule(more="remedy = 'use {target!r}'"), "6:1", "{effect}"),
    (rule(more="remedy = 'use {'"), "6:1", "not a template"),
    (rule(more="shadow = 'yes'"), "6:1", "true or false"),
    (rule() + rule(when="effects = ['insert']"), "7:1", "taken by the rule at p.toml:1:1"),
    ("extends = 'standard'\n" + rule().replace('"a"', '"drop"'), "3:1", "taken by the rule at standard.toml"),
    ("[masking]\nmode = 'off '", "2:1", "unknown word"),
    ("[masking]\nderived = 'hide'", "2:1", "unknown word"),
    ("[masking]\nunmasked = { kind = ['human'] }", "2:1", "array"),
    ("[masking]\nunmasked = [{ kinds = ['human'] }]", "2:15", "did you mean 'kind'"),
    ("[masking]\nequality = 'EMAIL_ADDRESS'", "2:1", "array"),
    ("[masking]\nequality = ['EMAIL_ADDRESS', 'email']", "2:30", "capitals"),
    ("[masking]\nlookups = { kind = ['agent'] }", "2:1", "array"),
    ("[masking]\nlookups = [{ kinds = ['agent'] }]", "2:14", "did you mean 'kind'"),
    ("[masking]\nwrite = 'deny'", "2:1", "unknown word"),
    ("[masking]\nlookup = []", "2:1", "did you mean 'lookups'"),
    ("[masking.columns]\n'customers.email' = 'EMAIL'", "2:1", "schema.relation.column"),
    ("[masking.columns]\n'public.*.email' = 'EMAIL'", "2:1", "schema.relation.column"),
    ("[masking.columns]\n'public.c.email' = true", "2:1", "takes a label"),
    ("[masking.columns]\npublic.c.email = 'EMAIL'", "2:1", "quoted key"),
    ("[masking]\nclassification = 'c.toml'", "2:1", "absolute"),
    ("[masking]\nclassification = 1", "2:1", "string"),
    ("[masking]\nclassification = '/nonexistent/c.toml'", "2:1", "cannot be read"),
    ("[masking.strategies]\nEMAIL = 'shuffle'", "2:1", "unknown strategy"),
    ("[masking.strategies]\nEMAIL = []", "2:1", "unknown strategy"),
    ("[limits]\nmax_bytes = '1MB'", "2:1", "whole number"),
    ("[limits]\nmax_depth = 5000", "2:1", "at most"),
    ("[limits]\nmax_byte = 1", "2:1", "did you mean 'max_bytes'"),
    ("[audit]\non_failure = 'ignore'", "2:1", "unknown word"),
    ("[audit]\ndir = 'journal'", "2:1", "absolute"),
    ("[catalog]\nmax_age = nan", "2:1", "seconds"),
    ("[catalog]\nmax_age = -1", "2:1", "seconds"),
    ("limits = 1", "1:1", "[limits]"),
]


@pytest.mark.parametrize(("text", "place", "words"), BAD)
def test_a_mistake_is_an_error_with_file_line_and_column(text: str, place: str, words: str) -> None:
    with pytest.raises(PolicyError) as caught:
        policy_of(text)
    assert str(caught.value).startswith(f"p.toml:{place}: ")
    assert words in str(caught.value)


@given(st.text(st.characters(categories=("Ll",), max_codepoint=0x7F), min_size=1, max_size=12))
def test_an_unknown_key_is_an_error_anywhere(key: str) -> None:
    known = {"id", "then", "when", "because", "remedy", "rows", "shadow", "retryable", "approvers", "mode"}
    known |= {
        "effects",
        "relations",
        "names",
        "notes",
        "constrained",
        "values",
        "identity",
        "time",
        "complete",
    }
    known |= {"kind", "subject", "group", "issuer", "verified", "dir", "derived", "unmasked", "columns"}
    known |= {"strategies", "extends", "enforce", "services", "rule", "masking", "limits", "audit", "catalog"}
    known |= {"days", "from", "to", "zone"}
    known |= {
        "functions",
        "database",
        "environment",
        "budget",
        "who",
        "over",
        "count",
        "catalogs",
        "example",
        "test",
    }
    if key in known:
        return
    places = [
        f"{key} = 1",
        f"[masking]\n{key} = 1",
        f"[limits]\n{key} = 1",
        f"[audit]\n{key} = 1",
        f"[catalog]\n{key} = 1",
        rule(more=f"{key} = 1"),
        rule(when=f"{key} = ['x']"),
        rule(when=f"identity = {{ {key} = ['x'] }}"),
        rule(when=f"time = {{ {key} = ['x'] }}"),
    ]
    for text in places:
        with pytest.raises(PolicyError, match=f"unknown key '{key}'"):
            policy_of(text)


UNREACHABLE = [
    # earlier, later, whether the later one can never match
    ("effects = ['select']", "effects = ['select']", True),
    ("effects = ['select', 'insert']", "effects = ['select'], relations = ['public.x']", True),
    ("", "effects = ['select'], identity = { kind = ['human'] }", True),
    (
        "effects = ['select'], relations = ['public.*']",
        "effects = ['select'], relations = ['public.a*']",
        True,
    ),
    (
        "effects = ['select'], relations = ['public.a*']",
        "effects = ['select'], relations = ['public.ab*']",
        False,
    ),
    (
        "effects = ['select'], relations = ['public.*']",
        "effects = ['select'], relations = ['public.a']",
        True,
    ),
    ("effects = ['select'], relations = ['*.*']", "effects = ['select'], relations = ['public.a*']", True),
    ("effects = ['select'], relations = ['public.*']", "effects = ['select']", False),
    ("effects = ['select'], relations = ['\"A\".*']", "effects = ['select'], relations = ['A.b']", False),
    ("effects = ['set'], names = ['enable_*']", "effects = ['set'], names = ['enable_sort']", True),
    ("effects = ['set'], names = ['enable_*']", "effects = ['set'], names = ['ENABLE_sort']", False),
    ("identity = { kind = ['human', 'agent'] }", "identity = { kind = ['agent'], verified = true }", True),
    ("identity = { kind = ['agent'], verified = true }", "identity = { kind = ['agent'] }", False),
    ("effects = ['update'], constrained = true", "effects = ['update'], constrained = false", False),
    ("effects = ['update'], constrained = true", "effects = ['update']", False),
    ("effects = ['update']", "effects = ['update'], constrained = false", True),
    ("", "complete = false", False),
    ("complete = false", "complete = false, identity = { kind = ['agent'] }", True),
    ("time = { days = ['mon'] }", "effects = ['select']", False),
    ("effects = ['select']", "time = { days = ['mon'] }, effects = ['select']", True),
]


@pytest.mark.parametrize(("earlier", "later", "covered"), UNREACHABLE)
def test_a_rule_that_can_never_match_is_an_error(earlier: str, later: str, covered: bool) -> None:
    text = rule(when=earlier) + rule(when=later, then="block").replace('"a"', '"b"')
    if covered:
        with pytest.raises(PolicyError, match=r"p\.toml:8:1: rule 'b' can never match.*contradicts"):
            policy_of(text)
        # A rule in shadow takes nothing from the ones below it.
        text = rule(when=earlier, more="shadow = true\n") + rule(when=later).replace('"a"', '"b"')
    assert len(policy_of(text).rules) == 2


def test_rules_of_a_file_stand_above_those_of_its_preset() -> None:
    policy = policy_of("extends = 'standard'\n" + rule())
    assert [r.id for r in policy.rules] == ["a", *(r.id for r in preset("standard").rules)]
    assert policy.rules[0].origin == "p.toml:2:1"
    assert policy.enforce
    assert not policy_of("extends = 'observe'").enforce
    assert policy_of("extends = 'observe'\nenforce = true").enforce


def test_settings_are_laid_over_those_of_the_preset() -> None:
    policy = policy_of("""
extends = "standard"
identity = "service:billing"
services = ["worker"]
[masking]
unmasked = [{ group = ["privacy"] }]
[masking.columns]
"public.customers.nickname" = "PERSON_NAME"
'public."Customers".Email' = false
[masking.strategies]
EMAIL_ADDRESS = "partial"
[limits]
max_bytes = 1000
[audit]
on_failure = "continue"
dir = "/var/lib/journal"
[catalog]
max_age = 0.5
""")
    settings = policy.settings
    assert policy.identity == Identity.service("billing")
    assert settings.services == {"billing", "worker"}
    assert len(policy.masking.unmasked) == 2
    assert policy.masking.columns == {
        "public.customers.nickname": "PERSON_NAME",
        "public.Customers.email": None,
    }
    assert policy.strategies == {"EMAIL_ADDRESS": Treatment(strategy=Strategy.PARTIAL)}
    assert policy.limits == {"max_bytes": 1000}
    assert policy.audit.on_failure == "continue"
    assert policy.audit.directory == Path("/var/lib/journal")
    assert policy.catalog.max_age == 0.5
    assert preset("standard").settings.services == frozenset()
    assert preset("standard").catalog.max_age == 2.0


def test_the_version_is_of_what_is_said_and_not_of_how_it_is_laid_out() -> None:
    plain = policy_of(rule())
    assert policy_of("# a comment\n\n" + rule().replace(" = ", "  =  ")).version == plain.version
    assert policy_of(rule(then="block")).version != plain.version
    assert policy_of(rule(more="shadow = true")).version != plain.version
    assert policy_of(rule() + "\n[masking]\nmode = 'off'").version != plain.version
    assert policy_of("extends = 'standard'").version == preset("standard").version
    assert len({preset(name).version for name in PRESETS}) == len(PRESETS)


def test_the_example_of_the_reference_loads() -> None:
    page = Path(__file__).parents[2] / "docs" / "reference" / "policy.md"
    policy = policy_of(page.read_text(encoding="utf-8").split("```")[1].removeprefix("toml"))
    assert [r.id for r in policy.rules[:2]] == ["payroll", "small-refunds"]
    assert policy.masking.columns["public.customers.rating"] is None


def test_a_reviewed_classification_is_part_of_the_policy(tmp_path: Path) -> None:
    file = tmp_path / "c.toml"
    text = f"[masking]\nclassification = '{file}'\n"
    file.write_text("format = 1\n[column.'public.c.e']\ndecided = 'AGE'\n[plain]\n'public.c.x' = 'text'\n")
    policy = policy_of(text)
    assert policy.masking.classification == file
    assert {path: entry.given for path, entry in policy.masking.reviewed.items()} == {
        ("public", "c", "e"): "AGE"
    }
    file.write_text(file.read_text().replace("'AGE'", "'confirmed'"))
    with pytest.raises(PolicyError, match=rf"{file}:3:1: there is no 'label'"):
        policy_of(text)
    file.write_text("format = 1\n")
    assert policy_of(text).version != policy.version
    file.write_bytes(b"format = 1 # \xff")
    with pytest.raises(PolicyError, match=rf"{file}:1:14: not UTF-8"):
        policy_of(text)


def test_a_file_that_cannot_be_read_is_a_policy_error(tmp_path: Path) -> None:
    with pytest.raises(PolicyError, match="cannot be read"):
        load(tmp_path / "none.toml")
    with pytest.raises(PolicyError, match=r"x:2:3: not UTF-8"):
        load_bytes(b"#\na \xff", "x")
    with pytest.raises(PolicyError, match="no preset"):
        preset("../standard")
    path = tmp_path / "p.toml"
    path.write_text("extends = 'readonly'")
    assert load(path).version == preset("readonly").version


def test_callers_are_announced_as_the_file_says(tmp_path):
    def callers(text: str, preset: str = "standard"):
        path = tmp_path / "policy.toml"
        path.write_text(f'extends = "{preset}"\n[callers]\n{text}')
        return load(path).settings.callers

    assert callers("").announce == {"settings", "application_name"}
    assert callers("").announce_in == "session"
    assert callers("announce = []").announce == set()
    assert callers('announce = ["comment"]\nannounce_in = "transaction"').announce_in == "transaction"
    for text, said in (
        ('announce = "settings"', "an array of words"),
        ('announce = ["setting"]', "unknown word 'setting' for 'announce'"),
        ('announce_in = "pool"', "unknown word 'pool' for 'announce_in'"),
        ("announces = []", "announces"),
    ):
        with pytest.raises(PolicyError, match=said):
            callers(text)
