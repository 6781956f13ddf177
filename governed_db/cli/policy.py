"""``governed-db policy``: a policy held to its examples, explained, learned, tried out on the trail."""

from __future__ import annotations

from typing import Any

from governed_db.cli import learn, policy_explain, policy_test, simulate


def add(commands: Any) -> None:
    """Add the group to argparse's ``commands``."""
    parser = commands.add_parser(
        "policy",
        help="test, explain, learn or simulate a policy",
        description="Work on a policy before it is in force.",
    )
    group = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    policy_test.add(group)
    policy_explain.add(group)
    learn.add(group)
    simulate.add(group)
