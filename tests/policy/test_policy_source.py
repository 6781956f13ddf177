import tomllib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from governed_db.errors import PolicyError
from governed_db.policy.source import parse

PLACES = [
    ("a = 1", ("a",), (1, 1)),
    ("\n\n  a = 1", ("a",), (3, 3)),
    ("# x\n[t]\nb = 'x'", ("t", "b"), (3, 1)),
    ("# x\n[t]\nb = 'x'", ("t",), (2, 1)),
    ("[[r]]\na = 1\n[[r]]\nb = 2", ("r", 1, "b"), (4, 1)),
    ("[[r]]\na = 1\n[[r]]\nb = 2", ("r", 1), (3, 1)),
    ("[[r]]\n[r.when]\nx = 1", ("r", 0, "when", "x"), (3, 1)),
    ("a = { b = 1, c = [ 'x', { d = 2 } ] }", ("a", "c", 1, "d"), (1, 27)),
    ('a = """\nb = 1\n""\\""""\nc = 1', ("c",), (4, 1)),
    ("a = '''x\n# [t]'''''\nc = 1", ("c",), (3, 1)),
    ("a = [ # ]\n 'x', # y\n 'z',\n]\nc = 1", ("a", 1), (3, 2)),
    ("a = [ # ]\n 'x', # y\n 'z',\n]\nc = 1", ("c",), (5, 1)),
    ("a.'b.c'.\"d\\u0041\" = 1", ("a", "b.c", "dA"), (1, 1)),
    ("a = 1979-05-27 07:32:00 # x\r\nb = 2\r\n", ("b",), (2, 1)),
    ('x = "\\"]"\ny = [1,2]', ("y", 1), (2, 8)),
    ("a = 1", ("a", "not", "written"), (1, 1)),
]


@pytest.mark.parametrize(("text", "path", "place"), PLACES)
def test_place_of_a_key(text: str, path: tuple[str | int, ...], place: tuple[int, int]) -> None:
    assert parse(text, "x").place(path) == place


@pytest.mark.parametrize(
    ("text", "place"),
    [("a = ", "x:1:5"), ("a = 1\nb = = 2", "x:2:5"), ("a = 1\na = 2", "x:2:"), ("a = [1,\n", "x:")],
)
def test_text_that_is_not_toml_is_an_error_with_its_place(text: str, place: str) -> None:
    with pytest.raises(PolicyError, match="not valid TOML") as caught:
        parse(text, "x")
    assert str(caught.value).startswith(place)


def paths(value: Any, path: tuple[str | int, ...] = ()) -> set[tuple[str | int, ...]]:
    found = {path} if path else set()
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        found |= paths(inner, (*path, key))
    return found


def quoted(text: str) -> str:
    return '"' + "".join(c if c.isalnum() and c.isascii() else f"\\U{ord(c):08X}" for c in text) + '"'


TEXT = st.text(st.characters(exclude_categories=("Cs",)), max_size=6)
SCALAR = st.one_of(
    st.integers(-9, 99).map(str),
    st.booleans().map(lambda b: str(b).lower()),
    TEXT.map(quoted),
    TEXT.map(lambda t: '"""' + quoted(t)[1:-1] + '\n]}#="' + '"""'),
    st.sampled_from(["'a#b'", "'''x\n[y]'''", "07:32:00", "1979-05-27 07:32:00", "1.5e3", "''", '""']),
)
SPACE = st.sampled_from(["", " ", "\t"])
BREAK = st.sampled_from(["", " ", "\n", ' # ] } = "\n', "\r\n"])


@st.composite
def values(draw: st.DrawFn, depth: int = 0) -> str:
    shape = draw(st.sampled_from(["scalar", "array", "table"])) if depth < 3 else "scalar"
    if shape == "array":
        inner = [draw(BREAK) + draw(values(depth + 1)) + draw(BREAK) for _ in range(draw(st.integers(0, 3)))]
        return "[" + ",".join(inner) + draw(BREAK) + "]"
    if shape == "table":
        keys = draw(st.lists(TEXT, max_size=3, unique=True))
        return "{" + ",".join(f" {quoted(k)}{draw(SPACE)}={draw(values(depth + 1))}" for k in keys) + " }"
    return draw(SCALAR)


@given(st.lists(st.tuples(st.sampled_from("abcd"), values()), max_size=6))
def test_every_key_and_element_of_any_toml_has_a_place(pairs: list[tuple[str, str]]) -> None:
    text = "".join(f"[[{name}]]\n'k.{i}' = {value}\n" for i, (name, value) in enumerate(pairs))
    data = tomllib.loads(text)
    doc = parse(text, "x")
    assert set(doc.offsets) == paths(data)
    for path, offset in doc.offsets.items():
        key = path[-1]
        if isinstance(key, str) and key.startswith("k."):
            assert text[offset:].startswith(f"'{key}'")
