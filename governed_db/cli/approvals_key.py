"""``governed-db approvals key``: what somebody signs approvals with."""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path
from typing import Any

from governed_db.cli import approvals
from governed_db.cli.common import clean


def add(verbs: Any) -> None:
    """Add the verb to argparse's ``verbs``."""
    parser = verbs.add_parser(
        "key",
        help="make your key, and print what the policy has to say of it",
        description="Make a private key for this user alone, unless it is there already, and print the block"
        " that names it in the policy.",
    )
    whose = parser.add_mutually_exclusive_group(required=True)
    whose.add_argument("--as", dest="subject", metavar="SUBJECT", help="who you are, as identities name you")
    whose.add_argument(
        "--authority", metavar="NAME", help="the key is of something that signs for people: a portal, a desk"
    )
    parser.add_argument(
        "--group",
        dest="groups",
        metavar="GROUP",
        action="append",
        default=[],
        help="what you are a member of",
    )
    parser.add_argument(
        "--key",
        metavar="FILE",
        type=Path,
        help=f"where the key is (default: {approvals.KEY_VARIABLE}, else {approvals.KEY_FILE} in your"
        " configuration folder)",
    )
    parser.set_defaults(run=lambda arguments: approvals.attempt("key", lambda: run(arguments)))


def run(arguments: argparse.Namespace) -> int:
    """Make it where there is none; print the block; return the exit status."""
    from governed_db.approval import keys
    from governed_db.identity.model import unfit

    name = arguments.subject if arguments.authority is None else arguments.authority
    if not name.strip() or (why := unfit(name)):
        raise ValueError(f"a name {why}" if name.strip() else "say who signs: --as SUBJECT")
    path = approvals.key_path(arguments.key).absolute()
    try:
        signer = keys.unnamed(path)
        became = "was there already, and stays"
    except FileNotFoundError:
        keys.make(path)
        signer = keys.unnamed(path)
        became = "is new, and readable by this user alone"
    print(clean(f"{path} {became}. It never leaves this machine; the policy gets this:"), file=sys.stderr)
    # The name of a key has neither spaces nor plus signs; of an approver's it is only a label.
    label = re.sub(r"[\s+]+", "-", name.strip())
    public = signer.named(label).text
    if arguments.authority is not None:
        print(f"[[authority]]\nname = {_quoted(label)}\nkeys = [{_quoted(public)}]")
        return 0
    print(f"[[approver]]\nsubject = {_quoted(name)}")
    if arguments.groups:
        print(f"groups = [{', '.join(map(_quoted, arguments.groups))}]")
    print(f"keys = [{_quoted(public)}]")
    return 0


def _quoted(text: str) -> str:
    # A basic string of TOML: what JSON escapes, TOML reads alike.
    import json

    return json.dumps(text, ensure_ascii=False)
