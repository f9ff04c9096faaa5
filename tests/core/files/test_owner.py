"""The user's own folder, and which files count as theirs."""

import os
import tempfile
from pathlib import Path

import pytest

from ftbridge.core.errors import InputError
from ftbridge.core.files.owner import SAFE_FOLDERS, data_folder, foreign_owner, is_own, refuse_unreadable


@pytest.fixture
def file(tmp_path):
    """Return a file of the user's."""
    (tmp_path / "file").touch()
    return tmp_path / "file"


def test_the_data_folder_is_below_the_home_or_where_the_environment_says(monkeypatch):
    monkeypatch.setenv("XDG_DATA_HOME", "/data")
    assert data_folder() == Path("/data/ftbridge")
    monkeypatch.setenv("XDG_DATA_HOME", "")
    monkeypatch.setenv("HOME", "/home/me")
    assert data_folder() == Path("/home/me/.local/share/ftbridge")


def owned_by(user):
    return os.stat_result([0o100644, 1, 1, 1, user, 0, 0, 0, 0, 0])


@pytest.mark.parametrize(
    ("user", "sudo", "owner", "own"),
    [
        (1000, None, 1000, True),
        (1000, None, 0, True),
        (1000, None, 1001, False),
        (0, None, 0, True),
        (0, None, 1000, False),
        (0, "1000", 1000, True),
        (0, "1000", 1001, False),
        (0, "", 1000, False),
        (1000, "1001", 1001, False),  # who has not become root says nothing of others
    ],
)
def test_a_file_of_the_user_of_root_and_of_who_called_sudo_is_their_own(monkeypatch, user, sudo, owner, own):
    monkeypatch.setattr(os, "geteuid", lambda: user)
    monkeypatch.delenv("SUDO_UID", raising=False)
    if sudo is not None:
        monkeypatch.setenv("SUDO_UID", sudo)
    assert is_own(owned_by(owner)) is own


def test_a_strangers_file_is_told_with_their_name(file, give_away):
    assert foreign_owner(file) == ""
    assert foreign_owner(give_away(file)) not in {"", None}


def test_a_strangers_link_to_a_file_of_ones_own_is_a_strangers(file, give_away):
    link = file.with_name("link")
    link.symlink_to(file)
    assert foreign_owner(link) == ""
    give_away(link)
    assert foreign_owner(link)


def test_an_own_link_to_a_strangers_file_is_a_strangers(file, give_away):
    link = file.with_name("link")
    link.symlink_to(give_away(file))
    assert foreign_owner(link)


@pytest.mark.parametrize(
    ("named", "safe"),
    [
        ("{0}", True),
        ("/elsewhere:{0}", True),
        ("{0}/..", True),
        ("{0}/inner", False),
        ("{0}x", False),
        ("", False),
        (":", False),
        (".", False),
    ],
)
def test_a_folder_that_the_user_calls_safe_is_their_own_with_all_within(file, give_away, monkeypatch, named, safe):
    give_away(file)
    monkeypatch.chdir(file.parent)
    monkeypatch.setenv(SAFE_FOLDERS, named.format(file.parent))
    assert (foreign_owner(file) == "") is safe


@pytest.fixture
def open_folder():
    """Return a folder that other users may enter, which those of pytest are not."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


def said_to_another_user(folder):
    """Return what `refuse_unreadable` says of a folder in a process of another user, "" for nothing."""
    reads, writes = os.pipe()
    if not (child := os.fork()):
        try:
            os.setgroups([])
            os.setresuid(65534, 65534, 65534)
            refuse_unreadable(folder)
        except BaseException as error:  # noqa: BLE001 - whatever it is, the test is to see it
            os.write(writes, (str(error) if isinstance(error, InputError) else repr(error)).encode())
        os._exit(0)
    os.waitpid(child, 0)
    os.close(writes)
    with os.fdopen(reads) as pipe:
        return pipe.read()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
@pytest.mark.parametrize("closed", ["models", "models/base", "models/base/model.safetensors"])
def test_what_another_user_keeps_closed_is_called_so_with_its_owner(open_folder, closed):
    base = open_folder / "models" / "base"
    base.mkdir(parents=True)
    (base / "config.json").write_text("{}")
    (base / "model.safetensors").symlink_to(open_folder / "blob")  # as Hugging Face's cache has it
    assert said_to_another_user(base) == ""  # the link leads nowhere, and is not closed
    (open_folder / "blob").touch()
    assert said_to_another_user(base) == ""
    (open_folder / closed).chmod(0)
    kind = "-" if closed.endswith(".safetensors") else "d"
    assert said_to_another_user(base) == (
        f"cannot read `{open_folder / closed}`: it belongs to `root`, with the permissions `{kind}---------`; ask "
        f"`root` to run `chmod -R a+rX {open_folder / closed}`, or use a copy of your own"
    )
