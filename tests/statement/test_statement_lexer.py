"""The scanner finds PostgreSQL's tokens in any text, and none of it takes more than linear time."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from governed_db.statement import lexer

FRAGMENTS = [
    *"'\"$/*-+;,()[]{}\\.:_eEUxB& \n\t0129é",
    "$$",
    "$a$",
    "/*",
    "*/",
    "--",
    "E'",
    "U&'",
    'U&"',
    "''",
    "::",
    "select",
    "0x1F",
    "1e+5",
    "\U0001f600",
]
hostile_text = st.lists(st.sampled_from(FRAGMENTS)).map("".join) | st.text()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        ("  -- comment\n  ", []),
        ("/* a /* nested */ b */ x", ["x"]),
        ("/* open /* twice */ x", []),
        ("a/*b*/c", ["a", "c"]),
        ("a--b\nc", ["a", "c"]),
        ("a+-- b\nc", ["a", "+", "c"]),
        ("a*/*b*/c", ["a", "*", "c"]),
        ("'it''s' x", ["'it''s'", "x"]),
        ("'a\\' b", ["'a\\'", "b"]),
        ("E'a\\' b' c", ["E'a\\' b'", "c"]),
        ("e'a'\n'b\\'c' d", ["e'a'\n'b\\'c'", "d"]),
        ("'a' -- x\n 'b' c", ["'a' -- x\n 'b'", "c"]),
        ("'a' 'b'", ["'a'", "'b'"]),
        ("B'01' x'1f' N'a' U&'b' U&\"c\" e", ["B'01'", "x'1f'", "N'a'", "U&'b'", 'U&"c"', "e"]),
        ('"a""b".c', ['"a""b"', ".", "c"]),
        ("$$a 'b' $x$ $$ c", ["$$a 'b' $x$ $$", "c"]),
        ("$x$ $$ $y$ $x$ c", ["$x$ $$ $y$ $x$", "c"]),
        ("a$$b", ["a$$b"]),
        ("$1 $23::int", ["$1", "$23", "::", "int"]),
        ("1.5e-3 .5 1..2 0x1e+0x1e 1_000", ["1.5e-3", ".5", "1", "..", "2", "0x1e", "+", "0x1e", "1_000"]),
        ("a->>'b' <= -1 @> x", ["a", "->>", "'b'", "<=", "-", "1", "@>", "x"]),
        ("'open", ["'open"]),
        ("$$open", ["$$open"]),
        ('"open', ['"open']),
        ("é.ü\xa0x", ["é", ".", "ü\xa0x"]),
    ],
)
def test_tokens(text: str, expected: list[str]) -> None:
    assert [text[t.start : t.end] for t in lexer.tokens(text)] == expected


@given(hostile_text)
def test_any_text_is_cut_in_order_and_nothing_but_space_and_comments_is_left_out(text: str) -> None:
    end = 0
    for kind, start, stop in lexer.tokens(text):
        between = text[end:start]
        assert not between.strip(" \t\n\r\f\v") or "--" in between or "/*" in between
        assert kind in lexer.KIND_NAMES
        assert end <= start < stop
        end = stop


PIECES = [
    "+-",
    "'",
    "' ",
    "$a$",
    "$a",
    "/*",
    "/**/",
    "-- \n",
    "'a'\n",
    "E'\\",
    "\\'",
    "1_",
    "1.",
    ",",
    "u&",
    '"',
    "$",
]
PIECES += ["'a'--b\n", "$1a$", "'a' \t", "0x", "é", "--", "*/"]


@pytest.mark.parametrize("piece", PIECES)
def test_time_is_linear(piece: str) -> None:
    def seconds(count: int) -> float:
        text = piece * count
        start = time.perf_counter()
        lexer.tokens(text)
        return time.perf_counter() - start

    # A quadratic scanner would need minutes for this; the bound is generous to a busy machine.
    assert seconds(100_000) < 5


def test_limit_stops_the_scan() -> None:
    assert len(lexer.tokens("," * 1000, limit=10)) == 11
