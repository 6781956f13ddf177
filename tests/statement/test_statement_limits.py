"""No text ends or stalls the process, and the answer to a text is the same on any stack."""

from __future__ import annotations

import faulthandler
import pickle
import subprocess
import sys
import threading
from collections.abc import Callable

import pytest

from governed_db.statement import EffectKind, Limits, Unreadable, grammar, lexer, read
from governed_db.statement.estimate import estimate_depth, estimate_size

# Each makes a text that nests, or is as long, as its number says.
SHAPES: dict[str, Callable[[int], str]] = {
    "plus": lambda n: "select 1" + "+1" * n,
    "plus minus": lambda n: "select 1" + "+-" * n + "1",
    "hexadecimal": lambda n: "select 0x1e" + "+0x1e" * n,
    "minus": lambda n: "select " + "- " * n + "a",
    "not": lambda n: "select " + "not " * n + "a",
    "brackets": lambda n: "select " + "(" * n + "1" + ")" * n,
    "open brackets": lambda n: "select " + "(" * n,
    "closing brackets": lambda n: "select " + ")" * n,
    "union": lambda n: "select 1" + " union all select 1" * n,
    "except": lambda n: "(" * n + "select 1" + " except select 1)" * n,
    "and": lambda n: "select 1 where a" + " and a" * n,
    "or": lambda n: "select 1 where a" + " or a" * n,
    "between": lambda n: "select " + "a between b and not " * n + "c",
    "distinct": lambda n: "select " + "a is distinct from not " * n + "c",
    "like": lambda n: "select " + "a like not " * n + "c",
    "similar": lambda n: "select " + "a similar to not " * n + "c",
    "is": lambda n: "select a" + " is null" * n,
    "casts": lambda n: "select a" + "::int" * n,
    "collate": lambda n: "select a" + " collate c" * n,
    "time zone": lambda n: "select a" + " at time zone b" * n,
    "operator()": lambda n: "select a" + " operator(x.+) a" * n,
    "keyword columns": lambda n: "select a" + " + t.and + t.on + t.or" * n,
    "subscripts": lambda n: "select a" + "[1]" * n,
    "dots": lambda n: "select a" + ".a" * n,
    "case": lambda n: "select " + "case when a then b else " * n + "1" + " end" * n,
    "case when": lambda n: "select case " + "when a then b " * n + "end",
    "case end": lambda n: "select " + "case when a then not " * n + "b" + " end" * n,
    "join": lambda n: "select 1 from t" + " join t on a" * n,
    "join right": lambda n: "select 1 from " + "t join " * n + "t" + " on a" * n,
    "sub-selects": lambda n: "select " + "(select " * n + "1" + ")" * n,
    "from": lambda n: "select 1 from " + "(select 1 from " * n + "t" + ") x" * n,
    "exists": lambda n: "select 1 where exists (" * n + "select 1" + ")" * n,
    "with": lambda n: "with a as (" * n + "select 1" + ") select 1" * n,
    "ctes": lambda n: "with a as (select 1)" + ", a as (select 1)" * n + " select 1",
    "values": lambda n: "values (" * n + "1" + ")" * n,
    "calls": lambda n: "select " + "f(" * n + "1" + ")" * n,
    "json": lambda n: "select " + "json_array(" * n + "1" + ")" * n,
    "arrays": lambda n: "select array" + "[" * n + "1" + "]" * n,
    "in": lambda n: "select " + "a in (1, " * n + "1" + ")" * n,
    "commas": lambda n: "select " + "," * n,
    "semicolons": lambda n: ";" * n,
    "statements": lambda n: "select 1;" * n,
    "strings": lambda n: "select 'a'" + "\n'a'" * n,
    "quotes": lambda n: "select " + "'" * n,
    "dollars": lambda n: "select " + "$a$" * n,
    "comments": lambda n: "/*" * n,
    "empty comments": lambda n: "/**/" * n + "select 1",
    "comment and operators": lambda n: "select 1 " + "+/**/-" * n + "1",
    "dashes": lambda n: "--\n" * n + "select 1",
    "columns": lambda n: f"update t set ({','.join('a' * n)}) = (select {','.join('1' * n)})",
    "columns nested": lambda n: (
        "with x as (update t set (a, b) = (" * n + "select 1" + ") returning 1) select 1" * n
    ),
    "columns hidden": lambda n: (
        f"update t set x = 1, /**/ ({','.join('a' * n)}) /**/ = row({','.join('1' * n)})"
    ),
}
COUNTS = (1, 30, 99, 250, 900, 5000, 200_000)
FEW = (30, 99, 250, 5000)

HOSTILE = """
import os, sys, threading
sys.path[:0] = {path!r}
from governed_db.statement import Unreadable, read
from test_statement_limits import COUNTS, FEW, SHAPES

def attempt():
    for make in SHAPES.values():
        for count in COUNTS if {how!r} == "small stack" else FEW:
            if count * len(make(2)) > 3_000_000:
                continue  # over max_bytes anyway
            try:
                read(make(count))
            except Unreadable as unreadable:
                assert unreadable.rule.startswith("statement."), unreadable.rule

def deep(levels):
    return attempt() if levels == 0 else deep(levels - 1)

if {how!r} == "small stack":
    threading.stack_size(256 * 1024)
    thread = threading.Thread(target=attempt)
    thread.start()
    thread.join()
elif {how!r} == "deep caller":
    deep(900)
else:
    pid = os.fork()
    if pid == 0:
        attempt()
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
print("survived")
"""


@pytest.mark.parametrize("how", ["small stack", "deep caller", "after fork"])
def test_hostile_texts_neither_kill_nor_stall(how: str) -> None:
    code = HOSTILE.format(path=[*sys.path, str(__file__).rpartition("/")[0]], how=how)
    done = subprocess.run(
        [sys.executable, "-X", "faulthandler", "-W", "ignore", "-c", code],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.stdout.strip() == "survived", done.stderr[-2000:]


def _levels(tree: object) -> int:
    deepest, todo = 0, [(tree, 0)]
    while todo:
        value, depth = todo.pop()
        if isinstance(value, dict | list):
            deepest = max(deepest, depth + 1)
            todo += [(v, depth + 1) for v in (value.values() if isinstance(value, dict) else value)]
    return deepest


@pytest.mark.parametrize("shape", SHAPES)
def test_the_estimate_is_never_below_the_tree(shape: str) -> None:
    compared = 0
    for count in (1, 5, 20, 60):
        text = SHAPES[shape](count)
        tokens = lexer.tokens(text)
        depth = estimate_depth(text, tokens)
        if depth > 800 or estimate_size(text, tokens, 300_000) > 300_000:
            continue
        compared += 1
        try:
            levels = grammar.on_fresh_stack(
                lambda t: _levels(grammar.parse(t, lexer.tokens(t)).commands), text
            )
        except Unreadable:
            continue
        assert levels <= depth + 20  # what a statement has before its first expression
    assert compared


PASS = {
    "20,000 rows": "INSERT INTO t VALUES " + ",".join(f"({n}, 'n', now(), 1.5)" for n in range(20_000)),
    "a list of 50,000": "SELECT * FROM t WHERE id IN (" + ",".join(map(str, range(50_000))) + ")",
    "an AND of 5,000": "SELECT * FROM t WHERE " + " AND ".join(f"a{n} = {n}" for n in range(5000)),
    "an OR of 5,000": "SELECT * FROM t WHERE " + " OR ".join(f"a{n} = {n}" for n in range(5000)),
    "390 terms": "SELECT " + " || ".join(["'a'"] * 390),
    "a UNION of 700": " UNION ALL ".join(["SELECT a + 1 FROM t WHERE b = 2"] * 700),
    "300 joins": "SELECT 1 FROM t" + " JOIN t ON a.b = c.d AND e = f" * 300,
    "90 brackets": "SELECT " + "(" * 90 + "1" + ")" * 90,
    "90 sub-selects": "SELECT " + "(SELECT " * 90 + "1" + ")" * 90,
    "a CASE of 5,000": "SELECT CASE " + "WHEN a = 1 THEN 2 " * 5000 + "END",
    "5,000 commands": "SELECT 1;" * 5000,
    "a long string": "SELECT '" + "x" * 1_000_000 + "'",
    "multi-column SET": f"UPDATE t SET ({','.join(f'c{n}' for n in range(90))}) = ROW({','.join('1' * 90)})",
}


@pytest.mark.parametrize("name", PASS)
def test_large_honest_texts_pass(name: str) -> None:
    assert read(PASS[name]).complete


@pytest.mark.parametrize(
    ("text", "limits", "rule", "figure"),
    [
        ("SELECT '" + "x" * 100 + "'", Limits(max_bytes=100), "statement.max_bytes", "100"),
        ("SELECT '" + "é" * 60 + "'", Limits(max_bytes=100), "statement.max_bytes", "129"),
        ("SELECT " + "1," * 50, Limits(max_tokens=20), "statement.max_tokens", "20"),
        ("SELECT ((((1))))", Limits(max_depth=20), "statement.max_depth", "20"),
        ("SELECT 1\0; DROP TABLE t", Limits(), "statement.nul", "9"),
        ("SELECT '\ud800'", Limits(), "statement.encoding", "9"),
        ("SELEC 1", Limits(), "statement.syntax", "1"),
    ],
)
def test_a_refusal_names_limit_and_figure(text: str, limits: Limits, rule: str, figure: str) -> None:
    with pytest.raises(Unreadable) as caught:
        read(text, limits)
    assert caught.value.rule == rule
    assert figure in caught.value.reason
    assert caught.value.remedy
    again = pickle.loads(pickle.dumps(caught.value))
    assert (again.rule, again.reason, again.remedy, again.position) == (
        caught.value.rule,
        caught.value.reason,
        caught.value.remedy,
        caught.value.position,
    )


@pytest.mark.parametrize(
    "wrong",
    [{"max_bytes": 0}, {"max_tokens": -1}, {"max_depth": 901}, {"max_depth": True}, {"max_bytes": "1"}],
)
def test_limits_that_cannot_hold_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Limits(**wrong)


@pytest.mark.parametrize(
    "text",
    [
        "SELECT 1 WHERE 'zzcanary' 'zz'",
        "SELECT 'zzcanary",
        "SELECT E'zzcanary\\u12'",
        "SELECT 1 FRM t WHRE zzcanary",
        "SELECT JSON('{}' FORMAT JSON ENCODING zzcanary)",
        'SELECT 1 "zzcanary" "zzcanary"',
        "CREATE ROLE x zzcanary",
        "SELECT 8675309zzcanary",
    ],
)
def test_a_syntax_error_repeats_nothing_of_the_text(text: str) -> None:
    with pytest.raises(Unreadable) as caught:
        read(text)
    said = f"{caught.value.reason} {caught.value.remedy} {caught.value.args}"
    assert "zzcanary" not in said
    assert "8675309" not in said
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


def test_a_syntax_error_says_where() -> None:
    with pytest.raises(Unreadable, match="at character 15, near FROM") as caught:
        read("SELECT é FROM FROM t")
    assert caught.value.position == 14 or caught.value.position == 14


def test_without_pgparse_the_error_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pgparse", None)
    with pytest.raises(Unreadable, match="pgparse") as caught:
        read("SELECT 1")
    assert caught.value.rule == "statement.no_parser"


def test_the_answer_does_not_depend_on_the_callers_stack() -> None:
    text = "SELECT " + " || ".join(["a"] * 380)
    expected = read(text)

    def deep(levels: int) -> object:
        return read(text) if levels == 0 else deep(levels - 1)

    # pytest itself stands some hundred frames deep.
    assert deep(sys.getrecursionlimit() - 400) == expected


def test_a_recursion_error_on_the_callers_stack_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    real, threads = grammar.parse, []

    def parse(text: str, tokens: list[lexer.Token]) -> grammar.Tree:
        threads.append(threading.current_thread())
        if threading.current_thread() is threading.main_thread():
            raise RecursionError
        return real(text, tokens)

    monkeypatch.setattr(grammar, "parse", parse)
    assert read("SELECT 1").effects[0].kind is EffectKind.SELECT
    assert len(threads) == 2


def test_a_recursion_error_everywhere_is_a_refusal(monkeypatch: pytest.MonkeyPatch) -> None:
    def parse(text: str, tokens: list[lexer.Token]) -> grammar.Tree:
        raise RecursionError

    monkeypatch.setattr(grammar, "parse", parse)
    with pytest.raises(Unreadable) as caught:
        read("SELECT 1")
    assert caught.value.rule == "statement.max_depth"


def test_faulthandler_is_not_disturbed() -> None:
    assert faulthandler.is_enabled()  # pytest's; nothing here may switch it off
