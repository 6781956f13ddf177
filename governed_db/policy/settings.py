"""What a policy file settles besides rules: masking, limits, the journal, the catalog."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final, Literal

from attrs import field, frozen

from governed_db.approval.people import People
from governed_db.identity.issuer import LEEWAY, Issuer
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


VALID_SECONDS: Final = 900
"""How long an answer holds: long enough for a person and a retry, short enough that the data the approver
looked at is still the data."""

ASK_SECONDS: Final = 86_400
"""How long a question waits: whoever is asleep now is awake within a day."""

POLL_SECONDS: Final = 1.0
"""How often a process looks at the store: for the answer it waits for, and for grants. A revocation holds
after so long at the latest."""

HEADROOM_PERCENT: Final = 10
"""How many more rows than were counted an approved statement may touch: rows come while people think."""

PROBE_ROWS: Final = 100_000
"""Rows that are counted for approvers. Beyond it the number says "very many" to anybody."""

PROBE_TIMEOUT_MS: Final = 2_000
"""Milliseconds that counting may take. The caller waits for it, once for each request."""

MOST_OPEN: Final = 1000
"""Open questions of one caller: nobody answers more, and an agent in a loop must not fill the store."""

KEEP_DAYS: Final = 90
"""How long answered and expired requests are kept for people to look at. What counts as evidence is the
journal, which keeps its own time."""

EFFECT_ROWS: Final = 500
"""Rows of a write whose effect people agree to: they are looked at one by one."""


@frozen(kw_only=True)
class ApprovalSettings:
    """``[approvals]``, ``[[approver]]`` and ``[[authority]]``.

    Attributes:
        store: "sqlite" (a file in the state folder) or "postgresql".
        dsn_file: a private file with the address of the latter; ``None``: GOVERNED_DB_APPROVALS_DSN has it.
        people: whose answers count.
        valid_seconds: how long an answer holds.
        ask_seconds: how long a question waits for one.
        wait_seconds: how long a call waits for people where it does not say otherwise; 0: not at all.
        poll_seconds: how often a process looks at the store.
        headroom_percent: how many more rows than were counted an approved statement may touch.
        probe_rows, probe_timeout_ms: how far the rows of a request are counted, and for how long.
        most_open: how many open questions one caller may have.
        keep_days: how long requests are kept after they ended.
        effect_rows: how many rows people can agree to one by one.
    """

    store: str = "sqlite"
    dsn_file: Path | None = None
    people: People = field(factory=People)
    valid_seconds: int = VALID_SECONDS
    ask_seconds: int = ASK_SECONDS
    wait_seconds: float = 0.0
    poll_seconds: float = POLL_SECONDS
    headroom_percent: int = HEADROOM_PERCENT
    probe_rows: int = PROBE_ROWS
    probe_timeout_ms: int = PROBE_TIMEOUT_MS
    most_open: int = MOST_OPEN
    keep_days: int = KEEP_DAYS
    effect_rows: int = EFFECT_ROWS


NOTIFY_TIMEOUT: Final = 10.0
"""Seconds that telling somebody of one request may take; both Slack and webhooks answer in tenths of one."""

SLACK_API: Final = "https://slack.com/api/"
"""Where Slack's Web API is (https://docs.slack.dev/apis/web-api)."""


@frozen(kw_only=True)
class NotifySettings:
    """One ``[[notify]]``: who is told of requests, and of which.

    Tokens and secrets are not in here: they are in the environment, or in private files.

    Attributes:
        name: tells notifiers apart, on record and in the names of environment variables.
        slack: a channel of Slack, ``#name`` or its id, "" where it is not Slack.
        webhook: an address that gets a signed POST, "" where it is no webhook.
        plugin: a notifier of another package, by the name of its entry point; ``options`` are handed to it.
        rules: of requests by these rules alone; empty: by any.
        approvers: of requests for members of one of these groups alone; empty: of any.
        token_file: Slack's bot token.
        secret_file: what webhooks are signed with; the signing secret of Slack's app.
        api: Slack's Web API.
        timeout: seconds that telling of one request may take.
    """

    name: str
    slack: str = ""
    # An address may hold a user, a password or a key.
    webhook: str = field(default="", repr=False)
    plugin: str = ""
    options: Mapping[str, str | int | float | bool] = field(factory=dict, repr=False)
    rules: frozenset[str] = frozenset()
    approvers: frozenset[str] = frozenset()
    token_file: Path | None = None
    secret_file: Path | None = None
    api: str = SLACK_API
    timeout: float = NOTIFY_TIMEOUT


REQUIRE: Final = ("nobody", "named", "principal", "verified")
"""The least that can be demanded to be known of callers, from nothing to an issuer's word."""

ANNOUNCEMENTS: Final = ("settings", "application_name", "comment")
"""How the server can be told who asks."""

ANNOUNCE_IN: Final = ("session", "transaction")
"""How long the server can be told so at a time."""


@frozen(kw_only=True)
class CallersSettings:
    """``[callers]``: what has to be known of who asks, and what the server is told of it.

    Attributes:
        require: the least that has to be known of every caller: "nobody" (nothing), "named",
            "principal" (for whom all is done in the end is verified) or "verified" (everybody in the chain
            is).
        verified: of whom more is demanded: whom one of these fits has to be verified.
        leeway: seconds for which a verified identity goes on being used when its token has expired.
        announce: by which of :data:`ANNOUNCEMENTS`. Where the policy does not enforce, nothing is said. A
            comment is not in the default: no statement with a ``traceparent`` is the same twice, so that none
            is prepared.
        announce_in: "session", so that in autocommit it is said once and holds until the caller changes; or
            "transaction", for poolers that lend a server's session for one transaction: nothing is left.
    """

    announce: frozenset[str] = frozenset({"settings", "application_name"})
    announce_in: str = "session"
    require: str = "nobody"
    verified: tuple[IdentityCondition, ...] = ()
    leeway: float = LEEWAY


LONGEST_GRANT: Final = 86_400
"""Seconds a grant may last: a working day, or a night on call. What is right for longer is a rule."""


@frozen(kw_only=True)
class GrantSettings:
    """``[grants]``: who may allow whom more for a while.

    Attributes:
        enabled: whether grants count at all.
        signers: groups of which a signer has to be a member; empty: everybody whom the policy names as an
            approver.
        longest_seconds: how long a grant may last.
        never: ids of rules that no grant waives.
        never_columns: patterns of columns that no grant clears.
    """

    enabled: bool = True
    signers: tuple[str, ...] = ()
    longest_seconds: int = LONGEST_GRANT
    never: tuple[str, ...] = ()
    never_columns: tuple[str, ...] = ()


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
    issuers: tuple[Issuer, ...] = ()
    masking: MaskingSettings = MaskingSettings()
    limits: Mapping[str, int] = field(factory=dict)
    audit: AuditSettings = AuditSettings()
    catalog: CatalogSettings = CatalogSettings()
    callers: CallersSettings = CallersSettings()
    approvals: ApprovalSettings = ApprovalSettings()
    grants: GrantSettings = GrantSettings()
    notify: tuple[NotifySettings, ...] = ()
