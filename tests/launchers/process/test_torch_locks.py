"""The lock that a killed compilation leaves behind."""

import os
from types import SimpleNamespace

import pytest

from ftbridge.launchers.process import torch_locks


@pytest.fixture(params=["TORCH_EXTENSIONS_DIR", "XDG_CACHE_HOME"])
def lock(request, tmp_path, monkeypatch):
    """Return an old lock where torch puts it."""
    monkeypatch.delenv("TORCH_EXTENSIONS_DIR", raising=False)
    monkeypatch.setenv(request.param, str(tmp_path))
    parts = [] if request.param == "TORCH_EXTENSIONS_DIR" else ["torch_extensions", "py311_cpu"]
    file = tmp_path.joinpath(*parts, "deepspeed_shm_comm", "lock")
    file.parent.mkdir(parents=True)
    file.touch()
    os.utime(file, (0, 0))
    return file


def test_a_lock_that_nobody_holds_is_removed(lock, capsys):
    torch_locks.remove_stale_locks()
    assert not lock.exists()
    assert f"removed {lock}" in capsys.readouterr().err
    torch_locks.remove_stale_locks()
    assert capsys.readouterr().err == ""


def test_lock_held_by_a_process_stays(lock):
    with lock.open("rb"):
        torch_locks.remove_stale_locks()
    assert lock.exists()


@pytest.mark.parametrize("made", [1000, 1000 + 365 * 86400])
def test_a_fresh_lock_is_waited_for_also_where_the_clock_was_put_back(lock, monkeypatch, capsys, made):
    now = [1000.0]  # a clock of our own: how long the machine takes to look does not count
    clock = SimpleNamespace(
        time=lambda: now[0], monotonic=lambda: now[0], sleep=lambda seconds: now.append(now.pop() + seconds)
    )
    monkeypatch.setattr(torch_locks, "time", clock)
    monkeypatch.setattr(torch_locks, "FRESH_SECONDS", 3)  # each look goes through all processes of the machine
    os.utime(lock, (made, made))
    torch_locks.remove_stale_locks()
    assert not lock.exists()
    assert now == [1000 + torch_locks.FRESH_SECONDS]
    said = capsys.readouterr().err
    assert said.startswith(f"waiting for {lock}; unless it goes, it is removed in 3 seconds")
    assert said.endswith(f"removed {lock}, which a killed training had left behind\n")
