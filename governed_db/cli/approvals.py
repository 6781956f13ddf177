"""``governed-db approvals``: what waits for people, and what they answer."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from governed_db.cli.common import add_policy, failed

if TYPE_CHECKING:
    import argparse

    from governed_db.approval import Approver, ApproverKey, People
    from governed_db.governor import Governor
    from governed_db.identity import Identity

KEY_VARIABLE: Final = "GOVERNED_DB_APPROVER_KEY"
"""Names the file of the approver's key, by an absolute path."""

KEY_FILE: Final = "approver.key"
"""In the user's configuration folder."""

DECLINED: Final = 2
"""Exit status where the person at the terminal did not agree: nothing was signed."""

# One module for each verb, ``governed_db.cli.approvals_<name>``, each with ``add(verbs)``. They import what
# they need when they run.
_MODULES: tuple[str, ...] = ("approve", "deny", "init", "key", "list", "serve", "show", "watch", "withdraw")


def add(commands: argparse._SubParsersAction[Any]) -> None:
    """Add the group to argparse's ``commands``."""
    parser = commands.add_parser(
        "approvals",
        help="see what waits for people, and answer it",
        description="See what waits for people to agree, and answer it. The store and the people are those of"
        " the policy; each answer is signed with a key that the policy names.",
    )
    verbs = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for name in _MODULES:
        import_module(f"governed_db.cli.approvals_{name}").add(verbs)


def add_request(parser: argparse.ArgumentParser) -> None:
    """Add the request, and the policy that says where it is kept."""
    parser.add_argument("id", metavar="REQUEST", help="the id of a request, as the caller's error has it")
    add_policy(parser)


def add_signing(parser: argparse.ArgumentParser) -> None:
    """Add what somebody answers with."""
    parser.add_argument("--reason", default="", help="why, in your words; it goes on record")
    parser.add_argument(
        "--key",
        metavar="FILE",
        type=Path,
        help=f"what to sign with (default: {KEY_VARIABLE}, else {KEY_FILE} in your configuration folder)",
    )
    parser.add_argument(
        "--by",
        metavar="SUBJECT",
        help="whose answer it is, where the key is an authority's: an approver whom the policy names",
    )
    parser.add_argument(
        "--token-file",
        metavar="FILE",
        type=Path,
        help="the same by the person's own token, verified against the policy's issuers (a private file)",
    )
    parser.add_argument(
        "--seal",
        default="",
        help="of the request as you were shown it (`show --json`): what was altered since is not answered",
    )


def attempt(verb: str, work: Callable[[], int]) -> int:
    """Return what ``work`` returns; say in a line what kept it from its work."""
    from governed_db.approval.keys import KeyUnusable
    from governed_db.errors import GovernanceError
    from governed_db.private import NotPrivate

    try:
        return work()
    except BrokenPipeError:
        raise
    except (GovernanceError, KeyUnusable, NotPrivate, OSError, ValueError) as error:
        return failed(f"approvals {verb}", error)


@contextmanager
def opened(arguments: argparse.Namespace) -> Iterator[Governor]:
    """Have a governor with the policy that the command names. It makes nothing as long as it only looks.

    Raises:
        PolicyError: the policy cannot be used, or does not say where its store is.
    """
    from governed_db.cli.judging import find_policy
    from governed_db.governor import Governor
    from governed_db.masking.keys import Keyring, new_secret

    # Nothing is masked here. Who approves need not have the keys that callers' masks are made with.
    governor = Governor(find_policy(arguments.policy), keys=Keyring({1: new_secret()}))
    try:
        yield governor
    finally:
        governor.close()


def key_path(named: Path | None) -> Path:
    """Return the file of the key to sign with; it need not exist.

    Raises:
        ValueError: the environment names one by a relative path.
    """
    import platformdirs

    if named is not None:
        return named
    given = os.environ.get(KEY_VARIABLE)
    if not given:
        return platformdirs.user_config_path("governed-db", appauthor=False) / KEY_FILE
    path = Path(given).expanduser()
    if not path.is_absolute():
        raise ValueError(f"{KEY_VARIABLE} takes an absolute path: the working directory decides nothing")
    return path


def key_of(named: Path | None, people: People, policy: str = "") -> ApproverKey:
    """Return the key to sign with; ``policy`` is the name of the one that names ``people``.

    Raises:
        KeyUnusable: there is none, others can read it, or the policy does not name it.
        ValueError: as :func:`key_path`.
    """
    from governed_db.approval import keys

    path = key_path(named)
    try:
        return keys.read(path, people, policy)
    except FileNotFoundError:
        raise keys.KeyUnusable(
            f"there is no key to sign with: {path}",
            remedy="make one with governed-db approvals key --as YOUR-NAME, and have it put into the policy",
        ) from None


def person_of(arguments: argparse.Namespace, governor: Governor) -> Identity | None:
    """Return whose answer it is, ``None`` where the key says so.

    Raises:
        ValueError: nobody or several people have that name.
        TokenRefused: the token is not to be believed.
        NotPrivate: others can read the token.
    """
    if arguments.token_file is not None:
        if arguments.by is not None:
            raise ValueError("--by and --token-file both say whose answer it is: give one of them")
        return governor.identify(_token(arguments.token_file))
    if arguments.by is None:
        return None
    return named(governor.approvals.settings.people, arguments.by).identity()


def named(people: People, subject: str) -> Approver:
    """Return the approver whom the policy names so.

    Raises:
        ValueError: it names none, or several.
    """
    found = [approver for approver in people.approvers if approver.subject == subject]
    if not found:
        raise ValueError(
            f"the policy names no approver {subject}: put an [[approver]] with that subject into it, or give"
            " the person's token with --token-file"
        )
    if len(found) > 1:
        raise ValueError(
            f"the policy names {len(found)} approvers {subject}, of different issuers: give the person's"
            " token with --token-file"
        )
    return found[0]


def signs_as(key: ApproverKey, by: Identity | None, people: People) -> str:
    """Return in whose name ``key`` signs, for people."""
    from governed_db.approval import Approver

    if by is not None:
        return str(by)
    owner = people.owner(key.public)
    return str(owner.identity()) if isinstance(owner, Approver) else key.public.name


def _token(path: Path) -> bytes:
    from governed_db import private
    from governed_db.identity.compact import MAX_TOKEN

    # One more byte, so that what is too long is refused as that and not as a token that is cut off.
    return private.read(path, MAX_TOKEN + 2).strip()
