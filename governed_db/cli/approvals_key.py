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
    alone = name.strip().removeprefix("human:")
    if arguments.authority is None and alone != name.strip():
        raise ValueError(f"--as takes the name alone, which callers give as on_behalf_of: {alone or 'dana'}")
    path = approvals.key_path(arguments.key).absolute()
    try:
        signer = keys.unnamed(path)
        became = "was there already, and stays"
    except FileNotFoundError:
        keys.make(path)
        signer = keys.unnamed(path)
        became = "is new, and readable by this user alone"
    print(clean(f"{path} {became}. It stays on this machine."), file=sys.stderr)
    print(clean(f"The policy that callers go by gets this ({_in_force()}):"), file=sys.stderr)
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


def _in_force() -> str:
    from governed_db import config
    from governed_db.errors import PolicyError

    try:
        path = config.config_path()
    except PolicyError:
        path = None  # who approves need not have a policy on this machine
    if path is not None:
        return f"in force here: {path}"
    return "no file is in force here: GOVERNED_DB_CONFIG names one"


def _quoted(text: str) -> str:
    # A basic string of TOML: what JSON escapes, TOML reads alike.
    import json

    return json.dumps(text, ensure_ascii=False)
