"""The private names of psycopg 3.3 that the driver stands on, checked when it is imported.

psycopg promises nothing about these, so a release that changes one must not be met with a statement
that slips past: :func:`check` refuses to load the driver, naming what differs.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import psycopg
from psycopg import (
    _connection_base,
    _copy_base,
    _cursor_base,
    _pipeline_base,
    _server_cursor_base,
    generators,
)

_BASE = _cursor_base.BaseCursor
_CONNECTION = _connection_base.BaseConnection
_SERVER = _server_cursor_base.ServerCursorMixin

EXPECTED: tuple[tuple[Callable[..., Any], str], ...] = (
    (_BASE._execute_gen, "self query params prepare binary"),
    (_BASE._executemany_gen_pipeline, "self query params_seq returning"),
    (_BASE._executemany_gen_no_pipeline, "self query params_seq returning"),
    (_BASE._maybe_prepare_gen, "self pgq prepare binary"),
    (_BASE._stream_send_gen, "self query params binary size"),
    (_BASE._stream_fetchone_gen, "self first"),
    (_BASE._start_query, "self query"),
    (_BASE._start_copy_gen, "self statement params"),
    (_BASE._execute_send, "self query force_extended binary"),
    (_BASE._send_prepare, "self name query"),
    (_BASE._send_query_prepared, "self name pgq binary"),
    (_BASE._convert_query, "self query params"),
    (_BASE._check_results, "self results"),
    (_BASE._set_results, "self results"),
    (_BASE._select_current_result, "self i format"),
    (_BASE._check_copy_result, "self result"),
    (_BASE._reset, "self reset_query"),
    (_SERVER._declare_gen, "self query params binary"),
    (_SERVER._describe_gen, "self"),
    (_SERVER._fetch_gen, "self num"),
    (_SERVER._scroll_gen, "self value mode"),
    (_SERVER._close_gen, "self"),
    (_SERVER._make_declare_statement, "self query"),
    (_CONNECTION._exec_command, "self command result_format"),
    (_CONNECTION._start_query, "self"),
    (_CONNECTION._deallocate, "self name"),
    (_CONNECTION._get_tx_start_command, "self"),
    (_CONNECTION._check_connection_ok, "self"),
    (_CONNECTION._notice_handler, "wself res"),
    (_copy_base.BaseCopy._read_gen, "self"),
    (_copy_base.BaseCopy._end_copy_out_gen, "self"),
    (_pipeline_base.BasePipeline._sync_gen, "self"),
    (_pipeline_base.BasePipeline._process_results, "self queued results"),
    (generators._execute, "pgconn"),
    (psycopg.Connection.wait, "self gen interval timeout"),
    (psycopg.AsyncConnection.wait, "self gen interval timeout"),
)


def check() -> None:
    """Compare psycopg's private signatures with the ones the driver was written for.

    Raises:
        ImportError: something differs; the message names it and the versions that work.
    """
    for function, expected in EXPECTED:
        found = " ".join(inspect.signature(function).parameters)
        if found != expected:
            raise ImportError(
                f"governed_db was written for psycopg 3.3: {function.__qualname__} there takes"
                f" ({expected}), here psycopg {psycopg.__version__} has ({found});"
                " install psycopg>=3.3,<3.4"
            )
