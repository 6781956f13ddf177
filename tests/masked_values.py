"""How the lines of ``tests/corpus/masking.jsonl`` are sent, and all that a caller can see of the answer.

The schema is loaded twice, with different sensitive values and the same plain ones. A *canary* is what
stands in a sensitive cell of the first database and nowhere in the second. A line has

- ``id``, ``kind`` ("attempt", "pair", "honest") and ``why``;
- ``sql``: a text, or a list of steps on one connection; a step is a text or an object with keys of its own;
- ``params`` (``rows`` for executemany), ``how`` (see :data:`WAYS`), ``data`` (what a COPY FROM is given);
- of a pair ``true``: a query for the value to guess, and ``false``: a value, where "{guess}" stands;
- of an attempt ``expect``: "refused" where it has to be, "runs" where it has to run (and shows masks);
- of honest work ``masks``: the columns that come back masked, by number from 0; ``unordered``;
- ``from``, ``below``: server versions; ``needs``: what it must be built with; ``gap``: why it fails today.
"""

from __future__ import annotations

import base64
import binascii
import datetime as dt
import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from ipaddress import IPv4Address, IPv4Interface
from pathlib import Path
from typing import Any
from uuid import UUID

import orjson
import psycopg
from attrs import define, field
from flavours import do, each, within
from psycopg import sql as composed
from psycopg.rows import dict_row, kwargs_row, namedtuple_row, scalar_row

CORPUS = Path(__file__).parent / "corpus"
SCHEMA = CORPUS / "masking_schema.sql"
SEEDS = ("north", "south")
SEARCH_PATH = "desk,public"

WAYS = (
    "execute", "fetchone", "fetchmany", "iter", "scroll", "dict", "namedtuple", "kwargs", "scalar", "binary",
    "prepare", "client", "raw", "server", "server_binary", "server_scroll", "server_iter", "stream",
    "stream_binary", "pipeline", "executemany", "copy", "copy_rows", "copy_in", "connection",
)  # fmt: skip
"""``execute`` with fetchall unless said otherwise; the rest are named after what psycopg calls them."""

GRAM = 6
"""Characters of a canary that nobody may see in a row."""
DIGITS = 8
"""Digits of a number that nobody may see in a row: shorter ones turn up by themselves."""


def lines(kind: str) -> list[dict[str, Any]]:
    """Read the lines of a kind."""
    entries = (orjson.loads(line) for line in (CORPUS / "masking.jsonl").read_bytes().splitlines())
    return [entry for entry in entries if entry["kind"] == kind]


def steps(entry: dict[str, Any]) -> list[dict[str, Any]]:
    """Return what is sent one after the other."""
    found = entry["sql"] if isinstance(entry["sql"], list) else [entry["sql"]]
    common = {k: entry[k] for k in ("params", "how", "data", "rows") if k in entry}
    return [{**common, **step} if isinstance(step, dict) else {**common, "sql": step} for step in found]


def schema() -> tuple[str, str]:
    """Return the SQL that makes the objects, and the SQL that fills them."""
    objects, rows = SCHEMA.read_text("utf-8").split("-- ROWS\n")
    return objects, rows


def fill(conn: psycopg.Connection[Any], seed: str) -> None:
    """Put the rows into a database that has the objects."""
    conn.execute("SELECT set_config('make.seed', %s, false)", (seed,))
    conn.execute(composed.SQL(schema()[1]))  # type: ignore[arg-type]


# ---- what was there to be seen ------------------------------------------------------------------------

_RELATIONS = """
    SELECT c.oid, format('%I.%I', n.nspname, c.relname) FROM pg_class c
    JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'v', 'm', 'p') AND n.nspname !~ '^pg_(catalog|toast)'
        AND n.nspname <> 'information_schema' ORDER BY 2
"""
TABLES = _RELATIONS.replace("c.oid, ", "").replace("('r', 'v', 'm', 'p')", "('r', 'm')").replace("2", "1")
_WORD = re.compile(r"[^\W_]{6,}|\d+(?:[.:/-]\d+)+")


def contents(conn: psycopg.Connection[Any]) -> dict[tuple[str, str], list[str | None]]:
    """Return the values of every column of every relation, as text."""
    found: dict[tuple[str, str], list[str | None]] = {}
    for _, name in conn.execute(_RELATIONS).fetchall():
        with conn.cursor() as cursor:
            columns = [c.name for c in cursor.execute(f"SELECT * FROM {name} LIMIT 0").description or ()]
            quoted = ", ".join('"{}"::text'.format(c.replace('"', '""')) for c in columns)
            rows = cursor.execute(f"SELECT {quoted} FROM {name}").fetchall()
        found.update({(name, c): [row[i] for row in rows] for i, c in enumerate(columns)})
    return found


@define
class Canaries:
    """What stands in the sensitive cells of one database and not in those of the other."""

    sensitive: frozenset[tuple[str, str]]
    grams: set[str] = field(factory=set, repr=False)
    numbers: set[str] = field(factory=set, repr=False)
    whole: set[str] = field(factory=set, repr=False)

    @classmethod
    def between(cls, one: dict[Any, list[str | None]], other: dict[Any, list[str | None]]) -> Canaries:
        """Compare the contents of the two databases."""
        made = cls(frozenset(key for key in one if one[key] != other[key]))
        elsewhere = {
            word for values in other.values() for text in values if text for word in _WORD.findall(text)
        }
        for key in made.sensitive:
            for text in one[key]:
                made._add(set(_WORD.findall(text or "")) - elsewhere)
        return made

    def _add(self, words: Iterable[str]) -> None:
        for word in (w.lower() for w in words):
            if word.isdigit():
                self.numbers.update(word[i : i + DIGITS] for i in range(len(word) - DIGITS + 1))
            elif word.isalpha():
                self.grams.update(word[i : i + GRAM] for i in range(len(word) - GRAM + 1))
            else:
                self.whole.add(word)
                self.whole.update(_spellings(word))

    def in_text(self, text: str) -> list[str]:
        """Return canaries found in ``text``: also in part, reversed, in hexadecimal or in base64."""
        return sorted({hit for form in _forms(text) for hit in self._in(form)})

    def _in(self, text: str) -> Iterator[str]:
        for run in re.findall(rf"[a-z]{{{GRAM},}}", text):
            yield from (
                run[i : i + GRAM] for i in range(len(run) - GRAM + 1) if run[i : i + GRAM] in self.grams
            )
        for run in re.findall(rf"\d{{{DIGITS},}}", text):
            yield from (
                run[i : i + DIGITS]
                for i in range(len(run) - DIGITS + 1)
                if run[i : i + DIGITS] in self.numbers
            )
        # Dates, addresses, numbers with a point: as one, since half a date is anybody's.
        runs = "\n".join(re.findall(r"[0-9a-z][0-9a-z.,:/ -]{4,}[0-9a-z]", text))
        if runs:
            yield from (word for word in self.whole if word in runs)


def _spellings(word: str) -> Iterator[str]:
    with suppress(ValueError):
        day = dt.date.fromisoformat(word)
        yield f"{day.year}, {day.month}, {day.day}"  # as Python shows it
        yield day.strftime("%m/%d/%Y")
        yield day.strftime("%d.%m.%Y")
        yield day.strftime("%Y%m%d")


_HEX = re.compile(r"(?:[0-9a-f]{2}){6,}")
_BASE64 = re.compile(r"[A-Za-z0-9+/]{12,}={0,2}")


def _forms(text: str) -> Iterator[str]:
    lower = text.lower()
    yield lower
    yield lower[::-1]
    yield re.sub(r"['\",\s\[\]()]+", "", lower)  # one character per row or element
    for run in _HEX.findall(lower):
        yield binascii.unhexlify(run).decode("utf-8", "replace").lower()
    for run in _BASE64.findall(text):
        bare = run.rstrip("=")
        for start in range(4):
            part = bare[start:]
            with suppress(binascii.Error):
                yield base64.b64decode(part[: len(part) // 4 * 4]).decode("utf-8", "replace").lower()


# ---- what was left behind -------------------------------------------------------------------------------

_WRITTEN = b"SELECT pg_current_xact_id_if_assigned()"
_TEMPORARY = b"SELECT oid::regclass FROM pg_class WHERE relkind = 'r' AND relnamespace = pg_my_temp_schema()"
_ELSEWHERE = b"""
    SELECT description FROM pg_description WHERE objoid >= 16384
    UNION ALL SELECT last_value::text FROM pg_sequences
    UNION ALL SELECT relname FROM pg_class WHERE oid >= 16384 AND relkind <> 't' AND relname !~ '^pg_toast'
    UNION ALL SELECT attname FROM pg_attribute WHERE attrelid >= 16384
    UNION ALL SELECT pg_get_expr(adbin, adrelid) FROM pg_attrdef
"""


@define
class Plain:
    """The places that an agent can read as they are."""

    queries: list[bytes]

    @classmethod
    def of(cls, conn: psycopg.Connection[Any], canaries: Canaries) -> Plain:
        """Find the columns of tables that are not sensitive."""
        found = [_ELSEWHERE]
        for (name,) in conn.execute(TABLES).fetchall():
            with conn.cursor() as cursor:
                columns = [c.name for c in cursor.execute(f"SELECT * FROM {name} LIMIT 0").description or ()]
            plain = [
                '"{}"'.format(c.replace('"', '""')) for c in columns if (name, c) not in canaries.sensitive
            ]
            if plain:
                found.append(f"SELECT ROW({', '.join(plain)})::text FROM ONLY {name} ORDER BY 1".encode())
        return cls(found)

    def after(self, raw: Any) -> str | None:
        """Return what stands there in the transaction of a libpq connection; ``None`` if it wrote nothing."""
        if raw.transaction_status != psycopg.pq.TransactionStatus.INTRANS:
            return None
        if raw.exec_(_WRITTEN).get_value(0, 0) is None:
            return None
        found = [_texts(raw, query) for query in self.queries]
        for name in _texts(raw, _TEMPORARY).splitlines():
            found.append(_texts(raw, f"SELECT t::text FROM {name} t".encode()))
        return "\n".join(found)


def _texts(raw: Any, query: bytes) -> str:
    result = raw.exec_(query)
    if result.status != psycopg.pq.ExecStatus.TUPLES_OK:
        return f"cannot be read any more: {result.error_message!r}"  # renamed by the line; it is rolled back
    return "\n".join((result.get_value(row, 0) or b"").decode() for row in range(result.ntuples))


# ---- sending, and looking -----------------------------------------------------------------------------


@define
class Seen:
    """Everything that one line showed."""

    said: list[str] = field(factory=list)
    rows: list[Any] = field(factory=list)  # of the last step that returned any
    columns: list[str] = field(factory=list)
    error: Exception | None = None  # the last one

    def text(self) -> str:
        return "\n".join(self.said)


def listen(conn: Any, heard: list[str]) -> None:
    """Put everything that the server says on the side into ``heard``."""
    conn.add_notice_handler(lambda diag: heard.append(f"notice {_diagnosis(diag)}"))
    conn.add_notify_handler(lambda notify: heard.append(f"notify {notify.channel} {notify.payload}"))


async def send(conn: Any, flavour: Any, entry: dict[str, Any], heard: list[str], guess: str = "") -> Seen:
    """Send every step on ``conn``; a step that fails ends the transaction, and the next one goes on."""
    seen = Seen()
    heard.clear()
    for step in steps(entry):
        rows: list[Any] = []
        try:
            await _step(conn, flavour, step, guess, seen, rows)
        except psycopg.Error as error:
            seen.error = error
            seen.said += _of_error(error)
        if rows:
            seen.rows = rows
        seen.said.append(_show(rows))
        seen.said.append(f"connection {conn.info.error_message} {conn.info.parameter_status('TimeZone')}")
        if conn.info.transaction_status.name == "ACTIVE":
            await do(conn.close())  # a COPY that nobody reads
            break
        if conn.info.transaction_status.name == "INERROR":
            await do(conn.rollback())
    seen.said += heard
    return seen


async def _step(
    conn: Any, flavour: Any, step: dict[str, Any], guess: str, seen: Seen, rows: list[Any]
) -> None:
    query, params = _filled(step["sql"], guess), _filled(step.get("params"), guess)
    how = step.get("how", "execute")
    if how not in WAYS:
        raise ValueError(f"unknown way: {how}")
    if how.startswith("server"):
        made = conn.cursor("c1", scrollable=True if how == "server_scroll" else None, binary="binary" in how)
        async with within(made) as cursor:
            await do(cursor.execute(query, params))
            if how == "server_iter":
                rows += [row async for row in each(cursor)]
            elif how == "server_scroll":
                rows += await do(cursor.fetchmany(2))
                await do(cursor.scroll(0, mode="absolute"))
                rows += [await do(cursor.fetchone()), *(await do(cursor.fetchall()))]
            else:
                rows += await do(cursor.fetchall())
            _look(cursor, seen)
        return
    factories = {
        "dict": dict_row,
        "namedtuple": namedtuple_row,
        "kwargs": kwargs_row(dict),
        "scalar": scalar_row,
    }
    classes = {"client": flavour.ClientCursor, "raw": flavour.RawCursor}
    factory: Any = factories.get(how)
    if how in classes:
        made = classes[how](conn)
    else:
        made = conn.cursor(row_factory=factory) if factory else conn.cursor()
    if how == "connection":
        made = await do(conn.execute(query, params))
    async with within(made) as cursor:
        if how == "copy_in":
            async with within(cursor.copy(query, params)) as copy:
                await do(copy.write(step["data"]))
        elif how == "copy":
            async with within(cursor.copy(query, params)) as copy:
                async for part in each(copy):
                    rows.append(bytes(part))
        elif how == "copy_rows":
            async with within(cursor.copy(query, params)) as copy:
                async for row in each(copy.rows()):
                    rows.append(row)
        elif how.startswith("stream"):
            async for row in each(cursor.stream(query, params, binary="binary" in how)):
                rows.append(row)
        elif how == "pipeline":
            async with within(conn.pipeline()):
                await do(cursor.execute(query, params))
                rows += await do(cursor.fetchall())
        elif how == "executemany":
            returning = "returning" in query.lower() or query.lower().startswith("select")
            await do(cursor.executemany(query, _filled(step["rows"], guess), returning=returning))
            if returning:
                while True:
                    rows += await do(cursor.fetchall())
                    if not cursor.nextset():
                        break
        else:
            if how != "connection":
                again = 7 if how == "prepare" else 1  # psycopg prepares what is run often
                for _ in range(again):
                    await do(
                        cursor.execute(
                            query, params, prepare=True if how == "prepare" else None, binary=how == "binary"
                        )
                    )
            await _fetch(cursor, how, rows)
        _look(cursor, seen)


async def _fetch(cursor: Any, how: str, rows: list[Any]) -> None:
    while True:
        if cursor.description:
            if how == "fetchone":
                while (row := await do(cursor.fetchone())) is not None:
                    rows.append(row)
            elif how == "fetchmany":
                while part := await do(cursor.fetchmany(3)):
                    rows += part
            elif how == "iter":
                rows += [row async for row in each(cursor)]
            elif how == "scroll":
                rows += await do(cursor.fetchall())
                await do(cursor.scroll(0, mode="absolute"))
                rows.append(await do(cursor.fetchone()))
            else:
                rows += await do(cursor.fetchall())
        if not cursor.nextset():
            break


def _filled(value: Any, guess: str) -> Any:
    if isinstance(value, str):
        return value.replace("{guess}", guess)
    if isinstance(value, list):
        return [_filled(v, guess) for v in value]
    return {k: _filled(v, guess) for k, v in value.items()} if isinstance(value, dict) else value


_RAW = ("get_value", "fname", "ftable", "ftablecol", "fsize", "fmod", "ftype", "fformat")


def _look(cursor: Any, seen: Seen) -> None:
    """Note what a cursor says beside its rows."""
    seen.columns = [column.name for column in cursor.description or ()]
    seen.said.append(
        f"{cursor.statusmessage} {cursor.rowcount} {cursor.rownumber}"
        f" {[tuple(column) for column in cursor.description or ()]}"
    )
    result = cursor.pgresult
    if result is None:
        return
    for name in ("error_message", "command_status", "command_tuples"):
        with suppress(psycopg.Error):
            seen.said.append(f"{name} {getattr(result, name)!r}")
    for row in range(result.ntuples):
        for index in range(result.nfields):
            with suppress(psycopg.Error):
                seen.said.append(_show(result.get_value(row, index)))


def _of_error(error: BaseException | None, depth: int = 0) -> Iterator[str]:
    while error is not None and depth < 20:
        depth += 1
        yield f"{type(error).__name__} {error} {error!r} {error.args!r} {getattr(error, '__notes__', '')}"
        yield repr({k: v for k, v in vars(error).items() if k not in ("_info", "pgconn")})
        if isinstance(error, psycopg.Error):
            yield _diagnosis(error.diag)
            result = error.pgresult
            if result is not None:
                with suppress(psycopg.Error):
                    yield _show(result.error_message)
                for name in psycopg.pq.DiagnosticField:
                    with suppress(psycopg.Error):
                        yield _show(result.error_field(name))
            if error.pgconn is not None:
                with suppress(psycopg.Error):
                    yield _show(error.pgconn.error_message)
        if error.__cause__ is not None and error.__context__ is not None:
            yield from _of_error(error.__context__, depth)
        error = error.__cause__ or error.__context__


def _diagnosis(diag: Any) -> str:
    names = [n for n in dir(diag) if not n.startswith("_")]
    return repr({name: getattr(diag, name) for name in names if isinstance(getattr(diag, name), str | None)})


def _show(value: Any) -> str:
    """Write a value and what can be read in its bytes."""
    if isinstance(value, bytes | bytearray | memoryview):
        return f"{bytes(value)!r} {bytes(value).decode('utf-8', 'replace')}"
    if isinstance(value, list | tuple):
        return "(" + ", ".join(_show(each_) for each_ in value) + ")"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_show(k)}: {_show(v)}" for k, v in value.items()) + "}"
    if isinstance(value, dt.date | IPv4Address | IPv4Interface | UUID):
        return f"{value!r} {value}"
    return repr(value)


_NOISE = re.compile(
    r"0x[0-9a-f]{6,}|\bapr_\w+"  # addresses, approvals
    r"|datetime\(20\d\d(?:, \d+){6}, tzinfo=|\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d\.\d+\S*"  # now
    r"|(?:actual time=|Time: )[\d.]+|pg_(?:temp|toast)_\d+"
)


def comparable(text: str, guess: str = "") -> str:
    """Leave out what differs from run to run, and the caller's own words."""
    if guess:
        text = text.replace(guess, "{guess}")
    return _NOISE.sub("*", text)


# ---- what honest work has to show -----------------------------------------------------------------------

_MARK = re.compile(r"\[[A-Z_]+\]|\[\*\]")  # the second where the first is longer than the column
_NEUTRAL = (0, 0.0, False, b"", dt.date(1970, 1, 1), UUID(int=0), dt.timedelta(0))


def is_mask(shown: Any, real: Any) -> bool:
    """Say whether ``shown`` is what a masked column has to show for ``real``: its type, and none of it."""
    if real is None:
        return shown is None
    if isinstance(real, str):
        return isinstance(shown, str) and _MARK.fullmatch(shown) is not None
    if type(shown) is not type(real):
        return False
    if isinstance(real, list):
        return len(shown) == len(real) and all(map(is_mask, shown, real))
    if isinstance(real, tuple):
        return len(shown) == len(real) and all(map(is_mask, shown, real))
    if isinstance(real, dict):
        return len(shown) == len(real) and all(map(is_mask, shown.values(), real.values()))
    if isinstance(real, dt.datetime):
        return bool(shown.replace(tzinfo=None) == dt.datetime(1970, 1, 1))
    if isinstance(real, IPv4Address):
        return str(shown) == "0.0.0.0"
    return shown in _NEUTRAL


def unfair(shown: list[Any], real: list[Any], entry: dict[str, Any]) -> str:
    """Return how the rows of honest work differ from the real, masked columns apart; "" if they do not."""
    hidden = frozenset(entry.get("masks", ()))
    got, wanted = ([_values(row) for row in rows] for rows in (shown, real))
    if len(got) != len(wanted):
        return f"{len(got)} rows, not {len(wanted)}"
    if [list(row) for row in shown if isinstance(row, dict)] != [
        list(r) for r in real if isinstance(r, dict)
    ]:
        return "other names"
    if entry.get("unordered"):
        for rows in (got, wanted):
            rows.sort(key=lambda row: repr([v for i, v in enumerate(row) if i not in hidden]))
    for number, (values, truths) in enumerate(zip(got, wanted, strict=True)):
        if len(values) != len(truths):
            return f"row {number}: other columns"
        for index, (value, true) in enumerate(zip(values, truths, strict=True)):
            if not (is_mask(value, true) if index in hidden else value == true):
                return f"row {number}, column {index}: {value!r}"
    return ""


def _values(row: Any) -> list[Any]:
    if isinstance(row, dict):
        return list(row.values())
    if isinstance(row, bytes):  # a line of COPY in its text format
        return row.decode().rstrip("\n").split("\t")
    return list(row) if isinstance(row, tuple) else [row]
