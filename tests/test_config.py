import os
import stat
from pathlib import Path

import platformdirs
import pytest

from governed_db import config
from governed_db.errors import PolicyError
from governed_db.policy import preset

posix = pytest.mark.skipif(os.name != "posix", reason="mode bits say who may write on POSIX only")


@pytest.fixture
def user(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A user's configuration folder, and no environment of ours."""
    folder = tmp_path / "user"
    folder.mkdir(mode=0o755)
    for variable in (config.CONFIG_VARIABLE, config.PRESET_VARIABLE, config.STATE_VARIABLE):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(platformdirs, "user_config_path", lambda *_, **__: folder)
    monkeypatch.setattr(platformdirs, "user_state_path", lambda *_, **__: tmp_path / "state")
    monkeypatch.setattr(config, "_private_group", lambda status: False)
    return folder


def write(path: Path, extends: str, mode: int = 0o644) -> Path:
    path.write_text(f"extends = '{extends}'\n[limits]\nmax_tokens = {len(str(path))}\n")
    path.chmod(mode)
    return path


def test_where_a_policy_comes_from(user: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "governed-db.toml", "observe")  # what an agent could leave in the working directory
    assert config.find_policy() is preset("standard")

    monkeypatch.setenv(config.PRESET_VARIABLE, "readonly")
    assert config.find_policy() is preset("readonly")

    write(user / "governed-db.toml", "standard")
    assert config.find_policy().name == str(user / "governed-db.toml")

    named = write(tmp_path / "named.toml", "readonly")
    monkeypatch.setenv(config.CONFIG_VARIABLE, str(named))
    assert config.find_policy().name == str(named)

    explicit = write(tmp_path / "explicit.toml", "observe")
    assert config.find_policy(explicit).name == str(explicit)
    assert not config.find_policy("explicit.toml").enforce
    assert config.find_policy(str(explicit)).limits == {"max_tokens": len(str(explicit))}


def test_a_relative_path_in_the_environment_is_an_error(user: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(user / "governed-db.toml", "standard")
    monkeypatch.chdir(user)
    monkeypatch.setenv(config.CONFIG_VARIABLE, "governed-db.toml")
    with pytest.raises(PolicyError, match="relative path"):
        config.find_policy()
    monkeypatch.setenv(config.STATE_VARIABLE, "state")
    with pytest.raises(PolicyError, match="relative path"):
        config.state_dir()


def test_a_path_may_begin_at_home(user: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(user / "x.toml", "readonly")
    monkeypatch.setenv("HOME", str(user))
    monkeypatch.setenv(config.CONFIG_VARIABLE, "~/x.toml")
    assert config.find_policy().name == str(user / "x.toml")


def test_what_was_asked_for_and_is_not_there_is_an_error(user: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(PolicyError, match="cannot be read"):
        config.find_policy(user / "none.toml")
    with pytest.raises(PolicyError, match=r"cannot be read|regular file"):
        config.find_policy(user)
    monkeypatch.setenv(config.CONFIG_VARIABLE, str(user / "none.toml"))
    with pytest.raises(PolicyError, match="cannot be read"):
        config.find_policy()
    monkeypatch.delenv(config.CONFIG_VARIABLE)
    monkeypatch.setenv(config.PRESET_VARIABLE, "lax")
    with pytest.raises(PolicyError, match="no preset 'lax'"):
        config.find_policy()


def test_a_broken_file_of_the_user_never_falls_back_to_a_preset(user: Path) -> None:
    (user / "governed-db.toml").write_text("extends = ")
    (user / "governed-db.toml").chmod(0o600)
    with pytest.raises(PolicyError, match=r"governed-db\.toml:1:11"):
        config.find_policy()


@posix
@pytest.mark.parametrize("mode", [0o620, 0o602, 0o666])
def test_a_file_that_others_can_write_is_an_error(user: Path, mode: int) -> None:
    write(user / "governed-db.toml", "standard", mode)
    with pytest.raises(PolicyError, match="can be written by other users") as caught:
        config.find_policy()
    assert caught.value.remedy.startswith("chmod go-w")


@posix
def test_a_file_of_the_users_own_group_is_fine(user: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(user / "governed-db.toml", "standard", 0o664)
    monkeypatch.setattr(config, "_private_group", lambda status: True)
    assert config.find_policy().enforce
    (user / "governed-db.toml").chmod(0o666)
    with pytest.raises(PolicyError, match="other users"):
        config.find_policy()


@posix
def test_a_file_that_somebody_names_only_has_to_be_safe_from_strangers(user: Path) -> None:
    assert config.find_policy(write(user / "x.toml", "standard", 0o664)).enforce
    with pytest.raises(PolicyError, match="other users"):
        config.find_policy(write(user / "x.toml", "standard", 0o646))


@posix
def test_a_folder_in_which_others_can_replace_the_file_is_an_error(user: Path) -> None:
    write(user / "governed-db.toml", "standard")
    user.chmod(0o777)
    with pytest.raises(PolicyError, match="replace the policy"):
        config.find_policy()
    user.chmod(0o777 | stat.S_ISVTX)
    assert config.find_policy().enforce


@posix
def test_a_file_of_another_user_is_an_error(user: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(user / "governed-db.toml", "standard")
    # Neither root's nor ours: seen from a user id that nobody has.
    status = os.stat_result((0o100644, 0, 0, 1, 4242, 4242, 0, 0, 0, 0))
    monkeypatch.setattr(os, "fstat", lambda _: status)
    with pytest.raises(PolicyError, match="belongs to another user"):
        config.find_policy()
    assert config.find_policy(path).enforce


@posix
def test_a_private_group_is_one_that_only_its_owner_is_in() -> None:
    status = os.stat_result((0o100664, 0, 0, 1, 2**31 - 7, 2**31 - 7, 0, 0, 0, 0))
    assert not config._private_group(status)


def test_where_the_state_is(user: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert config.state_dir() == tmp_path / "state"
    monkeypatch.setenv(config.STATE_VARIABLE, str(tmp_path / "x"))
    assert config.state_dir() == tmp_path / "x"
    assert not (tmp_path / "x").exists()
