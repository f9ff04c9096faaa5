"""Sources: a run, a checkpoint of it, or a folder."""

import shutil
from pathlib import Path

import pytest

from ftbridge.core.errors import InputError, QuestionError, UsageError
from ftbridge.core.project import Project
from ftbridge.weights.card import card_of
from ftbridge.weights.source import checkpoint_of, resolve, say_unfinished, target_of

from ..builders.model_sources import trained_run  # noqa: TID252
from ..builders.runs import loss_records, record_run  # noqa: TID252

pytestmark = pytest.mark.usefixtures("folder")


def test_source_without_a_name_is_the_last_successful_run(capsys):
    good = trained_run("1")
    assert resolve(None).run == good
    assert capsys.readouterr().err == "using 1, the last run that succeeded\n"


@pytest.mark.parametrize(("status", "ended"), [("failed", "failed"), ("interrupted", "was interrupted")])
def test_a_newer_run_that_did_not_succeed_is_asked_about_where_it_has_saved_something(saved, capsys, status, ended):
    trained_run("0")
    record_run(Project.find(), "22", status)
    assert resolve(None).run.id == "1"
    assert f"note: the newer run `22` {ended}, and saved no checkpoint" in capsys.readouterr().err
    shutil.copytree(saved, saved.parents[1] / "22" / "output")
    with pytest.raises(QuestionError, match=f"`22`, {ended}; `1` is older and succeeded") as asked:
        resolve(None)
    assert "newest checkpoint of the newer run (iter_32.pth)" in str(asked.value)
    assert list(asked.value.answers.values()) == [["1"], ["22"]]
    assert resolve("1").run.id == "1"
    capsys.readouterr()
    say_unfinished(resolve("22"))
    told = f"note: the run `22` {ended}; its checkpoint `iter_32.pth` is taken (step "
    assert told in capsys.readouterr().err
    say_unfinished(resolve("1"))
    assert capsys.readouterr().err == ""


def test_without_a_run_that_succeeded_the_newest_is_told(folder):
    with pytest.raises(InputError, match=r"there is no run in `.*` yet; start one"):
        resolve(None)
    trained_run("1", "failed")
    with pytest.raises(InputError, match=r"no run has succeeded in `.*` yet; `1` failed: `ftbridge runs logs 1` shows"):
        resolve(None)


def test_the_first_run_that_was_stopped_is_told_with_what_takes_its_checkpoint(saved):
    record_run(Project.find(), "1", "interrupted")
    told = "`1` was interrupted and left a checkpoint: `ftbridge train --resume 1` goes on with it, `ftbridge merge 1`"
    with pytest.raises(InputError, match=told):
        resolve(None)


def test_while_a_run_trains_it_is_told_how_far_it_is(folder):
    record_run(Project.find(), "1", "running", metrics=loss_records(3, 2))
    told = r"`1` is still training \(2/3, 0 s left\); `ftbridge runs logs -f 1` shows it"
    with pytest.raises(InputError, match=told):
        resolve(None)
    with pytest.raises(InputError, match=f"`1` has not saved a checkpoint yet: {told}"):
        checkpoint_of(resolve("1"))


def test_a_run_is_named_by_its_id_or_its_folder(folder):
    one = trained_run("1")
    assert [resolve(name).run for name in ("1", "runs/1", str(folder / "runs" / "1"))] == [one] * 3
    assert resolve("1").folder == folder / "runs" / "1"


def test_a_folder_is_a_source_without_a_run(folder):
    assert (resolve("base").folder, resolve("base").run) == (folder / "base", None)
    with pytest.raises(InputError, match="no run or folder `bsae`"):
        resolve("bsae")


def test_folder_is_its_own_checkpoint_and_a_run_without_one_is_refused(folder):
    assert checkpoint_of(resolve("base")) == folder / "base"
    trained_run("1", "failed")
    with pytest.raises(InputError, match=r"^`1` \(failed\) has no readable checkpoint; `ftbridge runs logs 1`"):
        checkpoint_of(resolve("1"))


@pytest.mark.parametrize(
    ("wanted", "name", "suffix"),
    [
        (None, "iter_32.pth", ""),
        ("last", "iter_32.pth", ""),
        ("2", "iter_32.pth", ""),
        ("1", "iter_16.pth", "-iter_16"),
        ("best", "best_val_loss_iter_16.pth", "-best_val_loss_iter_16"),
        (Path("runs/1/output/iter_16.pth"), "iter_16.pth", "-iter_16"),
    ],
)
def test_a_run_has_a_checkpoint_to_choose_and_a_folder_for_each(saved, wanted, name, suffix):
    source = resolve("1", wanted)
    assert checkpoint_of(source) == saved / name
    assert card_of(source).checkpoint == f"output/{name}"
    assert target_of(source, None, "adapter") == saved.parent / f"adapter{suffix}"
    assert target_of(source, "there", "adapter") == Path("there")


def test_a_runs_checkpoint_is_a_source_as_well(saved):
    assert resolve(saved / "iter_16.pth") == resolve("1", "1")
    assert resolve(saved).run is None
    (saved / "iter_16.pth").write_bytes(b"cut")
    assert resolve(saved / "iter_16.pth").run is None


@pytest.mark.parametrize(("wanted", "warns"), [(None, True), ("last", True), ("1", False)])
def test_a_newer_checkpoint_that_cannot_be_read_is_named(saved, capsys, wanted, warns):
    (saved / "iter_48.pth").write_bytes(b"\x80\x02}.")  # a pickle, and no zip
    assert checkpoint_of(resolve("1", wanted)).name == ("iter_32.pth" if warns else "iter_16.pth")
    told = (
        "warning: `iter_48.pth` of run `1` cannot be read (it is not a complete zip file as torch writes it): taking "
    )
    assert (told in capsys.readouterr().err) is warns


def test_checkpoint_option_for_a_folder_is_refused(saved):
    with pytest.raises(UsageError, match=r"--checkpoint.*base` is not a run; leave it out"):
        resolve("base", "best")
    with pytest.raises(InputError, match="no readable checkpoint `3`"):
        resolve("1", "3")
