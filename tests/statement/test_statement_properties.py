"""What a statement is does not depend on how it is spelled, and a whole does what its parts do."""

from __future__ import annotations

import string
from functools import cache
from pathlib import Path
from typing import Any

import orjson
import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from governed_db.statement import Effect, EffectKind, Statement, Unreadable, lexer, read

CORPUS = Path(__file__).parents[1] / "corpus"
CORPORA = (
    "guardrails",
    "attack_guard",
    "attack_honest",
    "attack_masking",
    "statement_facts",
    "statement_constrained",
)


def _texts() -> tuple[str, ...]:
    """Return the statements of all corpora that can be read; not those with placeholders of a driver."""
    found: dict[str, None] = {}
    for name in CORPORA:
        for line in (CORPUS / f"{name}.jsonl").read_bytes().splitlines():
            entry = orjson.loads(line)
            if "params" not in entry and "compose" not in entry and "times" not in entry:
                texts = entry["sql"] if isinstance(entry["sql"], list) else [entry["sql"]]
                found.update(dict.fromkeys(texts))
    return tuple(found)


TEXTS = _texts()

# Names of the corpora's schemas that are no keywords, so that quoting them changes nothing.
NAMES = frozenset(
    [
        "parcels",
        "tariffs",
        "depots",
        "journal",
        "readings",
        "couriers",
        "scans",
        "people",
        "stamp",
        "stamp_if",
        "total",
        "code_d",
        "dims",
        "wide",
        "ruled",
        "trapped",
        "small",
        "big",
        "ledger",
        "customers",
        "orders",
        "products",
        "boom",
        "boom_ok",
        "checked",
        "ids",
        "ops",
        "hidden",
        "hr",
        "public",
        "id",
        "twin",
        "title",
        "depot_id",
        "courier_id",
        "cents",
        "capacity",
        "city",
        "weight",
        "sensor_id",
        "val",
        "amount",
        "x",
        "ref",
        "fragile",
        "tags",
        "meta",
        "email",
        "pg_catalog",
        "lower",
        "upper",
        "length",
        "now",
        "count",
        "generate_series",
        "set_config",
    ]
)


def facts(statement: Statement) -> dict[str, Any]:
    """Return everything that is known of a statement but where in its text it stands."""
    return {
        "commands": statement.commands,
        "tag": statement.tag,
        "effects": [evolve(effect, location=-1) for effect in statement.effects],
        "relations": [evolve(relation, location=-1) for relation in statement.relations],
        "functions": [evolve(function, location=-1) for function in statement.functions],
        "parameters": statement.parameters,
        "complete": statement.complete,
        "because": statement.incomplete_because,
        "fingerprint": statement.fingerprint,
        "summary": statement.summary,
    }


@cache
def understood(texts: tuple[str, ...]) -> dict[str, Statement]:
    """Return what is read of each text that can be read.

    Chosen beforehand: where much is drawn only to be thrown away, Hypothesis gives up now and then.
    """
    found = {}
    for text in texts:
        try:
            found[text] = read(text)
        except Unreadable:
            continue
    return found


BETWEEN = (
    " ",
    "\n",
    "\t \r\n",
    " /**/ ",
    " /* ; DROP */ ",
    " /* a /* nested */ ' */ ",
    " -- ' \" $$ ;\n",
    " --\r",
)


@st.composite
def respellings(draw: st.DrawFn, text: str, *, quotes: bool) -> str:
    """Draw another spelling: white space and comments, the case of names and keywords, and quotes."""
    pieces: list[str] = []
    end = 0
    for token in lexer.tokens(text):
        apart = token.start > end
        end = token.end
        gap = draw(st.sampled_from(BETWEEN))
        if apart or draw(st.booleans()):
            pieces.append(gap)
        word = text[token.start : token.end]
        if token.kind == lexer.NAME and word.isascii():
            if quotes and word.lower() in NAMES and draw(st.booleans()):
                word = draw(quoted(word.lower()))
            else:
                word = draw(st.sampled_from((word, word.upper(), word.lower(), word.swapcase())))
        pieces.append(word)
    return "".join(pieces) + draw(st.sampled_from(("", *BETWEEN)))


@st.composite
def quoted(draw: st.DrawFn, name: str) -> str:
    """Draw a way to write a name in quotes."""
    way = draw(st.integers(0, 3))
    if way == 0:
        return f'"{name}"'
    escape = "\\" if way < 3 else "!"
    at = draw(st.integers(0, len(name) - 1))
    code = f"{escape}{ord(name[at]):04x}" if way != 2 else f"{escape}+{ord(name[at]):06X}"
    return f'U&"{name[:at]}{code}{name[at + 1 :]}"' + (" UESCAPE '!'" if way == 3 else "")


@given(st.data())
def test_spelling_changes_no_fact(data: st.DataObject) -> None:
    text, before = data.draw(st.sampled_from(list(understood(TEXTS).items())))
    after = data.draw(respellings(text, quotes=False))
    assert facts(read(after)) == facts(before)


@given(st.data())
def test_quoting_names_changes_no_fact(data: st.DataObject) -> None:
    text, before = data.draw(st.sampled_from(list(understood(TEXTS).items())))
    after = data.draw(respellings(text, quotes=True))
    assert facts(read(after)) == facts(before)


# -- conditions, made from a small grammar

COLUMNS = ("id", "name", "state", "flag")
ATOMS = (
    "{c} = 1", "{c} <> 1", "{c} < 5", "{c} >= 5", "{c} IN (1, 2)", "{c} NOT IN (1)", "{c} = {c}",
    "{c} IS NULL", "{c} IS NOT NULL", "{c} LIKE 'a%'", "{c} LIKE '%'", "{c} BETWEEN 1 AND 3", "1 = 1",
    "{c} = $1", "{c} = other", "{c} = ANY ('{{1,2}}')", "{c} IS NOT DISTINCT FROM 3", "lower({c}) = 'x'",
    "{c} + 1 = 2", "coalesce({c}, 1) = 1", "EXISTS (SELECT 1 FROM one)", "{c} IN (SELECT a FROM apart)",
    "{c} IN (SELECT {c} FROM t)", "({c}, 1) = (2, 1)",
)  # fmt: skip
Condition = tuple[Any, ...]
conditions: st.SearchStrategy[Condition] = st.recursive(
    st.tuples(st.just("atom"), st.sampled_from(ATOMS), st.sampled_from(COLUMNS)),
    lambda inner: st.one_of(
        st.tuples(st.sampled_from(["AND", "OR"]), inner, inner), st.tuples(st.just("NOT"), inner)
    ),
    max_leaves=6,
)


def write(condition: Condition, alias: str, brackets: Any) -> str:
    """Return the text of a condition; ``brackets()`` says how many redundant pairs go around a part."""
    kind = condition[0]
    if kind == "atom":
        column = f"{alias}.{condition[2]}" if alias else condition[2]
        wrapped = brackets()
        column = "(" * wrapped + column + ")" * wrapped
        body = condition[1].format(c=column).replace("(SELECT " + column, "(SELECT " + condition[2])
    elif kind == "NOT":
        body = f"NOT ({write(condition[1], alias, brackets)})"
    else:
        body = f"({write(condition[1], alias, brackets)}) {kind} ({write(condition[2], alias, brackets)})"
    wrapped = brackets()
    return "(" * wrapped + body + ")" * wrapped


VERBS = ("DELETE FROM t{} WHERE {}", "UPDATE t{} SET name = 'x' WHERE {}")


@given(st.data(), conditions, st.sampled_from(VERBS))
def test_redundant_brackets_change_no_fact(data: st.DataObject, condition: Condition, verb: str) -> None:
    plain = verb.format("", write(condition, "", lambda: 0))
    bracketed = verb.format("", write(condition, "", lambda: data.draw(st.integers(0, 2))))
    assert facts(read(bracketed)) == facts(read(plain))


@given(conditions, st.sampled_from(VERBS), st.sampled_from(["z", "AS z", 'AS "Z z"', "AS one_more"]))
def test_an_alias_changes_what_things_are_called_and_nothing_else(
    condition: Condition, verb: str, written: str
) -> None:
    alias = written.removeprefix("AS ")
    named = facts(read(verb.format(" " + written, write(condition, alias, lambda: 0))))
    plain = facts(read(verb.format("", write(condition, "t", lambda: 0))))
    assert named.pop("fingerprint")
    assert plain.pop("fingerprint")
    assert named == plain


# -- wholes and parts


def done(effects: tuple[Effect, ...]) -> list[Effect]:
    """Return effects without what the whole around them says of each."""
    return [evolve(effect, location=-1, note="") for effect in effects]


def kinds(statement: Statement) -> set[EffectKind]:
    return {effect.kind for effect in statement.effects}


QUERIES = ("SELECT", "INSERT", "UPDATE", "DELETE", "MERGE", "VALUES")


def bare(text: str) -> str:
    """Return a text without what follows its last statement."""
    tokens = lexer.tokens(text)
    while tokens and text[tokens[-1].start : tokens[-1].end] == ";":
        tokens.pop()
    return text[: tokens[-1].end] if tokens else ""


@cache
def parts(tags: tuple[str, ...] | None, without: tuple[str, ...]) -> list[tuple[str, Statement]]:
    """Return the single statements of ``tags`` whose text has none of the words in ``without``."""
    singles = understood(tuple(dict.fromkeys(map(bare, TEXTS))))
    return [
        (text, statement)
        for text, statement in singles.items()
        if statement.commands == 1
        and statement.complete
        and (tags is None or (statement.tag in tags and EffectKind.CREATE not in kinds(statement)))
        and not any(word in text.upper() for word in without)
    ]


def part(
    data: st.DataObject, *, tags: tuple[str, ...] | None = None, without: tuple[str, ...] = ()
) -> tuple[str, Statement]:
    return data.draw(st.sampled_from(parts(tags, without)))


@given(st.data())
def test_several_statements_do_what_each_does(data: st.DataObject) -> None:
    pairs = [part(data) for _ in range(data.draw(st.integers(2, 3)))]
    whole = read("\n;\n".join(text for text, _ in pairs))
    expected = [effect for _, statement in pairs for effect in statement.effects]
    assert done(whole.effects) == [
        *done(tuple(expected)),
        Effect(kind=EffectKind.MULTIPLE, name=str(len(pairs))),
    ]
    assert [r.name for r in whole.relations] == [r.name for _, s in pairs for r in s.relations]
    assert [str(f) for f in whole.functions] == [str(f) for _, s in pairs for f in s.functions]


@given(
    st.data(), st.sampled_from(["EXPLAIN ANALYZE", "EXPLAIN (VERBOSE, ANALYZE TRUE)", "EXPLAIN (ANALYZE)"])
)
def test_explain_analyze_does_what_it_explains(data: st.DataObject, explain: str) -> None:
    text, inner = part(data, tags=QUERIES)
    whole = read(f"{explain} {text}\n")
    assert whole.effects[0].kind is EffectKind.EXPLAIN
    assert done(whole.effects[1:]) == done(inner.effects)
    assert all("EXPLAIN ANALYZE" in effect.note for effect in whole.effects[1:])


@given(st.data())
def test_a_plain_explain_does_nothing_of_it(data: st.DataObject) -> None:
    text, inner = part(data, tags=QUERIES)
    whole = read(f"EXPLAIN (COSTS OFF) {text}\n")
    assert kinds(whole) == {EffectKind.EXPLAIN}
    assert [str(f) for f in whole.functions] == [str(f) for f in inner.functions]


@given(st.data())
def test_prepare_is_judged_by_what_it_prepares(data: st.DataObject) -> None:
    text, inner = part(data, tags=QUERIES)
    whole = read(f"PREPARE a_name AS {text}\n")
    assert whole.effects[0].kind is EffectKind.PREPARE
    assert done(whole.effects[1:]) == done(inner.effects)


@given(st.data(), st.sampled_from(["", "MATERIALIZED ", "NOT MATERIALIZED "]), st.integers(1, 3))
def test_a_cte_does_what_its_query_does(data: st.DataObject, how: str, depth: int) -> None:
    text, inner = part(data, tags=("INSERT", "UPDATE", "DELETE"), without=("WITH",))
    whole = f"SELECT 1 FROM (WITH q AS {how}({text}\n) SELECT 1) s" if depth > 1 else ""
    whole = whole or f"WITH q AS {how}({text}\n) SELECT 1"
    if depth > 2:
        whole = f"WITH outer_one AS ({whole}) SELECT 1"
    effects = read(whole).effects
    written = [e for e in effects if e.kind is not EffectKind.SELECT]
    assert done(tuple(written)) == done(tuple(e for e in inner.effects if e.kind is not EffectKind.SELECT))
    assert {e.kind for e in inner.effects} | {EffectKind.SELECT} == {e.kind for e in effects}


@given(st.data())
def test_a_query_in_a_sub_select_is_read_as_it_is(data: st.DataObject) -> None:
    text, inner = part(data, tags=("SELECT", "VALUES"), without=("INTO", "$"))
    whole = read(f"SELECT * FROM ({text}\n) AS around")
    assert kinds(whole) == kinds(inner) | {EffectKind.SELECT}
    assert [r.name for r in whole.relations] == [r.name for r in inner.relations]
    assert [str(f) for f in whole.functions] == [str(f) for f in inner.functions]


@pytest.mark.parametrize("prefix", ["E'", "U&'", "'", "$$", "$x$", "/* ", '"', "--"])
@given(body=st.text(string.printable, max_size=60))
def test_what_is_quoted_is_no_statement(prefix: str, body: str) -> None:
    ends = {"/* ": " */", "--": "\n", "$$": "$$", "$x$": "$x$", '"': '"'}
    text = f"SELECT 1 AS a, {prefix}{body}{ends.get(prefix, chr(39))}"
    try:
        statement = read(text)
    except Unreadable:
        return
    tokens = lexer.tokens(text)
    if len(tokens) > 6 or statement.commands != 1:
        return  # it got out of its quotes, and was read as what it then is
    assert kinds(statement) == {EffectKind.SELECT}
    assert not statement.relations
