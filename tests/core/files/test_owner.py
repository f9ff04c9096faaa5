"""The user's own folder, and which files count as theirs."""

import os
from pathlib import Path

import pytest

from ftbridge.core.files.owner import SAFE_FOLDERS, data_folder, foreign_owner, is_own


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
