"""Words that are syntax on newer servers and names of functions or columns on older ones.

The grammar is PostgreSQL 17's. What it reads as a construct (``JSON_SCALAR(x)``, ``SYSTEM_USER``) an older
server reads as a call of a function of that name, or as a column, wherever the rest of the text is valid
there. So such a node is what this server's version makes of it, never what the grammar made of it.
"""

from __future__ import annotations

from collections.abc import Mapping

SYNTAX_SINCE: Mapping[str, int] = {
    "json_array": 160000,
    "json_arrayagg": 160000,
    "json_object": 160000,
    "json_objectagg": 160000,
    "system_user": 160000,
    "json": 170000,
    "json_exists": 170000,
    "json_query": 170000,
    "json_scalar": 170000,
    "json_serialize": 170000,
    "json_table": 170000,
    "json_value": 170000,
    "merge_action": 170000,
}
"""Keywords that are not free as names, with the server version that made them so (src/include/parser/kwlist.h
of 13 to 18: those that were no keyword, or an unreserved one, in 13; a test holds it against
pg_get_keywords())."""


def is_syntax(name: str, server_version: int) -> bool:
    """Return whether ``name(...)``, which the grammar reads as a construct, is one on that server too."""
    return server_version >= SYNTAX_SINCE.get(name, 0)


def release(name: str) -> str:
    """Return the release that made ``name`` syntax, as people write it: "17"."""
    return str(SYNTAX_SINCE[name] // 10000)
