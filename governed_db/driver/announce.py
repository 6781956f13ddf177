"""What the server is told of the caller, and what of it is in force.

Row-level security policies and triggers read it with ``current_setting('governed_db.subject', true)``;
``pg_stat_activity`` and ``log_line_prefix`` (%a) show it as the ``application_name``. In a transaction it is
``SET LOCAL``, inside BEGIN's own message: ROLLBACK would take a setting of the session back, and a pooler
would lend it to somebody else. In autocommit it is ``SET``, sent only where what is in force is not the
caller of the statement that comes. Everything is said of every caller, the unknown one included, so that
nothing of the last one, of the connection string or of the role is left. What cannot be said is not run.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final

from attrs import define, field
from psycopg import errors as e
from psycopg._encodings import pg2pyenc

from governed_db import refusing
from governed_db.driver.announcement import MAX_ANNOUNCED, Announcement, announcement, commands
from governed_db.errors import StatementBlocked
from governed_db.identity import Identity, standing
from governed_db.run import Call

if TYPE_CHECKING:
    from governed_db.driver.seat import Seat

_SENT: Final = 64  # names announced on one connection that are told from the application's own
_SQL_ASCII: Final = b"SQL_ASCII"  # a server that takes any bytes
_UNTRANSLATABLE: Final = frozenset({e.UntranslatableCharacter.sqlstate, e.CharacterNotInRepertoire.sqlstate})
# Classes of PostgreSQL's error codes (errcodes.txt): data exception; syntax, name or privilege; object state.
_REFUSING: Final = frozenset({"22", "42", "55"})


@define(eq=False)
class Announced:
    """What one session has been told, as far as that is certain.

    Attributes:
        session: what holds outside of transactions; ``None``: not known.
        local: what was said in this transaction.
        unsure: something may have moved what is in force.
        moved: something was said in this transaction after it began, which a savepoint can take back.
        base: the application's own application_name.
        renamed: a statement has set that.
        outside: something was once said outside of a transaction.
        callers: the standing of everybody who has run something in this transaction.
        held: cursors WITH HOLD that COMMIT will fill, by name, and who opened them.
    """

    session: Announcement | None = None
    local: Announcement | None = None
    unsure: bool = False
    moved: bool = False
    base: str | None = None
    renamed: bool = False
    outside: bool = False
    callers: set[Identity] = field(factory=set)
    held: dict[str, Identity] = field(factory=dict)
    last: tuple[Identity, frozenset[str], Announcement] | None = None
    ever: frozenset[str] = frozenset()
    sent: deque[str] = field(factory=lambda: deque(maxlen=_SENT))

    def in_force(self) -> Announcement | None:
        """Return what the server has been told, ``None`` where that is not certain."""
        return None if self.unsure else self.local or self.session

    def told(self, announcement: Announcement, *, local: bool) -> None:
        """Note what the server has taken."""
        if local:
            self.local = announcement
        else:
            self.session, self.local = announcement, None
            self.outside = True
        self.unsure = False

    def doubt(self) -> None:
        """Note that what was said in this transaction may have been taken back."""
        self.unsure = True

    def forget(self) -> None:
        """Note that anything may be in force, now and after this transaction."""
        self.session = self.local = None
        self.unsure = True

    def ended(self) -> None:
        """Note that the transaction is over, and with it what was said in it."""
        self.local = None
        self.unsure = self.moved = False
        self.callers.clear()
        self.held.clear()


def needed(seat: Seat, caller: Identity | None = None) -> Announcement | None:
    """Return what has to be said before ``caller`` (the one in force) runs anything, ``None``: nothing."""
    announced, told = seat.announced, seat.governor.announces
    if not told and not announced.ever:
        return None
    caller = caller or seat.caller()
    if announced.renamed or announced.base is None:
        _rename(seat)
    last = announced.last
    if last is None or last[1] != told or (last[0] is not caller and last[0] != caller):
        wanted = announcement(caller, told, announced.ever, announced.base or "")
        announced.last = (caller, told, wanted)
    else:
        wanted = last[2]
    force = announced.in_force()
    return None if force is wanted or force == wanted else wanted


def _rename(seat: Seat) -> None:
    """Take note of an application_name that is not one of ours."""
    announced = seat.announced
    announced.renamed = False
    reported = (seat.pgconn.parameter_status(b"application_name") or b"").decode("ascii", "replace")
    if reported not in announced.sent:
        announced.base = reported
        announced.last = None


def texts(seat: Seat, said: Announcement, *, local: bool) -> tuple[bytes, ...]:
    """Return the commands for ``said`` on this connection.

    Raises:
        StatementBlocked: a value cannot be said as it is; the refusal is on record.
    """
    pgconn = seat.pgconn
    try:
        return commands(said, pgconn._encoding, _encoding_of_server(seat), local=local)
    except OverflowError:
        raise refused(
            seat,
            "callers.size",
            f"what is to be said of this caller takes more than {MAX_ANNOUNCED} bytes",
            "give the identity fewer groups, or shorter names",
        ) from None
    except ValueError:  # UnicodeEncodeError is one
        raise unsayable(seat) from None


def _encoding_of_server(seat: Seat) -> str:
    server = seat.pgconn.parameter_status(b"server_encoding") or _SQL_ASCII
    if server == _SQL_ASCII:
        return ""
    try:
        return pg2pyenc(server)
    except e.NotSupportedError:
        return ""  # Python does not know it: the server will say what it cannot take


def unsayable(seat: Seat) -> StatementBlocked:
    """Return the refusal of a caller whose names the connection cannot carry as they are."""
    return refused(
        seat,
        "callers.encoding",
        "a name of this caller (subject, issuer, principal, group or session) has a character that the"
        " encoding of the client or of the database cannot carry: row-level security would compare another",
        "connect with client_encoding=UTF8 to a database in UTF8, or name the caller in plain letters",
    )


def is_about(error: e.Error) -> bool:
    """Return whether the server has refused a setting, and not the session or the moment."""
    return (error.sqlstate or "")[:2] in _REFUSING


def is_unsayable(error: e.Error) -> bool:
    """Return whether the server cannot carry what it was sent; of BEGIN's message, only names can be that."""
    return error.sqlstate in _UNTRANSLATABLE


def unsaid(seat: Seat, error: e.Error) -> StatementBlocked:
    """Return the refusal of a statement whose caller the server does not want to be told of."""
    if is_unsayable(error):
        return unsayable(seat)
    return refused(
        seat,
        "callers.unannounced",
        f"the server did not take the settings that say who asks (SQLSTATE {error.sqlstate}), so nothing ran",
        "see that no extension reserves the prefix governed_db, or take 'settings' out of [callers] announce",
    )


def check_held(seat: Seat, caller: Identity) -> None:
    """Refuse to name another caller while a cursor WITH HOLD waits for COMMIT, which reads its rows.

    Raises:
        StatementBlocked: the rows would be those that the server shows to ``caller``.
    """
    for opener in seat.announced.held.values():
        if standing(opener) != standing(caller):
            raise refused(
                seat,
                "callers.cursor",
                f"a cursor WITH HOLD that {opener} has opened is filled by COMMIT, for whoever the server was"
                " told of last",
                "commit or roll back, with the connection's methods, before somebody else uses it",
            )


def refused(seat: Seat, rule: str, reason: str, remedy: str) -> StatementBlocked:
    """Put a refusal on record, and return the error to raise."""
    return refusing.refused(Call(b""), seat.caller(), seat, rule, reason, remedy)


def follow(seat: Seat, said: Announcement, *, local: bool) -> None:
    """Note that the server was told ``said``."""
    announced = seat.announced
    announced.told(said, local=local)
    announced.ever |= seat.governor.announces
    if said.name is not None:
        announced.sent.append(said.name)
