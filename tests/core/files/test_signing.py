"""Signatures: made with a key of the user's own, which nobody else may know."""

import os
import subprocess
import sys

import pytest

from ftbridge.core.files import signing
from ftbridge.core.files.signing import SIZE, is_signed, sign


@pytest.fixture(autouse=True)
def key(tmp_path, monkeypatch):
    """Return where the key of a user without one will lie."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "share"))
    signing._warn_once.cache_clear()
    return tmp_path / "share" / "ftbridge" / "key"


def test_a_signature_holds_for_what_was_signed_alone():
    signature = sign(b"record")
    assert is_signed(b"record", signature)
    assert not is_signed(b"Record", signature)
    assert not is_signed(b"record", signature[:-1] + "0g"[signature.endswith("0")])
    assert not is_signed(b"record", "ü")
    assert not is_signed(b"record", "")


def test_the_key_is_made_once_and_for_the_user_alone(key, capsys):
    before = os.umask(0)
    try:
        signature = sign(b"record")
    finally:
        os.umask(before)
    made = key.read_bytes()
    assert (len(made), key.stat().st_mode & 0o777) == (SIZE, 0o600)
    assert sign(b"record") == signature
    assert key.read_bytes() == made
    assert capsys.readouterr().err == ""


def test_signature_of_another_key_does_not_hold(key, capsys):
    signature = sign(b"record")
    key.rename(key.with_name("other"))
    assert not is_signed(b"record", signature)
    assert not key.exists()  # to look makes none
    sign(b"record")
    assert not is_signed(b"record", signature)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o602])
def test_a_key_that_others_may_know_or_have_put_there_is_refused(key, capsys, mode):
    signature = sign(b"record")
    key.chmod(mode)
    assert sign(b"record") == ""
    assert not is_signed(b"record", signature)
    assert not is_signed(b"record", signature)
    said = capsys.readouterr().err.splitlines()
    assert [f"others can read or write the key `{key}`" in line for line in said] == [True, True]  # one for each
    key.chmod(0o600)
    assert is_signed(b"record", signature)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_a_key_of_somebody_elses_is_refused(key):
    signature = sign(b"record")
    os.chown(key, 65534, -1)
    assert not is_signed(b"record", signature)


def test_a_cut_off_key_is_refused(key, capsys):
    sign(b"record")
    key.write_bytes(b"")
    assert sign(b"record") == ""
    assert f"`{key}` is not a 32-byte key; remove it" in capsys.readouterr().err


def test_missing_key_leaves_records_unsigned_with_one_warning(key, capsys):
    key.parent.parent.write_text("a file where the folder should be")
    assert [sign(b"record"), sign(b"more")] == ["", ""]
    (said,) = capsys.readouterr().err.splitlines()
    assert "runs stay unsigned" in said
    assert not is_signed(b"record", "")


def test_user_without_a_home_gets_no_signature(monkeypatch, capsys):
    monkeypatch.delenv("XDG_DATA_HOME")
    monkeypatch.setattr(signing, "data_folder", _no_home)
    assert sign(b"record") == ""
    assert "Could not determine home directory" in capsys.readouterr().err


def _no_home():
    raise RuntimeError("Could not determine home directory.")


def test_leftover_of_a_killed_key_making_is_replaced(key):
    key.parent.mkdir(parents=True)
    left = key.with_name(".key.part")
    left.write_bytes(b"half")
    assert sign(b"record")
    assert len(key.read_bytes()) == SIZE
    assert not left.exists()


@pytest.mark.slow
def test_processes_that_begin_together_share_one_key():
    program = "from ftbridge.core.files.signing import sign; print(sign(b'record'))"
    started = [subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) for _ in range(8)]
    assert len({each.communicate()[0] for each in started}) == 1
    assert is_signed(b"record", sign(b"record"))
