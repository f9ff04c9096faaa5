"""What may be removed, and what may not."""

import json
import zipfile

import msgspec
import pytest

from ftbridge.adapters.registered.mixture import DATASETS, resolve_choices
from ftbridge.core.project import Project, Settings
from ftbridge.core.train_spec import dataset_choices
from ftbridge.dataset_info import registry
from ftbridge.evaluation.answers import folder as answers
from ftbridge.evaluation.record import FILE
from ftbridge.launchers.process.identity import Host
from ftbridge.launchers.runs import prune
from ftbridge.launchers.runs.record import RESERVE, all_runs
from ftbridge.launchers.runs.written_files import files_in

from ...builders.runs import record_run  # noqa: TID252


@pytest.fixture
def project(tmp_path):
    return Project(tmp_path, Settings())


def names(gone):
    return [each.path.rpartition("/")[2] for each in gone]


def test_runs_that_did_not_succeed_go_and_no_others(project):
    for name, status in (("a", "failed"), ("bb", "succeeded"), ("ccc", "interrupted"), ("dddd", "running")):
        record_run(project, name, status)
    msgspec.structs.replace(record_run(project, "eeeee", "running"), machine=Host()).save()  # unknown from here
    gone = prune.find_leftovers(all_runs(project))
    assert [(each.run, each.why) for each in gone] == [("a", "failed"), ("ccc", "interrupted")]
    assert gone[0].size == sum(file.stat().st_size for file in (project.runs / "a").iterdir())
    assert prune.remove_leftovers(gone) == gone
    assert [run.id for run in all_runs(project)] == ["bb", "dddd", "eeeee"]


def test_prune_keeps_the_asked_number_of_good_runs(project):
    for name in ("a", "bb", "ccc"):
        record_run(project, name)
    assert names(prune.find_leftovers(all_runs(project), 2)) == ["a"]
    assert names(prune.find_leftovers(all_runs(project), 1)) == ["a", "bb"]
    assert names(prune.find_leftovers(all_runs(project))) == []


def test_the_last_checkpoint_and_the_best_stay(project):
    run = record_run(project, "one")
    for name in ("iter_10", "iter_20", "best_val_loss_iter_20", "iter_32"):
        file = run.path / "output" / f"{name}.pth"
        file.parent.mkdir(exist_ok=True)
        with zipfile.ZipFile(file, "w") as archive:
            archive.writestr("data.pkl", b"")
    gone = prune.find_leftovers([run], checkpoints=True)
    assert names(gone) == ["iter_10.pth", "iter_20.pth"]
    prune.remove_leftovers(gone)
    assert sorted(file.name for file in (run.path / "output").iterdir()) == ["best_val_loss_iter_20.pth", "iter_32.pth"]


def test_the_finished_adapter_of_llamafactory_and_the_best_stay(project):
    run = record_run(project, "one", backend="llamafactory")
    for folder in ("checkpoint-5", "checkpoint-10", "."):
        file = run.path / "output" / folder / "adapter_model.safetensors"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(len(json.dumps({})).to_bytes(8, "little") + b"{}")
    (run.path / "output" / "trainer_log.jsonl").write_text('{"current_steps": 5, "eval_loss": 1.0}\n')
    assert names(prune.find_leftovers([run], checkpoints=True)) == ["checkpoint-10"]
    (run.path / "output" / "trainer_log.jsonl").unlink()
    gone = prune.find_leftovers([run], checkpoints=True)
    assert names(gone) == ["checkpoint-5", "checkpoint-10"]
    prune.remove_leftovers(gone)
    assert [file.name for file in (run.path / "output").iterdir()] == ["adapter_model.safetensors"]


def test_a_run_that_was_resumed_meanwhile_stays(project):
    run = record_run(project, "one", "failed")
    gone = prune.find_leftovers([run])
    msgspec.structs.replace(run, status="running").save()
    assert prune.remove_leftovers(gone) == []
    assert run.path.is_dir()


def test_a_run_with_what_ftbridge_did_not_write_stays(project, capsys):
    for name in ("a", "bb", "ccc", "dddd", "eeeee"):
        run = record_run(project, name, "failed", argv=("python",))
        for own in ("log.txt", ".run.json.lock"):
            (run.path / own).touch()
        for own in ("output", "tracking", "predictions", "adapter-iter_8"):
            (run.path / own).mkdir()
        files = msgspec.to_builtins(files_in(run.path / "adapter-iter_8"))
        (run.path / "adapter-iter_8" / "ftbridge.json").write_text(json.dumps({"files": files}))
    (project.runs / "a" / "my_notes.txt").write_text("mine")
    (project.runs / "bb" / "mywork").mkdir()
    (project.runs / "ccc" / "adapter-iter_8" / "thesis.txt").write_text("mine")
    gone = prune.find_leftovers(all_runs(project))
    assert names(gone) == ["dddd", "eeeee"]
    said = capsys.readouterr().err
    for name, strange in (("a", "my_notes.txt"), ("bb", "mywork/"), ("ccc", "adapter-iter_8/thesis.txt")):
        assert f"/{name}` was kept: it holds `{strange}`, which ftbridge did not write" in said
    prune.remove_leftovers(gone)
    assert [run.id for run in all_runs(project)] == ["a", "bb", "ccc"]


def test_killed_run_is_pruned_whole(project):
    run = record_run(project, "one", "failed")
    (run.path / RESERVE).touch()
    assert names(prune.find_leftovers([run])) == ["one"]


OWN = [
    "output/iter_8.pth", "output/best_val_loss_iter_8.pth", "output/last_checkpoint", "output/zero_to_fp32.py",
    "output/20260102_030405/vis_data/scalars.json", "output/README.md", "output/adapter_config.json",
    "output/checkpoint-8/rng_state.pth", "output/tokenizer.json", "output/training_eval_loss.png",
    "output/train_results.json", "output/vocab.json", "output/cpp_kernels.py", "output/training_args.bin",
    "tracking/wandb/offline-run-1/files/output.log", "predictions/faq-test/.predictions.jsonl.lock",
]  # fmt: skip


@pytest.mark.parametrize(
    "strange",
    [
        "output/notes.md", "output/notes.txt", "output/plot.py", "output/answers.jsonl", "output/.git/config",
        "output/work/thesis.docx", "output/loss.png", "output/2026 report.docx",
        "tracking/notes.md", "tracking/report/report.pdf",
        "predictions/notes.md", "predictions/faq-test/analysis.xlsx", "predictions/faq-test/work/mine.csv",
    ],
)  # fmt: skip
def test_a_file_of_ones_own_in_any_folder_of_a_run_keeps_it(project, tmp_path, capsys, strange):
    (tmp_path / "base").mkdir()
    (tmp_path / "base" / "cpp_kernels.py").touch()
    run = msgspec.structs.replace(record_run(project, "one", "failed"), model=str(tmp_path / "base")).save()
    written = [f"{place}/faq-test/{name}" for name in answers.FILES for place in ("predictions", "predictions-before")]
    written += [f"evaluations{place}/faq-test/{name}" for place in ("", "-iter_8") for name in (FILE, "tfidf.jsonl")]
    for name in [*OWN, "report.html", *written]:
        (run.path / name).parent.mkdir(parents=True, exist_ok=True)
        (run.path / name).touch()
    assert names(prune.find_leftovers([run])) == ["one"]
    (run.path / strange).parent.mkdir(parents=True, exist_ok=True)
    (run.path / strange).touch()
    assert prune.find_leftovers([run]) == []
    folder, name, *_ = strange.split("/") if not strange.startswith("predictions") else (strange, "")
    assert f"was kept: it holds `{folder}{'/' * bool(name)}{name}`, which ftbridge" in capsys.readouterr().err


def test_a_link_among_the_answers_keeps_a_run(project, tmp_path):
    run = record_run(project, "one", "failed")
    (run.path / "predictions").mkdir()
    (run.path / "predictions" / "result.jsonl").symlink_to(tmp_path)
    assert prune.find_leftovers([run]) == []


def test_a_run_that_holds_the_base_of_another_stays(project, capsys):
    for name, base in (("a", "/base"), ("bb", "/base"), ("ccc", project.runs / "a" / "merged")):
        msgspec.structs.replace(record_run(project, name), model=str(base)).save()
    assert names(prune.find_leftovers(all_runs(project), 1)) == ["bb"]
    assert "/a` was kept: it holds the base model of the run `ccc`" in capsys.readouterr().err


def test_a_run_that_holds_the_base_of_another_stays_where_the_project_was_moved(project):
    record_run(project, "a", "failed")
    (project.runs / "a" / "merged").mkdir()
    (project.runs / "a" / "merged" / "ftbridge.json").write_text("{}")
    record_run(project, "bb", model="runs/a/merged")  # on record with its old place
    assert prune.find_leftovers(all_runs(project)) == []


def make_tokens(project, *names):
    for name in names:
        folder = project.folder / ".ftbridge" / "tokens" / name
        folder.mkdir(parents=True)
        (folder / "data-00000.arrow").write_bytes(b"tokens")


def test_tokens_that_no_staying_run_uses_are_found_with_their_size(project):
    one, two, three = "1" * 24, "2" * 24, "3" * 24
    make_tokens(project, one, two, three, f"{'4' * 24}.part")
    msgspec.structs.replace(record_run(project, "a", "failed"), tokens=(one, two)).save()
    msgspec.structs.replace(record_run(project, "bb"), tokens=(two,)).save()
    runs = all_runs(project)
    gone = prune.find_leftovers(runs)
    tokens = prune.find_unused(project, runs, gone)
    assert [(each.run, each.why, each.size) for each in tokens] == [
        ("", "ready tokens that no run uses", 6), ("", "ready tokens that no run uses", 6),
        ("", "unfinished tokens", 6),
    ]  # fmt: skip
    assert names(tokens) == [one, three, f"{'4' * 24}.part"]
    assert names(prune.find_unused(project, runs, [])) == [three, f"{'4' * 24}.part"]
    assert prune.remove_leftovers([*gone, *tokens]) == [*gone, *tokens]
    assert [path.name for path in (project.folder / ".ftbridge" / "tokens").glob("[0-9]*")] == [two]


def test_mixtures_that_no_staying_run_uses_go_with_their_entries(project):
    for name in "ab":
        (project.folder / f"{name}.jsonl").write_text('{"instruction": "hi", "input": "", "output": "ho"}\n' * 2)
    (project.folder / "dataset_info.json").write_text('{"a": {"file_name": "a.jsonl"}, "b": {"file_name": "b.jsonl"}}')
    cache = project.folder / DATASETS
    choices = dataset_choices(["a", "b"])
    used, unused = (resolve_choices(project.folder, choices, "sharegpt", cache, seed) for seed in (1, 2))
    msgspec.structs.replace(record_run(project, "a", "failed"), datasets=used.sha256 | unused.sha256).save()
    msgspec.structs.replace(record_run(project, "bb"), datasets=used.sha256).save()
    runs = all_runs(project)
    assert prune.find_unused(project, runs, []) == []
    gone = prune.find_leftovers(runs)
    mixtures = prune.find_unused(project, runs, gone)
    (file,) = unused.entry.files.values()
    assert [(each.path, each.why) for each in mixtures] == [(str(cache / file), "mixture that no run uses")]
    assert prune.remove_leftovers(mixtures) == []  # the failed run has not gone yet
    assert prune.remove_leftovers([*gone, *mixtures]) == [*gone, *mixtures]
    assert [name for name in registry.converted_entries(cache) if name.startswith("mixed-")] == [used.name]
    assert [path.name for path in cache.glob("mixed-*")] == [*used.entry.files.values()]


def test_tokens_of_a_run_that_was_resumed_or_made_meanwhile_stay(project):
    one, two = "1" * 24, "2" * 24
    make_tokens(project, one, two)
    run = msgspec.structs.replace(record_run(project, "a", "failed"), tokens=(one,)).save()
    gone = prune.find_leftovers([run])
    gone += prune.find_unused(project, [run], gone)
    msgspec.structs.replace(run, status="running").save()
    msgspec.structs.replace(record_run(project, "bb"), tokens=(two,)).save()
    assert prune.remove_leftovers(gone) == []
    assert (project.folder / ".ftbridge" / "tokens" / two).is_dir()
