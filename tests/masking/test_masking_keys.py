"""Keys: where they come from, what they derive, and that nothing shows them or goes on without them."""

from __future__ import annotations

import base64
import copy
import os
import pickle
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from governed_db import Governor
from governed_db.errors import PolicyError
from governed_db.masking import tokens
from governed_db.masking.keys import (
    VARIABLE,
    Keyring,
    find,
    of_callable,
    of_file,
    of_text,
    written,
)
from governed_db.masking.model import KEYED, Strategy, Treatment
from governed_db.masking.tokens import UnknownToken
from governed_db.masking.transforms import constant, mask_value

OLD, NEW = bytes(range(32)), bytes(range(32, 64))
RING = Keyring({1: OLD, 2: NEW})


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "masking.keys"
    path.write_text(written(1, OLD))
    path.chmod(0o600)
    return path


def test_the_highest_version_is_current_and_all_derive() -> None:
    assert RING.versions == (1, 2)
    assert RING.current == 2
    assert RING.key("token", "A") == RING.key("token", "A", 2) == Keyring({2: NEW}).key("token", "A")
    different = {
        RING.key("token", "A"), RING.key("token", "A", 1), RING.key("token", "B"), RING.key("pseudonym", "A")
    }  # fmt: skip
    assert len(different) == 4
    assert len(RING.key("token", "A", 2, 64)) == 64


def test_nothing_shows_a_secret() -> None:
    shown = [repr(RING), str(RING), f"{RING}", RING.fingerprint, repr(RING.__reduce_ex__.__doc__)]
    for secret in (OLD, NEW):
        assert not any(secret.hex() in text or repr(secret)[2:-1] in text for text in shown)
    for act in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError, match="not pickled"):
            act(RING)
    with pytest.raises(TypeError):
        vars(RING)
    with pytest.raises(AttributeError):
        RING.current = 1


@pytest.mark.parametrize(
    "secrets",
    [{}, {0: OLD}, {True: OLD}, {1: OLD[:31]}, {1: bytes(32)}, {1: "x" * 32}, {10**6: OLD}, None],
)
def test_what_is_no_keyring(secrets: Any) -> None:
    with pytest.raises(PolicyError) as caught:
        Keyring(secrets)
    assert caught.value.rule == "masking.keys"


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("1", 1),
        ("1:", 1),
        ("#\n\n1:not base64!", 3),
        ("x:AAAA", 1),
        (written(1, OLD) * 2, 2),
        ("²:AAAA", 1),
    ],
)
def test_text_that_cannot_be_read_names_the_line_alone(text: str, line: int) -> None:
    with pytest.raises(PolicyError) as caught:
        of_text(text, "there")
    assert f"there, line {line}" in str(caught.value) or "there: " in str(caught.value)
    assert OLD.hex() not in str(caught.value)
    assert "not base64" not in str(caught.value)


@pytest.mark.skipif(os.name != "posix", reason="mode bits mean nothing elsewhere")
@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o644, 0o610, 0o777])
def test_a_file_that_others_reach_is_refused(file: Path, mode: int) -> None:
    assert of_file(file).versions == (1,)
    file.chmod(mode)
    with pytest.raises(PolicyError, match="other users") as caught:
        of_file(file)
    assert f"chmod 600 {file}" in caught.value.remedy


@pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="only root gives files away")
def test_a_file_of_somebody_else_is_refused(file: Path) -> None:
    os.chown(file, 65534, 65534)
    with pytest.raises(PolicyError, match="another user") as caught:
        of_file(file)
    assert "chown" in caught.value.remedy


def test_what_is_no_file_of_keys(tmp_path: Path, file: Path) -> None:
    with pytest.raises(PolicyError) as caught:
        of_file(tmp_path / "absent")
    assert "keys new" in caught.value.remedy
    with pytest.raises(PolicyError):
        of_file(tmp_path)
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo, 0o600)
    with pytest.raises(PolicyError, match="regular"):
        of_file(fifo)
    file.write_bytes(b"\xff" * 100)
    with pytest.raises(PolicyError):
        of_file(file)
    file.write_bytes(b"#" * 70_000)
    with pytest.raises(PolicyError, match="too large"):
        of_file(file)


def test_the_first_that_is_named_is_used(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    assert find(None, None) is None
    monkeypatch.setenv(VARIABLE, written(3, NEW))
    ring = find(None, None)
    assert ring is not None
    assert ring.versions == (3,)
    ring = find(None, file)
    assert ring is not None
    assert ring.versions == (1,)
    assert find(RING, file) is RING
    monkeypatch.setenv(VARIABLE, "nonsense")
    with pytest.raises(PolicyError, match=VARIABLE):
        find(None, None)


@pytest.mark.parametrize("given", [{2: NEW}, written(2, NEW), Keyring({2: NEW})])
def test_a_callable_gives_keys_in_any_form(given: Any) -> None:
    assert of_callable(lambda: given).versions == (2,)


def test_a_callable_that_fails_or_hangs_is_refused() -> None:
    def fails() -> str:
        raise ValueError(f"cannot use {OLD.hex()}")

    with pytest.raises(PolicyError, match="raised ValueError") as caught:
        of_callable(fails)
    assert OLD.hex() not in str(caught.value)
    assert caught.value.__context__ is None
    never = threading.Event()
    with pytest.raises(PolicyError, match="no answer") as caught:
        of_callable(lambda: str(never.wait()), timeout=0.01)
    assert caught.value.retryable
    never.set()
    with pytest.raises(PolicyError):
        of_callable(lambda: None)  # type: ignore[arg-type,return-value]


def policy(tmp_path: Path, strategy: str, more: str = "") -> Path:
    path = tmp_path / "policy.toml"
    strategies = f'[masking.strategies]\nEMAIL_ADDRESS = "{strategy}"\n'
    path.write_text(f'extends = "standard"\n[masking]\n{more}\n{strategies}')
    path.chmod(0o600)
    return path


@pytest.mark.parametrize("strategy", sorted(KEYED))
def test_a_strategy_without_its_key_does_not_start(
    tmp_path: Path, strategy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    with pytest.raises(PolicyError, match="EMAIL_ADDRESS needs a key") as caught:
        Governor.load(policy(tmp_path, strategy), state_dir=tmp_path)
    assert "governed-db keys new" in caught.value.remedy


def test_the_policy_names_the_file(tmp_path: Path, file: Path) -> None:
    governor = Governor.load(policy(tmp_path, "token", f'keys = "{file}"'), state_dir=tmp_path)
    assert governor.keys is not None
    assert governor.keys.versions == (1,)
    governor.close()
    with pytest.raises(PolicyError, match="absolute"):
        Governor.load(policy(tmp_path, "token", 'keys = "masking.keys"'), state_dir=tmp_path)


def test_a_rotation_comes_with_a_reload_and_a_failure_leaves_what_was(tmp_path: Path) -> None:
    answers: list[Any] = [{1: OLD}, {1: OLD, 2: NEW}]

    def service() -> Any:
        if not answers:
            raise TimeoutError
        return answers.pop(0)

    governor = Governor.load(policy(tmp_path, "token"), state_dir=tmp_path, keys=service)
    before = governor.keys
    assert before is not None
    assert before.versions == (1,)
    governor.reload()
    after = governor.keys
    assert after is not None
    assert after.current == 2
    with pytest.raises(PolicyError, match="TimeoutError"):
        governor.reload()
    assert governor.keys is after
    token = tokens.issue(before, "EMAIL_ADDRESS", "a@example.org")
    assert tokens.resolve(after, "EMAIL_ADDRESS", token) == "a@example.org"
    governor.close()


@pytest.mark.parametrize("strategy", sorted(KEYED))
@pytest.mark.parametrize("oid", [0, 25, 23, 1082, 2950])
def test_without_keys_a_mask_is_a_redaction(strategy: Strategy, oid: int) -> None:
    treatment = Treatment(strategy=strategy)
    assert constant(treatment, "L", oid) == constant(Treatment(), "L", oid)
    assert mask_value(treatment, "L", oid)("alice") == "[L]"


def test_two_processes_with_one_key_give_the_same_masks(file: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from governed_db.masking.keys import of_file\n"
        "from governed_db.masking.model import Strategy, Treatment\n"
        "from governed_db.masking.transforms import mask_value\n"
        "import datetime, uuid, decimal, ipaddress\n"
        "ring = of_file(Path(sys.argv[1]))\n"
        "values = ['alice', 4711, 2**40, datetime.date(1984, 5, 17), uuid.UUID(int=5),"
        " decimal.Decimal(4711), ipaddress.ip_address('10.0.0.1')]\n"
        "for s in 'pseudonym token date_shift fake format_preserving'.split():\n"
        "    mask = mask_value(Treatment(strategy=Strategy(s)), 'LAST_NAME', keys=ring)\n"
        "    print([mask(v) for v in values])\n"
    )

    def run(seed: str) -> str:
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        command = [sys.executable, "-c", code, str(file)]
        return subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout

    first = run("1")
    assert first == run("2")
    assert "psn_LAST_NAME_1_" in first


def test_cryptography_is_loaded_with_the_first_key() -> None:
    heavy = ("faker", "ffx", "stdnum", "phonenumbers", "cryptography.hazmat.primitives.kdf.hkdf")
    code = f"import sys, governed_db\nprint([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "[]"


TOKEN = tokens.issue(RING, "EMAIL_ADDRESS", "alice@example.org")


@given(st.text(st.characters(codec="utf-8")))
def test_tokens_come_back(text: str) -> None:
    token = tokens.issue(RING, "L_1", text)
    assert token == tokens.issue(RING, "L_1", text)
    assert tokens.resolve(RING, "L_1", f" {token.upper()}\n") == text


@pytest.mark.parametrize(
    ("ring", "label", "token"),
    [
        (RING, "PHONE_NUMBER", TOKEN),
        (RING, "PHONE_NUMBER", TOKEN.replace("EMAIL_ADDRESS", "PHONE_NUMBER")),
        (RING, "EMAIL_ADDRESS", TOKEN.replace("_2_", "_1_")),
        (RING, "EMAIL_ADDRESS", TOKEN.replace("_2_", "_3_")),
        (RING, "EMAIL_ADDRESS", TOKEN[:-2]),
        (RING, "EMAIL_ADDRESS", TOKEN[:-1] + ("0" if TOKEN[-1] != "0" else "1")),
        (RING, "EMAIL_ADDRESS", "alice@example.org"),
        (RING, "EMAIL_ADDRESS", ""),
        (Keyring({2: OLD}), "EMAIL_ADDRESS", TOKEN),
        (Keyring({1: OLD}), "EMAIL_ADDRESS", TOKEN),
    ],
)
def test_tokens_that_were_not_issued(ring: Keyring, label: str, token: str) -> None:
    with pytest.raises(UnknownToken) as caught:
        tokens.resolve(ring, label, token)
    assert caught.value.__context__ is None
    assert not token or token not in str(caught.value)


def test_an_error_leads_to_no_frame_that_holds_a_secret(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = base64.b64encode(bytes(range(100, 132))).decode()
    broken = f"1:{good}\n2:c2hvcnQ=\n"
    monkeypatch.setenv("GOVERNED_DB_MASKING_KEYS", broken)
    path = tmp_path / "broken.keys"
    path.write_text(broken)
    path.chmod(0o600)
    for source, file in ((None, None), (None, path), (lambda: broken, None)):
        with pytest.raises(PolicyError) as caught:
            find(source, file)
        trace = caught.value.__traceback__
        while trace is not None:
            if trace.tb_frame.f_globals["__name__"].startswith("governed_db"):
                held = repr(trace.tb_frame.f_locals)
                assert good not in held
                assert repr(bytes(range(100, 132))) not in held
            trace = trace.tb_next
        assert caught.value.__context__ is None
