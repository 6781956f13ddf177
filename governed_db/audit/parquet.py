"""The trail as Apache Parquet, by pyarrow (the extra ``parquet``)."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from typing import Any

import pyarrow as pa
from pyarrow import parquet

from governed_db.audit import flat
from governed_db.audit.outfile import Sink
from governed_db.audit.view import Entry

BATCH = 4096
"""Rows that are turned into columns at a time; some 10 MB while it happens."""

GROUP = 16 * BATCH
"""Rows of a row group, the unit in which others read. Larger ones compress a little better and make both
sides hold more: 65,536 rows of a trail are some 30 MB before they are compressed."""


def write(entries: Iterable[Entry], out: Sink) -> None:
    """Write ``entries`` as rows of :data:`governed_db.audit.flat.COLUMNS`, a row group at a time.

    Raises:
        OSError: ``out`` cannot be written to.
    """
    schema = _schema()
    rows = iter(entries)
    with parquet.ParquetWriter(out, schema, compression="zstd") as writer:
        while batches := list(islice(iter(lambda: _batch(rows, schema), None), GROUP // BATCH)):
            writer.write_table(pa.Table.from_batches(batches, schema), row_group_size=GROUP)


def _batch(rows: Iterable[Entry], schema: Any) -> Any:
    taken = [flat.row(entry) for entry in islice(rows, BATCH)]
    if not taken:
        return None
    columns = [
        pa.array(values, type=field.type)
        for values, field in zip(zip(*taken, strict=True), schema, strict=True)
    ]
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def _schema() -> Any:
    types = {
        "text": pa.string(),
        "integer": pa.int64(),
        "boolean": pa.bool_(),
        "time": pa.timestamp("us", tz="UTC"),
        "texts": pa.list_(pa.string()),
    }
    return pa.schema([pa.field(column.name, types[column.type]) for column in flat.COLUMNS])
