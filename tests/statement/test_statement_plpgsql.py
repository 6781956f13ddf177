"""The reader of PL/pgSQL, held against libpg_query's own where that one can read a body at all."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pgparse
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from governed_db.statement import lexer
from governed_db.statement.plpgsql import MAX_NESTING, read_block
from governed_db.statement.plpgsql_tokens import NotUnderstood
from governed_db.statement.routine import DYNAMIC, read_code, read_routine, read_rule

CORPUS = Path(__file__).parents[1] / "corpus" / "plpgsql_blocks.jsonl"
BLOCKS = [json.loads(line)["body"] for line in CORPUS.read_text("utf-8").splitlines()]

CASE = re.compile(r'"__case__variable_\d+__"')
ASSIGNMENT = re.compile(r"^[^=:]+:?=")


def created(body: str, returns: str = "int") -> str:
    return (
        f"CREATE FUNCTION f(a int, b text) RETURNS {returns} LANGUAGE plpgsql AS $governed${body}$governed$"
    )


def queries(node: Any) -> list[str]:
    """Return every SQL text in libpg_query's account of a body."""
    if isinstance(node, list):
        return [q for each in node for q in queries(each)]
    if not isinstance(node, dict):
        return []
    found = [node["query"]] if isinstance(node.get("query"), str) else []
    return found + [q for value in node.values() for q in queries(value)]


def bare(text: str) -> str:
    """Write a text as its tokens and nothing between them."""
    return "".join(text[t.start : t.end].lower() for t in lexer.tokens(text))


@pytest.mark.parametrize("body", BLOCKS)
def test_nothing_is_left_out_that_libpg_query_finds(body: str) -> None:
    ours = " ".join(bare(piece.text) for piece in read_block(body).pieces)
    for query in queries(pgparse.parse_pgsql(created(body))):
        # It gives assignments as a whole, and the operand of CASE a name of its own.
        text = CASE.sub("", bare(query))
        assert text in ours or ASSIGNMENT.sub("", text) in ours, query


@pytest.mark.parametrize("body", BLOCKS)
def test_bodies_that_libpg_query_reads_are_understood(body: str) -> None:
    why = read_routine(created(body)).why
    assert why in ("", DYNAMIC), why


@pytest.mark.parametrize(
    "body",
    [
        "not a block",
        "BEGIN IF a THEN NULL; END",
        "BEGIN a := ; END",
        "BEGIN a := (1; END",
        "BEGIN a := 'x; END",
        "BEGIN NULL; END; DELETE FROM t",
        "BEGIN FOR i IN 1..3 NULL; END LOOP; END",
        "BEGIN SELECT 1 INTO a INTO b; END",
        "BEGIN RAISE NOTICE f(1); END",
        "BEGIN RAISE EXCEPTION USING COLOUR = f(1); END",
        "BEGIN FETCH f(1) INTO a; END",
        "DECLARE c refcursor := 'mine'; BEGIN FETCH c INTO a; END",
        "BEGIN OPEN d FOR SELECT 1; MOVE FORWARD ALL FROM c; END",
        "BEGIN " * (MAX_NESTING + 1) + "END; " * (MAX_NESTING + 1),
        "DECLARE x; BEGIN END",
        "BEGIN CREATE FUNCTION g() RETURNS int BEGIN ATOMIC SELECT 1; END",
        "",
    ],
)
def test_what_is_not_understood_says_so(body: str) -> None:
    assert read_code(body, "plpgsql").why
    with pytest.raises(NotUnderstood):
        read_block(body)


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ("BEGIN EXECUTE 'DELETE FROM t'; END", ""),
        ("BEGIN EXECUTE 'DELETE FROM ' || b; END", DYNAMIC),
        ("BEGIN EXECUTE b; END", DYNAMIC),
        ("BEGIN EXECUTE format('DELETE FROM %I', b); END", DYNAMIC),
        ("BEGIN EXECUTE 'DELETE FROM t' FROM s; END", DYNAMIC),
        ("BEGIN EXECUTE (SELECT 'x'); END", DYNAMIC),
        ("BEGIN EXECUTE 'not SQL at all'; END", DYNAMIC),
        ("DECLARE r record; BEGIN FOR r IN EXECUTE b LOOP NULL; END LOOP; END", DYNAMIC),
        ("DECLARE c refcursor; BEGIN OPEN c FOR EXECUTE b; END", DYNAMIC),
    ],
)
def test_dynamic_sql_is_unknown_unless_it_is_a_constant(body: str, why: str) -> None:
    assert read_routine(created(body)).why == why


def test_rows_of_dynamic_queries() -> None:
    body = read_routine(created("BEGIN RETURN QUERY EXECUTE 'SELECT 1'; END", "SETOF int"))
    assert not body.why
    assert read_routine(created("BEGIN RETURN QUERY EXECUTE b; END", "SETOF int")).why == DYNAMIC


def test_names_that_are_no_columns() -> None:
    declared = "<<here>> DECLARE x t%ROWTYPE; c CURSOR (k int) FOR SELECT k;"
    body = read_routine(created(f"{declared} BEGIN FOR i IN 1..2 LOOP NULL; END LOOP; END"))
    assert {"a", "b", "f", "here", "x", "c", "k", "i", "new", "tg_op", "found"} <= body.variables
    assert "t" not in body.variables


def test_rules() -> None:
    rule = read_rule(
        "CREATE RULE r AS ON DELETE TO public.t WHERE (old.id > 1) DO INSTEAD DELETE FROM public.s"
    )
    assert rule.event == "CMD_DELETE"
    assert [p.statement.tag for p in rule.parts] == ["DELETE", "SELECT"]
    assert read_rule("CREATE RULE r AS ON INSERT TO public.t DO INSTEAD NOTHING").parts == ()
    assert read_rule("CREATE RULE r AS ON INSERT TO public.t DO INSTEAD SELECT 1").why
    assert read_rule("DROP RULE r ON t").why
    assert read_rule("rule").why


def test_other_languages_are_not_understood() -> None:
    assert read_routine("CREATE FUNCTION f() RETURNS int LANGUAGE plpython3u AS $$ return 1 $$").why
    assert read_routine("CREATE FUNCTION f() RETURNS int LANGUAGE c AS 'a.so', 'f'").why
    assert read_routine("SELECT 1").why
    assert read_code("x", "plperl").why


WORDS = """
    BEGIN END DECLARE IF THEN ELSE LOOP FOR IN 1 .. a b := = ; ( ) [ ] , SELECT INTO EXECUTE USING RAISE
    RETURN QUERY 'x' $$y$$ . % << >> CASE WHEN EXCEPTION OPEN FETCH CURSOR WHILE int NULL PERFORM -- /* " '
"""


@settings(max_examples=300, deadline=None)
@given(st.lists(st.sampled_from(WORDS.split()), max_size=40).map("\n".join))
def test_any_text_has_an_answer(text: str) -> None:
    for body in (text, f"BEGIN {text} END", f"DECLARE {text} BEGIN NULL; END"):
        assert isinstance(read_code(body, "plpgsql").why, str)
