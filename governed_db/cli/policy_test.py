"""``governed-db policy test``: a policy held to the examples it carries."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from governed_db.cli.common import FAILED, clean, failed, print_json

if TYPE_CHECKING:
    from governed_db.catalog import Catalog
    from governed_db.cli.judging import Judge, Judged
    from governed_db.policy import Policy
    from governed_db.policy.examples import Example

DIFFERENT = 2
"""Exit status where an example did not get the answer it expects."""

_WORDS = {"needs_approval": "approve"}  # what policy files call the verdict


def add(commands: Any) -> None:
    """Add the command to argparse's ``commands``."""
    parser = commands.add_parser(
        "test",
        help="hold a policy to its own examples",
        description="Judge every [[example]] of a policy file and say which ones get another answer than they"
        " expect. Nothing of them is run.",
        epilog="Exit status: 0 all examples hold, 1 usage error or failure, 2 some do not hold.",
    )
    parser.add_argument(
        "policy", metavar="FILE|PRESET", help="a policy file, or observe, standard or readonly"
    )
    parser.add_argument(
        "--dsn",
        help="a database whose catalog says what names mean; without it the grammar alone judges, or the "
        "throwaway database that [test] schema fills",
    )
    parser.add_argument(
        "--trail",
        metavar="FOLDER",
        help="a journal: warn of services that the policy names and that never appear in it",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Judge, print and return the exit status."""
    from psycopg import Error

    from governed_db.cli import judging
    from governed_db.testing import ServerError

    try:
        policy = judging.find_policy(arguments.policy)
        examples = policy.suite.examples
        if not examples:
            print(f"governed-db policy test: {policy.name} holds no [[example]]", file=sys.stderr)
            return FAILED
        with ExitStack() as stack:
            dsn = arguments.dsn or stack.enter_context(_throwaway(policy))
            judge = stack.enter_context(_judge(policy, dsn))
            failures = [
                (example, said)
                for example in examples
                if (said := difference(example, _ask(judge, example))) is not None
            ]
            if dsn is not None and judge.catalog is None:
                judge.ask("SELECT 1")  # reads the catalog
            warned = [*warnings(policy, judge.catalog), *_unseen(policy, arguments.trail)]
    except (Error, OSError, ValueError, ServerError) as error:  # a PolicyError is an Error of psycopg
        return failed("policy test", error)
    untold = 0 if dsn is not None else sum(example.masked is not None for example in examples)
    if arguments.json:
        _print_json(policy, failures, warned, untold, database=dsn is not None)
    else:
        _print_text(policy, failures, warned, untold, database=dsn is not None)
    return DIFFERENT if failures else 0


@contextmanager
def _judge(policy: Policy, dsn: str | None) -> Iterator[Judge]:
    """Open a judge whose records go nowhere: a test is no part of anybody's trail."""
    from tempfile import TemporaryDirectory

    from attrs import evolve

    from governed_db.cli import judging
    from governed_db.policy.settings import AuditSettings

    settings = evolve(policy.settings, audit=AuditSettings())
    with (
        TemporaryDirectory(prefix="governed-db-test-", ignore_cleanup_errors=True) as folder,
        judging.judge(evolve(policy, settings=settings), dsn, state_dir=folder) as judge,
    ):
        yield judge


@contextmanager
def _throwaway(policy: Policy) -> Iterator[str | None]:
    """Start a PostgreSQL of its own and fill it, where the policy names a schema; else yield ``None``."""
    if not policy.suite.schema:
        yield None
        return
    import psycopg

    from governed_db.testing import EmbeddedPostgres

    schema = Path(policy.name).parent / policy.suite.schema
    script = schema.read_bytes()
    if b"\0" in script:
        raise ValueError(f"{schema}: it holds a NUL byte, at which PostgreSQL would stop reading")
    with EmbeddedPostgres() as server:
        dsn = server.create_database("policy_test")
        with psycopg.connect(dsn, autocommit=True) as connection:
            try:
                connection.execute(script)
            except psycopg.Error as error:
                raise ValueError(f"{schema}: {error.diag.message_primary or error}") from error
        yield dsn


def _ask(judge: Judge, example: Example) -> Judged:
    return judge.ask(
        example.sql,
        example.params,
        identity=example.identity,
        at=example.at,
        environment=example.environment,
    )


def difference(example: Example, judged: Judged) -> str | None:
    """Return in what ``judged`` differs from what ``example`` expects, or ``None``."""
    decision = judged.decision
    got = _answer(decision.verdict, decision.rule)
    if decision.verdict is not example.expect or (example.rule and decision.rule != example.rule):
        return f"expected {_answer(example.expect, example.rule)}, got {got}"
    if example.masked is None or judged.masks is None:
        return None
    names = {mask.name for mask in judged.masks}
    missing = [m for m in example.masked if not any(_names(m, name) for name in names)]
    more = sorted(name for name in names if not any(_names(m, name) for m in example.masked))
    said = [f"{', '.join(missing)} comes back unmasked"] if missing else []
    said += [f"{', '.join(more)} comes back masked"] if more else []
    return f"got {got} as expected, but {' and '.join(said)}" if said else None


def _answer(verdict: str, rule: str) -> str:
    word = _WORDS.get(verdict, str(verdict))
    return f"{word} by rule '{rule}'" if rule else word


def _names(written: str, name: str) -> bool:
    """Return whether ``written`` is ``schema.relation.column`` or its last part or two."""
    return name == written or name.endswith(f".{written}")


def warnings(policy: Policy, catalog: Catalog | None) -> list[str]:
    """Return what ``policy`` names and ``catalog`` does not have: most often a slip of the pen."""
    if catalog is None:
        return []
    from governed_db import masking
    from governed_db.masking import reviewed
    from governed_db.policy.patterns import Match, match_relation
    from governed_db.statement.facts import RelationName

    relations = [RelationName(r.schema, r.name) for r in catalog.relations.values()]
    found = [
        f"{rule.origin}: rule '{rule.id}': no relation of the database matches '{pattern}'"
        for rule in policy.rules
        for pattern in rule.when.relations or ()
        if not any(match_relation(pattern, relation) is Match.YES for relation in relations)
    ]
    settings = policy.settings.masking
    given, said = reviewed.overrides(catalog, settings.columns, settings.reviewed)
    outdated = [f"{settings.classification}: {path}: {why}; it is masked" for path, why in said.stale]
    unused = masking.unused((*settings.strategies, *settings.equality), given.values())
    told = [f"{policy.name}: {each}" for each in (*masking.stale(catalog, given), *unused)]
    return found + told + outdated


def _unseen(policy: Policy, trail: str | None) -> list[str]:
    """Return a warning for each service that the policy names and that the trail has never seen."""
    if trail is None:
        return []
    from governed_db.audit import reader

    missing = set(policy.settings.services)
    for entry in reader.statements(Path(trail)):
        if not missing:
            break
        who = entry.get("who")
        if isinstance(who, dict) and who.get("kind") == "service":
            missing.discard(str(who.get("subject")))
    return [f"{policy.name}: services: the trail has never seen '{name}'" for name in sorted(missing)]


def _print_text(
    policy: Policy,
    failures: list[tuple[Example, str]],
    warned: list[str],
    untold: int,
    *,
    database: bool,
) -> None:
    for example, said in failures:
        because = f" ({example.because})" if example.because else ""
        print(clean(f"{policy.name}:{example.line}: {said}{because}"))
    for warning in warned:
        print(clean(f"warning: {warning}"))
    count = len(policy.suite.examples)
    judged = "with the catalog of a database" if database else "by the grammar alone"
    print(f"{count} examples judged {judged}: {count - len(failures)} hold, {len(failures)} do not")
    if untold:
        print(
            f"{untold} of them say what is masked, which only a database can tell: use --dsn or [test] schema"
        )


def _print_json(
    policy: Policy,
    failures: list[tuple[Example, str]],
    warned: list[str],
    untold: int,
    *,
    database: bool,
) -> None:
    print_json(
        {
            "policy": policy.name,
            "version": policy.version,
            "database": database,
            "examples": len(policy.suite.examples),
            "failures": [{"line": e.line, "message": said, "because": e.because} for e, said in failures],
            "warnings": warned,
            "masks_not_judged": untold,
        }
    )
