"""Which columns count as sensitive: labelled corpora of columns, and each rule by itself.

The three corpora were written one after the other, each before the classifier had seen it.
"""

from __future__ import annotations

import gc
import time
from typing import Any

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st
from masking_columns import OIDS, catalog_of, load

from governed_db.catalog.bound import Source
from governed_db.catalog.model import Catalog, Column, ForeignKey, Relation, Type
from governed_db.masking.classify import classify, stale
from governed_db.masking.names import singular, tokens

CREDENTIALS = {"PASSWORD", "AUTH_TOKEN", "API_KEY", "ENCRYPTION_KEY", "SECRET"}


def label_of(
    table: str, column: str, type: str = "text", beside: tuple[str, ...] = (), **comments: Any
) -> str | None:
    rows = [{"table": table, "column": c, "type": "text"} for c in beside]
    rows.append({"table": table, "column": column, "type": type, **comments})
    catalog, where = catalog_of(rows)
    found = classify(catalog).get(list(where)[-1])
    return None if found is None else found.label


@pytest.mark.parametrize("corpus", ["classify_columns", "classify_columns_more", "classify_columns_last"])
def test_precision_and_recall_over_a_corpus(corpus: str) -> None:
    rows = load(f"{corpus}.jsonl")
    catalog, where = catalog_of(rows)
    found = classify(catalog)
    right = [s for s, row in where.items() if s in found and row["label"]]
    wrong = [(r["table"], r["column"]) for s, r in where.items() if s in found and not r["label"]]
    missed = [(r["table"], r["column"]) for s, r in where.items() if s not in found and r["label"]]
    named = [s for s in right if found[s].label == where[s]["label"]]
    assert len(right) / (len(right) + len(wrong)) >= 0.98, wrong
    assert len(right) / (len(right) + len(missed)) >= 0.98, missed
    assert len(named) / len(right) >= 0.97


def test_the_corpora_are_large_and_have_no_column_twice() -> None:
    rows = [row for n in ("", "_more", "_last") for row in load(f"classify_columns{n}.jsonl")]
    assert len(rows) >= 1000
    assert len({(r["table"], r["column"]) for r in rows}) == len(rows)
    assert sum(r["label"] is None for r in rows) >= 500


def test_no_credential_in_the_corpora_is_missed() -> None:
    for name in ("classify_columns", "classify_columns_more", "classify_columns_last"):
        catalog, where = catalog_of(load(f"{name}.jsonl"))
        found = classify(catalog)
        assert [r["column"] for s, r in where.items() if r["label"] in CREDENTIALS and s not in found] == []


@pytest.mark.parametrize(
    ("table", "expected"),
    [
        ("public.customers", "PERSON_NAME"),
        ("public.app_users", "PERSON_NAME"),
        ("public.Employees", "PERSON_NAME"),
        ("public.clientes_activos", "PERSON_NAME"),
        ("public.products", None),
        ("public.countries", None),
        ("public.user_roles", None),
        ("public.customer_types", None),
        ("public.hospitals", None),
        ("public.files", None),
    ],
)
def test_a_bare_name_is_a_persons_where_the_rows_are_people(table: str, expected: str | None) -> None:
    assert label_of(table, "name") == expected


def test_a_bare_name_beside_a_mail_address_of_the_row_itself() -> None:
    assert label_of("public.entries", "name", beside=("email",)) == "PERSON_NAME"
    assert label_of("public.entries", "name", beside=("owner_email",)) is None
    assert label_of("public.vendors", "name", beside=("email",)) is None


@pytest.mark.parametrize(
    ("column", "type"),
    [
        ("email_verified", "bool"),
        ("email_verified", "text"),
        ("phone_count", "int4"),
        ("address_id", "int8"),
        ("password_changed_at", "timestamptz"),
        ("token_count", "int4"),
        ("email_template_id", "int4"),
        ("ip_version", "int2"),
        ("card_type", "text"),
        ("tax_id", "int4"),
        ("passport_id", "uuid"),
        ("email", "int4"),
        ("email", "bool"),
        ("email", "timestamptz"),
        ("first_name", "bool"),
        ("country_name", "text"),
        ("file_name", "text"),
        ("table_name", "text"),
        ("role_name", "text"),
        ("company_name", "text"),
        ("public_key", "text"),
        ("next_page_token", "text"),
        ("max_tokens", "int4"),
        ("secret_name", "text"),
        ("pinned", "bool"),
        ("shipping", "text"),
        ("description_ip_count", "int4"),
        ("female_ratio", "numeric"),
        ("microphone", "text"),
        ("emailing", "text"),
        ("skipping", "text"),
        ("classname", "text"),
    ],
)
def test_vetoes(column: str, type: str) -> None:
    assert label_of("public.things", column, type) is None


@pytest.mark.parametrize(
    ("column", "type", "expected"),
    [
        ("reset_token", "uuid", "AUTH_TOKEN"),
        ("phone", "int8", "PHONE_NUMBER"),
        ("ssn", "int4", "US_SOCIAL_SECURITY_NUMBER"),
        ("national_id", "int8", "NATIONAL_ID"),
        ("date_of_birth", "timestamptz", "DATE_OF_BIRTH"),
        ("is_pregnant", "bool", "HEALTH"),
        ("emails", "text[]", "EMAIL_ADDRESS"),
        ("address", "jsonb", "STREET_ADDRESS"),
        ("password", "bytea", "PASSWORD"),
        ("anything", "inet", "IP_ADDRESS"),
        ("anything", "macaddr", "MAC_ADDRESS"),
        ("emailAddress", "text", "EMAIL_ADDRESS"),
        ("EMAILADDRESS", "text", "EMAIL_ADDRESS"),
        ("E-Mail", "text", "EMAIL_ADDRESS"),
        ("customeremail", "text", "EMAIL_ADDRESS"),
        ("Téléphone portable", "text", "PHONE_NUMBER"),
        ("Straße", "text", "STREET_ADDRESS"),
        ("phone2", "text", "PHONE_NUMBER"),
        ("ssn_hash", "text", "US_SOCIAL_SECURITY_NUMBER"),
    ],
)
def test_types_and_spellings_that_hold_it(column: str, type: str, expected: str) -> None:
    assert label_of("public.things", column, type) == expected


@pytest.mark.parametrize(
    ("comment", "expected"),
    [
        ("pii:email", "EMAIL_ADDRESS"),
        ("PII: phone", "PHONE_NUMBER"),
        ("pii = CREDIT_CARD_NUMBER", "CREDIT_CARD_NUMBER"),
        ("pii:shoe_size", "PII"),
        ("this is PII", "PII"),
        ("a secret", "SECRET"),
        ("Sensitive!", "SENSITIVE"),
        ("case sensitive", None),
        ("case-insensitive", None),
        ("not pii", None),
        ("non-sensitive", None),
        ("no secrets here", None),
        ("pii: none", None),
    ],
)
def test_comments_of_a_column(comment: str, expected: str | None) -> None:
    assert label_of("public.things", "x", comment=comment) == expected


def test_a_comment_cannot_clear_a_name() -> None:
    assert label_of("public.things", "email", comment="pii: none") == "EMAIL_ADDRESS"


def test_a_comment_of_the_table_covers_its_texts() -> None:
    assert label_of("public.t", "x", table_comment="contains PII") == "PII"
    assert label_of("public.t", "x", "int4", table_comment="contains PII") is None
    assert label_of("public.t", "x_status", table_comment="contains PII") is None


def test_free_text_and_documents_want_people() -> None:
    assert label_of("public.patients", "notes") == "FREE_TEXT"
    assert label_of("public.tickets", "body") == "FREE_TEXT"
    assert label_of("public.products", "description") is None
    assert label_of("public.orders", "notes") is None
    assert label_of("public.orders", "notes", beside=("customer_id",)) == "FREE_TEXT"
    assert label_of("public.users", "metadata", "jsonb") == "JSON_PII"
    assert label_of("public.users", "attributes", "hstore") == "JSON_PII"
    assert label_of("public.products", "metadata", "jsonb") is None


def test_domains_over_domains_and_arrays_of_domains() -> None:
    types = {
        1: Type(oid=1, schema="s", name="work_email", kind="d", category="S", base=2),
        2: Type(oid=2, schema="s", name="short", kind="d", category="S", base=25),
        3: Type(oid=3, schema="s", name="_flag", kind="b", category="A", element=4),
        4: Type(oid=4, schema="s", name="flag", kind="d", category="B", base=16),
        5: Type(oid=5, schema="s", name="loop", kind="d", category="S", base=5),
    }
    columns = (
        Column(1, "a", 1, -1, False),
        Column(2, "email", 3, -1, False),
        Column(3, "email", 5, -1, False),
    )
    relation = Relation(oid=9, schema="s", name="t", kind="r", columns=columns)
    found = classify(
        Catalog(version="", server_version=16, relations={9: relation}, functions={}, types=types)
    )
    assert {s.column: f.label for s, f in found.items()} == {1: "EMAIL_ADDRESS", 3: "EMAIL_ADDRESS"}


@pytest.mark.parametrize("schema", ["pg_catalog", "information_schema", "pg_toast"])
def test_schemas_of_postgresql_are_left_out(schema: str) -> None:
    assert label_of(f"{schema}.t", "email") is None


@pytest.mark.parametrize(
    ("kind", "seen"), [("r", 1), ("v", 1), ("m", 1), ("f", 1), ("p", 1), ("S", 0), ("i", 0)]
)
def test_relations_that_can_be_read_from(kind: str, seen: int) -> None:
    relation = Relation(oid=9, schema="s", name="t", kind=kind, columns=(Column(1, "email", 25, -1, False),))
    assert (
        len(classify(Catalog(version="", server_version=16, relations={9: relation}, functions={}, types={})))
        == seen
    )


def test_overrides_win_both_ways_and_reach_names_with_dots() -> None:
    rows = [
        {"table": "public.t", "column": "email", "type": "text"},
        {"table": "public.t", "column": "odd.name", "type": "int4"},
    ]
    catalog, where = catalog_of(rows)
    email, odd = where
    found = classify(catalog, {"public.t.email": None, "public.t.odd.name": "SECRET"})
    assert email not in found
    assert (found[odd].label, found[odd].confidence) == ("SECRET", 1.0)


def test_a_stale_override_is_told_and_only_its_relation_is_closed() -> None:
    rows = [
        {"table": "public.customers", "column": "city", "type": "text"},
        {"table": "public.customers", "column": "rating", "type": "int4"},
        {"table": "public.orders", "column": "total", "type": "int4"},
    ]
    catalog, (city, rating, total) = catalog_of(rows)
    overrides = {"public.customers.nick": "SECRET", "public.customers.rating": None, "a.b.c": "X"}
    found = classify(catalog, overrides)
    assert found[city].label == "SECRET"
    assert rating not in found  # another override settles it
    assert total not in found
    gone, elsewhere = stale(catalog, overrides)
    assert (gone.path, str(gone.relation), gone.nearest) == (
        "public.customers.nick",
        "public.customers",
        "public.customers.city",
    )
    assert "Every column of public.customers is masked" in str(gone)
    assert (elsewhere.path, elsewhere.relation) == ("a.b.c", None)
    assert stale(catalog, {"public.customers.city": "X"}) == ()
    empty = Catalog(version="", server_version=16, relations={}, functions={}, types={})
    assert classify(empty, {"a.b.c": "X"}) == {}
    assert "nearest" not in str(stale(empty, {"a.b.c": "X"})[0])


def test_foreign_keys_hand_sensitivity_on() -> None:
    rows = [
        {"table": "public.customers", "column": "id", "type": "int4"},
        {"table": "public.customers", "column": "email", "type": "text"},
        {"table": "public.orders", "column": "placed_by", "type": "text"},
        {"table": "public.orders", "column": "buyer", "type": "int4"},
        {"table": "public.items", "column": "of_order", "type": "text"},
    ]
    catalog, (number, email, placed_by, buyer, of_order) = catalog_of(rows)

    def key(column: Source, referenced: Source) -> ForeignKey:
        return ForeignKey(
            name="k",
            relation=column.relation,
            columns=(column.column,),
            referenced=referenced.relation,
            referenced_columns=(referenced.column,),
        )

    keys = (key(of_order, placed_by), key(placed_by, email), key(buyer, number))
    catalog = evolve(catalog, foreign_keys=keys)
    found = classify(catalog)
    assert {found[s].label for s in (email, placed_by, of_order)} == {"EMAIL_ADDRESS"}
    assert "foreign key" in found[of_order].because
    assert buyer not in found
    # What the policy cleared hands nothing on, and takes nothing.
    assert set(classify(catalog, {"public.orders.placed_by": None})) == {email}
    assert set(classify(catalog, {"public.customers.email": None})) == set()


def test_every_answer_says_why_and_how_sure() -> None:
    catalog, _ = catalog_of(load())
    for found in classify(catalog).values():
        assert 0 < found.confidence <= 1
        assert found.because


@given(st.text(max_size=80), st.text(max_size=80), st.sampled_from(sorted(OIDS)))
def test_any_name_is_read(table: str, column: str, type: str) -> None:
    relation = Relation(
        oid=1, schema="s", name=table, kind="r", columns=(Column(1, column, OIDS[type], -1, False, column),)
    )
    found = classify(Catalog(version="", server_version=16, relations={1: relation}, functions={}, types={}))
    assert set(found) <= {Source(1, 1)}


@given(st.text(alphabet=st.characters(codec="ascii"), max_size=60))
def test_tokens_do_not_depend_on_the_style(name: str) -> None:
    assert tokens(name) == tokens("_".join([name, ""]))
    assert all(part == part.lower() and part for part in tokens(name))


def test_tokens() -> None:
    assert tokens("customerEmailAddress2") == ("customer", "email", "address", "2")
    assert tokens("HTTPServerID") == ("http", "server", "id")
    assert tokens("prénoms_des_élèves") == ("prenom", "des", "eleve")
    assert tokens("płeć") == ("plec",)
    assert tokens("Mother\N{RIGHT SINGLE QUOTATION MARK}s name") == ("mother", "name")
    assert tokens("CUST_NM") == ("customer", "name")
    assert [singular(w) for w in ("addresses", "categories", "boxes", "status", "ssn", "users")] == [
        "address", "category", "box", "status", "ssn", "user",
    ]  # fmt: skip


def test_a_large_catalog_takes_little_time() -> None:
    # Not a benchmark: a guard against anything quadratic, ten times above what it takes here.
    rows = [
        {"table": f"s.{row['table'].split('.')[1]}_{n}", "column": row["column"], "type": row["type"]}
        for n in range(4)
        for row in load()
    ]
    catalog, _ = catalog_of(rows)
    assert len(rows) > 2000
    gc.collect()
    begin = time.process_time()
    classify(catalog)
    assert time.process_time() - begin < 1
