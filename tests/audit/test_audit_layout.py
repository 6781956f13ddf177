from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from governed_db.audit import layout
from governed_db.audit.layout import FRAME_SIZE, HEADER_SIZE, Header
from governed_db.audit.scan import Damage, Stored, scan

U64 = st.integers(0, 2**64 - 1)
U32 = st.integers(0, 2**32 - 1)


@given(U64, U32, U32, U64, st.integers(0, 4_000_000_000_000_000), U64, st.sampled_from([0, 1, 2]))
def test_headers_come_back_as_they_were(
    journal: int, index: int, pid: int, first: int, created: int, capacity: int, state: int
) -> None:
    header = Header(
        journal=journal, index=index, pid=pid, first=first, created=created, capacity=capacity, state=state
    )
    packed = header.pack()
    assert len(packed) == HEADER_SIZE
    assert Header.unpack(packed) == header


@given(st.integers(0, HEADER_SIZE - 1), st.integers(1, 255))
def test_a_changed_header_is_recognised(at: int, change: int) -> None:
    header = Header(journal=1, index=2, pid=3, first=4, created=5, capacity=6)
    packed = bytearray(header.pack())
    packed[at] ^= change
    # The state is the one thing that may change.
    assert (Header.unpack(bytes(packed)) is None) is not (8 <= at < 12)


@given(st.binary(max_size=300), U64, st.integers(0, 2**16 - 1))
def test_frames_come_back_as_they_were(payload: bytes, sequence: int, kind: int) -> None:
    data = layout.frame(payload, sequence, kind)
    assert len(data) == layout.padded(len(payload))
    assert len(data) % 8 == 0
    length, found_kind, found_sequence, crc = layout.unframe(data) or (0, 0, 0, 0)
    assert (length, found_kind, found_sequence) == (len(payload), kind, sequence)
    assert layout.intact(data, data[FRAME_SIZE : FRAME_SIZE + length], crc)


@given(st.binary(min_size=1, max_size=100), st.data())
def test_any_changed_byte_of_a_frame_is_recognised(payload: bytes, data: st.DataObject) -> None:
    frame = bytearray(layout.frame(payload, 7))
    at = data.draw(st.integers(0, FRAME_SIZE + len(payload) - 1))
    frame[at] ^= data.draw(st.integers(1, 255))
    parts = layout.unframe(bytes(frame))
    if parts is not None:
        length, _, _, crc = parts
        changed = bytes(frame)
        assert not layout.intact(changed, changed[FRAME_SIZE : FRAME_SIZE + length], crc)


def _file(path: Path, payloads: list[bytes], *, sealed: bool = False, spare: int = 256) -> bytearray:
    frames = b"".join(layout.frame(p, i + 1) for i, p in enumerate(payloads))
    if sealed:
        frames += layout.seal(1, len(payloads) + 1, HEADER_SIZE + len(frames), 0)
        spare = 0
    header = Header(
        journal=1,
        index=0,
        pid=1,
        first=1,
        created=0,
        capacity=HEADER_SIZE + len(frames) + spare,
        state=layout.SEALED if sealed else layout.OPEN,
    )
    data = bytearray(header.pack() + frames + bytes(spare))
    path.write_bytes(data)
    return data


@settings(max_examples=60)
@given(payloads=st.lists(st.binary(max_size=5000), max_size=8), sealed=st.booleans())
def test_a_whole_segment_has_no_damage(
    payloads: list[bytes], sealed: bool, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / "whole.journal"
    _file(path, payloads, sealed=sealed)
    found = list(scan(path))
    assert [f.payload for f in found if isinstance(f, Stored)] == payloads
    assert not [f for f in found if isinstance(f, Damage)]


@settings(max_examples=150)
@given(payloads=st.lists(st.binary(min_size=1, max_size=60), min_size=1, max_size=6), data=st.data())
def test_a_changed_byte_costs_one_record_and_is_told(
    payloads: list[bytes], data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / "changed.journal"
    content = _file(path, payloads, sealed=True)
    victim = data.draw(st.integers(0, len(payloads) - 1))
    start = HEADER_SIZE + sum(layout.padded(len(p)) for p in payloads[:victim])
    content[start + data.draw(st.integers(0, FRAME_SIZE + len(payloads[victim]) - 1))] ^= data.draw(
        st.integers(1, 255)
    )
    path.write_bytes(content)
    found = list(scan(path))
    assert [f.sequence for f in found if isinstance(f, Stored)] == [
        i + 1 for i in range(len(payloads)) if i != victim
    ]
    assert [f.offset for f in found if isinstance(f, Damage)] == [start]


@settings(max_examples=100)
@given(cut=st.integers(0, 400), sealed=st.booleans())
def test_a_cut_segment_keeps_what_is_before_the_cut_and_tells(
    cut: int, sealed: bool, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / "cut.journal"
    payloads = [bytes([65 + i]) * 20 for i in range(4)]
    content = _file(path, payloads, sealed=sealed)
    cut = min(cut, len(content) - 1)
    path.write_bytes(content[:cut])
    found = list(scan(path))
    ends = [HEADER_SIZE + i * layout.padded(20) + FRAME_SIZE + 20 for i in range(4)]
    assert [f.payload for f in found if isinstance(f, Stored)] == [
        p for p, end in zip(payloads, ends, strict=True) if end <= cut
    ]
    assert sum(isinstance(f, Damage) for f in found) == 1


def test_a_torn_tail_ends_a_dead_writers_segment(tmp_path: Path) -> None:
    path = tmp_path / "torn.journal"
    content = _file(path, [b"one", b"two", b"three"])
    start = HEADER_SIZE + 2 * layout.padded(3)
    content[start + FRAME_SIZE + 2 : start + FRAME_SIZE + 5] = bytes(3)
    path.write_bytes(content)
    *records, tail = scan(path)
    assert [r.payload for r in records if isinstance(r, Stored)] == [b"one", b"two"]
    assert isinstance(tail, Damage)
    assert (tail.offset, tail.because) == (start, "the last record is torn")


def test_a_hole_left_by_power_loss_does_not_hide_what_follows(tmp_path: Path) -> None:
    path = tmp_path / "hole.journal"
    payloads = [bytes([65 + i]) * 4000 for i in range(6)]
    content = _file(path, payloads)
    content[8192 : 8192 + 4096] = bytes(4096)
    path.write_bytes(content)
    found = list(scan(path))
    assert [f.payload[:1] for f in found if isinstance(f, Stored)] == [b"A", b"D", b"E", b"F"]
    assert sum(isinstance(f, Damage) for f in found) == 1


def test_frames_of_unknown_types_are_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "later.journal"
    frames = layout.frame(b"a", 1) + layout.frame(b"checkpoint", 2, 9) + layout.frame(b"b", 2)
    header = Header(
        journal=1, index=0, pid=1, first=1, created=0, capacity=HEADER_SIZE + len(frames), state=1
    )
    path.write_bytes(header.pack() + frames)
    assert [f.payload for f in scan(path) if isinstance(f, Stored)] == [b"a", b"b"]


@settings(max_examples=100)
@given(st.binary(max_size=2000))
def test_no_bytes_crash_the_scanner(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "noise.journal"
    header = Header(journal=1, index=0, pid=1, first=1, created=0, capacity=4096, state=1)
    for data in (content, header.pack() + content, header.pack() + (layout.FRAME_MAGIC + content) * 3):
        path.write_bytes(data)
        with contextlib.closing(scan(path)) as found:  # type: ignore[type-var]  # generators can be closed
            assert not [f for f in found if isinstance(f, Stored)]
