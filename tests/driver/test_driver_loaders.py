"""Masks on load, against a real server, in both implementations and both formats of psycopg."""

from __future__ import annotations

import datetime as dt
import os
import subprocess
import sys
import threading
import traceback
import types
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import psycopg
import pytest
from psycopg import pq
from psycopg.abc import Buffer
from psycopg.adapt import AdaptersMap, Loader, Transformer
from psycopg.rows import class_row, dict_row, namedtuple_row, scalar_row
from psycopg.types.composite import CompositeInfo, register_composite
from psycopg.types.enum import EnumInfo, register_enum
from psycopg.types.numeric import FloatLoader
from psycopg.types.range import Range
from psycopg.types.string import TextLoader

from governed_db.driver import loaders
from governed_db.driver.loaders import SYNTHETIC, install, masking_loader
from governed_db.masking.keys import Keyring
from governed_db.masking.model import ColumnMask, Strategy, Treatment
from governed_db.masking.neutral import BY_OID, WIRE
from governed_db.masking.transforms import mask_value

FORMATS = (pq.Format.TEXT, pq.Format.BINARY)
REDACT, PARTIAL, NULLIFY = Strategy.REDACT, Strategy.PARTIAL, Strategy.NULLIFY
SECRET = "alice-4711"
KEYS = Keyring({1: bytes(range(32))})


def mask(index: int = 0, label: str = "SECRET", strategy: Strategy = REDACT, type_oid: int = 0) -> ColumnMask:
    return ColumnMask(
        index=index,
        name=f"t.c{index}",
        label=label,
        treatment=Treatment(strategy=strategy),
        sources=frozenset(),
        type_oid=type_oid,
    )


def cover(
    cursor: psycopg.Cursor[Any],
    masks: Sequence[ColumnMask],
    format: pq.Format = pq.Format.TEXT,
    keys: Keyring | None = None,
) -> None:
    result = cursor.pgresult
    assert result is not None
    types = [result.ftype(i) for i in range(result.nfields)]
    install(cursor._tx, cursor.adapters, types, format, masks, keys)


def masked(
    conn: psycopg.Connection[Any],
    query: str,
    *masks: ColumnMask,
    format: pq.Format = pq.Format.TEXT,
    keys: Keyring | None = None,
) -> list[Any]:
    cursor = conn.cursor(binary=format == pq.Format.BINARY)
    cursor.execute(query)
    cover(cursor, masks or [mask()], format, keys)
    return cursor.fetchall()


VALUES: list[tuple[str, Any]] = [
    ("'alice-4711'::text", "[SECRET]"),
    ("'alice-4711'::varchar(4)", "[SECRET]"),
    ("'a'::bpchar", "[SECRET]"),
    ("4711", 0),
    ("4711::int8", 0),
    ("47.11::numeric", Decimal(0)),
    ("47.11::float8", 0.0),
    ("true", False),
    ("date '1980-05-05'", dt.date(1970, 1, 1)),
    ("timestamptz '1980-05-05 01:00+02'", dt.datetime(1970, 1, 1, tzinfo=dt.UTC)),
    ("interval '1 month'", dt.timedelta(0)),
    ("inet '10.1.2.3'", "IPv4Address('0.0.0.0')"),
    ("inet '2001:db8::1/64'", "IPv6Interface('::/128')"),
    ("""'{"name": "alice", "zz": [1, null]}'::jsonb""", {"[KEY 1]": [0, None], "name": "[SECRET]"}),
    ("""'{"name": "alice"}'::json""", {"name": "[SECRET]"}),
    ("array['a', null, 'b']", ["[SECRET]", None, "[SECRET]"]),
    ("array[[1, 2], [3, 4]]", [[0, 0], [0, 0]]),
    ("array['10.0.0.1'::inet]", "[IPv4Address('0.0.0.0')]"),
    ("int4range(1, 5)", Range(empty=True)),
    ("'\\xdeadbeef'::bytea", b""),
    ("null::text", None),
    ("null::int4", None),
    # out of what Python can hold: a constant does not look at the value
    ("date 'infinity'", dt.date(1970, 1, 1)),
    ("timestamptz '10000-01-01'", dt.datetime(1970, 1, 1, tzinfo=dt.UTC)),
]


def exercise(dsn: str) -> int:
    """Mask every sample in both formats; returns how many were wrong, for a process of its own to run."""
    wrong = 0
    with psycopg.connect(dsn) as conn:
        for query, expected in VALUES:
            for format in FORMATS:
                ((got,),) = masked(conn, f"select {query}", format=format)
                if got != expected and repr(got) != expected:
                    wrong += 1
                    print(pq.__impl__, format.name, query, repr(got), "is not", expected, file=sys.stderr)
    return wrong


@pytest.fixture
def conn(dsn: str) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(dsn) as connection:
        yield connection


def test_each_type_in_both_formats(dsn: str) -> None:
    assert exercise(dsn) == 0


@pytest.mark.parametrize("implementation", ["python", "binary"])
def test_each_type_in_either_implementation(dsn: str, implementation: str) -> None:
    code = "import sys, test_driver_loaders as t; sys.exit(t.exercise(sys.argv[1]))"
    path = os.pathsep.join([os.path.dirname(__file__), *filter(None, sys.path)])
    done = subprocess.run(
        [sys.executable, "-c", code, dsn],
        env={**os.environ, "PSYCOPG_IMPL": implementation, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    if "no pq wrapper available" in done.stderr:
        pytest.skip(f"this machine has no libpq for the {implementation} implementation")
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("format", FORMATS)
def test_the_other_columns_are_as_they_were(conn: psycopg.Connection[Any], format: pq.Format) -> None:
    rows = masked(conn, "select 1, 'x', 2, 'y' from generate_series(1, 3)", mask(1), mask(2), format=format)
    assert rows == [(1, "[SECRET]", 0, "y")] * 3


@pytest.mark.parametrize("format", FORMATS)
def test_partial_and_nullify(conn: psycopg.Connection[Any], format: pq.Format) -> None:
    (row,) = masked(
        conn,
        "select 'alice@example.com', 'x', 15550101234, '{a@b.example}'::text[], null::text",
        mask(0, "EMAIL_ADDRESS", PARTIAL),
        mask(1, "EMAIL_ADDRESS", NULLIFY),
        mask(2, "PHONE_NUMBER", PARTIAL),
        mask(3, "EMAIL_ADDRESS", PARTIAL),
        mask(4, "EMAIL_ADDRESS", PARTIAL),
        format=format,
    )
    assert row == ("***@example.com", None, 0, ["***@b.example"], None)


def test_row_factories_see_masked_values_only(conn: psycopg.Connection[Any]) -> None:
    @dataclass
    class Person:
        email: str

    for factory, expected in (
        (dict_row, {"email": "[SECRET]"}),
        (class_row(Person), Person("[SECRET]")),
        (scalar_row, "[SECRET]"),
    ):
        cursor: Any = conn.cursor(row_factory=factory)
        cursor.execute("select 'alice-4711' as email")
        cover(cursor, [mask()])
        assert cursor.fetchone() == expected
    cursor = conn.cursor(row_factory=namedtuple_row)
    cursor.execute("select 'alice-4711' as email")
    cover(cursor, [mask()])
    assert cursor.fetchone().email == "[SECRET]"


def test_null_never_reaches_a_loader(conn: psycopg.Connection[Any]) -> None:
    seen: list[Any] = []

    class Spy(TextLoader):
        def load(self, data: Buffer) -> Any:
            seen.append(bytes(data))
            return super().load(data)

    conn.adapters.register_loader("text", Spy)
    rows = masked(
        conn,
        "select v from (values (null::text), ('x')) as t (v)",
        mask(strategy=PARTIAL, label="PERSON_NAME"),
    )
    assert rows == [(None,), ("[PERSON_NAME]",)]
    assert seen == [b"[PERSON_NAME]"]


def test_types_a_connection_loads_its_own_way_keep_that_type(conn: psycopg.Connection[Any]) -> None:
    conn.adapters.register_loader("numeric", FloatLoader)
    conn.adapters.register_loader("date", TextLoader)
    (row,) = masked(conn, "select 47.11, date '1980-05-05'", mask(0), mask(1))
    assert row == (0.0, "1970-01-01")
    assert type(row[0]) is float


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("strategy", list(Strategy))
def test_a_loader_of_the_application_sees_masks_of_text_only(
    conn: psycopg.Connection[Any], format: pq.Format, strategy: Strategy
) -> None:
    seen: list[bytes] = []
    wire = format

    class Mail(Loader):
        format = wire

        def load(self, data: Buffer) -> Any:
            seen.append(bytes(data))
            return ("mail", bytes(data).decode())

    conn.adapters.register_loader("text", Mail)
    one = mask(strategy=strategy, label="EMAIL_ADDRESS")
    ((got,),) = masked(conn, f"select '{SECRET}@example.com'::text", one, format=format, keys=KEYS)
    assert got == (None if strategy is NULLIFY else ("mail", seen[0].decode()))
    assert not any(SECRET.encode() in data for data in seen)


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("type_oid", sorted(WIRE))
def test_neutral_values_on_the_wire_are_those_of_the_types(
    conn: psycopg.Connection[Any], format: pq.Format, type_oid: int
) -> None:
    base = conn.adapters.get_loader(type_oid, format)
    assert base
    assert base(type_oid, conn).load(WIRE[type_oid][format]) == BY_OID[type_oid]


def test_a_loader_that_refuses_masks_gives_none(conn: psycopg.Connection[Any]) -> None:
    conn.adapters.register_loader("text", Broken)
    assert masked(conn, f"select '{SECRET}'::text", mask(strategy=PARTIAL)) == [(None,)]
    assert masked(conn, f"select '{SECRET}'::text", mask(strategy=REDACT)) == [(None,)]


@pytest.mark.parametrize("encoding", ["utf8", "latin1", "sql_ascii"])
@pytest.mark.parametrize("format", FORMATS)
def test_a_pseudonym_is_the_same_in_each_encoding(
    conn: psycopg.Connection[Any], encoding: str, format: pq.Format
) -> None:
    conn.execute(f"set client_encoding to {encoding}")
    one = mask(strategy=Strategy.PSEUDONYM, label="LAST_NAME")
    ((got,),) = masked(conn, "select E'M\\u00fcller'::text", one, format=format, keys=KEYS)
    expected = mask_value(one.treatment, "LAST_NAME", 25, keys=KEYS)("M\u00fcller")
    assert got == (expected.encode() if encoding == "sql_ascii" else expected)


def test_types_of_the_database(conn: psycopg.Connection[Any]) -> None:
    conn.execute("create type pg_temp.mood as enum ('sad')")
    conn.execute("create type pg_temp.pair as (a text, b int)")
    conn.execute("create domain pg_temp.mail as text")
    query = (
        "select 'sad'::pg_temp.mood, row('x', 5)::pg_temp.pair, 'x'::pg_temp.mail, array['sad'::pg_temp.mood]"
    )
    everything = [mask(i) for i in range(4)]
    assert masked(conn, query, *everything) == [("[SECRET]", "[SECRET]", "[SECRET]", "[SECRET]")]
    assert masked(conn, query, *everything, format=pq.Format.BINARY) == [(b"", b"", "[SECRET]", b"")]
    (schema,) = conn.execute(
        "select nspname from pg_namespace where oid = pg_my_temp_schema()"
    ).fetchone() or ("",)
    enum_info, pair_info = EnumInfo.fetch(conn, f"{schema}.mood"), CompositeInfo.fetch(conn, f"{schema}.pair")
    assert enum_info
    assert pair_info
    register_enum(enum_info, conn)
    register_composite(pair_info, conn)
    for format in FORMATS:
        (row,) = masked(conn, query, *everything, format=format)
        assert row == (None, ("[SECRET]", 0), "[SECRET]", [None])
        assert row[1].a == "[SECRET]"


def test_text_stays_bytes_where_psycopg_loads_bytes(conn: psycopg.Connection[Any]) -> None:
    conn.execute("set client_encoding to sql_ascii")
    assert masked(conn, "select 'alice-4711'::text") == [(b"[SECRET]",)]


class Broken(Loader):
    """A base that fails the way real ones do: with the value in its message and its locals."""

    def load(self, data: Buffer) -> Any:
        value = bytes(data).decode()
        raise ValueError(f"cannot load {value!r}")


def test_a_base_that_fails_says_nothing(conn: psycopg.Connection[Any]) -> None:
    conn.adapters.register_loader("json", Broken)
    with pytest.raises(psycopg.DataError) as caught:
        masked(conn, f"select '\"{SECRET}\"'::json", mask(label="PHONE_NUMBER"))
    error = caught.value
    assert error.__context__ is None
    assert error.__cause__ is None
    assert SECRET not in str(error)
    assert "PHONE_NUMBER" in str(error)
    ours = [f for f, _ in traceback.walk_tb(error.__traceback__) if f.f_code.co_filename == loaders.__file__]
    assert ours
    for frame in ours:
        for value in frame.f_locals.values():
            raw = bytes(value) if isinstance(value, bytes | bytearray | memoryview) else repr(value).encode()
            assert SECRET.encode() not in raw


def test_a_constant_does_not_load_the_value(monkeypatch: pytest.MonkeyPatch) -> None:
    class Reference:
        def get_loader(self, oid: int, format: pq.Format) -> type[Loader]:
            return Broken  # taken for psycopg's own

    monkeypatch.setattr(loaders, "_reference", Reference)
    redacting = masking_loader(mask(label="UNSEEN", type_oid=25), Broken)
    assert redacting(25).load(b"x") == "[UNSEEN]"


@pytest.mark.parametrize("masks", [[mask(1)], [mask(-1)], [mask(0), mask(0)]])
def test_a_mask_that_does_not_fit_the_result_stops_it(
    conn: psycopg.Connection[Any], masks: list[ColumnMask]
) -> None:
    cursor = conn.execute("select 'x'")
    with pytest.raises(psycopg.InterfaceError, match=r"t\.c"):
        cover(cursor, masks)


def test_no_masks_change_nothing(conn: psycopg.Connection[Any]) -> None:
    cursor = conn.execute("select 'x'")
    before = cursor._tx
    cover(cursor, [])
    assert cursor._tx is before
    assert cursor.fetchall() == [("x",)]


def test_installing_copies_no_map_and_keeps_the_cursor(conn: psycopg.Connection[Any]) -> None:
    cursor = conn.execute("select 'x', 'y'")
    maps, transformer = list(map(id, cursor.adapters._loaders)), cursor._tx
    cover(cursor, [mask(0), mask(1)])
    assert list(map(id, cursor.adapters._loaders)) == maps
    assert cursor._tx is transformer
    known = len(loaders._entries)
    for _ in range(5):
        assert masked(conn, "select 'x', 'y'", mask(0), mask(1)) == [("[SECRET]", "[SECRET]")]
    assert len(loaders._entries) == known  # stable: the same mask has the same synthetic OID


def test_the_oids_are_none_that_a_server_can_have(conn: psycopg.Connection[Any]) -> None:
    masked(conn, "select 'x'")
    assert all(oid >= SYNTHETIC for oid, _ in loaders._entries.values())
    assert len({oid for oid, _ in loaders._entries.values()}) == len(loaders._entries)


def test_a_mask_stays_over_the_pages_of_a_result(conn: psycopg.Connection[Any]) -> None:
    cursor = conn.execute("select 'x' || i from generate_series(1, 300) as i")
    cover(cursor, [mask()])
    assert cursor.fetchone() == ("[SECRET]",)
    assert set(cursor.fetchmany(100)) == {("[SECRET]",)}
    cursor.scroll(0, "absolute")
    assert set(cursor) == {("[SECRET]",)}


def test_a_loader_class_alone(conn: psycopg.Connection[Any]) -> None:
    base = conn.adapters.get_loader(25, pq.Format.TEXT)
    assert base
    loader = masking_loader(mask(label="EMAIL_ADDRESS", strategy=PARTIAL, type_oid=25), base)
    assert loader is masking_loader(mask(label="EMAIL_ADDRESS", strategy=PARTIAL, type_oid=25), base)
    assert loader(25, Transformer(conn)).load(b"alice@example.com") == "***@example.com"
    redacting = masking_loader(mask(type_oid=25), base)
    assert redacting(25).load(b"x") == redacting(25, conn).load(b"y") == "[SECRET]"
    assert redacting.format == pq.Format.TEXT


def test_no_masking_loader_is_a_c_loader(conn: psycopg.Connection[Any]) -> None:
    # psycopg's C transformer calls the C function of such a loader, whatever ``load`` says.
    module = sys.modules.get("psycopg_binary._psycopg") or sys.modules.get("psycopg_c._psycopg")
    if module is None:
        pytest.skip("psycopg runs in pure Python here")
    masked(conn, "select 'x', '{}'::jsonb", mask(0), mask(1))
    assert not any(issubclass(cls, module.CLoader) for _, cls in loaders._entries.values())


def test_threads_get_the_same_loader_for_the_same_mask() -> None:
    adapters, found = psycopg.adapters, []
    barrier = threading.Barrier(8)

    def run() -> None:
        barrier.wait()
        tx = Transformer()
        install(tx, adapters, [25], pq.Format.TEXT, [mask(label="THREADS")])
        found.append(tx.load_sequence([b"x"]))

    threads = [threading.Thread(target=run) for _ in range(8)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert found == [("[THREADS]",)] * 8
    assert sum(key[1] == "THREADS" for key in loaders._entries) == 1


def test_a_changed_psycopg_is_refused_at_import(monkeypatch: pytest.MonkeyPatch) -> None:
    class Changed(AdaptersMap):
        def __init__(self) -> None:
            super().__init__()
            self._loaders = types.MappingProxyType({})  # type: ignore[assignment]

    monkeypatch.setattr(loaders, "AdaptersMap", Changed)
    with pytest.raises(ImportError, match="AdaptersMap"):
        loaders._check()
