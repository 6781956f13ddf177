"""Notes, checkpoints, proofs and keys: as the formats say, and as others' implementations read them."""

from __future__ import annotations

import base64
import os
import stat
import threading
from collections.abc import Iterator
from pathlib import Path

import hypothesis.strategies as st
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from hypothesis import given

from governed_db.audit import signing, tree, witness
from governed_db.audit.checkpoint import Checkpoint, Proof
from governed_db.note import BadNote, Note, VerifierKey, decode64, sign
from tests.audit.trails import signer

# The example of c2sp.org/signed-note.
THEIR_KEY = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k"
THEIR_NOTE = (
    "This is an example message.\n\n"
    "\u2014 example.com/foo Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXm"
    "RKuwHjG1Yu72IneyaQM=\n"
)

CHECKPOINT = Checkpoint("trail.example/1", 20852163, bytes(range(32)))


def signed(text: str = CHECKPOINT.text, name: str = "trail.example/1") -> bytes:
    return sign(text, (signer().named(name), signer().sign)).dump()


# -- notes


def test_the_formats_own_example_verifies() -> None:
    key = VerifierKey.parse(THEIR_KEY)
    assert key.text == THEIR_KEY
    note = Note.parse(THEIR_NOTE.encode())
    assert note.text == "This is an example message.\n"
    assert note.signers([key]) == (key,)
    assert note.dump() == THEIR_NOTE.encode()
    with pytest.raises(BadNote, match="does not hold"):
        Note.parse(THEIR_NOTE.replace("example message", "another message").encode()).signers([key])


def test_sigstore_reads_and_verifies_our_checkpoints() -> None:
    from sigstore._internal.rekor.checkpoint import SignedCheckpoint
    from sigstore._internal.trust import Keyring, RekorKeyring
    from sigstore._utils import KeyID
    from sigstore.errors import VerificationError
    from sigstore_models.common.v1 import PublicKey, PublicKeyDetails

    key = signer().named("trail.example/1")
    theirs = SignedCheckpoint.from_text(signed().decode())
    assert theirs.checkpoint.origin == CHECKPOINT.origin
    assert theirs.checkpoint.log_size == CHECKPOINT.size
    assert theirs.checkpoint.log_hash == CHECKPOINT.root.hex()
    public = Ed25519PublicKey.from_public_bytes(key.public)
    der = public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    ring = RekorKeyring(
        Keyring([PublicKey(raw_bytes=base64.b64encode(der), key_details=PublicKeyDetails.PKIX_ED25519)])
    )
    theirs.signed_note.verify(ring, KeyID(key.id))
    forged = SignedCheckpoint.from_text(signed().decode().replace("20852163", "20852164"))
    with pytest.raises(VerificationError):
        forged.signed_note.verify(ring, KeyID(key.id))


def test_aics_tlog_reads_our_checkpoints_and_we_read_its() -> None:
    aics = pytest.importorskip("aics_tlog", reason="it needs Python 3.12")
    key = signer().named("trail.example/1")
    theirs = aics.parse_vkey(key.text)
    assert aics.format_vkey(theirs) == key.text
    note = aics.parse_note(signed().decode())
    found = aics.verify_checkpoint(note, theirs)
    assert (found.origin, found.size, found.root) == (CHECKPOINT.origin, CHECKPOINT.size, CHECKPOINT.root)


@pytest.mark.parametrize(
    "bad",
    [
        b"",
        b"text\n",
        b"text\n\n",
        b"\n\n\xe2\x80\x94 a AAAAAAAA\n",
        b"text\n\n\xe2\x80\x94 a AAAAAAAA",
        b"text\n\n- a AAAAAAAA\n",
        b"text\n\n\xe2\x80\x94 a  AAAAAAAA\n",
        b"text\n\n\xe2\x80\x94 a+b AAAAAAAA\n",
        b"text\n\n\xe2\x80\x94 a\xc2\xa0b AAAAAAAA\n",
        b"text\n\n\xe2\x80\x94 a AAAA\n",
        b"text\n\n\xe2\x80\x94 a AAAAAAAB=\n",
        b"text\n\n\xe2\x80\x94 a AAAAAA==x\n",
        b"text\n\n\xe2\x80\x94 a AAAAAAAAAB==\n",
        b"text\r\n\n\xe2\x80\x94 a AAAAAAAA\n",
        b"te\x00xt\n\n\xe2\x80\x94 a AAAAAAAA\n",
        b"te\xffxt\n\n\xe2\x80\x94 a AAAAAAAA\n",
        b"text\n\n" + b"\xe2\x80\x94 a AAAAAAAA\n" * 65,
        b"x" * 70_000 + b"\n\n\xe2\x80\x94 a AAAAAAAA\n",
    ],
)
def test_what_is_no_note_is_refused(bad: bytes) -> None:
    with pytest.raises(BadNote):
        Note.parse(bad)


@given(st.binary(max_size=200) | st.text(max_size=200).map(lambda t: f"a\n\n\u2014 {t}\n".encode()))
def test_a_note_is_read_whole_or_refused(data: bytes) -> None:
    try:
        note = Note.parse(data)
    except BadNote:
        return
    assert note.dump() == data


def test_sixteen_signatures_of_strangers_are_kept_and_ignored() -> None:
    keys = [signer(f"w{n}") for n in range(16)]
    made = sign(CHECKPOINT.text, *((k.named(f"witness.example/{n}"), k.sign) for n, k in enumerate(keys)))
    read = Note.parse(made.dump())
    assert len(read.signatures) == 16
    assert read.signers([signer().named("trail.example/1")]) == ()
    # The name or the id alone makes no known key.
    other = VerifierKey("witness.example/0", signer("x").public)
    assert read.signers([other]) == ()
    assert read.signers([keys[3].named("witness.example/3")]) != ()


def test_what_signs_must_sign_with_the_key_it_names() -> None:
    with pytest.raises(BadNote, match="no signature of that key"):
        sign(CHECKPOINT.text, (signer("a").named("n"), signer("b").sign))
    with pytest.raises(BadNote, match="no signature of that key"):
        sign(CHECKPOINT.text, (signer("a").named("n"), lambda _: b"short"))
    with pytest.raises(BadNote):
        sign("no line break", (signer("a").named("n"), signer("a").sign))


@pytest.mark.parametrize(
    "bad",
    [
        "",
        "a",
        "a+b+c",
        THEIR_KEY.replace("530d903a", "530d903b"),
        THEIR_KEY.replace("530d903a", "530D903A"),
        THEIR_KEY.replace("foo", "fo+o"),
        THEIR_KEY.replace("foo", "f o"),
        THEIR_KEY + "\n",
        THEIR_KEY.replace("AekyeR", "BOkyeR"),
        THEIR_KEY[:-4],
    ],
)
def test_what_is_no_verifier_key_is_refused(bad: str) -> None:
    with pytest.raises(ValueError, match=r"key|base64"):
        VerifierKey.parse(bad)


def test_base64_says_one_thing_in_one_way() -> None:
    assert decode64("AA==") == b"\0"
    for other in ("AB==", "AA=", "AA", "A A==", "AA==\n", "_-=="):
        with pytest.raises(ValueError, match="base64"):
            decode64(other)


# -- checkpoints and proofs


def test_a_checkpoint_is_read_as_it_is_written() -> None:
    assert Checkpoint.parse(CHECKPOINT.text) == CHECKPOINT
    assert Checkpoint.parse(CHECKPOINT.text + "more\n") == CHECKPOINT
    assert Checkpoint.parse(Checkpoint("o", 0, tree.EMPTY_ROOT).text).size == 0


@pytest.mark.parametrize(
    "bad",
    [
        "",
        "o\n1\n",
        "\n1\nAAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\n",
        "o\n01\nAAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\n",
        "o\n-1\nAAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\n",
        "o\n\u0661\nAAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\n",
        "o\n1\nAAEC\n",
        "o\n1\nAAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=",
        "o\n1\nAAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\n\nx\n",
    ],
)
def test_what_is_no_checkpoint_is_refused(bad: str) -> None:
    with pytest.raises(ValueError, match=r"checkpoint|base64"):
        Checkpoint.parse(bad)


def proof() -> Proof:
    leaves = [b"leaf %d" % n for n in range(11)]
    hashes = [tree.leaf_hash(leaf) for leaf in leaves]

    def root(start: int, end: int) -> bytes:
        return tree.root(tree.extend(tree.Range(), hashes[start:end]))

    at = Checkpoint("trail.example/1", 11, root(0, 11))
    path = tuple(root(a, b) for a, b in tree.inclusion_ranges(4, 11))
    return Proof(leaves[4], 4, path, signed(at.text))


def test_a_proof_is_read_as_it_is_written_and_holds() -> None:
    made = proof()
    assert Proof.parse(made.dump()) == made
    assert made.holds()
    lines = made.dump().split(b"\n")
    assert lines[0] == b"c2sp.org/tlog-proof@v1"
    assert lines[1].startswith(b"extra ")
    assert lines[2] == b"index 4"


@given(st.data())
def test_a_changed_proof_is_refused_or_does_not_hold(data: st.DataObject) -> None:
    made = proof().dump()
    at = data.draw(st.integers(0, len(made) - 1))
    other = bytearray(made)
    other[at] ^= data.draw(st.integers(1, 255))
    key = signer().named("trail.example/1")
    try:
        read = Proof.parse(bytes(other))
        holds = read.holds() and read.signed()[1].signers([key]) == (key,)
    except ValueError:
        return
    assert not holds


# -- witnesses' files


def test_the_last_note_and_the_last_of_a_log_are_found(tmp_path: Path) -> None:
    path = tmp_path / "w"
    assert witness.newest(path, "a") is None
    for size in (1, 2, 3):
        for name in ("a", "b"):
            at = Checkpoint(name, size, bytes([size] * 32))
            witness.append(path, signed(at.text, name))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert witness.newest(path, "a") == Checkpoint("a", 3, bytes([3] * 32))
    assert witness.newest(path, "c") is None
    whole = path.read_bytes()
    last, end = witness.last_note(path, 1 << 20)
    assert (Checkpoint.parse(Note.parse(last).text).origin, end) == ("b", len(whole))
    assert len([n for _, n in witness.notes(path) if isinstance(n, Note)]) == 6
    # Cut anywhere, the last whole one is found.
    for cut in range(1, len(last) + 1):
        path.write_bytes(whole[:-cut])
        found, good = witness.last_note(path, 1 << 20)
        assert Checkpoint.parse(Note.parse(found).text).origin == "a"
        assert whole.startswith(path.read_bytes()[:good])
    path.write_bytes(b"")
    assert witness.last_note(path, 1 << 20) == (b"", 0)


# -- the signing key


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.delenv(signing.VARIABLE, raising=False)
    return tmp_path / "state"  # type: ignore[return-value]


def test_the_first_of_many_makes_the_key_and_all_use_it(state: Path) -> None:
    found: list[bytes] = []
    threads = [threading.Thread(target=lambda: found.append(signing.find(state).public)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    assert len(set(found)) == 1
    assert [p.name for p in state.iterdir()] == ["audit.key"]
    assert stat.S_IMODE((state / "audit.key").stat().st_mode) == 0o600
    assert signing.existing(state) == signing.find(state)


def test_a_key_that_others_can_read_is_not_used(state: Path) -> None:
    signing.find(state)
    (state / "audit.key").chmod(0o640)
    with pytest.raises(signing.KeyUnusable, match="Others than this user") as raised:
        signing.find(state)
    assert "chmod 600" in raised.value.remedy


def test_the_environment_gives_the_key_in_pem_or_as_its_bytes(
    state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seed = bytes(range(32))
    key = Ed25519PrivateKey.from_private_bytes(seed)
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    for given_ in (pem, base64.b64encode(seed).decode()):
        monkeypatch.setenv(signing.VARIABLE, given_)
        found = signing.find(state)
        assert found.public == key.public_key().public_bytes_raw()
        assert not state.exists()
        for secret in (base64.b64encode(seed).decode()[:20], repr(seed)[2:20], pem[40:60]):
            assert secret not in repr(found)
    assert signing.existing(state) is not None


def test_what_is_no_key_is_said_without_showing_it(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for bad in (
        "hunter2hunter2",
        base64.b64encode(b"hunter2").decode(),
        "-----BEGIN PRIVATE KEY-----\nhunter2",
    ):
        monkeypatch.setenv(signing.VARIABLE, bad)
        with pytest.raises(signing.KeyUnusable) as raised:
            signing.find(state)
        assert "hunter2" not in f"{raised.value}{raised.value.remedy}"
        assert raised.value.__cause__ is None
    monkeypatch.delenv(signing.VARIABLE)
    assert signing.existing(state) is None
    state.mkdir()
    (state / "audit.key").write_text("hunter2")
    (state / "audit.key").chmod(0o600)
    with pytest.raises(signing.KeyUnusable, match="no Ed25519 private key"):
        signing.find(state)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_key_that_cannot_be_made_is_said(state: Path) -> None:
    state.mkdir(mode=0o500)
    with pytest.raises(signing.KeyUnusable, match="cannot be made"):
        signing.find(state)
