"""What is done to a trail is named by who verifies it."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import hypothesis.strategies as st
import pytest
from attrs import evolve
from hypothesis import HealthCheck, given, settings

from governed_db import note
from governed_db.audit import record, tree, witness
from governed_db.audit.checkpoint import Checkpoint
from governed_db.audit.entry import ENTRY_SIZE, Entry, Kind, entry_hash, record_hash
from governed_db.audit.journal import Journal
from governed_db.audit.layout import HEADER_SIZE, PREPARED, RECORD, Header, frame
from governed_db.audit.log import Contradicted, Log, rotate
from governed_db.audit.retention import Retired
from governed_db.audit.scan import Stored, scan
from tests.audit.trails import (
    Frames,
    checked,
    entries,
    entry_of,
    flip,
    frames,
    is_record,
    key,
    kinds,
    origin,
    rewrite,
    segments,
    sequencer,
    signer,
    write,
)


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Two writers that ended, one that lives; several segments; three checkpoints, all witnessed."""
    folder = tmp_path_factory.mktemp("pristine") / "journal"
    outside = folder.parent / "witness"
    keeper = sequencer(folder, witnesses=(outside,))
    write(folder, 150, "a")
    keeper.checkpoint()
    write(folder, 40, "b")
    living = write(folder, 30, "c", close=False)
    keeper.checkpoint()
    for n in range(10):
        living.append(record.event("test.event", number=n, note="later"))
    keeper.checkpoint()
    yield folder
    living.close()


@pytest.fixture
def trail(pristine: Path, tmp_path: Path) -> Path:
    shutil.copytree(pristine, tmp_path / "journal")
    shutil.copy(pristine.parent / "witness", tmp_path / "witness")
    return tmp_path / "journal"


def middle(folder: Path) -> Path:
    """A segment of the first writer that is neither its first nor its last."""
    return segments(folder)[1]


def test_what_nobody_touched_is_valid(pristine: Path) -> None:
    report = checked(pristine, witnesses=[pristine.parent / "witness"])
    assert report.valid, report
    assert report.findings == report.remarks == []
    assert report.checkpoints == report.outside == 3
    assert report.newest_outside == report.size
    assert report.records == sum(len([f for f in frames(p) if is_record(f)]) for p in segments(pristine))
    assert report.behind == 0


# -- records


def edited(found: Frames) -> Frames:
    kind, sequence, payload = found[5]
    return [*found[:5], (kind, sequence, payload.replace(b'"number":', b'"numbe7":')), *found[6:]]


def deleted(found: Frames) -> Frames:
    return found[:5] + found[6:]


def emptied(found: Frames) -> Frames:
    return [f for f in found if not is_record(f)]


def exchanged(found: Frames) -> Frames:
    """The two payloads change places; sequences and CRCs are right."""
    (kind, one, first), (_, two, second) = found[5], found[6]
    return [*found[:5], (kind, one, second), (kind, two, first), *found[7:]]


def shuffled(found: Frames) -> Frames:
    return [*found[:5], found[6], found[5], *found[7:]]


def doubled(found: Frames) -> Frames:
    return [*found[:6], found[5], *found[6:]]


def inserted(found: Frames) -> Frames:
    """A record more, and every number after it one higher."""
    kind, sequence, _ = found[5]
    rest = [(k, s + 1, p) for k, s, p in found[5:]]
    return [*found[:5], (kind, sequence, record.event("approval.granted", by="nobody")), *rest]


def appended(found: Frames) -> Frames:
    last = max(i for i, f in enumerate(found) if is_record(f))
    more = (RECORD, found[last][1] + 1, record.event("approval.granted", by="nobody"))
    return [*found[: last + 1], more, *found[last + 1 :]]


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        (edited, "edited"),
        (deleted, "deleted"),
        (emptied, "deleted"),
        (exchanged, "reordered"),
        (shuffled, "reordered"),
        (doubled, "inserted"),
        (appended, "inserted"),
    ],
)
def test_changed_records_are_named(trail: Path, change: Callable[[Frames], Frames], kind: str) -> None:
    path = middle(trail)
    sequence = frames(path)[5][1]
    rewrite(path, change)
    report = checked(trail)
    assert not report.valid
    assert kind in kinds(report), report.findings
    named = [f for f in report.findings if f.kind.value == kind]
    assert named[0].segment == path.name
    if change in (edited, deleted):
        assert [f.sequence for f in named] == [sequence]
    # The log itself is as it was signed, and nothing else is said of it.
    assert report.checkpoints == 3
    assert "forged" not in kinds(report)


def test_a_record_that_is_put_in_shows_whatever_is_renumbered(trail: Path) -> None:
    rewrite(middle(trail), inserted)
    report = checked(trail)
    assert {"edited", "deleted", "reordered", "inserted"} & kinds(report)
    assert not report.valid


def test_a_finding_names_the_record(trail: Path) -> None:
    path = middle(trail)
    rewrite(path, edited)
    (finding,) = [f for f in checked(trail).findings if f.sequence is not None]
    stored = next(s for s in scan(path) if isinstance(s, Stored) and s.sequence == finding.sequence)
    assert f'"id":"{finding.record}"'.encode() in stored.payload
    assert finding.journal == path.name.split("-")[1]


def test_a_byte_changed_without_the_crc_is_an_edit(trail: Path) -> None:
    path = middle(trail)
    flip(path, HEADER_SIZE + 40)
    report = checked(trail)
    assert {"edited", "deleted"} & kinds(report)


def test_a_segment_that_is_gone_is_named_with_its_records(trail: Path) -> None:
    path = middle(trail)
    stored = [f for f in frames(path) if is_record(f)]
    path.unlink()
    (finding,) = checked(trail).findings
    assert finding.kind == "deleted"
    assert finding.segment == path.name
    assert f"{stored[0][1]} to {stored[-1][1]}" in finding.text


def test_a_whole_journal_that_is_gone_is_named(trail: Path) -> None:
    journals = {p.name.split("-")[1] for p in segments(trail)}
    gone = sorted(journals)[0]
    paths = [p for p in segments(trail) if p.name.split("-")[1] == gone]
    for path in paths:
        path.unlink()
    report = checked(trail)
    assert {(f.kind.value, f.segment) for f in report.findings} == {("deleted", p.name) for p in paths}


def test_a_segment_cut_short_is_named(trail: Path) -> None:
    path = middle(trail)
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size - 2000)
    report = checked(trail)
    assert "deleted" in kinds(report)
    assert "truncated" in kinds(report)


def test_segments_that_change_names_are_named(trail: Path) -> None:
    first, second = segments(trail)[:2]
    first.rename(trail / "x")
    second.rename(first)
    (trail / "x").rename(second)
    assert {"reordered", "deleted", "edited"} & kinds(checked(trail))


def test_a_segment_put_among_those_of_a_journal_is_named(trail: Path) -> None:
    """One with a number that the journal passed by."""
    found = Header.unpack(segments(trail)[0].read_bytes()[:HEADER_SIZE])
    assert found is not None
    forged = evolve(found, created=found.created + 1, first=1)
    body = frame(record.event("approval.granted", by="nobody"), 1)
    (trail / forged.file_name).write_bytes((forged.pack() + body).ljust(4096, b"\0"))
    assert kinds(checked(trail)) == {"inserted"}


def test_a_header_of_another_journal_or_state_is_named(trail: Path) -> None:
    for change in (
        lambda h: evolve(h, journal=1),
        lambda h: evolve(h, pid=1),
        lambda h: evolve(h, state=PREPARED),
    ):
        path = middle(trail)
        data = path.read_bytes()
        found = Header.unpack(data[:HEADER_SIZE])
        assert found is not None
        path.write_bytes(change(found).pack() + data[HEADER_SIZE:])
        assert kinds(checked(trail)) == {"edited"}
        path.write_bytes(data)
    assert checked(trail).valid


# -- the log


def root_over(folder: Path, hashes: list[bytes]) -> bytes:
    return tree.root(tree.extend(tree.Range(), hashes))


def leaves(folder: Path) -> list[bytes]:
    data = (folder / "log" / "leaves").read_bytes()
    return [data[at : at + 32] for at in range(0, len(data), 32)]


def consistently(folder: Path, path: Path, change: Callable[[Frames], Frames]) -> None:
    """Change a record and with it its leaf and the entry over it, as who knows everything but the key."""
    rewrite(path, change)
    by_sequence = {s: p for k, s, p in frames(path) if k == RECORD}
    hashes = leaves(folder)
    packed = []
    for entry in entries(folder):
        if entry.kind is Kind.RUN and entry.segment == path.name:
            for place in range(entry.count):
                sequence = entry.first + place
                payload = by_sequence[sequence]
                hashes[entry.at + 1 + place] = record_hash(entry.journal, sequence, payload)
            changed = entry.placed(entry.at, b"".join(hashes[entry.at + 1 : entry.end]), entry.when)
        else:
            changed = entry
        hashes[entry.at] = entry_hash(changed.pack())
        packed.append(changed.pack())
    (folder / "log" / "leaves").write_bytes(b"".join(hashes))
    (folder / "log" / "entries").write_bytes(b"".join(packed))


def test_leaves_and_entries_changed_with_the_record_are_a_forged_log(trail: Path) -> None:
    consistently(trail, middle(trail), edited)
    report = checked(trail)
    assert kinds(report) == {"forged"}
    assert report.checkpoints == 0


def test_a_changed_leaf_is_not_taken_for_a_changed_record(trail: Path) -> None:
    entry = entries(trail)[entry_of(trail, Kind.RUN)]
    flip(trail / "log" / "leaves", (entry.at + 3) * 32)
    report = checked(trail)
    assert kinds(report) == {"forged"}
    (finding,) = report.findings
    assert finding.sequence == entry.first + 2
    assert "leaf" in finding.text
    assert report.checkpoints == 3  # what is in the segments gives every signed root


def test_a_changed_entry_is_named(trail: Path) -> None:
    number = entry_of(trail, Kind.RUN)
    flip(trail / "log" / "entries", number * ENTRY_SIZE + 70)
    report = checked(trail)
    assert "forged" in kinds(report)
    assert f"entry {number + 1} " in report.findings[0].text


def test_an_entry_changed_with_its_crc_is_named(trail: Path) -> None:
    number = entry_of(trail, Kind.RUN)
    path = trail / "log" / "entries"
    data = bytearray(path.read_bytes())
    at = slice(number * ENTRY_SIZE, (number + 1) * ENTRY_SIZE)
    entry = Entry.unpack(bytes(data[at]))
    assert entry is not None
    data[at] = evolve(entry, when=entry.when - 1).pack()
    path.write_bytes(data)
    assert kinds(checked(trail)) == {"forged"}


@pytest.mark.parametrize("name", ["leaves", "entries"])
def test_a_log_that_ends_before_what_it_signed_is_truncated(trail: Path, name: str) -> None:
    path = trail / "log" / name
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size - 3 * (32 if name == "leaves" else ENTRY_SIZE))
    assert kinds(checked(trail)) == {"truncated"}


def cut_back(folder: Path, to: int) -> None:
    """Put the log back to its checkpoint number ``to``, counted from 1, whole and consistent."""
    path = folder / "log" / "checkpoints"
    kept = [n for _, n in witness.notes(path) if not isinstance(n, str)][:to]
    size = Checkpoint.parse(kept[-1].text).size
    path.write_bytes(b"".join(n.dump() + b"\n" for n in kept))
    count = sum(1 for e in entries(folder) if e.at < size)
    for name, length in (("leaves", size * 32), ("entries", count * ENTRY_SIZE)):
        with (folder / "log" / name).open("r+b") as file:
            file.truncate(length)
    (folder / "log" / "state").unlink()


def test_a_rollback_shows_against_a_checkpoint_kept_outside_and_only_there(trail: Path) -> None:
    cut_back(trail, 2)
    report = checked(trail)
    assert report.valid
    assert report.newest_outside == 0
    assert report.behind > 0
    outside = checked(trail, witnesses=[trail.parent / "witness"])
    assert kinds(outside) == {"rolled back"}


def test_records_cut_with_the_log_are_a_rollback(trail: Path) -> None:
    cut_back(trail, 1)
    ended = {e.segment for e in entries(trail)}
    for path in segments(trail):
        if path.name not in ended:
            path.unlink()
    assert checked(trail).valid
    assert kinds(checked(trail, witnesses=[trail.parent / "witness"])) == {"rolled back"}


def test_a_fork_shows_against_a_checkpoint_kept_outside(trail: Path) -> None:
    """Who has the key as well writes another history, which fits itself."""
    name = origin(trail)
    shutil.rmtree(trail / "log")
    rewrite(middle(trail), edited)
    keeper = sequencer(trail, origin=name)
    keeper.checkpoint()
    assert checked(trail).valid
    write(trail, 50, "d")
    keeper.checkpoint()
    outside = checked(trail, witnesses=[trail.parent / "witness"])
    assert kinds(outside) == {"forked"}


def test_one_checkpoint_file_will_do(trail: Path, tmp_path: Path) -> None:
    newest, _ = witness.last_note(trail.parent / "witness", 1 << 20)
    file = tmp_path / "checkpoint"
    file.write_bytes(newest)
    assert checked(trail, checkpoints=[file]).newest_outside > 0
    cut_back(trail, 1)
    assert kinds(checked(trail, checkpoints=[file])) == {"rolled back"}


def test_swapped_logs_are_named(trail: Path, tmp_path: Path) -> None:
    other = tmp_path / "other" / "journal"
    write(other, 20)
    sequencer(other).checkpoint()
    mine = key(trail)
    (trail / "log").rename(tmp_path / "kept")
    shutil.copytree(other / "log", trail / "log")
    assert {"swapped", "deleted"} <= kinds(checked(trail, mine))
    # Against a witness alone it shows as well.
    assert "swapped" in kinds(checked(other, key(other), witnesses=[trail.parent / "witness"]))
    newest, _ = witness.last_note(trail.parent / "witness", 1 << 20)
    (tmp_path / "one").write_bytes(newest)
    assert "swapped" in kinds(checked(other, key(other), checkpoints=[tmp_path / "one"]))


def test_a_checkpoint_signed_by_somebody_else_is_named(trail: Path) -> None:
    """Leaves, entries, records and checkpoints are consistent; the key alone is not the log's."""
    consistently(trail, middle(trail), edited)
    forger = signer("a forger's")
    name = forger.named(origin(trail))
    forged = Checkpoint(origin(trail), len(leaves(trail)), root_over(trail, leaves(trail)))
    path = trail / "log" / "checkpoints"
    path.write_bytes(note.sign(forged.text, (name, forger.sign)).dump() + b"\n")
    report = checked(trail)
    assert "key replaced" in kinds(report)
    assert not report.valid


def test_a_checkpoint_whose_text_was_changed_is_forged(trail: Path) -> None:
    path = trail / "log" / "checkpoints"
    good = note.Note.parse(witness.last_note(path, 1 << 20)[0])
    at = Checkpoint.parse(good.text)
    other = note.Note(evolve(at, size=at.size - 1).text, good.signatures)
    path.write_bytes(path.read_bytes() + other.dump() + b"\n")
    assert "rolled back" in kinds(checked(trail))
    path.write_bytes(other.dump() + b"\n")
    assert "forged" in kinds(checked(trail))


def test_stripped_signatures_and_checkpoints_are_named(trail: Path) -> None:
    path = trail / "log" / "checkpoints"
    data = path.read_bytes()
    path.write_text(
        "\n\n".join(part for part in data.decode().split("\n\n") if not part.startswith("\u2014"))
    )
    assert "forged" in kinds(checked(trail))
    path.write_bytes(b"")
    assert kinds(checked(trail)) == {"stripped"}
    path.unlink()
    assert kinds(checked(trail)) == {"stripped"}
    assert kinds(checked(trail, witnesses=[trail.parent / "witness"])) == {"stripped"}


def test_a_signature_by_a_stranger_alone_is_a_stripped_checkpoint(trail: Path) -> None:
    stranger = signer("a witness's")
    path = trail / "log" / "checkpoints"
    good = note.Note.parse(witness.last_note(path, 1 << 20)[0])
    path.write_bytes(note.sign(good.text, (stranger.named("witness.example"), stranger.sign)).dump() + b"\n")
    assert "stripped" in kinds(checked(trail))


def test_cosignatures_of_witnesses_are_ignored(trail: Path) -> None:
    stranger = signer("a witness's")
    path = trail / "log" / "checkpoints"
    good = note.Note.parse(witness.last_note(path, 1 << 20)[0])
    more = note.sign(good.text, (stranger.named("witness.example"), stranger.sign)).signatures
    path.write_bytes(note.Note(good.text, (*more, *good.signatures)).dump() + b"\n")
    assert checked(trail).valid


def test_a_log_that_is_gone_proves_nothing(trail: Path) -> None:
    mine = key(trail)
    shutil.rmtree(trail / "log")
    assert kinds(checked(trail, mine)) == {"deleted"}


def test_a_new_log_in_place_of_the_old_one_is_another_log(trail: Path) -> None:
    mine = key(trail)
    shutil.rmtree(trail / "log")
    rewrite(middle(trail), edited)
    sequencer(trail).checkpoint()
    assert "swapped" in kinds(checked(trail, mine))


def test_without_a_key_nothing_is_valid(trail: Path) -> None:
    from governed_db.audit.verify import verify

    assert kinds(verify(trail, [])) == {"key replaced"}


# -- keys


def test_a_rotated_key_verifies_with_the_old_one_and_with_the_new_one(trail: Path) -> None:
    old, new, third = signer(), signer("the next"), signer("the third")
    rotate(Log(trail, lambda: old), new)
    write(trail, 10)
    sequencer(trail, new).checkpoint()
    rotate(Log(trail, lambda: new), third)
    for by in (old, new, third):
        report = checked(trail, key(trail, by))
        assert report.valid, report
        assert [k.split("+")[1] for k in report.signers] == [
            key(trail, s).id.hex() for s in (old, new, third)
        ]
    assert kinds(checked(trail, key(trail, signer("a stranger's")))) == {"key replaced"}


def test_after_a_rotation_the_old_key_is_worth_nothing(trail: Path) -> None:
    old, new = signer(), signer("the next")
    rotate(Log(trail, lambda: old), new)
    with pytest.raises(Contradicted, match="is signed with the key"):
        sequencer(trail, old).checkpoint()
    # Who has the old one signs all the same, by hand.
    write(trail, 10)
    keeper = sequencer(trail, new)
    keeper.checkpoint()
    path = trail / "log" / "checkpoints"
    good = note.Note.parse(witness.last_note(path, 1 << 20)[0])
    kept = path.read_bytes().removesuffix(good.dump() + b"\n")
    path.write_bytes(kept + note.sign(good.text, (key(trail), old.sign)).dump() + b"\n")
    assert kinds(checked(trail)) == {"key replaced"}


def test_a_key_that_the_old_one_did_not_announce_is_named(trail: Path) -> None:
    """The new key is in the tree, and only it signs."""
    new = signer("the next")
    log = Log(trail, signer)
    with log.hold(1) as held:
        assert held
        log.append(Entry(kind=Kind.KEY, data=new.public))
        log.signer = lambda: new
        log.sign()
    assert "key replaced" in kinds(checked(trail))
    assert "key replaced" in kinds(checked(trail, key(trail, new)))


def test_a_key_slipped_in_behind_an_old_checkpoint_is_named(trail: Path) -> None:
    """Who has no key goes on from what was signed with one of their own, and takes the checkpoints away.

    The witness vouches for the beginning, and must not for the rest.
    """
    mine, own = key(trail), signer("a stranger's")
    path = trail / "log" / "checkpoints"
    log = Log(trail, signer)
    with log.hold(1):
        log.append(Entry(kind=Kind.KEY, data=own.public))
        log.signer = lambda: own
        log.sign()
    outside = {"witnesses": [trail.parent / "witness"]}
    assert kinds(checked(trail, mine, **outside)) == {"key replaced"}
    path.write_bytes(witness.last_note(path, 1 << 20)[0] + b"\n")
    assert kinds(checked(trail, mine, **outside)) == {"key replaced", "stripped"}


# -- retention


def retire(folder: Path, path: Path, **changes: int) -> Retired:
    stored = [f for f in frames(path) if is_record(f)]
    one = Retired(path=path, journal="", first=stored[0][1], last=stored[-1][1], bytes=0, because="age")
    one = evolve(one, **changes)  # type: ignore[arg-type]
    journal = Journal.open(folder)
    journal.append(record.event("journal.retired", **one.details()))
    journal.close()
    return one


def test_segments_that_the_log_itself_retires_are_no_deletion(trail: Path) -> None:
    path = middle(trail)
    count = len([f for f in frames(path) if is_record(f)])
    sequencer(trail).checkpoint(retiring=[retire(trail, path)])
    path.unlink()
    report = checked(trail)
    assert report.valid
    assert report.retired == count


def test_an_entry_that_names_less_than_what_is_gone_does_not_cover_it(trail: Path) -> None:
    path = middle(trail)
    sequencer(trail).checkpoint(retiring=[retire(trail, path, last=frames(path)[3][1])])
    path.unlink()
    (finding,) = checked(trail).findings
    assert finding.kind == "deleted"
    assert "names the records" in finding.text


def test_a_retirement_that_no_checkpoint_is_over_is_no_excuse(trail: Path) -> None:
    path = middle(trail)
    retire(trail, path)
    path.unlink()
    (finding,) = checked(trail).findings
    assert finding.kind == "deleted"
    assert "no checkpoint is over yet" in finding.text


def test_an_event_that_the_log_took_up_and_did_not_say_itself_is_no_excuse(trail: Path) -> None:
    """Whoever can write to the folder can put an event into a journal of their own: it gets signed."""
    path = middle(trail)
    retire(trail, path)
    sequencer(trail).checkpoint()
    path.unlink()
    (finding,) = checked(trail).findings
    assert finding.kind == "deleted"
    assert "the log itself does not" in finding.text


def test_a_retirement_forged_into_the_log_is_cut_off_before_it_is_signed(trail: Path) -> None:
    path = middle(trail)
    known = next(e for e in entries(trail) if e.segment == path.name)
    stored = [f for f in frames(path) if is_record(f)]
    forge(
        trail,
        evolve(known, kind=Kind.RETIRED, offset=0, first=stored[0][1], length=len(stored), data=bytes(32)),
    )
    write(trail, 3)
    sequencer(trail).checkpoint()
    path.unlink()
    assert kinds(checked(trail)) == {"deleted"}


def test_records_that_a_forged_gap_makes_come_twice_are_no_copy_of_themselves(trail: Path) -> None:
    """A gap behind the last checkpoint says that a journal's records were there before they were taken up."""
    journal = write(trail, 5, close=False)
    known = entries(trail)[1]
    forge(
        trail, evolve(known, kind=Kind.GAP, journal=journal.id, offset=0, first=1, length=100, data=bytes(32))
    )
    journal.close()
    sequencer(trail).checkpoint()
    assert checked(trail).valid
    (path,) = [p for p in segments(trail) if f"{journal.id:016x}" in p.name]
    path.unlink()
    assert kinds(checked(trail)) == {"deleted"}


def test_many_records_that_their_journal_wrote_again_are_not_deleted(trail: Path) -> None:
    journal = Journal.open(trail, watch_interval=0.0)
    for n in range(1500):
        journal.append(record.event("test", n=n))
    sequencer(trail).checkpoint()
    (path,) = [p for p in segments(trail) if f"{journal.id:016x}" in p.name]
    path.unlink()
    journal.append(record.event("test"))
    journal.close()
    sequencer(trail).checkpoint()
    assert kinds(checked(trail)) == set()


def forge(folder: Path, entry: Entry) -> None:
    """Append an entry to the log, as somebody without a key can, and have it read anew."""
    leaves = folder / "log" / "leaves"
    packed = entry.placed(leaves.stat().st_size // 32, b"", entry.when).pack()
    with leaves.open("ab") as file:
        file.write(entry_hash(packed))
    with (folder / "log" / "entries").open("ab") as file:
        file.write(packed)


def test_a_retirement_forged_into_a_finished_segment_is_no_excuse(trail: Path) -> None:
    path = middle(trail)
    stored = [f for f in frames(path) if is_record(f)]
    one = {"segment": path.name, "first": stored[0][1], "last": stored[-1][1]}
    forged = record.event("journal.retired", **one)
    rewrite(segments(trail)[0], lambda found: [*found[:5], (RECORD, found[5][1], forged), *found[6:]])
    path.unlink()
    assert kinds(checked(trail)) == {"deleted", "edited"}


# -- what is behind the last checkpoint


def test_records_behind_the_last_checkpoint_are_counted_and_not_proven(trail: Path) -> None:
    write(trail, 7)
    report = checked(trail)
    assert report.valid
    assert report.behind == 9  # with start and stop


# -- single bytes


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_changed_byte_is_reported_or_has_no_meaning(pristine: Path, data: st.DataObject) -> None:
    folder = pristine
    files = [*segments(folder), *(folder / "log" / n for n in ("leaves", "entries", "checkpoints", "origin"))]
    path = data.draw(st.sampled_from(files), label="file")
    before = path.read_bytes()
    offset = data.draw(st.integers(0, len(before) - 1), label="offset")
    by = data.draw(st.integers(1, 255), label="by")
    if before[offset] == 0 and path.suffix == ".journal" and not any(before[offset:]):
        return  # behind the last record of a living writer: nothing is there yet
    mine = key(folder)
    flip(path, offset, by)
    try:
        report = checked(folder, mine)
    finally:
        flip(path, offset, by)
    assert not report.valid, (path.name, offset, by)
