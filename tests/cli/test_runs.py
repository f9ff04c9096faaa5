"""`ftbridge runs`."""

import json
import os
import re
import shutil
import subprocess
import sys
import zipfile

import msgspec
import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rich.cells import cell_len

from ftbridge.cli import cli
from ftbridge.cli.failure import report
from ftbridge.core.errors import InputError, UsageError
from ftbridge.core.project import Project
from ftbridge.launchers.runs.record import load_run
from ftbridge.tokens.agreement import Agreement

from ..builders.evaluations import write_news  # noqa: TID252
from ..builders.keyboard import terminal  # noqa: TID252
from ..builders.runs import loss_records, record_run, write_metrics  # noqa: TID252
from ..builders.torch_files import save  # noqa: TID252


@pytest.fixture(autouse=True)
def project(tmp_path, monkeypatch):
    """Stand in a project with a good run on each backend and one whose watcher has died."""
    monkeypatch.chdir(tmp_path)
    found = Project.find()
    one = record_run(found, "a", metrics=loss_records(3, 2, 1))
    (one.path / "log.txt").write_text("药 step 1\n", encoding="utf-8")
    validation = {"step": 2, "validation_loss": 2.5}
    record_run(found, "bb", backend="llamafactory", lora_rank=8, metrics=[*loss_records(4, 3), validation])
    record_run(found, "ccc", "running", pid=2**22 + 1)
    return found


def invoke(*arguments, **options):
    return ftbridge("runs", *arguments, **options)


def ftbridge(*arguments, **options):
    return CliRunner().invoke(cli, arguments, **options)


def runs(*arguments, **options):
    done = invoke(*arguments, **options)
    assert done.exit_code == 0, (done.output, done.exception)
    return done.stdout


def test_list_has_a_line_for_each_and_names_the_damaged(project):
    damaged = project.runs / "broken"
    damaged.mkdir()
    (damaged / "run.json").write_text("{")
    done = invoke("list")
    lines = done.stdout.splitlines()
    assert [line.split()[0] for line in lines] == ["run", "a", "bb", "ccc"]
    assert lines[1].split()[1:10] == ["succeeded", "qlora", "0.0002", "3/3", "1.000", "1:30", "faq", "base", "xtuner"]
    assert "failed (died)" in lines[3]
    assert "broken/run.json" in done.stderr
    assert [each["loss"] for each in json.loads(runs("list", "--json"))] == [1, 3, None]


def test_list_fits_the_terminal_with_names_and_metrics(project):
    for number, name in enumerate(("", "药-r8", "")):
        file = write_news(project.folder, f"20260102-03040{number}-xtuner-medqa-train", items=20)
        msgspec.structs.replace(load_run(file.parents[2]), name=name).save()
    record_run(project, "20260103-030405-xtuner-medqa-train", "interrupted")
    with terminal("-m", "ftbridge", "runs", "list", columns=80, TERM="dumb", LC_ALL="C.UTF-8") as there:
        assert there.end() == 0
    lines = [line.rstrip() for line in there.shown.decode().splitlines()]
    assert max(map(cell_len, lines)) <= 80
    assert lines[0].split() == ["run", "status", "method", "rate", "steps", "loss", "accuracy", "time"]
    shown = [line.split() for line in lines if " 0.8" in line or " 0.9" in line]
    assert [row[0] for row in shown] == ["20260102-030400", "药-r8", "20260102-030402"]
    assert {row[4] for row in shown} == {"15/15"}
    assert runs("show", "药-r8").startswith("20260102-030401-xtuner-medqa-train (药-r8)\n")
    assert runs("show", "20260102-030400").startswith("20260102-030400-xtuner-medqa-train\n")


def test_list_of_an_empty_project_says_so(tmp_path, monkeypatch):
    (tmp_path / "new").mkdir()
    monkeypatch.chdir(tmp_path / "new")
    assert "there is no run in " in runs("list")
    with pytest.raises(InputError, match="there is no run in"):
        raise invoke("show").exception


def test_a_run_that_ended_with_its_terminal_says_so(project):
    reason = "ended with its terminal; with --detach it goes on"
    record_run(project, "dddd", "running").end("interrupted", 130, reason)
    assert f"dddd: {reason}" in invoke("list").stderr
    assert reason in runs("show", "dddd")


def test_show_gives_people_one_run_in_groups(project):
    record_run(
        project, "dddd", "interrupted", metrics=[*loss_records(2.34567, 2.5), {"step": 2, "validation_loss": 2.5}],
        method="lora", lora_targets=("q_proj", "v_proj"), packing=True, track=("tensorboard",), set={"a": "1"},
    )  # fmt: skip
    for file in ("log.txt", "merged/config.json", "tracking/tensorboard/events"):
        (project.runs / "dddd" / file).parent.mkdir(parents=True, exist_ok=True)
        (project.runs / "dddd" / file).touch()
    output = runs("show", "dddd")
    facts = [re.split("  +", line.strip()) for line in output.splitlines()]
    for fact in (
        ["dddd"],
        ["status", "interrupted"],
        ["steps", "2/3"],
        ["loss", "2.500 (lowest 2.346)"],
        ["validation loss", "2.500 (lowest 2.500)"],
        ["time", "1 min 30 s"],
        ["dataset", "faq (21 samples)"],
        ["--method", "lora"],
        ["--lora-targets", "q_proj, v_proj"],
        ["--packing", "on"],
        ["--set", "a=1"],
        ["versions", "torch 2.8.0"],
        ["folder", "runs/dddd"],
        ["merged model", "runs/dddd/merged"],
    ):
        assert fact in facts
    (record,) = [fact[1] for fact in facts if fact[0] == "tensorboard"]
    assert re.fullmatch(r"runs/dddd/tracking/tensorboard(; to look at it: `.*tensorboard --logdir .*`)?", record)
    for dump in ("None", "[]", "{", "()"):
        assert dump not in output
    assert runs("show").startswith("dddd\n")


def test_show_gives_programs_all_of_the_record(project):
    shown = json.loads(runs("show", "bb", "--json"))
    assert (shown["spec"]["backend"], shown["lowest_validation_loss"], shown["checkpoints"]) == (
        "llamafactory",
        2.5,
        [],
    )


def test_show_tells_how_much_was_trained(project):
    msgspec.structs.replace(record_run(project, "dddd"), trained_parameters=1_081_344, parameters=495_114_112).save()
    assert "trained  1,081,344 of 495,114,112 parameters (0.22 %)\n" in runs("show", "dddd")
    shown = json.loads(runs("show", "dddd", "--json"))
    assert (shown["trained_parameters"], shown["parameters"]) == (1_081_344, 495_114_112)
    assert "parameters" not in runs("show", "a")  # of before there was such a count


def test_show_tells_in_a_line_who_has_the_tokens_alike(project):
    readers = ("chat template", "XTuner", "LLaMA-Factory", "merged folder")
    found = Agreement(samples=23, same=22, readers=readers, causes={"stray newline": {"merged folder": 1}})
    msgspec.structs.replace(record_run(project, "dddd"), agreement=found).save()
    told = "22 of 23 samples are the same for chat template, XTuner, LLaMA-Factory, merged folder"
    assert f"tokens   {told}; stray newline: merged folder in 1 conversation\n" in runs("show", "dddd")
    shown = json.loads(runs("show", "dddd", "--json"))["agreement"]
    assert (shown["same"], shown["causes"]) == (22, {"stray newline": {"merged folder": 1}})
    assert "tokens  " not in runs("show", "a").partition("trained with")[0]


@pytest.mark.parametrize("command", ["show", "logs", "plot"])
def test_run_taken_as_the_newest_is_named(project, command):
    (project.runs / "ccc" / "log.txt").write_text("")
    assert invoke(command).stderr == "using ccc, the newest run\n"
    assert invoke(command, "ccc").stderr == ""


def test_runs_logs_prints_the_log_of_the_framework():
    assert runs("logs", "a") == "药 step 1\n"
    assert runs("logs", "a", "-f") == "药 step 1\n"


def test_plot_draws_runs_of_both_frameworks_together():
    output = runs("plot", "a", "bb")
    for name in ("training of a", "training of bb", "validation of bb"):
        assert name in output
    assert "nothing to draw" in runs("plot")
    with pytest.raises(UsageError, match=r"must end with \.png"):
        raise invoke("plot", "a", "--png", "loss.jpg").exception
    with pytest.raises(InputError, match="no loss was logged yet in ccc"):
        raise invoke("plot", "ccc", "--png", "loss.png").exception


@pytest.mark.parametrize("columns", [60, 80])
def test_plot_is_as_wide_as_the_terminal(project, columns, monkeypatch):
    with terminal("-m", "ftbridge", "runs", "plot", "a", columns=columns) as there:
        assert there.end() == 0
        shown = there.shown.decode()
        assert re.search("\x1b\\[36m[⠀-⣿]", shown)
        assert max(map(len, re.sub(r"\x1b\[\d*m", "", shown).split("\r\n"))) == columns
    monkeypatch.setenv("COLUMNS", str(columns))
    assert max(map(len, runs("plot", "a").splitlines())) == columns


@pytest.mark.framework
def test_plot_writes_a_picture(project, training_python):
    assert runs("plot", "a", "bb", "--png", "loss.png") == "loss.png\n"
    assert (project.folder / "loss.png").read_bytes().startswith(b"\x89PNG")


def test_compare_shows_what_differs():
    lines = [re.split(r" {2,}", line.strip()) for line in runs("compare", "a", "bb").splitlines()]
    rows = {name: values for name, *values in lines}
    assert rows["--lora-rank"] == ["64", "8"]
    assert (rows["loss"], rows["lowest validation loss"]) == (["1.000", "3.000"], ["2.500"])
    assert not [name for name in rows if "sha256" in name]
    assert "seed" not in rows
    assert json.loads(runs("compare", "a", "bb", "--json"))["differences"]["backend"] == ["xtuner", "llamafactory"]
    with pytest.raises(UsageError, match="at least two runs"):
        raise invoke("compare", "a", "a").exception


def test_compare_rounds_and_groups_figures_and_has_what_was_measured(project):
    write_news(project.folder, "one", items=10)
    run = record_run(project, "eeeee", metrics=loss_records(0.00962416), learning_rate=1e-5, cutoff_length=131072)
    msgspec.structs.replace(run, trained_parameters=131072).save()
    lines = [re.split(r" {2,}", line.strip()) for line in runs("compare", "a", "eeeee", "one").splitlines()]
    rows = {name: values for name, *values in lines}
    assert rows["trained parameters"] == ["131,072"]
    assert rows["loss"][:2] == ["1.000", "0.010"]
    assert (rows["--learning-rate"][1], rows["--cutoff-length"][1]) == ("1e-05", "131072")  # as they are typed
    assert re.fullmatch(r"\d\.\d{3}", *rows["accuracy on news-test"])


def test_compare_has_chinese_titles_and_english_json(project):
    run = record_run(project, "dddd", "failed")
    msgspec.structs.replace(run, datasets={"faq.jsonl": "cd" * 32, "faq.csv": "cd" * 32}).save()
    argv = [sys.executable, "-m", "ftbridge", "runs", "compare", "a", "dddd"]
    env = {**os.environ, "FTBRIDGE_LANG": "zh", "PYTHONUTF8": "1"}
    shown = subprocess.check_output(argv, env=env, text=True, encoding="utf-8")
    assert re.search(r"^状态 +成功 +失败$", shown, re.MULTILINE)
    assert re.search(r"^最低 loss +1.000$", shown, re.MULTILINE)
    found = json.loads(subprocess.check_output([*argv, "--json"], env=env))["differences"]
    assert found["sha256 of faq.jsonl"]
    assert "".join(found).isascii()


def test_show_of_a_failed_run_says_why_and_how_to_go_on(project):
    run = record_run(project, "dddd", "failed").end("failed", 1, "the disk is full")
    assert "  reason   the disk is full\n" in runs("show", "dddd")
    assert "--resume" not in runs("show", "dddd")
    (run.path / "output").mkdir()
    save(run.path / "output" / "iter_4.pth", {"state_dict": {}, "optimizer": {}, "message_hub": {}})
    assert "`ftbridge train --resume dddd`\n" in runs("show", "dddd")


def test_compare_shows_data_that_differs_in_one_line(project):
    for name, digest in (("dddd", "cd"), ("eeeee", "ef")):
        run = record_run(project, name)
        msgspec.structs.replace(run, datasets={"faq.jsonl": digest * 32, "faq.csv": digest * 32}).save()
    lines = [line for line in runs("compare", "a", "dddd", "eeeee").splitlines() if "sha256" in line]
    assert len(lines) == 1
    assert lines[0].startswith("sha256 of the data ")
    assert len({*lines[0].split()[-3:]}) == 3


def test_stop_refuses_what_does_not_run():
    with pytest.raises(UsageError, match="`ccc` is not running, its status is failed"):
        raise invoke("stop", "ccc").exception


def test_prune_shows_and_asks(project):
    done = invoke("prune", input="n\n")
    with pytest.raises(UsageError, match="nothing was removed, as it was not confirmed; add `--yes`"):
        raise done.exception
    assert "runs/ccc" in done.stderr
    assert "remove 1 item, " in done.stderr
    assert (project.runs / "ccc").exists()
    assert runs("prune", "--yes").startswith("removed ")
    assert not (project.runs / "ccc").exists()
    assert runs("prune") == "there is nothing to remove\n"
    tokens = project.folder / ".ftbridge" / "tokens" / ("1" * 24)
    tokens.mkdir(parents=True)
    assert "ready tokens that no run uses  .ftbridge/tokens/111" in invoke("prune", input="n\n").stderr
    assert runs("prune", "--yes") == "removed 0 bytes\n"
    assert not tokens.exists()
    assert json.loads(runs("prune", "--json")) == {"removed": [], "bytes": 0}
    found = json.loads(runs("prune", "--keep", "1", "--json", input="y\n"))
    assert [each["run"] for each in found["removed"]] == ["a"]
    assert found["bytes"] == sum(each["size"] for each in found["removed"]) > 0
    assert runs("list").count("\n") == 2


def test_run_of_another_machine_is_marked_failed_only_by_name(project):
    run = record_run(project, "dddd", "running")
    file = run.path / "run.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"machine": {"name": "else"}}))
    assert runs("list").splitlines()[-1].split()[:2] == ["dddd", "unknown"]
    assert "status   unknown" in runs("show", "dddd")
    assert "dddd" not in invoke("prune", input="n\n").stderr
    with pytest.raises(UsageError, match=r"was started on `else`.*--mark-failed"):
        raise invoke("stop", "dddd").exception
    assert json.loads(runs("stop", "dddd", "--mark-failed", "--json")) == {"id": "dddd", "status": "failed"}
    with pytest.raises(UsageError, match="which is certain"):
        raise invoke("stop", "a", "--mark-failed").exception


SPECIAL = [-1, 0, 1, 2**31, 99999999999, 10**400, 1e308, -0.5, "", "\0", "/" * 300, "x" * 5000, "0001-01-01T00:00:00Z"]
ANYTHING = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.datetimes().map(str)
    | st.sampled_from(SPECIAL),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text() | st.just("step"), inner, max_size=3),
    max_leaves=8,
)


def places(value, before=()):
    """Yield where each value stands in what JSON holds."""
    yield before
    for key in value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ():
        yield from places(value[key], (*before, key))


@pytest.mark.slow
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(st.data())
def test_damaged_run_record_never_gives_a_traceback(project, data):
    shutil.rmtree(project.runs)
    record_run(project, "good", metrics=loss_records(2, 1))
    # No process has begun so late: whatever number is drawn, nothing is sent a signal.
    changed = record_run(project, "odd", data.draw(st.sampled_from(["running", "succeeded", "failed"])), pid=2**22 + 1)
    (changed.path / "output").mkdir()
    with zipfile.ZipFile(changed.path / "output" / "iter_3.pth", "w"):
        pass
    (project.folder / "base").mkdir(exist_ok=True)
    (project.folder / "base" / "config.json").write_text('{"model_type": "qwen2"}')
    file = changed.path / "run.json"
    record = json.loads(file.read_text()) | {"pid_started": 10**15, "model": "base"}
    place = data.draw(st.sampled_from([*places(record)]))
    if place and data.draw(st.booleans()):
        write_metrics(changed, data.draw(ANYTHING), data.draw(ANYTHING))
    holder = [record]
    for key in (0, *place)[:-1]:
        holder = holder[key]
    holder[(0, *place)[-1]] = data.draw(ANYTHING)
    content = json.dumps(record) if place else json.dumps(holder[0])
    file.write_text(content)
    for command in (
        "runs list",
        "runs list --json",
        "runs show odd",
        "runs show odd --json",
        "runs logs -f odd",
        "runs plot odd",
        "runs compare odd good",
        "export odd",
        "merge odd",
        "chat odd --prompt hi",
        "train --resume odd --dry-run",
        "train --resume auto --dry-run",
        "runs stop odd",
        "runs stop odd --mark-failed",
        "runs prune --keep 1 --checkpoints --yes",
    ):
        done = ftbridge(*command.split())
        error = done.exception
        assert error is None or isinstance(error, SystemExit) or report(error) != 70, (command, content, error)
        assert not command.startswith("runs list") or done.exit_code == 0, (content, error)
    assert (project.runs / "good").exists()
