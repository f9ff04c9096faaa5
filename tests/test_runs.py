"""What `ftbridge runs` does, in Python."""

import json
import signal
import subprocess
from pathlib import Path

import pytest
from click.testing import CliRunner

import ftbridge
from ftbridge.cli import cli
from ftbridge.core.project import Project
from ftbridge.launchers.training.resume import find_resume_point
from ftbridge.weights.source import resolve

from .builders.runs import loss_records, record_run
from .builders.torch_files import save_pickled


@pytest.fixture(autouse=True)
def project(tmp_path, monkeypatch):
    """Stand in a project with a good run on each backend and one whose watcher has died."""
    monkeypatch.chdir(tmp_path)
    found = Project.find()
    one = record_run(found, "a", metrics=loss_records(3, 2, 1))
    (one.path / "log.txt").write_text("step 1\n")
    record_run(found, "bb", backend="llamafactory", lora_rank=8, metrics=loss_records(4, 3))
    record_run(found, "ccc", "running", pid=2**22 + 1)
    return found


def said(*arguments):
    done = CliRunner().invoke(cli, ["runs", *arguments])
    assert done.exit_code == 0, (done.output, done.exception)
    return done.stdout


def left(project):
    return sorted(folder.name for folder in project.runs.iterdir())


def test_runs_list_returns_what_the_command_prints():
    found = ftbridge.runs.list()
    assert [(each.id, each.status, each.loss) for each in found] == [
        ("a", "succeeded", 1), ("bb", "succeeded", 3), ("ccc", "died", None),
    ]  # fmt: skip
    assert [each["id"] for each in json.loads(said("list", "--json"))] == [each.id for each in found]


def test_a_run_is_named_by_its_id_or_itself_and_by_nothing_is_the_newest(project, tmp_path, monkeypatch):
    one = ftbridge.runs.get("a")
    assert (one.id, one.path) == ("a", project.runs / "a")
    assert ftbridge.runs.get().id == "ccc"
    with pytest.raises(ftbridge.InputError, match="no run or folder `aa`; did you mean `a`"):
        ftbridge.runs.get("aa")
    (tmp_path / "new").mkdir()
    monkeypatch.chdir(tmp_path / "new")
    (tmp_path / "new" / "ftbridge.yaml").touch()
    assert ftbridge.runs.get(one) == one
    with pytest.raises(ftbridge.InputError, match=r"there is no run in `.*new/runs` yet"):
        ftbridge.runs.get()


def test_a_run_itself_may_stand_where_its_id_or_folder_may(project):
    one = ftbridge.runs.get("a")
    assert Path(one) == project.runs / "a"
    assert resolve(one) == resolve("a") == resolve(one.path)


def test_show_has_record_summary_and_checkpoints(project):
    found = ftbridge.runs.show("bb")
    assert (found.run.spec.lora_rank, found.summary.lowest_loss) == (8, 3)
    assert (found.checkpoints, found.best) == ((), None)
    for name in ("iter_1.pth", "iter_2.pth", "best_val_loss_iter_1.pth"):
        save_pickled(project.runs / "a" / "output" / name, b"N.")
    found = ftbridge.runs.show("a")
    assert [path.name for path in (*found.checkpoints, found.best)] == [
        "iter_1.pth", "iter_2.pth", "best_val_loss_iter_1.pth",
    ]  # fmt: skip
    assert json.loads(said("show", "a", "--json"))["checkpoints"] == [str(path) for path in found.checkpoints]
    assert json.loads(said("show", "bb", "--json"))["lowest_loss"] == 3


def test_logs_and_losses_are_of_the_run_that_is_meant():
    assert b"".join(ftbridge.runs.logs("a")) == b"step 1\n"
    assert b"".join(ftbridge.runs.logs("a", follow=True)) == b"step 1\n"
    assert [(each["step"], each["loss"]) for each in ftbridge.runs.losses("a")] == [(1, 3), (2, 2), (3, 1)]
    assert ftbridge.runs.losses() == []


def test_plot_gives_lines_and_refuses_what_is_no_picture():
    assert ftbridge.runs.plot("a", "bb") == said("plot", "a", "bb").removesuffix("\n")
    assert "training of bb" in ftbridge.runs.plot(ftbridge.runs.get("bb"))
    with pytest.raises(ftbridge.UsageError, match=r"must end with \.png"):
        ftbridge.runs.plot("a", png="loss.jpg")
    with pytest.raises(ftbridge.InputError, match="no loss was logged yet in ccc"):
        ftbridge.runs.plot(png=Path("loss.png"))


def test_a_beginning_of_an_id_means_the_run_wherever_one_is_named(project):
    assert ftbridge.runs.get("b").id == ftbridge.runs.show("b").run.id == resolve("b").run.id == "bb"
    assert b"".join(ftbridge.runs.logs("a")) == b"step 1\n"
    assert "training of bb" in ftbridge.runs.plot("b")
    assert ftbridge.runs.compare("a", "b").runs == ("a", "bb")
    with pytest.raises(ftbridge.UsageError, match="at least two runs"):
        ftbridge.runs.compare("b", "bb")
    with pytest.raises(ftbridge.UsageError, match="`ccc` is not running"):
        ftbridge.runs.stop("c")
    with pytest.raises(ftbridge.UsageError, match="run `bb` has succeeded"):
        find_resume_point(project, "b", {}, trusted=False)


@pytest.mark.framework
def test_plot_draws_a_picture(training_python):
    assert ftbridge.runs.plot("a", "bb", png="loss.png") == Path("loss.png")
    assert Path("loss.png").read_bytes().startswith(b"\x89PNG")


def test_compare_gives_what_differs():
    found = ftbridge.runs.compare("a", ftbridge.runs.get("bb"))
    assert found.runs == ("a", "bb")
    assert found.differences["lora_rank"] == [64, 8]
    assert "seed" not in found.differences
    with pytest.raises(ftbridge.UsageError, match="at least two runs"):
        ftbridge.runs.compare("a", "a")
    with pytest.raises(ftbridge.UsageError, match="at least two runs"):
        ftbridge.runs.compare("a", ftbridge.runs.get("a"))


def test_stop_refuses_what_does_not_run_and_marks_what_cannot_be_seen(project):
    with pytest.raises(ftbridge.UsageError, match="`ccc` is not running, its status is failed"):
        ftbridge.runs.stop("ccc")
    with pytest.raises(ftbridge.UsageError, match=r"nothing to stop: no run has the status running"):
        ftbridge.runs.stop()
    run = record_run(project, "dddd", "running")
    file = run.path / "run.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"machine": {"name": "else"}}))
    assert ftbridge.runs.stop("dddd", mark_failed=True).status == "failed"
    assert ftbridge.runs.get("dddd").status == "failed"


def test_stop_without_a_name_means_the_only_one_that_runs(project):
    children = [subprocess.Popen(["sleep", "60"]) for _ in "ab"]
    try:
        for child, name in zip(children, ("dddd", "eeeee"), strict=True):
            record_run(project, name, "running", pid=child.pid)
        with pytest.raises(ftbridge.UsageError, match=r"name the run to stop.*; .*running: `dddd`, `eeeee`"):
            ftbridge.runs.stop()
        children[0].kill()
        children[0].wait()
        assert (ftbridge.runs.stop().id, children[1].wait()) == ("eeeee", -signal.SIGTERM)
    finally:
        for child in children:
            child.kill()
            child.wait()


def test_prune_returns_the_runs_and_deletes_them_unless_dry_run(project):
    would = ftbridge.runs.prune(keep=1, dry_run=True)
    assert [each.run for each in would] == ["a", "ccc"]
    assert left(project) == ["a", "bb", "ccc"]
    assert [each.run for each in ftbridge.runs.prune()] == ["ccc"]
    assert left(project) == ["a", "bb"]
    assert ftbridge.runs.prune() == []
