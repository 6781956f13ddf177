"""The reviewed classification: its file round-trips, decisions outlive what is found, drift is told."""

from __future__ import annotations

import psycopg
import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st
from masking_columns import OIDS

from governed_db.catalog.bound import Source
from governed_db.catalog.model import Catalog, Column, Relation
from governed_db.errors import PolicyError
from governed_db.masking import classify
from governed_db.masking.inventory import described
from governed_db.masking.report import (
    AUTO,
    CONFIRMED,
    REJECTED,
    Entry,
    Kind,
    compare,
    merged,
    unsampled,
)
from governed_db.masking.reviewed import overrides, said
from governed_db.policy.classification import key, read, render
from governed_db.testing import EmbeddedPostgres

PATH = ("public", "customers", "email")
FOUND = Entry(
    type="text", of="table", label="EMAIL_ADDRESS", confidence=0.95, basis="name", because="its name says so"
)
PLAIN = Entry(type="integer", of="table")

# -- the file

names = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\x00"), min_size=1, max_size=12)
texts = st.text(st.characters(exclude_categories=("Cs",)), max_size=20)
labels = st.from_regex(r"[A-Z][A-Z0-9_]{0,10}", fullmatch=True)
kinds = st.sampled_from(["table", "view", "materialized view", "foreign table"])


@st.composite
def an_entry(draw: st.DrawFn) -> Entry:
    label = draw(st.just("") | labels)
    decided = draw(st.sampled_from([AUTO, REJECTED, *([CONFIRMED] if label else [])]) | labels)
    return Entry(
        type=draw(names),
        of=draw(kinds),
        label=label,
        confidence=draw(st.floats(0, 1)),
        basis=draw(texts),
        because=draw(texts),
        decided=decided,
        note=draw(texts),
    )


@given(st.dictionaries(st.tuples(names, names, names), an_entry(), max_size=6))
def test_what_is_written_is_read_back(entries: dict[tuple[str, str, str], Entry]) -> None:
    text = render(entries)
    again = read(text, "f")
    assert list(again) == sorted(entries)
    assert render(again) == render({p: _as_written(e) for p, e in entries.items()})
    for path, entry in entries.items():
        assert again[path] == _as_written(entry)


def _as_written(entry: Entry) -> Entry:
    # Of a plain column nobody spoke about, the file keeps the type; why it is plain stands in a comment.
    if not entry.label and entry.decided == AUTO and not entry.note:
        return Entry(type=entry.type, of=entry.of)
    return entry


def test_the_file_is_sorted_and_differs_in_one_line_for_one_column() -> None:
    before = {("s", "t", c): PLAIN for c in "dbac"}
    after = {**before, ("s", "t", "bb"): PLAIN}
    old, new = render(before).splitlines(), render(after).splitlines()
    assert [line for line in new if line not in old] == ['"s.t.bb" = "integer"']
    assert [line for line in old if line not in new] == []
    assert render(dict(reversed(after.items()))) == render(after)


def test_the_header_says_how_to_review() -> None:
    text = render({PATH: FOUND})
    for word in (AUTO, CONFIRMED, REJECTED, "OTHER_LABEL", "classification = "):
        assert word in text.split("format = ")[0]


HEAD = "format = 1\n"
BAD = [
    # text, place, words of the message
    ("", "1:1", "format = 1"),
    ("format = 2", "1:1", "format = 1"),
    ("format = true", "1:1", "format = 1"),
    ("format = ", "1:", "not valid TOML"),
    (HEAD + "colum = {}", "2:1", "did you mean 'column'"),
    (HEAD + "column = 1", "2:1", "is a table"),
    (HEAD + '[column."public.c.e"]\nlabl = "X"', "3:1", "did you mean 'label'"),
    (HEAD + '[column."public.c.e"]\nlabel = 1', "3:1", "takes a string"),
    (HEAD + '[column."public.c.e"]\nlabel = "email"', "3:1", "in capitals"),
    (HEAD + '[column."public.c.e"]\ndecided = "reject"', "3:1", "unknown decision"),
    (HEAD + '[column."public.c.e"]\ndecided = "confirmed"', "3:1", "no 'label'"),
    (HEAD + '[column."public.c.e"]\ndecided = "rejected"', "3:1", "needs its 'type'"),
    (HEAD + '[column."public.c.e"]\nconfidence = 2', "3:1", "from 0 to 1"),
    (HEAD + '[column."c.e"]\nlabel = "X"', "2:1", "schema.relation.column"),
    (HEAD + "[column.public.c.e]\nlabel = 'X'", "2:1", "schema.relation.column"),
    (HEAD + "[plain]\n'public.c.e' = 1", "3:1", "its type"),
    (HEAD + "[plain]\n'public.c.e' = 'text'\n'public.c.\"e\"' = 'text'", "4:1", "twice"),
    (HEAD + "[column.'public.c.e']\n[column.'public.c.E']", "3:1", "twice"),
]


@pytest.mark.parametrize(("text", "place", "words"), BAD)
def test_a_mistake_is_an_error_with_file_line_and_column(text: str, place: str, words: str) -> None:
    with pytest.raises(PolicyError) as caught:
        read(text, "c.toml")
    assert str(caught.value).startswith(f"c.toml:{place}")
    assert words in str(caught.value)


def test_an_entry_for_a_plain_column_needs_no_more_than_the_decision() -> None:
    text = render({PATH: PLAIN}) + "[column.'public.customers.email']\ndecided = 'AGE'\n"
    assert read(text, "f") == {PATH: evolve(PLAIN, decided="AGE")}


# -- what people decided, and what has changed since


@pytest.mark.parametrize(
    ("old", "new", "decided"),
    [
        (FOUND, FOUND, AUTO),
        (evolve(FOUND, decided=CONFIRMED), FOUND, CONFIRMED),
        (evolve(FOUND, decided=CONFIRMED), evolve(FOUND, label="URL"), "EMAIL_ADDRESS"),
        (evolve(FOUND, decided=CONFIRMED), evolve(FOUND, label=""), "EMAIL_ADDRESS"),
        (evolve(FOUND, decided="USERNAME"), evolve(FOUND, type="citext"), "USERNAME"),
        (evolve(FOUND, decided=REJECTED), FOUND, REJECTED),
        (evolve(FOUND, decided=REJECTED), evolve(FOUND, label="URL"), REJECTED),
        (evolve(FOUND, decided=REJECTED), evolve(FOUND, type="varchar(20)"), AUTO),
        (evolve(FOUND, decided=REJECTED), evolve(FOUND, of="view"), AUTO),
    ],
)
def test_decisions_are_kept_as_long_as_they_mean_the_same(old: Entry, new: Entry, decided: str) -> None:
    noted = evolve(old, note="ours")
    assert merged({PATH: noted}, {PATH: new}) == {PATH: evolve(new, decided=decided, note="ours")}


def test_another_sample_that_says_the_same_leaves_the_file_as_it_is() -> None:
    told = evolve(FOUND, basis="values", because="9 of 10 sampled values are", confidence=0.8)
    again = evolve(told, because="10 of 10 sampled values are", confidence=0.9)
    assert merged({PATH: told}, {PATH: again}) == {PATH: told}
    assert merged({PATH: told}, {PATH: evolve(again, label="URL")})[PATH].because == again.because


@pytest.mark.parametrize(
    ("old", "new", "kind", "words"),
    [
        (FOUND, FOUND, None, ""),
        (FOUND, evolve(FOUND, confidence=0.5, because="values"), None, ""),
        (None, FOUND, Kind.NEW, "EMAIL_ADDRESS"),
        (None, PLAIN, Kind.NEW, "plain"),
        (FOUND, None, Kind.GONE, "EMAIL_ADDRESS"),
        (evolve(FOUND, decided=REJECTED), None, Kind.GONE, "the decision 'rejected'"),
        (PLAIN, evolve(PLAIN, type="text"), Kind.TYPE, "its type was integer and is text"),
        (PLAIN, evolve(PLAIN, type="text", label="AGE"), Kind.TYPE, "is text, and it was plain and is AGE"),
        (FOUND, evolve(FOUND, of="view"), Kind.TYPE, "of a table and is of a view"),
        (evolve(FOUND, decided=REJECTED), evolve(FOUND, type="bytea"), Kind.TYPE, "no longer holds"),
        (FOUND, evolve(FOUND, label="URL"), Kind.VERDICT, "was EMAIL_ADDRESS and is URL"),
        (PLAIN, evolve(PLAIN, label="AGE"), Kind.VERDICT, "was plain and is AGE"),
        (evolve(FOUND, decided=REJECTED), evolve(FOUND, label="URL"), Kind.VERDICT, "'rejected' holds"),
        (Entry(decided="AGE"), PLAIN, None, ""),  # written by hand, with no more than the decision
    ],
)
def test_drift_is_told(old: Entry | None, new: Entry | None, kind: Kind | None, words: str) -> None:
    before = {} if old is None else {PATH: old}
    after = {} if new is None else {PATH: new}
    changes = compare(before, after)
    assert [c.kind for c in changes] == ([] if kind is None else [kind])
    assert all(words in c.said for c in changes)


@given(st.dictionaries(st.tuples(names, names, names), an_entry(), max_size=4))
def test_what_was_just_written_has_not_changed(entries: dict[tuple[str, str, str], Entry]) -> None:
    fresh = {p: evolve(e, decided=AUTO) for p, e in entries.items()}
    assert compare(read(render(merged(entries, fresh)), "f"), fresh) == ()


def test_what_rows_have_told_is_not_lost_by_not_looking_at_them() -> None:
    told = evolve(FOUND, basis="values", because="its values are")
    assert unsampled({PATH: told}, {PATH: evolve(PLAIN, type="text")}) == {PATH: told}
    assert unsampled({PATH: told}, {PATH: PLAIN}) == {PATH: PLAIN}  # of another type by now
    assert unsampled({PATH: FOUND}, {PATH: evolve(PLAIN, type="text")})[PATH].label == ""


# -- what the file says to a catalog


def catalog_of(**tables: dict[str, str]) -> Catalog:
    relations = {
        oid: Relation(
            oid=oid,
            schema="public",
            name=name,
            kind="r",
            columns=tuple(
                Column(n, column, OIDS[type_], -1, False)
                for n, (column, type_) in enumerate(columns.items(), 1)
            ),
        )
        for oid, (name, columns) in enumerate(tables.items(), 1000)
    }
    return Catalog(version="1", server_version=160000, relations=relations, functions={}, types={})


CATALOG = catalog_of(customers={"id": "int4", "email": "text", "code": "text"})
EMAIL, CODE = Source(1000, 2), Source(1000, 3)


def entry(column: str, **changes: str) -> dict[tuple[str, str, str], Entry]:
    of = Entry(type="type 25", of="table", label="EMAIL_ADDRESS" if column == "email" else "")
    return {("public", "customers", column): evolve(of, **changes)}


@pytest.mark.parametrize(
    ("reviewed", "columns", "expected"),
    [
        ({}, {}, {EMAIL: "EMAIL_ADDRESS"}),
        (entry("email", decided=REJECTED), {}, {}),
        (entry("email", decided=CONFIRMED, label="URL"), {}, {EMAIL: "URL"}),
        (entry("email", decided="USERNAME"), {}, {EMAIL: "USERNAME"}),
        # The policy's own word wins.
        (entry("email", decided=REJECTED), {"public.customers.email": "URL"}, {EMAIL: "URL"}),
        (entry("email", decided=CONFIRMED), {"public.customers.email": None}, {}),
        # What nobody has looked at adds a mask, and neither takes one away nor changes one.
        (entry("email", label=""), {}, {EMAIL: "EMAIL_ADDRESS"}),
        (entry("email", label="URL"), {}, {EMAIL: "EMAIL_ADDRESS"}),
        (entry("code", label="API_KEY"), {}, {EMAIL: "EMAIL_ADDRESS", CODE: "API_KEY"}),
        (entry("code", label="API_KEY"), {"public.customers.code": None}, {EMAIL: "EMAIL_ADDRESS"}),
        # Nothing but a rejection of this very column takes a mask away.
        (entry("email", decided=REJECTED, type="type 17"), {}, {EMAIL: "EMAIL_ADDRESS"}),
        (entry("email", decided=REJECTED, of="view"), {}, {EMAIL: "EMAIL_ADDRESS"}),
        (
            entry("code", decided=REJECTED, label="API_KEY", type="type 17"),
            {},
            {EMAIL: "EMAIL_ADDRESS", CODE: "API_KEY"},
        ),
        # A column that is not there any more: what a person labelled may have another name by now.
        (entry("gone", label="API_KEY"), {}, {EMAIL: "EMAIL_ADDRESS"}),
        (entry("gone", decided=REJECTED), {}, {EMAIL: "EMAIL_ADDRESS"}),
        (
            entry("gone", decided="API_KEY"),
            {},
            {Source(1000, 1): "API_KEY", EMAIL: "API_KEY", CODE: "API_KEY"},
        ),
    ],
)
def test_what_a_reviewed_file_masks(
    reviewed: dict[tuple[str, str, str], Entry],
    columns: dict[str, str | None],
    expected: dict[Source, str],
) -> None:
    given_, _ = overrides(CATALOG, columns, reviewed)
    found = classify(CATALOG, given_)
    assert {source: why.label for source, why in found.items()} == expected


def test_a_rejection_of_what_has_changed_is_told() -> None:
    told = said(entry("email", decided=REJECTED, type="type 17"), CATALOG)
    assert told.stale == (("public.customers.email", "it was rejected as type 17 and is type 25 now"),)


# -- a real catalog


@pytest.fixture(scope="module")
def entries(server: EmbeddedPostgres) -> dict[str, Entry]:
    from governed_db.cli import judging
    from governed_db.policy import preset

    conninfo = server.create_database("masking_report")
    with psycopg.connect(conninfo) as connection:
        connection.execute("""
            CREATE TABLE people (id int PRIMARY KEY, email varchar(80), tags text[], email_verified boolean,
                                 "Größe in cm." numeric);
            CREATE VIEW contacts AS SELECT id AS who, email AS reach, email_verified FROM people;
            CREATE MATERIALIZED VIEW numbers AS SELECT id FROM people;
            CREATE TABLE visits (day date, phone_number text, code text) PARTITION BY RANGE (day);
            CREATE TABLE visits_1 PARTITION OF visits FOR VALUES FROM ('2024-01-01') TO ('2025-01-01');
            CREATE TABLE customers (ssn text) INHERITS (people);
            CREATE TEMPORARY TABLE passing (email text);
            """)
    with judging.judge(preset("standard"), conninfo) as judge:
        catalog = judge.catalog
        assert catalog is not None
        found = {key(p): e for p, e in described(catalog, classify(catalog)).items()}
        assert list(found) == [key(p) for p in sorted(described(catalog, classify(catalog)))]
    server.drop_database("masking_report")
    return found


def test_every_column_has_one_entry_where_it_is_defined(entries: dict[str, Entry]) -> None:
    assert set(entries) == {
        "public.people.id",
        "public.people.email",
        "public.people.tags",
        "public.people.email_verified",
        'public.people."Größe in cm."',
        "public.contacts.who",
        "public.contacts.reach",
        "public.contacts.email_verified",
        "public.numbers.id",
        "public.visits.day",
        "public.visits.phone_number",
        "public.visits.code",
        "public.customers.ssn",
    }


def test_types_and_relations_are_named_as_people_write_them(entries: dict[str, Entry]) -> None:
    assert entries["public.people.id"].type == "integer"
    assert entries["public.people.email"].type == "varchar(80)"
    assert entries["public.people.tags"].type == "text[]"
    assert {e.of for n, e in entries.items() if ".visits." in n} == {"table"}
    assert entries["public.contacts.who"].of == "view"
    assert entries["public.numbers.id"].of == "materialized view"


def test_a_view_shows_where_its_verdict_comes_from(entries: dict[str, Entry]) -> None:
    reach = entries["public.contacts.reach"]
    assert (reach.label, reach.basis) == ("EMAIL_ADDRESS", "lineage")
    assert "public.people.email" in reach.because


def test_what_looked_like_more_says_why_it_is_plain(entries: dict[str, Entry]) -> None:
    flag = entries["public.people.email_verified"]
    assert flag.label == ""
    assert "EMAIL_ADDRESS" in flag.because
    assert entries["public.people.id"].because == ""
