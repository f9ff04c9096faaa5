"""What `make models` does, with a few of its classes; the rest takes the better part of an hour."""

import importlib.util
import json
import re
import subprocess
import sys
from pathlib import Path
from unittest.mock import Mock

import pytest

from ftbridge.core.errors import InputError, InterruptedRun
from ftbridge.launchers.environment.checklist import Check, checks_as_text
from ftbridge.launchers.preflight.tokens import Packing

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
MEASURE = HERE / "measure.py"
CLASSES = ["qwen3", "qwen3_5", "gemma3_text", "glm4_moe"]


@pytest.fixture
def measure():
    """Return the script as a module of its own."""
    spec = importlib.util.spec_from_file_location("measure", MEASURE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def called(measure, monkeypatch, tmp_path):
    """Return a function that calls the script, where each measuring takes the next of `results`."""

    def call(results, *arguments):
        answers = iter(results)
        monkeypatch.setattr(measure, "measure", lambda *_: next(answers))
        monkeypatch.setattr(sys, "argv", ["measure.py", *arguments, "--folder", str(tmp_path / "built")])
        return measure.main()

    return call


def test_class_of_the_models_table_says_all_that_its_model_needs(measure):
    kinds, tokenizers = measure.read()
    for name, kind in kinds.items():
        assert kind.config["model_type"] == name
        assert kind.models
        assert "".join(tokenizers[kind.tokens]["chat_template"])
        assert set(kind.refused) <= set(measure.BACKENDS)


@pytest.mark.slow
def test_class_that_does_not_run_neither_ends_the_others_nor_passes(measure, called, tmp_path, capsys):
    whole, half = measure.Result(done=["run", "merged", "asked"]), measure.Result(done=["run"], said="does not fit")
    docs = tmp_path / "models.md"
    docs.write_text(f"before\n{measure.BEGIN}\n| `lfm2` | old |\n| `qwen3` | old |\n{measure.END}\nafter\n")
    assert called([half, whole, whole, whole], "qwen3", "qwen2", "--docs", str(docs)) == 1
    assert "not as it should be: qwen3 on xtuner" in capsys.readouterr().out
    rows = docs.read_text().splitlines()
    assert [row.split("`")[1] for row in rows if row.startswith("| `")] == ["qwen2", "qwen3", "lfm2"]
    assert "run; does not fit | run, merged, asked |" in docs.read_text()
    assert (rows[0], rows[-1]) == ("before", "after")
    assert called([], "qwen3", "qwen2", "--go-on") == 1
    assert called([whole], "qwen3", "--backend", "xtuner") == 0
    known = json.loads((tmp_path / "built" / "results.json").read_text())
    assert known["qwen3"]["xtuner"]["done"] == ["run", "merged", "asked"]


def test_the_table_says_of_each_class_whether_it_may_be_packed(measure, monkeypatch):
    known = Packing(("lfm2",), ("qwen3",), {"it mixes": ("qwen2",)})
    monkeypatch.setattr(measure, "packing_table", lambda: known)
    kinds, _ = measure.read()
    rows = ["| `lfm2` | LFM2 | chatml | run \\| merged | no |", "| `qwen2` | Qwen | qwen | run | run | yes |"]
    page = "\n".join([measure.BEGIN, *rows, measure.END])
    results = {name: dict.fromkeys(measure.BACKENDS, measure.Result(done=["run"])) for name in ("qwen3", "gemma3")}
    lines = measure.table(page, kinds, results).splitlines()
    assert lines[1].endswith("| LLaMA-Factory | packing |")
    assert lines[2] == "|---|---|---|---|---|---|"
    assert {line.split("`")[1]: line.rpartition("run")[2] for line in lines[3:-1]} == {
        "qwen2": " | no |",
        "qwen3": " | with transformers 5 |",
        "gemma3": " | not measured |",
        "lfm2": " \\| merged | no | yes |",
    }
    assert measure.table("\n".join(lines), kinds, {}).splitlines() == lines


def test_the_table_on_the_page_says_what_is_known_of_packing_and_nothing_older(measure):
    page = (ROOT / "docs" / "models.md").read_text("utf-8")
    assert measure.table(page, measure.read()[0], {}) == page


@pytest.mark.slow
def test_a_class_that_should_be_refused_and_is_not_is_no_success(measure, called, monkeypatch):
    kinds, tokenizers = measure.read()
    kinds["qwen3"] = measure.Kind("Qwen 3", "", {}, "qwen3", refused=("xtuner",))
    monkeypatch.setattr(measure, "read", lambda: (kinds, tokenizers))
    whole, refused = measure.Result(done=["run", "merged", "asked"]), measure.Result(said="no", refused=True)
    assert called([refused], "qwen3", "--backend", "xtuner") == 0
    assert called([whole], "qwen3", "--backend", "xtuner") == 1
    assert called([refused], "qwen3", "--backend", "llamafactory") == 1


def test_ctrl_c_ends_the_measuring_and_a_failure_only_its_class(measure, monkeypatch, tmp_path):
    kinds, tokenizers = measure.read()
    monkeypatch.setattr(measure, "base", lambda *_: tmp_path)
    monkeypatch.setattr(measure, "_go", Mock(side_effect=[InterruptedRun("stopped"), InputError("no tokenizer")]))
    wanted = (tmp_path, kinds["qwen3"], tokenizers["qwen3"], "xtuner")
    with pytest.raises(InterruptedRun):
        measure.measure(*wanted)
    result = measure.measure(*wanted)
    assert (result.said, result.refused) == ("no tokenizer", True)


def test_failure_is_shortened_to_its_most_telling_sentence(measure):
    check = checks_as_text([Check("model", "failure", "no weights", "copy it")])
    assert (
        measure.sentence(f"this training would fail, so it was not started:\n{check}\n`--dry-run` ...") == "no weights"
    )
    failed = "XTuner ended with exit status 1; the end of its log:\n\n  Traceback\n  ValueError: no\n\nThe whole log is"
    assert measure.sentence(failed) == "ValueError: no"
    assert measure.sentence("the disk is full: 3 GB\n\n  OSError\n\nMake room.") == "the disk is full: 3 GB"


def test_a_class_that_is_not_there_is_named(tmp_path):
    done = run("nothing", "--folder", str(tmp_path))
    assert done.returncode == 2
    assert "no such class: nothing; there are qwen2, qwen3" in done.stderr


@pytest.mark.matrix
@pytest.mark.parametrize("name", CLASSES)
def test_a_class_goes_the_whole_way_on_both_frameworks(tmp_path, training_python, name):
    done = run(name, "--folder", str(tmp_path))
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("run, merged, asked") == 2
    if name == CLASSES[0]:
        the_judge_sees_a_wrong_weight(tmp_path / name, training_python)


def the_judge_sees_a_wrong_weight(project, python):
    (adapter,), (merged,) = (project.glob(f"runs/*-xtuner-*/{made}") for made in ("adapter", "merged"))
    file = merged / "model.safetensors"
    content = bytearray(file.read_bytes())
    content[-1] ^= 0b0100_0000  # of an exponent
    file.write_bytes(content)
    judge = [python, HERE / "judge_merged.py", project / "base", adapter, merged]
    done = subprocess.run(judge, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "is not what base and adapter are together" in done.stderr


@pytest.mark.matrix
@pytest.mark.parametrize("name", ["qwen3_5", "gemma3"])
def test_the_readmes_recipe_runs_with_models_as_they_are_published(tmp_path, measure, training_python, name):
    """Word for word, but for the sample in place of the workbook, and a model of this machine."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    recipe = text.partition("## From MedQA2019.xlsx to a chat")[2].partition("The sheet `DrugQA`")[0]
    lines = "\n".join(re.findall(r"```bash\n(.*?)```", recipe, re.DOTALL))
    assert lines.count("ftbridge train --backend") == 2
    kinds, tokenizers = measure.read()
    folder = measure.prepare(tmp_path) / name
    measure.base(folder, kinds[name], tokenizers[kinds[name].tokens])
    (folder / "MedQA2019.xlsx").write_bytes(measure.SAMPLE.read_bytes())
    (folder / "ftbridge.yaml").write_text("model: base\ndevice: cpu\nlearning_rate: 0.01\n")
    lines = lines.replace("ftbridge chat\n", "ftbridge chat --max-new-tokens 8 --prompt 'what is aspirin for'\n")
    env = {"PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin", "HOME": str(Path.home()), "OMP_NUM_THREADS": "1"}
    shell = ["bash", "-ec", lines]
    done = subprocess.run(shell, cwd=folder, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert len([*folder.glob("runs/*/merged/model.safetensors")]) == 2


def run(*arguments):
    return subprocess.run([sys.executable, MEASURE, *arguments], capture_output=True, text=True, check=False)
