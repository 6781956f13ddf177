"""``governed-db grants``: what people allow a caller for a while, beyond what the policy does."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from governed_db.cli import approvals
from governed_db.cli.common import add_policy, clean, failed, line, print_json

if TYPE_CHECKING:
    import argparse

    from governed_db.approval.request import ApprovalRequest
    from governed_db.governor import Governor
    from governed_db.grants.model import Grant
    from governed_db.grants.office import Entry

_SPAN = re.compile(r"(\d{1,6})\s*(s|m|min|h|d)")
_SECONDS = {"s": 1, "m": 60, "min": 60, "h": 3600, "d": 86_400}


def add(commands: argparse._SubParsersAction[Any]) -> None:
    """Add the group to argparse's ``commands``."""
    parser = commands.add_parser(
        "grants",
        help="allow a caller more for a while",
        description="Allow one caller, or one group, more than the policy does, for a while. The store and"
        " the people are those of the policy; each grant is signed with a key that the policy names. Running"
        " processes know of a change within one poll ([approvals] poll_seconds).",
    )
    verbs = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    _add_add(verbs)
    show = verbs.add_parser("list", help="list the grants that are kept, the first to end first")
    show.add_argument("--json", action="store_true", help="print one JSON object")
    add_policy(show)
    show.set_defaults(run=lambda arguments: _attempt("list", lambda: _list(arguments)))
    revoke = verbs.add_parser("revoke", help="end a grant before its time")
    revoke.add_argument("id", metavar="GRANT", help="its id (grt_...)")
    revoke.add_argument("--because", default="", metavar="WHY", help="in your words; it goes on record")
    _add_signing(revoke)
    add_policy(revoke)
    revoke.set_defaults(run=lambda arguments: _attempt("revoke", lambda: _revoke(arguments)))


def _add_add(verbs: Any) -> None:
    parser = verbs.add_parser(
        "add",
        help="sign a grant and put it into force",
        description="Sign a grant and put it into force. Nobody grants anything to themself, nor to what acts"
        " for them.",
        epilog="Exit status: 0 signed, 1 usage error or failure, 2 you did not agree.",
    )
    parser.add_argument(
        "--to", metavar="KIND:NAME", help="agent:NAME, human:NAME, service:NAME or group:NAME"
    )
    parser.add_argument("--issuer", default="", help="only if this issuer has vouched for the caller")
    parser.add_argument(
        "--on-behalf-of",
        default="",
        metavar="WHOM",
        help="only while it acts for KIND:NAME, or NAME of any kind",
    )
    what = parser.add_argument_group("what (each can be given again)")
    what.add_argument(
        "--clear", action="append", default=[], metavar="COLUMN", help="schema.relation.column, read unmasked"
    )
    what.add_argument("--rule", action="append", default=[], metavar="ID", help="a rule that does not hold")
    what.add_argument(
        "--on",
        action="append",
        default=[],
        metavar="RELATION",
        help="only for schema.relation (rules and rows)",
    )
    what.add_argument("--rows", type=int, metavar="N", help="rows that a statement may write without asking")
    what.add_argument(
        "--like", default="", metavar="REQUEST", help="statements like this request's, by its requester"
    )
    what.add_argument(
        "--fingerprint", default="", metavar="HEX", help="only statements of this pattern; see --like"
    )
    what.add_argument("--database", default="", metavar="NAME", help="only there")
    parser.add_argument(
        "--yes", "-y", action="store_true", help="sign --like without being asked, for scripts"
    )
    parser.add_argument("--for", dest="lasts", required=True, metavar="SPAN", help="such as 90s, 30m, 8h, 1d")
    parser.add_argument("--from", dest="starts", metavar="TIME", help="2030-01-31T18:00+01:00 (default: now)")
    parser.add_argument("--because", required=True, metavar="WHY", help="in your words; it goes on record")
    _add_signing(parser)
    add_policy(parser)
    parser.set_defaults(run=lambda arguments: _attempt("add", lambda: _add(arguments)))


def _add_signing(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--key",
        metavar="FILE",
        type=Path,
        help=f"what to sign with (default: {approvals.KEY_VARIABLE}, else {approvals.KEY_FILE} in your"
        " configuration folder)",
    )
    parser.add_argument(
        "--by",
        metavar="SUBJECT",
        help="who signs, where the key is an authority's: an approver of the policy",
    )
    parser.add_argument(
        "--token-file", metavar="FILE", type=Path, help="the same by the person's own token (a private file)"
    )


def _attempt(verb: str, work: Callable[[], int]) -> int:
    from governed_db.approval.keys import KeyUnusable
    from governed_db.errors import GovernanceError
    from governed_db.private import NotPrivate

    try:
        return work()
    except BrokenPipeError:
        raise
    except (GovernanceError, KeyUnusable, NotPrivate, OSError, ValueError) as error:
        return failed(f"grants {verb}", error)


def _add(arguments: argparse.Namespace) -> int:
    from governed_db.grants.model import Grant, Grantee

    if not (arguments.to or arguments.like):
        raise ValueError("say to whom: --to agent:NAME")
    if arguments.like and (arguments.fingerprint or arguments.on or arguments.clear):
        raise ValueError(
            "--like says by itself which statements, on what: leave --fingerprint, --on and --clear out"
        )
    what: dict[str, Any] = {name: getattr(arguments, name) for name in ("clear", "on", "database")}
    what |= {"rules": arguments.rule, "rows": arguments.rows, "fingerprint": arguments.fingerprint}
    to = None
    if arguments.to:
        to = Grantee.parse(arguments.to, issuer=arguments.issuer, on_behalf_of=arguments.on_behalf_of)
    with approvals.opened(arguments) as governor:
        people = governor.approvals.settings.people
        key = approvals.key_of(arguments.key, people, governor.policy.name)
        request = governor.approvals.get(arguments.like).request if arguments.like else None
        if request is not None and not arguments.yes and not _agrees(request, arguments.rows):
            print("nothing was signed")
            return approvals.DECLINED
        signed = governor.grants.give(
            to,
            key=key,
            by=approvals.person_of(arguments, governor),
            lasts=duration(arguments.lasts),
            starts=None if arguments.starts is None else _moment(arguments.starts),
            because=arguments.because,
            request=request,
            # What is not said is for the request to say, where there is one.
            **{name: value for name, value in what.items() if value not in ([], "", None)},
        )
        grant = signed.said
        assert isinstance(grant, Grant)  # give() makes grants
        print(clean(f"{signed.id}: {_said(grant)}"))
        for rule in governor.policy.rules:
            if rule.id in grant.rules and rule.count > 1:
                held = f"the rule {rule.id} holds until {rule.count} different people have granted this"
                print(clean(held))
        print(clean(_known(governor)))
    return 0


def _agrees(request: ApprovalRequest, rows: int | None) -> bool:
    """Show the pattern that would be signed, and ask."""
    asked = request.question
    line("statement", asked.statement)
    line("on", ", ".join(asked.relations))
    line("for", str(asked.requester))
    line("in", asked.database)
    line("rows", f"up to {(request.ceiling or 0) if rows is None else rows}")
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise ValueError("nobody can be asked here: in a script, --yes signs")
    try:
        answer = input("\nLet such statements run without asking, whatever their values? [y/N] ")
    except EOFError:
        return False
    return answer.strip().lower() in ("y", "yes")


def _list(arguments: argparse.Namespace) -> int:
    with approvals.opened(arguments) as governor:
        found = governor.grants.listed()
    if arguments.json:
        print_json({"grants": [_plain(entry) for entry in found]})
        return 0
    for entry in found:
        grant = entry.grant
        why = f" ({entry.why})" if entry.why else ""
        print(clean(f"{entry.id}  {entry.standing}{why}"))
        line("  gives", _said(grant))
        line("  because", grant.because)
        line("  signed", f"by {entry.by}, {_when(grant.signed)}" if entry.by else "by nobody who may")
    if not found:
        print("nothing is granted")
    return 0


def _revoke(arguments: argparse.Namespace) -> int:
    with approvals.opened(arguments) as governor:
        governor.grants.revoke(
            arguments.id,
            key=approvals.key_of(arguments.key, governor.approvals.settings.people, governor.policy.name),
            by=approvals.person_of(arguments, governor),
            because=arguments.because,
        )
        print(clean(f"{arguments.id} is revoked"))
        print(clean(_known(governor)))
    return 0


def duration(text: str) -> timedelta:
    """Read a span of time: a whole number with s, m, h or d.

    Raises:
        ValueError: it is none.
    """
    found = _SPAN.fullmatch(text.strip())
    if found is None:
        raise ValueError(f"a span of time is written 90s, 30m, 8h or 1d; got {text!r}")
    return timedelta(seconds=int(found[1]) * _SECONDS[found[2]])


def _moment(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise ValueError(f"a time is written with its zone, 2030-01-31T18:00+01:00; got {text!r}")
    return moment


def _known(governor: Governor) -> str:
    seconds = governor.policy.settings.approvals.poll_seconds
    return f"running processes know of it within {seconds:g} s"


def _when(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def _said(grant: Grant) -> str:
    """Return in words what a grant gives."""
    parts = [f"{column} is read unmasked" for column in grant.clear]
    parts += [f"the rule {rule} does not hold" for rule in grant.rules]
    if grant.fingerprint:
        parts.append(f"statements of the pattern {grant.fingerprint} run")
    if grant.rows is not None:
        parts.append(f"a statement writes up to {grant.rows} rows")
    where = [f"on {', '.join(grant.on)}"] if grant.on else []
    where += [f"in {grant.database}"] if grant.database else []
    since = "" if grant.starts <= grant.signed else f"from {_when(grant.starts)} "
    told = "; ".join(parts) + (f" ({' '.join(where)})" if where else "")
    return f"for {grant.to}: {told}; {since}until {_when(grant.until)}"


def _plain(entry: Entry) -> dict[str, Any]:
    from governed_db.grants.register import told

    grant = entry.grant
    return {
        "id": entry.id,
        "standing": entry.standing,
        "why": entry.why,
        "by": entry.by,
        "signed": grant.signed.astimezone(UTC).isoformat(),
        **told(grant),
        "statement": grant.statement,
    }
