"""The rows that people agree to: keys, and values before and after, digested."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from attrs import evolve, field, frozen


@frozen(kw_only=True)
class ChangedRow:
    """One row as approvers are shown it: texts, masked as they may see them; ``None`` is NULL.

    ``before`` is empty for a row that comes, ``after`` for one that goes. In the order of
    :attr:`Effect.columns`.
    """

    key: tuple[str, ...]
    before: tuple[str | None, ...] = ()
    after: tuple[str | None, ...] = ()


@frozen(kw_only=True)
class Effect:
    """What a write would do to which rows.

    Attributes:
        digest: SHA-256 over keys and values, unmasked, in hexadecimal; nothing of them can be told from it
            without ``salt``'s owner guessing all of them at once.
        salt: random bytes that go into the digest, in hexadecimal.
        rows: how many rows.
        relation: which table, by qualified name.
        key, columns: the names of what identifies a row, and of the columns shown.
        shown: the first rows, for people.
    """

    digest: str
    salt: str = field(repr=False)
    rows: int
    relation: str
    key: tuple[str, ...]
    columns: tuple[str, ...]
    shown: tuple[ChangedRow, ...] = field(default=(), repr=False)

    def without_rows(self) -> Effect:
        """Return it without what people are shown, and without the salt: whoever has it could try values."""
        return evolve(self, shown=(), salt="")

    def plain(self) -> dict[str, Any]:
        """Return it as JSON holds it."""
        return {
            "digest": self.digest,
            "salt": self.salt,
            "rows": self.rows,
            "relation": self.relation,
            "key": list(self.key),
            "columns": list(self.columns),
            "shown": [
                {"key": list(row.key), "before": list(row.before), "after": list(row.after)}
                for row in self.shown
            ],
        }

    @classmethod
    def read(cls, data: Mapping[str, Any]) -> Effect:
        """Read what :meth:`plain` wrote.

        Raises:
            KeyError, TypeError: it is not that.
        """
        return cls(
            digest=data["digest"],
            salt=data["salt"],
            rows=data["rows"],
            relation=data["relation"],
            key=tuple(data["key"]),
            columns=tuple(data["columns"]),
            shown=tuple(
                ChangedRow(key=tuple(row["key"]), before=tuple(row["before"]), after=tuple(row["after"]))
                for row in data["shown"]
            ),
        )
