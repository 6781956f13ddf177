"""The log of a journal's folder: the files in ``log/``, appended to by one process at a time and signed.

``entries``
    what was taken up, in order (:mod:`governed_db.audit.entry`), 112 bytes each.
``leaves``
    the hashes of the tree's leaves, 32 bytes each.
``checkpoints``
    every checkpoint that was signed, oldest first, an empty line behind each.
``origin``
    the log's name, drawn at random.
``state``
    where the next sequencer goes on, so that it need not read everything. Only a help: it is made anew
    where it is missing or does not give the root of the last checkpoint.
``lock``
    who holds a ``flock`` on it sequences.

Leaves and entries are on the disk before a checkpoint over them is signed. A process that is killed leaves
at most an unfinished end behind the last checkpoint, which the next one cuts off and takes up again from
the segments. What a checkpoint has signed is never written again: if it is not there as it was signed,
nothing more is signed and :class:`Contradicted` says why.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import time
import weakref
import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from governed_db import note
from governed_db.audit import logstate, tree, witness
from governed_db.audit.checkpoint import Checkpoint
from governed_db.audit.entry import ENTRY_SIZE, MOST_RECORDS, Entry, Kind, entry_hash
from governed_db.audit.folder import settle
from governed_db.audit.logfiles import FOLDER, append, replace, write
from governed_db.audit.logstate import State
from governed_db.audit.regular import buffered, descriptor
from governed_db.audit.scan import created, named
from governed_db.audit.signing import Signer

if TYPE_CHECKING:
    from governed_db.audit.retention import Retired

LOCK_RETRY = 0.02
"""Seconds between two tries for the lock. Whoever has it needs some milliseconds, or a second after a
burst."""

_LAST_NOTES = 4 * note.MAX_NOTE
_SIGNED = (Kind.KEY, Kind.RETIRED)  # what nobody but a holder of the key may say: nothing else proves it


class Contradicted(Exception):  # noqa: N818 - named for what has happened, as the errors of the package are
    """The log's files are not what its last checkpoint signed, or another key is in force.

    Attributes:
        remedy: what would help.
    """

    def __init__(self, message: str, *, remedy: str = "") -> None:
        super().__init__(message)
        self.remedy = (
            remedy or "keep the folder as it is, and find out what happened: governed-db audit verify"
        )


class OtherKey(Contradicted):
    """The key in force is not the one that this process has; it may be being changed right now."""


class Log:
    """A log, for whoever sequences it; one thread at a time. Everything but :meth:`hold` is for its holder.

    Args:
        folder: the journal's.
        signer: returns what signs; asked again when another key than before is in force.
        witnesses: files that get a copy of every checkpoint.
        origin: the log's name, where one is to be given to a new log; by default it is drawn.
    """

    def __init__(
        self,
        folder: Path,
        signer: Callable[[], Signer],
        *,
        witnesses: tuple[Path, ...] = (),
        origin: str = "",
    ) -> None:
        if origin and not note.speakable(origin):
            raise ValueError("a log's name has no spaces and no plus")
        self.folder = Path(folder)
        self.place = self.folder / FOLDER
        self.signer = signer
        self.witnesses = witnesses
        self.origin = ""
        self.state = State()
        self.last: Checkpoint | None = None
        self.last_note = b""
        self.witness_failures = 0
        self._wanted_origin = origin
        self._seen: tuple[tuple[int, int], ...] = ()
        self._lock = self._leaves = self._entries = -1
        _logs.add(self)

    @contextlib.contextmanager
    def hold(self, timeout: float) -> Iterator[bool]:
        """Hold the log: yields whether it could be had within ``timeout`` seconds.

        Raises:
            Contradicted: its files are not what was signed.
            KeyUnusable: there is nothing to sign with.
            AuditUnavailable: others can write to the folder.
            OSError: the files cannot be read or written.
        """
        settle(self.folder)
        settle(self.place)
        self._lock = os.open(self.place / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            held = self._wait(timeout)
            if held:
                self._open()
            yield held
            if held:
                self._seen = self._sizes()
        finally:
            self.release()

    def in_force(self) -> bytes:
        """Return the public key in force as the files say, unverified; ``b""`` if nothing is signed yet."""
        key = b""
        try:
            signed, _ = witness.last_note(self.place / "checkpoints", _LAST_NOTES)
            size = Checkpoint.parse(note.Note.parse(signed).text).size if signed else 0
            with buffered(self.place / "entries") as file:
                while (entry := Entry.unpack(file.read(ENTRY_SIZE))) is not None and entry.at < size:
                    if entry.kind is Kind.KEY:
                        key = entry.data
        except FileNotFoundError:
            pass
        with contextlib.suppress(FileNotFoundError):
            self.origin = _text(self.place / "origin")
        return key

    def following(self, journal: int, index: int) -> int:
        """Return the sequence that comes next in a journal, of which segment ``index`` is to be taken up."""
        known = self.state.journals.get(journal)
        if known is None:
            known = 1
            # The state forgets journals without a file; one may have been taken away and written again.
            for number in range(self.state.entries if index else 0):
                entry = Entry.unpack(os.pread(self._entries, ENTRY_SIZE, number * ENTRY_SIZE))
                if entry is not None and entry.journal == journal and entry.kind in (Kind.RUN, Kind.GAP):
                    known = max(known, entry.first + (entry.count or entry.length))
            self.state.journals[journal] = known
        return known

    def append(self, entry: Entry, hashes: bytes = b"") -> None:
        """Append an entry, and the hashes of the records that it is about."""
        entry = entry.placed(self.state.known.size, hashes, time.time_ns() // 1000)
        packed = entry.pack()
        leaves = entry_hash(packed) + hashes
        write(self._leaves, leaves, entry.at * tree.HASH_SIZE)
        write(self._entries, packed, self.state.entries * ENTRY_SIZE)
        self._took(entry, leaves)

    def sign(self, *also: Signer) -> bytes | None:
        """Sign a checkpoint over all leaves, if there are new ones; return the note, ``None`` if there are
        none.

        ``also`` are signers beside the one in force: the next one, where the key is changed.

        Raises:
            OSError: the disk or a witness failed. A checkpoint that a witness missed is written all the same.
        """
        size = self.state.known.size
        if self.last is not None and self.last.size == size:
            return None
        os.fdatasync(self._leaves) if hasattr(os, "fdatasync") else os.fsync(self._leaves)
        os.fsync(self._entries)
        checkpoint = Checkpoint(self.origin, size, tree.root(self.state.known))
        signers = [self._signer(), *also]
        signed = note.sign(checkpoint.text, *((s.named(self.origin), s.sign) for s in signers)).dump()
        append(self.place / "checkpoints", signed + b"\n")
        self.last, self.last_note = checkpoint, signed
        logstate.keep(self.folder, self.origin, self.state, signers[0])
        for path in self.witnesses:
            try:
                witness.append(path, signed)
            except OSError:
                self.witness_failures += 1
        return signed

    def retire(self, segments: Iterable[Retired]) -> None:
        """Append that these segments go. It counts once it is signed.

        Raises:
            Contradicted: one is not taken up to its end, whatever the file ``state`` said of it.
        """
        going = [one for one in segments if one.path.exists()]  # another process may have been faster
        for segment in going:
            if not self.state.segments.get(segment.path.name, (0, False))[1]:
                raise Contradicted(f"The segment {segment.path.name} is not in the log to its end.")
        for segment in going:
            name = named(segment.path)
            if name is not None:
                self.append(
                    Entry(
                        kind=Kind.RETIRED,
                        journal=int(name.journal, 16),
                        created=created(name),
                        index=name.index,
                        first=segment.first,
                        length=segment.last - segment.first + 1,
                    )
                )

    def release(self) -> None:
        """Let go of everything. May be called again."""
        for name in ("_leaves", "_entries", "_lock"):
            descriptor = getattr(self, name)
            setattr(self, name, -1)
            if descriptor >= 0:
                os.close(descriptor)

    # -- opening

    def _wait(self, timeout: float) -> bool:
        until = time.monotonic() + timeout
        while True:
            try:
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() >= until:
                    return False
                time.sleep(LOCK_RETRY)
            else:
                return True

    def _open(self) -> None:
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW
        self._leaves = descriptor(self.place / "leaves", flags)
        self._entries = descriptor(self.place / "entries", flags)
        if not self._seen or self._seen != self._sizes():
            self._read()
        if self.state.entries == 0:
            self.append(Entry(kind=Kind.KEY, data=self.signer().public))
        self._signer()
        for path in self.witnesses:
            self._ask(path)

    def _read(self) -> None:
        was, before = self.origin, self.last
        self._name()
        if was and was != self.origin:
            raise Contradicted(f"The log {was} in {self.place} was replaced by the log {self.origin}.")
        self._last_checkpoint()
        if before is not None and (
            self.last is None
            or self.last.size < before.size
            or (self.last.size == before.size and self.last != before)
        ):
            self.last = before  # so that it is not forgotten with the next look
            raise Contradicted(
                f"This process knows a checkpoint of {before.size} leaves of the log in {self.place}, which"
                " is gone: it was rolled back or forked."
            )
        helped = logstate.kept(self.folder, self.origin, self.signer().named(self.origin))
        # It is written after the checkpoint that it belongs to.
        if helped.known.size > (0 if self.last is None else self.last.size):
            raise Contradicted(
                f"The log in {self.place} was signed at {helped.known.size} leaves, and that checkpoint is"
                " gone."
            )
        try:
            self._replay(helped)
        except Contradicted:
            if helped.entries == 0:
                raise
            self._replay(State())
        # Behind the last checkpoint, what is not whole was never finished.
        os.ftruncate(self._leaves, self.state.known.size * tree.HASH_SIZE)
        os.ftruncate(self._entries, self.state.entries * ENTRY_SIZE)

    def _name(self) -> None:
        path = self.place / "origin"
        try:
            self.origin = _text(path)
        except FileNotFoundError:
            if self._seen or any(self._sizes()[at][1] for at in range(3)):
                raise Contradicted(f"The log in {self.place} has lost its name, the file 'origin'.") from None
            self.origin = self._wanted_origin or f"governed-db.trail/{secrets.token_hex(16)}"
            replace(path, self.origin.encode() + b"\n")
        except UnicodeDecodeError:
            self.origin = ""
        if not note.speakable(self.origin):
            raise Contradicted(f"The name of the log in {self.place}, the file 'origin', is no name.")

    def _last_checkpoint(self) -> None:
        path = self.place / "checkpoints"
        self.last, self.last_note = None, b""
        try:
            last, good = witness.last_note(path, _LAST_NOTES)
        except FileNotFoundError:
            return
        if good < path.stat().st_size:
            os.truncate(path, good)
        if last:
            try:
                self.last = Checkpoint.parse(note.Note.parse(last).text)
            except ValueError as error:
                raise Contradicted(f"The last checkpoint in {path} cannot be read: {error}.") from None
            self.last_note = last
            if self.last.origin != self.origin:
                raise Contradicted(f"The last checkpoint in {path} is of another log, {self.last.origin}.")

    def _replay(self, start: State) -> None:
        """Read the entries behind ``start``, as far as they are whole, and hold them to the last
        checkpoint."""
        self.state = start
        last = self.last
        held = os.fstat(self._leaves).st_size // tree.HASH_SIZE, os.fstat(self._entries).st_size // ENTRY_SIZE
        if held[0] < start.known.size or held[1] < start.entries:
            raise Contradicted(
                f"The files of the log in {self.place} end before what was signed: they were cut."
            )
        key = start.key
        if last is not None and start.known.size == last.size and tree.root(start.known) != last.root:
            raise Contradicted("The log's state is not what its last checkpoint signed.")
        while (found := self._whole()) is not None:
            entry, leaves = found
            if entry.kind in _SIGNED and self.state.entries and (last is None or entry.at >= last.size):
                break  # stopped before it was signed, or put there by somebody who has no key
            before = self.state.known.size
            if last is not None and before < last.size and entry.end > last.size:
                raise Contradicted(f"The last checkpoint, of {last.size} leaves, ends within an entry.")
            self._took(entry, leaves)
            if last is not None and entry.end == last.size:
                key = self.state.key
                if tree.root(self.state.known) != last.root:
                    raise Contradicted(
                        f"The first {last.size} leaves of the log in {self.place} do not have the root that"
                        " its last checkpoint signed: they were changed."
                    )
        if last is None:
            return
        if self.state.known.size < last.size:
            raise Contradicted(
                f"The log in {self.place} is whole up to leaf {self.state.known.size} and was signed up to"
                f" {last.size}: it was cut or changed."
            )
        try:
            signers = note.Note.parse(self.last_note).signers([note.VerifierKey(self.origin, key)])
        except note.BadNote:
            signers = ()
        if not signers:
            raise Contradicted(
                f"The last checkpoint in {self.place}, of {last.size} leaves, is not signed by the log's key."
            )

    def _whole(self) -> tuple[Entry, bytes] | None:
        packed = os.pread(self._entries, ENTRY_SIZE, self.state.entries * ENTRY_SIZE)
        entry = Entry.unpack(packed)
        if entry is None or entry.at != self.state.known.size or entry.count > MOST_RECORDS:
            return None
        wanted = (1 + entry.count) * tree.HASH_SIZE
        leaves = os.pread(self._leaves, wanted, entry.at * tree.HASH_SIZE)
        if len(leaves) < wanted or leaves[:32] != entry_hash(packed):
            return None
        return (entry, leaves) if zlib.crc32(leaves[32:]) == entry.hashes_crc else None

    def _took(self, entry: Entry, leaves: bytes) -> None:
        hashes = [leaves[at : at + 32] for at in range(0, len(leaves), 32)]
        self.state.known = tree.extend(self.state.known, hashes)
        self.state.entries += 1
        self.state.apply(entry)

    def _ask(self, path: Path) -> None:
        """Hold the log to what a witness has of it."""
        try:
            newest = witness.newest(path, self.origin)
        except (OSError, ValueError):
            return  # counted when a checkpoint cannot be written to it
        if newest is None:
            return
        size = 0 if self.last is None else self.last.size
        if newest.size > size:
            raise Contradicted(
                f"The witness {path} has a checkpoint of {newest.size} leaves of the log in"
                f" {self.place}, which"
                f" was last signed at {size}: it was rolled back."
            )
        if self.last is not None and newest.size == size and newest.root != self.last.root:
            raise Contradicted(f"The witness {path} has another root for {size} leaves: the log was forked.")

    def _signer(self) -> Signer:
        """Return what signs with the key in force.

        Raises:
            Contradicted: this process has another.
        """
        signer = self.signer()
        if signer.public != self.state.key:
            have, need = signer.named(self.origin), note.VerifierKey(self.origin, self.state.key)
            raise OtherKey(
                f"The log in {self.place} is signed with the key {need.id.hex()}, and this process has"
                f" {have.id.hex()}.",
                remedy="give this process the key in force, or rotate it: governed-db audit key --rotate;"
                " if it is lost, move the folder away and keep it: a new log begins",
            )
        return signer

    # -- the files

    def _sizes(self) -> tuple[tuple[int, int], ...]:
        """Return what tells whether somebody else wrote: inode and size of each file."""
        found = []
        for name in ("leaves", "entries", "checkpoints", "origin"):
            try:
                at = (self.place / name).stat()
            except FileNotFoundError:
                found.append((0, 0))
            else:
                found.append((at.st_ino, at.st_size))
        return tuple(found)


def rotate(log: Log, following: Signer, *, timeout: float = 30.0) -> bytes:
    """Make ``following`` sign from now on; return the checkpoint, signed with the old key and the new one.

    The new key is an entry of the log. Whoever trusts the old key learns it from this checkpoint, and whoever
    trusts the new one finds the old one in the tree; after it, the old key's signature is worth nothing more.

    Raises:
        TimeoutError: somebody else has the log.
        Contradicted, KeyUnusable, OSError: as for :meth:`Log.hold`.
    """
    with log.hold(timeout) as held:
        if not held:
            raise TimeoutError("another process is sequencing the log")
        log.sign()
        old = log.signer()
        log.append(Entry(kind=Kind.KEY, data=following.public))
        log.signer = lambda: following
        signed = log.sign(old)
        assert signed is not None
        return signed


def _text(path: Path) -> str:
    with buffered(path) as file:
        return file.read(note.MAX_NOTE).decode().removesuffix("\n")


_logs: weakref.WeakSet[Log] = weakref.WeakSet()


def _after_fork_in_child() -> None:
    # A copy of the lock's descriptor would keep the log locked for as long as the child lives.
    for log in list(_logs):
        log.release()
        log._seen = ()


os.register_at_fork(after_in_child=_after_fork_in_child)
