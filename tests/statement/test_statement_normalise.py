"""What is written down about a statement holds none of its literals."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from governed_db.statement import normalise, read, unread

CANARY = "zzcanaryzz"
NUMBER = "8675309867"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("SELECT  1,\n 'a' /* x */ FROM t -- y", "SELECT $1, $2 FROM t"),
        ("SELECT $2, 'a', $1", "SELECT $2, $3, $1"),
        ("SELECT E'a\\'b', U&'c' UESCAPE '!', B'01', X'ff', N'd'", "SELECT $1, $2 UESCAPE $3, $4, $5, $6"),
        ("SELECT $$a$$, $t$b$t$, 1.5e3, .5, 0xff", "SELECT $1, $2, $3, $4, $5"),
        ('SELECT "a 1"."b""c"', 'SELECT "a 1"."b""c"'),
        ("SELECT x[1:2], -1", "SELECT x[$1:$2], -$3"),
        ("SELECT 'open and DROP", "SELECT $1"),
        ("SELECT 'a', b, 'open", "SELECT $1"),
        ("WHERE x = 'it\\'s here'", "WHERE x = $1"),
        ("SELECT 1'a'2", "SELECT $1 $2 $3"),
        ("", ""),
    ],
)
def test_normalised(text: str, expected: str) -> None:
    assert normalise(text) == expected


def test_a_number_pasted_after_a_dollar_is_no_parameter() -> None:
    assert "4111111111111111" not in normalise("SELECT $4111111111111111")


def test_length_is_bounded() -> None:
    text = "SELECT " + ", ".join(f"column_{n}" for n in range(100_000))
    assert len(normalise(text, max_chars=100)) <= 100
    assert normalise(text, max_chars=100).endswith(" ...")
    assert normalise(text, max_chars=2) == " ."
    assert len(read(text[:50_000] + "x").normalised) <= 4096


def _literals() -> st.SearchStrategy[str]:
    filler = st.text(st.sampled_from('a 1;-/*"()$,é\n'), max_size=6)
    body = st.tuples(filler, filler).map(lambda f: f[0] + CANARY + f[1])
    tag = st.sampled_from(["", "t", "body_1"])
    return st.one_of(
        body.map(lambda b: "'" + b + "'"),
        body.map(lambda b: "'it''s" + b + "''x'"),
        body.map(lambda b: "E'\\'" + b.replace("\\", "") + "\\\\'"),
        body.map(lambda b: "U&'" + b + "'"),
        body.map(lambda b: "N'" + b + "'"),
        st.tuples(body, tag).map(lambda p: f"${p[1]}$ {p[0].replace('$', '')} '${p[1]}$"),
        st.sampled_from(
            [NUMBER, NUMBER + ".5", "." + NUMBER, NUMBER + "e5", "0x" + NUMBER, "x'" + NUMBER + "'"]
        ),
        st.just("'a'\n'" + CANARY + "'"),
        st.just("E'a'\n'\\'" + CANARY + "'"),
    )


@given(
    st.lists(
        st.tuples(st.sampled_from(["a = ", "f(", ", ", " ", "::text || ", "[", "x-", "(1,"]), _literals())
    ),
    st.sampled_from(["SELECT ", "SELEC ", "INSERT INTO t VALUES (", "((((", ""]),
    st.sampled_from(["", "'", "$$", '"', " FROM", "/* ", ";"]),
    st.integers(0, 12),
)
@example([("a = ", f"'{CANARY}'")], "SELECT ", "", 1)
def test_no_literal_survives(parts: list[tuple[str, str]], before: str, after: str, cut: int) -> None:
    text = before + "".join(a + b for a, b in parts) + after
    text = text[: len(text) - cut]
    for said in (normalise(text), normalise(text, max_chars=30), unread(text).normalised, repr(unread(text))):
        assert CANARY not in said
        assert NUMBER not in said


@given(st.text() | st.binary())
def test_unread_takes_anything(text: str | bytes) -> None:
    statement = unread(text)
    assert not statement.complete
    assert [e.kind.value for e in statement.effects] == ["unknown"]
