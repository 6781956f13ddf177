"""What a redacted value is in SQL, by the type of its column."""

from __future__ import annotations

import pytest

from governed_db.catalog.model import Catalog, Column, Type
from governed_db.masking.literals import identifier, redacted

TYPES = {
    t.oid: t
    for t in (
        Type(oid=25, schema="pg_catalog", name="text", kind="b", category="S"),
        Type(oid=1043, schema="pg_catalog", name="varchar", kind="b", category="S"),
        Type(oid=1042, schema="pg_catalog", name="bpchar", kind="b", category="S"),
        Type(oid=18, schema="pg_catalog", name="char", kind="b", category="Z"),
        Type(oid=23, schema="pg_catalog", name="int4", kind="b", category="N"),
        Type(oid=1700, schema="pg_catalog", name="numeric", kind="b", category="N"),
        Type(oid=600, schema="pg_catalog", name="point", kind="b", category="G", element=701),
        Type(oid=1015, schema="pg_catalog", name="_varchar", kind="b", category="A", element=1043),
        Type(oid=2277, schema="pg_catalog", name="anyarray", kind="p", category="P"),
        Type(oid=3904, schema="pg_catalog", name="int4range", kind="r", category="R"),
        Type(oid=20_000, schema="ext", name="citext", kind="b", category="S"),
        Type(oid=20_001, schema="ext", name="hstore", kind="b", category="U"),
        Type(oid=20_002, schema='a"b', name="mail", kind="d", category="S", base=25),
        Type(oid=20_003, schema='a"b', name="_mail", kind="b", category="A", element=20_002),
        Type(oid=20_004, schema='a"b', name="mood", kind="e", category="E"),
    )
}
CATALOG = Catalog(version="1", server_version=160000, relations={}, functions={}, types=TYPES)


@pytest.mark.parametrize(
    ("oid", "modifier", "expected"),
    [
        (25, -1, '\'[EMAIL_ADDRESS]\'::"pg_catalog"."text"'),
        (1043, 24, '\'[EMAIL_ADDRESS]\'::"pg_catalog"."varchar"(20)'),
        (1043, 12, '\'[*]\'::"pg_catalog"."varchar"(8)'),
        (1042, 6, '\'**\'::"pg_catalog"."bpchar"(2)'),
        (18, -1, '\'*\'::"pg_catalog"."char"'),
        (23, -1, '\'0\'::"pg_catalog"."int4"'),
        (1700, (10 << 16 | 2) + 4, '\'0\'::"pg_catalog"."numeric"(10,2)'),
        (1700, (4 << 16 | 2046) + 4, '\'0\'::"pg_catalog"."numeric"(4,-2)'),
        (600, -1, 'NULL::"pg_catalog"."point"'),
        (1015, 12, '\'{"[*]"}\'::"pg_catalog"."varchar"(8)[]'),
        (2277, -1, "NULL::pg_catalog.text"),
        (3904, -1, '\'empty\'::"pg_catalog"."int4range"'),
        (20_000, -1, '\'[EMAIL_ADDRESS]\'::"ext"."citext"'),
        (20_001, -1, '\'\'::"ext"."hstore"'),
        (20_002, -1, '\'[EMAIL_ADDRESS]\'::"pg_catalog"."text"'),
        (20_003, -1, '\'{"[EMAIL_ADDRESS]"}\'::"pg_catalog"."text"[]'),
        (20_004, -1, 'NULL::"a""b"."mood"'),
        (99_999, -1, "NULL"),
    ],
)
def test_a_redacted_value_has_the_type_of_its_column(oid: int, modifier: int, expected: str) -> None:
    made, null = redacted(CATALOG, Column(1, "email", oid, modifier, False), "EMAIL_ADDRESS")
    assert made == expected
    assert null is expected.startswith("NULL")


def test_without_a_label_it_is_null() -> None:
    made = redacted(CATALOG, Column(1, "email", 25, -1, False), None)
    assert made == ('NULL::"pg_catalog"."text"', True)


def test_a_name_cannot_end_its_quotes() -> None:
    assert identifier('x" FROM secrets --') == '"x"" FROM secrets --"'
