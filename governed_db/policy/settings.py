"""What a policy file settles besides rules: masking, limits, the journal, the catalog."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final, Literal

from attrs import field, frozen

from governed_db.identity.model import Identity
from governed_db.masking.model import Terms, Treatment
from governed_db.masking.report import Entries
from governed_db.policy.rules import IdentityCondition

SAMPLE_ROWS = 200
"""What shows in one row of fifty shows in 200 with a probability of .98 (1 - .98 ** 200). It is a
millisecond's work for the server, and some ten for this process."""

SAMPLE_TIMEOUT_MS = 500
"""Hundreds of times what a sample takes; what a caller notices, once, where a table is locked."""

SAMPLE_AGAIN = 10.0
"""Seconds: how long what fills an empty table can go unseen. A sample costs a millisecond or two."""


@frozen(kw_only=True)
class MaskingSettings:
    """``[masking]``.

    Attributes:
        on: whether sensitive columns are masked at all.
        derived: what becomes of a sensitive column that is used otherwise than by handing it out.
        unmasked: who reads unmasked.
        columns: ``schema.relation.column``, unquoted, to the label somebody gave it, or to ``None`` for
            "not sensitive".
        strategies: label to what becomes of its values.
        equality: labels whose columns may be compared for equality with values that a caller gives.
        lookups: who may give a token back for the value it stands for.
        keys: the file of the keys for masks that need one, ``None`` where the application gives them or
            the environment does.
        write: "allow" or "refuse": whether callers may write columns that they read masked.
        classification: the file of reviewed columns, ``None`` where there is none.
        reviewed: what that file says.
        sample: whether values are looked at where names leave a column undecided.
        sample_rows: rows of a relation that are looked at.
        sample_timeout_ms: milliseconds that looking at one relation may take, waiting for locks included.
        sample_again: seconds after which a column is looked at again that had too few values to tell, or
            could not be looked at.
    """

    on: bool = True
    derived: str = "refuse"
    unmasked: tuple[IdentityCondition, ...] = ()
    columns: Mapping[str, str | None] = field(factory=dict)
    strategies: Mapping[str, Treatment] = field(factory=dict)
    equality: frozenset[str] = frozenset()
    lookups: tuple[IdentityCondition, ...] = ()
    write: str = "allow"
    keys: Path | None = None
    classification: Path | None = None
    reviewed: Entries = field(factory=dict, repr=False)
    sample: bool = True
    sample_rows: int = SAMPLE_ROWS
    sample_timeout_ms: int = SAMPLE_TIMEOUT_MS
    sample_again: float = SAMPLE_AGAIN

    def terms(self, caller: Identity, services: frozenset[str]) -> Terms:
        """Return what all this says to ``caller``; ``services`` are those that the policy names."""
        return Terms(
            treatments=self.strategies,
            redacts=self.derived == "redact",
            equality=self.equality,
            resolves=any(condition.holds(caller, services) for condition in self.lookups),
            writes=self.write == "allow",
        )


CATALOGS_KEPT = 200
"""Catalogs that the archive keeps, the least recently used go first: some 95 KB each, 19 MB in all. A new one
comes with each change of a definition, and with each temporary table that a session makes."""


Durability = Literal["process", "group", "disk", "remote"]
"""What a record survives: the process; the machine but for the last window; the machine; its disk as well."""

GROUP_WINDOW_MS: Final = 10
"""Milliseconds in which "group" brings records to the disk. Less than people notice; and one write of 0.3 to
3 ms in each leaves the device to others."""


CHECKPOINT_SECONDS: Final = 60
"""Seconds between two checkpoints while records come: what is younger can be taken away without a trace. A
signature and its fsyncs cost some milliseconds."""

CHECKPOINT_RECORDS: Final = 10_000
"""Records after which a checkpoint is signed at once: under load, what is not yet signed stays small."""


@frozen(kw_only=True)
class AuditSettings:
    """``[audit]``. ``directory`` is ``None`` where the state folder decides.

    ``catalogs``: whether the catalogs that statements ran on are kept ("keep") or not ("off"), for
    simulations; ``catalogs_kept``: how many. ``durability``: what a record survives, "process", "group" or
    "disk" (``governed_db.audit.commit``), or "remote" (``governed_db.audit.acknowledge``);
    ``group_window_ms``: milliseconds in which "group" brings it to the disk.
    ``values``: what of values is on record, "none", "digest" or "encrypted" (``governed_db.audit.values``).
    ``checkpoint_seconds``, ``checkpoint_records``: after how long, and how many records, the log is signed;
    ``witness``: a file elsewhere that gets a copy of each checkpoint; ``timestamp``: the address of a time
    stamp authority; ``ship``: of a collector ("" where there is none).
    ``keep_days`` and ``keep_mb``: how long records are kept, and how much of them
    (``governed_db.audit.retention``); 0: for ever, and however much. That is the default: how long is for law
    and contract to say, not for a library.
    """

    on_failure: str = "refuse"
    durability: Durability = "process"
    group_window_ms: int = GROUP_WINDOW_MS
    values: str = "digest"
    checkpoint_seconds: int = CHECKPOINT_SECONDS
    checkpoint_records: int = CHECKPOINT_RECORDS
    witness: Path | None = None
    # An address may hold a user, a password or a key.
    timestamp: str = field(default="", repr=False)
    ship: str = field(default="", repr=False)
    keep_days: int = 0
    keep_mb: int = 0
    directory: Path | None = None
    catalogs: str = "keep"
    catalogs_kept: int = CATALOGS_KEPT


@frozen(kw_only=True)
class CatalogSettings:
    """``[catalog]``. ``max_age``: seconds a snapshot is believed while nothing tells of a change.

    2.0 is the exposure window for definitions changed by other sessions that the documentation names.
    """

    max_age: float = 2.0


@frozen(kw_only=True)
class Settings:
    """Everything a policy holds besides its rules.

    ``environment``: where it runs, "" where the file does not say. ``limits`` is handed to the reader of
    statements as it stands (max_bytes, max_tokens, max_depth); what is not in it keeps the reader's default.
    """

    enforce: bool = True
    environment: str = ""
    identity: Identity | None = None
    services: frozenset[str] = frozenset()
    masking: MaskingSettings = MaskingSettings()
    limits: Mapping[str, int] = field(factory=dict)
    audit: AuditSettings = AuditSettings()
    catalog: CatalogSettings = CatalogSettings()
