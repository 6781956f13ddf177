"""Values inside parameters and rows of COPY: read and written as PostgreSQL itself does."""

from __future__ import annotations

import uuid

import psycopg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from psycopg.adapt import PyFormat, Transformer

from governed_db.masking.copied import reader
from governed_db.masking.values import array_text, elements, rewritten, text_of

TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=12)
ASCII = st.text(st.sampled_from("ab,;\\\"'{}\t\n\r N.|x5b[]"), max_size=8)
# One text at least: psycopg writes an array of nothing but NULL as text, whatever it is asked for.
ITEMS = st.lists(st.none() | TEXTS | ASCII, max_size=5).map(lambda items: [*items, "z"])


@pytest.fixture(scope="module")
def conn(dsn: str):
    with psycopg.connect(dsn, autocommit=True) as made:
        made.execute("CREATE TABLE taken (a text, b text)")
        yield made


@settings(max_examples=100)
@given(items=ITEMS, binary=st.booleans())
def test_arrays(items: list[str | None], binary: bool) -> None:
    dumper = Transformer().get_dumper(items, PyFormat.BINARY if binary else PyFormat.TEXT)
    value = dumper.dump(items)
    assert value is not None
    assert elements(value, binary, "utf-8") == [item for item in items if item is not None]


@settings(max_examples=60)
@given(items=ITEMS, binary=st.booleans())
def test_arrays_with_other_elements(conn: psycopg.Connection, items: list[str | None], binary: bool) -> None:
    dumper = Transformer().get_dumper(items, PyFormat.BINARY if binary else PyFormat.TEXT)
    value = dumper.dump(items)
    assert value is not None
    made = rewritten(value, binary, "utf-8", lambda text: f'"{text}\\,')
    result = conn.pgconn.exec_params(
        b"SELECT array_to_json($1::text[])", [made], param_formats=[int(binary)], param_types=[1009]
    )
    assert not result.error_message
    (got,) = conn.execute("SELECT %s::json", [result.get_value(0, 0).decode()]).fetchone() or ()
    assert got == [None if item is None else f'"{item}\\,' for item in items]


@pytest.mark.parametrize(
    "text", ["", "a", "{a", "a}", "{a}b", "{a,}x", "{a b", '{"a}', "{a}{b}", "[1:2]={a,b}"]
)
def test_what_is_no_array(text: str) -> None:
    assert array_text(text, str.upper) is None


def test_the_text_of_a_parameter() -> None:
    one = uuid.uuid4()
    assert text_of(one.bytes, 2950, True, "utf-8") == str(one)
    assert text_of(b"\x01{}", 3802, True, "utf-8") == "{}"
    assert text_of(b"\\x5b41", 17, False, "utf-8") == "[A"
    assert text_of(b"\xff[A]", 25, False, "utf-8").endswith("[A]")


FORMATS = {
    "text": ("", {}),
    "text |": ("(DELIMITER '|')", {"delimiter": "|"}),
    "csv": ("(FORMAT csv)", {"format": "csv"}),
    "csv ;": ("(FORMAT csv, DELIMITER ';', QUOTE '''', ESCAPE '\\')",
              {"format": "csv", "delimiter": ";", "quote": "'", "escape": "\\"}),
    "binary": ("(FORMAT binary)", {"format": "binary"}),
}  # fmt: skip


def read(options: dict[str, str], data: bytes, size: int) -> list[list[str | None]]:
    """Return the rows as they are when they have ended: a row that goes on is seen more than once."""
    feed = reader(options)
    assert feed is not None
    return [fields for at in range(0, len(data), size) for fields in feed(data[at : at + size])]


@settings(max_examples=60)
@given(rows=st.lists(st.tuples(ASCII, ASCII), min_size=1, max_size=3), size=st.integers(1, 9))
@pytest.mark.parametrize("name", FORMATS)
def test_rows_that_postgresql_writes(
    conn: psycopg.Connection, name: str, rows: list[tuple[str, str]], size: int
) -> None:
    options, read_so = FORMATS[name]
    conn.execute("TRUNCATE taken")
    conn.cursor().executemany("INSERT INTO taken VALUES (%s, %s)", rows)
    with conn.cursor().copy(f"COPY taken TO STDOUT {options}") as copy:
        data = b"".join(bytes(part) for part in copy)
    seen = read(dict(read_so), data, size)
    assert all(list(row) in seen for row in rows)


@settings(max_examples=150)
@given(data=ASCII, size=st.integers(1, 5))
@pytest.mark.parametrize("name", ["text", "text |", "csv", "csv ;"])
def test_rows_that_postgresql_reads(conn: psycopg.Connection, name: str, data: str, size: int) -> None:
    options, read_so = FORMATS[name]
    conn.execute("TRUNCATE taken")
    raw = data.replace("\r", "").encode() + b"\n"
    try:
        with conn.cursor().copy(f"COPY taken FROM STDIN {options}") as copy:
            copy.write(raw)
    except psycopg.Error:
        return  # nothing of it is stored
    stored = conn.execute("SELECT a, b FROM taken").fetchall()
    seen = read(dict(read_so), raw, size)
    for row in stored:
        assert any(all(v is None or v == s for v, s in zip(row, fields, strict=False)) for fields in seen), (
            row
        )
