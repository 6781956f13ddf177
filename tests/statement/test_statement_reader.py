"""Every effect, relation and function of a text is found, and the way it is written changes none."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from governed_db.statement import Effect, EffectKind, FunctionRef, Statement, Unreadable, lexer, nodes, read
from governed_db.statement.reader import HANDLERS, _facts

CORPUS = Path(__file__).parents[1] / "corpus" / "statement_facts.jsonl"
CASES = [json.loads(line) for line in CORPUS.read_text().splitlines()]
CONSTRAINED = {True: "constrained", False: "unconstrained", None: ""}


def effect_words(effect: Effect) -> str:
    parts = [
        effect.kind.value,
        str(effect.target or ""),
        f"[{effect.name}]" if effect.name else "",
        CONSTRAINED[effect.constrained],
        f"rows={effect.rows}" if effect.rows is not None else "",
        f"({effect.note})" if effect.note else "",
    ]
    return " ".join(p for p in parts if p)


def function_words(ref: FunctionRef) -> str:
    return f"{'' if ref.certain else '?'}{ref.how} {ref}/{ref.arguments}"


@pytest.mark.parametrize("case", CASES, ids=[c["sql"] for c in CASES])
def test_corpus(case: dict[str, Any]) -> None:
    statement = read(case["sql"])
    assert statement.complete, statement.incomplete_because
    assert [effect_words(e) for e in statement.effects] == case["effects"]
    assert [f"{r.access.value} {r.name}" for r in statement.relations] == case["relations"]
    assert [function_words(f) for f in statement.functions] == case["functions"]
    assert statement.tag == case["tag"]
    assert statement.summary == case["summary"]


# nodes/parsenodes.h of PostgreSQL 17: every statement its raw grammar can build.
STATEMENTS = nodes.words(
    """
InsertStmt DeleteStmt UpdateStmt MergeStmt SelectStmt ReturnStmt CreateSchemaStmt AlterTableStmt
ReplicaIdentityStmt AlterCollationStmt AlterDomainStmt GrantStmt GrantRoleStmt
AlterDefaultPrivilegesStmt CopyStmt VariableSetStmt VariableShowStmt CreateStmt CreateTableSpaceStmt
DropTableSpaceStmt AlterTableSpaceOptionsStmt AlterTableMoveAllStmt CreateExtensionStmt
AlterExtensionStmt AlterExtensionContentsStmt CreateFdwStmt AlterFdwStmt CreateForeignServerStmt
AlterForeignServerStmt CreateForeignTableStmt CreateUserMappingStmt AlterUserMappingStmt
DropUserMappingStmt ImportForeignSchemaStmt CreatePolicyStmt AlterPolicyStmt CreateAmStmt
CreateTrigStmt CreateEventTrigStmt AlterEventTrigStmt CreatePLangStmt CreateRoleStmt AlterRoleStmt
AlterRoleSetStmt DropRoleStmt CreateSeqStmt AlterSeqStmt DefineStmt CreateDomainStmt
CreateOpClassStmt CreateOpFamilyStmt AlterOpFamilyStmt DropStmt TruncateStmt CommentStmt
SecLabelStmt DeclareCursorStmt ClosePortalStmt FetchStmt IndexStmt CreateStatsStmt AlterStatsStmt
CreateFunctionStmt AlterFunctionStmt DoStmt CallStmt RenameStmt AlterObjectDependsStmt
AlterObjectSchemaStmt AlterOwnerStmt AlterOperatorStmt AlterTypeStmt RuleStmt NotifyStmt ListenStmt
UnlistenStmt TransactionStmt CompositeTypeStmt CreateEnumStmt CreateRangeStmt AlterEnumStmt ViewStmt
LoadStmt CreatedbStmt AlterDatabaseStmt AlterDatabaseRefreshCollStmt AlterDatabaseSetStmt DropdbStmt
AlterSystemStmt ClusterStmt VacuumStmt ExplainStmt CreateTableAsStmt RefreshMatViewStmt
CheckPointStmt DiscardStmt LockStmt ConstraintsSetStmt ReindexStmt CreateConversionStmt
CreateCastStmt CreateTransformStmt PrepareStmt ExecuteStmt DeallocateStmt DropOwnedStmt
ReassignOwnedStmt AlterTSDictionaryStmt AlterTSConfigurationStmt CreatePublicationStmt
AlterPublicationStmt CreateSubscriptionStmt AlterSubscriptionStmt DropSubscriptionStmt
"""
)


def test_every_statement_of_the_grammar_is_mapped() -> None:
    missing = STATEMENTS - HANDLERS.keys() - nodes.PLAIN
    assert not missing


@pytest.mark.parametrize(
    ("tree", "named"),
    [
        ({"stmt": {"NovelStmt": {}}}, "NovelStmt"),
        ({"stmt": {"SelectStmt": {"targetList": [{"NovelExpr": {"x": {"ColumnRef": {}}}}]}}}, "NovelExpr"),
        ({"stmt": {"SelectStmt": {"novelClause": {"count": 1}}}}, "SelectStmt.novelClause"),
        (
            {"stmt": {"SelectStmt": {"targetList": [{"JsonFuncExpr": {"op": "JSON_NOVEL_OP"}}]}}},
            "JsonFuncExpr",
        ),
        ({"stmt": {"TransactionStmt": {"kind": "TRANS_STMT_NOVEL"}}}, "TransactionStmt"),
        ({}, "statement"),
    ],
)
def test_what_the_reader_does_not_know_is_unknown_by_name(tree: dict[str, Any], named: str) -> None:
    effects, reading, _ = _facts("x", (tree,), [], None)
    assert named in reading.unknown
    assert any(e.kind is EffectKind.UNKNOWN for e in effects)


def test_locations_count_characters() -> None:
    text = "SELECT 'éé\U0001f600', f(x) FROM tàble WHERE ü.y = 1"
    statement = read(text)
    assert [text[r.location :].split(maxsplit=1)[0] for r in statement.relations] == ["tàble"]
    at = {f.name: f.location for f in statement.functions}
    assert text[at["f"]] == "f"
    assert text[at["y"]] == "ü"
    assert text[at["="]] == "="


def test_parameters_fingerprint_and_tree() -> None:
    statement = read("SELECT $3, $12 FROM t WHERE x = 'secret'")
    assert statement.parameters == 12
    assert statement.fingerprint == read("SELECT $1,$1  FROM t WHERE x='other'").fingerprint != ""
    assert statement.tree[0]["stmt"]["SelectStmt"]
    assert "secret" not in repr(statement)
    assert hash(statement) == hash(read(statement.text))


@pytest.mark.parametrize(
    "text",
    [
        "SELECT a NOT /* x */ IN (1) FROM t",
        "SELECT a FROM t ORDER BY a NULLS -- x\n FIRST",
        "SELECT * FROM f() WITH /* é */ ORDINALITY AS g",
        "CREATE TABLE t (a timestamp WITH /* x */ TIME ZONE)",
        "SELECT U&'d!0061' /* x */ UESCAPE '!'",
    ],
)
def test_comments_may_stand_where_the_grammar_looks_ahead(text: str) -> None:
    assert read(text).complete


def test_many_copies_of_a_source_are_one() -> None:
    statement = read("UPDATE t SET (a, b, c) = (SELECT 1, f(2), 3 FROM u) WHERE id = 1")
    assert [str(r.name) for r in statement.relations] == ["t", "u"]
    assert [f.name for f in statement.functions if f.how == "call"] == ["f"]


def test_summary_is_bounded_and_ends_between_names() -> None:
    statement = read("SELECT * FROM " + ", ".join(f"table_number_{n}" for n in range(100)))
    assert len(statement.summary) <= 255
    assert statement.summary.split()[-1] in {f"table_number_{n}" for n in range(100)}


def facts(statement: Statement) -> tuple[object, ...]:
    return (
        statement.commands,
        statement.tag,
        [(e.kind, e.target, e.name, e.constrained, e.rows, e.note) for e in statement.effects],
        [(r.name, r.access) for r in statement.relations],
        [(f.schema, f.name, f.arguments, f.how, f.certain) for f in statement.functions],
        statement.parameters,
        statement.complete,
        statement.fingerprint,
        statement.summary,
    )


SPACE = st.sampled_from(
    [" ", "\n", "\t ", " /* ; drop table x */ ", " /* /* ' */ \" */ ", " -- ' $$ x\n", "\r\n"]
)
TEXTS = [c["sql"] for c in CASES]
TEXTS += [
    json.loads(line)["sql"]
    for line in (CORPUS.parent / "statement_constrained.jsonl").read_text().splitlines()
]


@settings(max_examples=300)
@given(st.data())
def test_comments_space_and_case_change_no_fact(data: st.DataObject) -> None:
    text = data.draw(st.sampled_from(TEXTS))
    rewritten = data.draw(SPACE)
    for token in lexer.tokens(text):
        word = text[token.start : token.end]
        if token.kind == lexer.NAME and word.isascii():
            word = data.draw(st.sampled_from([word.lower(), word.upper(), word.swapcase()]))
        rewritten += word + data.draw(SPACE)
    assert facts(read(rewritten)) == facts(read(text))


WORDS = nodes.words(
    """
select from where update t set a = 1 delete insert into values ( ) , ; 'x' "q" $1 null and or not in
with as x union all exists case when then else end join on using group by order limit for create
table drop explain analyze copy to stdout begin commit . :: [ ] * + - < > like between is function
do $$ $$ merge matched grant alter role returning conflict default row array any lateral recursive
into temp
"""
)


@settings(max_examples=400)
@given(st.text() | st.lists(st.sampled_from(sorted(WORDS)), max_size=25).map(" ".join))
def test_any_text_is_read_or_refused(text: str) -> None:
    refusal = None
    try:
        statement = read(text)
    except Unreadable as unreadable:
        refusal = unreadable
    if refusal is None:
        assert statement.effects
        assert statement.complete
    else:
        assert refusal.rule.startswith("statement.")
        assert refusal.reason
        assert refusal.remedy


@given(st.lists(st.sampled_from([t for t in TEXTS if read(t).commands == 1]), min_size=2, max_size=4))
def test_the_effects_of_a_text_are_those_of_its_parts(texts: list[str]) -> None:
    together = [e for e in read(" ; ".join(texts)).effects if e.kind is not EffectKind.MULTIPLE]
    apart = [e for text in texts for e in read(text).effects]
    assert [effect_words(e) for e in together] == [effect_words(e) for e in apart]
