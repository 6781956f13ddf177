"""A query and its parameters as they would be sent, without sending them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from psycopg._queries import PostgresQuery
from psycopg.abc import AdaptContext, Buffer, Params, Query
from psycopg.adapt import Transformer


def convert(
    query: Query, params: Params | None, context: AdaptContext | None = None
) -> tuple[bytes, tuple[int, ...], Sequence[Buffer | None] | None, Sequence[int] | None]:
    """Return the text, the parameters' type OIDs, values and formats, exactly as a cursor would send them."""
    converted: Any = PostgresQuery(Transformer(context))
    converted.convert(query, params)
    return converted.query, converted.types, converted.params, converted.formats
