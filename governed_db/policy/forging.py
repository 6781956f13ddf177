"""Whether a statement changes, or can change, the settings by which the server is told who asks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

from governed_db.statement.facts import Access, EffectKind, Statement

if TYPE_CHECKING:
    from governed_db.catalog.bound import Bound

PREFIX: Final = "governed_db."
"""What the settings begin with. PostgreSQL compares their names without regard to case (guc_name_compare),
and effects name them in small letters."""

_EVERYTHING: Final = frozenset({"all", "discard all"})


def forges(statement: Statement, bound: Bound | None) -> str:
    """Say how ``statement`` would change who asks, or why nobody can tell; "" where it does not."""
    effects = statement.effects if bound is None else (*statement.effects, *bound.effects)
    for effect in effects:
        if effect.kind is EffectKind.FUNCTION and effect.name in _SET_CONFIG and "," in effect.note:
            # Where it is called by its name, that is a SET; this is a default, an aggregate, a view ...
            return f"it reaches set_config() where its arguments cannot be told ({effect.note})"
        if effect.kind is not EffectKind.SET:
            continue
        how = f" ({effect.note})" if effect.note else ""
        if effect.name.startswith(PREFIX):
            return f"it sets {effect.name}{how}"
        if not effect.name:
            return f"it sets a setting whose name cannot be told{how}"
        if effect.name in _EVERYTHING and (statement.commands != 1 or statement.tag not in _RESETS):
            return f"it resets all settings and does more{how}"
    if bound is not None and any(
        u.access in _CHANGES and str(u.relation) == "pg_catalog.pg_settings" for u in bound.relations
    ):
        return "it changes settings through pg_settings, where their names cannot be told"
    for name in _function_settings(statement):
        if name.startswith(PREFIX):
            return f"it makes a function that sets {name} while it runs"
    return ""


def goes_on(statement: Statement, *, moved: bool) -> bool:
    """Return whether commands follow in the same text on an end of the transaction that they are sent in.

    What was said of the caller in the transaction ends with it. ``moved``: some of it was said after the
    transaction began, so that ROLLBACK TO can take it back as well.
    """
    over = False
    for command in statement.tree:
        control: dict[str, Any] | None = command.get("stmt", {}).get("TransactionStmt")
        if control is None:
            if over:
                return True
        elif control.get("kind") in _ENDS or (moved and control.get("kind") == "TRANS_STMT_ROLLBACK_TO"):
            over = True
    return False


_ENDS: Final = frozenset({"TRANS_STMT_COMMIT", "TRANS_STMT_ROLLBACK", "TRANS_STMT_PREPARE"})
_CHANGES: Final = frozenset({Access.INSERT, Access.UPDATE, Access.DELETE})
_SET_CONFIG: Final = frozenset({"set_config", "pg_catalog.set_config"})
_RESETS: Final = frozenset(
    {"RESET", "DISCARD ALL", "ALTER ROLE", "ALTER DATABASE", "ALTER SYSTEM", "ALTER FUNCTION"}
)


def _function_settings(statement: Statement) -> Iterator[str]:
    """Yield the settings in the SET clauses of CREATE FUNCTION and CREATE PROCEDURE."""
    for command in statement.tree:
        made: dict[str, Any] = command.get("stmt", {}).get("CreateFunctionStmt", {})
        for option in made.get("options", ()):
            element = option.get("DefElem", {})
            if element.get("defname") == "set":
                yield str(element.get("arg", {}).get("VariableSetStmt", {}).get("name", "")).lower()
