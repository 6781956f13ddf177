"""Who asks, and within which trace, as a comment behind the statement, for logs that show nothing else.

The format is sqlcommenter's (https://google.github.io/sqlcommenter/spec/), but for one thing: a text that has
a comment already gets this one all the same, or an agent could keep itself out of the log by writing one. The
last comment of a text is ours. The journal, decisions and errors are about the caller's own text.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

from governed_db.audit.spans import parent

if TYPE_CHECKING:
    from governed_db.driver.seat import Seat
    from governed_db.identity import Identity

MAX_VALUE: Final = 256
"""Characters of one value; what is longer is cut. Comments are for people who read logs."""

_SAMPLED: Final = 1
_KEPT: Final = 4096  # callers whose part of the comment is kept, as many as standings are


def of(seat: Seat) -> bytes:
    """Return the comment for a statement of the caller in force, "" where the policy wants none."""
    if not seat.governor.comments:
        return b""
    span = parent()
    trace = ""
    if span is not None:
        # W3C Trace Context, version 00.
        flags = int(span.trace_flags) & _SAMPLED
        trace = f"00-{span.trace_id:032x}-{span.span_id:016x}-{flags:02x}"
    return written(seat.caller(), trace)


@lru_cache(maxsize=_KEPT)
def _said(caller: Identity) -> tuple[str, ...]:
    principal = caller.on_behalf_of
    values = {
        "governed_db_on_behalf_of": "" if principal is None else principal.subject,
        "governed_db_session": caller.session or "",
        "governed_db_subject": caller.subject,
        "governed_db_tool_call": caller.tool_call or "",
    }
    # quote() leaves no quote, no slash and no asterisk: nothing in a value can end the comment.
    return tuple(
        f"{key}='{quote(value[:MAX_VALUE], safe='', errors='replace')}'"
        for key, value in values.items()
        # The subject is there for nobody as well: else a comment of the text's own would be the last one.
        if value or key == "governed_db_subject"
    )


def written(caller: Identity, trace: str) -> bytes:
    """Return the comment, on a line of its own: the text before can end in a comment up to its line's end."""
    pairs = _said(caller)
    if trace:
        pairs += (f"traceparent='{trace}'",)
    return f"\n/*{','.join(pairs)}*/".encode("ascii")
