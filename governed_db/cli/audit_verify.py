"""``governed-db audit verify``: what the trail's files prove, from them and a public key alone."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from governed_db.cli import audit
from governed_db.cli.common import clean, line, print_json

if TYPE_CHECKING:
    from governed_db.audit.verdict import Report
    from governed_db.note import VerifierKey

TAMPERED = 1
"""Exit status where something is wrong, or nothing is proven."""

UNUSABLE = 2
"""Exit status where nothing could be verified: a usage error, a key or a file that cannot be read."""

SHOWN = 50
"""Findings that are printed; ``--json`` gives all that are kept."""


class _Parser(argparse.ArgumentParser):
    # The command ends with 1 on a usage error; here 1 says that somebody changed the trail.
    def error(self, message: str) -> NoReturn:
        self.print_usage(sys.stderr)
        self.exit(UNUSABLE, f"{self.prog}: error: {message}\n")

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        found, unknown = super().parse_known_args(args, namespace)
        if unknown:  # else the command would say so, with its own status
            self.error(f"unrecognized arguments: {' '.join(unknown)}")
        return found, unknown


def add(verbs: Any) -> None:
    """Add the verb to argparse's ``verbs``."""
    kind, verbs._parser_class = verbs._parser_class, _Parser
    try:
        parser = verbs.add_parser(
            "verify",
            help="say what the trail's files prove, and what was done to them",
            description="Verifies a trail offline, from its files and a public key alone.",
            epilog="Exit status: 0 valid; 1 something was changed, or nothing is proven; 2 it could not be"
            " verified.",
        )
    finally:
        verbs._parser_class = kind
    audit.add_dir(parser)
    parser.add_argument(
        "--key",
        metavar="VKEY|FILE",
        help="the public key that the reader trusts, or a file with one on each line (default: that of the"
        " signing key on this machine, which proves nothing against who owns the machine)",
    )
    parser.add_argument(
        "--witness",
        metavar="FILE",
        type=Path,
        action="append",
        default=[],
        help="checkpoints that were kept elsewhere; may be given again",
    )
    parser.add_argument(
        "--checkpoint",
        metavar="FILE",
        type=Path,
        action="append",
        default=[],
        help="one checkpoint of this log that was kept elsewhere; may be given again",
    )
    parser.add_argument(
        "--tsa",
        metavar="FILE",
        type=Path,
        help="certificates in PEM of the time stamp authority, its root last; verifies the log's time stamps",
    )
    parser.add_argument("--proof", metavar="FILE", type=Path, help="verify the proof of one record instead")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    from governed_db.audit.signing import KeyUnusable
    from governed_db.errors import GovernanceError

    try:
        if arguments.proof is not None:
            return _proof(arguments)
        return _folder(arguments)
    except OSError as error:
        return _unusable(f"{error.filename or 'a file'}: {error.strerror}")
    except (GovernanceError, KeyUnusable, ValueError) as error:
        return _unusable(str(error))


def _folder(arguments: argparse.Namespace) -> int:
    from governed_db.audit.verify import verify

    folder = audit.folder_of(arguments)
    if not folder.is_dir():
        return _unusable(f"{folder}: there is no such folder")
    keys, own = keys_of(arguments.key, folder)
    report = verify(folder, keys, witnesses=arguments.witness, checkpoints=arguments.checkpoint)
    if arguments.tsa is not None:
        from governed_db.audit.stamp import verify_stamps

        verify_stamps(folder, arguments.tsa, report)
    if own:
        report.remarks.append(
            "the key is this machine's own: keep a copy elsewhere (governed-db audit key) and give"
            " it with --key"
        )
    if arguments.json:
        print_json(_as_json(report))
    else:
        _print(report)
    return 0 if report.valid else TAMPERED


def keys_of(given: str | None, folder: Path) -> tuple[list[VerifierKey], bool]:
    """Return the keys that ``--key`` names, and whether they are this machine's own for want of others.

    Raises:
        ValueError: what is given is no key, nor a file with keys, or there is none.
        OSError: the file cannot be read.
        KeyUnusable: there is no key on this machine.
    """
    from governed_db import config
    from governed_db.audit import signing
    from governed_db.audit.logfiles import FOLDER
    from governed_db.audit.regular import buffered
    from governed_db.note import MAX_NOTE, VerifierKey

    if given is None:
        try:
            with buffered(folder / FOLDER / "origin") as file:
                name = file.read(MAX_NOTE).decode().strip()
        except FileNotFoundError:
            return [], False
        found = signing.existing(config.state_dir())
        if found is None:
            raise ValueError("give the key that you trust with --key: this machine has none of its own")
        return [found.named(name)], True
    if "+" in given and not Path(given).exists():
        return [VerifierKey.parse(given)], False
    lines = Path(given).read_text("utf-8").splitlines()
    keys = [VerifierKey.parse(text.strip()) for text in lines if text.strip() and not text.startswith("#")]
    if not keys:
        raise ValueError(f"{given} has no key")
    return keys, False


def _print(report: Report) -> None:
    line("log", report.origin)
    if report.findings:
        print(f"{'verdict':<10}TAMPERED: {_count(len(report.findings) + report.more, 'finding')}")
    for finding in report.findings[:SHOWN]:
        line("", f"{finding.kind.upper()}: {finding.text}")
        line("", _where(finding.journal, finding.sequence, finding.record, finding.segment), indent=12)
    hidden = len(report.findings) + report.more - SHOWN
    if hidden > 0:
        line("", f"and {_count(hidden, 'finding')} more")
    proven = f"{_count(report.records, 'record')} under {_count(report.checkpoints, 'checkpoint')} of the log"
    if report.findings:
        line("proven", f"{proven}, but for what is named above")
    else:
        print(f"{'verdict':<10}valid to record {report.records}")
        line("proven", proven)
    if report.newest_outside:
        line(
            "outside",
            f"agrees with {_count(report.outside, 'checkpoint')} kept outside, the newest over"
            f" {report.newest_outside} of {report.size} leaves",
        )
    elif report.valid:
        line(
            "newest?",
            "nothing here proves that it is the newest: give a checkpoint that was kept outside"
            " with --witness or --checkpoint",
        )
    if report.behind:
        line(
            "behind", f"{_count(report.behind, 'record')} behind the last checkpoint: nothing proves them yet"
        )
    if report.behind_damaged:
        line("", f"{report.behind_damaged} damaged bytes behind the last checkpoint")
    if report.retired:
        line("retired", f"{_count(report.retired, 'record')} retired under retention, as the log itself says")
    for stamp in report.stamps:
        line("stamped", stamp)
    for remark in report.remarks:
        line("note", remark)


def _where(journal: str, sequence: int | None, record: str, segment: str) -> str:
    said = [
        f"journal {journal}" if journal else "",
        f"sequence {sequence}" if sequence is not None else "",
        f"record {record}" if record else "",
        f"in {segment}" if segment else "",
    ]
    return ", ".join(s for s in said if s)


def _as_json(report: Report) -> dict[str, Any]:
    return {
        "valid": report.valid,
        "origin": report.origin,
        "records": report.records,
        "leaves": report.size,
        "checkpoints": report.checkpoints,
        "outside": report.outside,
        "newest_outside": report.newest_outside or None,
        "behind": report.behind,
        "behind_damaged_bytes": report.behind_damaged,
        "retired": report.retired,
        "lost_records": report.lost_records,
        "lost_places": report.lost_places,
        "time_stamps": report.stamps,
        "keys": report.signers,
        "findings": [
            {
                "kind": finding.kind.value,
                "text": finding.text,
                "journal": finding.journal or None,
                "sequence": finding.sequence,
                "record": finding.record or None,
                "segment": finding.segment or None,
            }
            for finding in report.findings
        ],
        "more_findings": report.more,
        "remarks": report.remarks,
    }


def _proof(arguments: argparse.Namespace) -> int:
    import orjson

    from governed_db.audit.checkpoint import MAX_PROOF, Proof
    from governed_db.audit.entry import record_of
    from governed_db.note import BadNote

    if arguments.key is None:
        raise ValueError("a proof is verified under a key that you trust: give it with --key")
    keys, _ = keys_of(arguments.key, Path())
    with arguments.proof.open("rb") as file:
        data = file.read(MAX_PROOF + 1)
    try:
        proof = Proof.parse(data)
        checkpoint, note = proof.signed()
        signers = note.signers([key for key in keys if key.name == checkpoint.origin])
        found = record_of(proof.leaf)
    except (BadNote, ValueError) as error:
        return _not_proven(f"FORGED: {error}")
    if not signers:
        return _not_proven(f"its checkpoint, of the log {checkpoint.origin}, is not signed by the key given")
    if found is None or not proof.holds():
        return _not_proven(
            f"FORGED: what is in it is not record {proof.index} of the log {checkpoint.origin}"
        )
    journal, sequence, payload = found
    if arguments.json:
        print_json(
            {
                "valid": True,
                "origin": checkpoint.origin,
                "index": proof.index,
                "leaves": checkpoint.size,
                "journal": f"{journal:016x}",
                "sequence": sequence,
                "record": orjson.loads(payload),
            }
        )
        return 0
    line("log", checkpoint.origin)
    line("verdict", f"valid: leaf {proof.index} of {checkpoint.size}")
    line("record", f"journal {journal:016x}, sequence {sequence}")
    print(clean(payload.decode(errors="replace")))
    return 0


def _not_proven(message: str) -> int:
    print(f"{'verdict':<10}NOT PROVEN: {clean(message)}")
    return TAMPERED


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def _unusable(message: str) -> int:
    print(f"governed-db audit verify: {clean(message)}", file=sys.stderr)
    return UNUSABLE
