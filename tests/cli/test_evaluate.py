"""`ftbridge evaluate`: its options go through, and figures, what follows from them and files are shown."""

import json

import msgspec
import pytest
from click.testing import CliRunner

from ftbridge.cli import cli
from ftbridge.evaluation.evaluate import Evaluations
from ftbridge.evaluation.judge import Written
from ftbridge.evaluation.record import Prompted, load_evaluation

from ..builders.evaluations import draw, evaluation, generation, write_news  # noqa: TID252


@pytest.fixture
def shown(monkeypatch):
    """Put in a function that notes what it is asked and returns the evaluations in `files`; return notes and files."""
    notes, files = {}, []

    def evaluate(*sources, **options):
        notes.update(sources=sources, **options)
        found = tuple(Written(str(file), load_evaluation(file)) for file in files)
        compared = found[0].evaluation.comparisons if len(found) > 1 else ()
        file = "comparison.json" if compared else ""
        also = {"general-test by news-lora": "worse"} if options["also"] else {}
        return Evaluations(evaluations=found, comparisons=compared, file=file, also=also)

    monkeypatch.setattr("ftbridge.evaluation.evaluate.evaluate", evaluate)
    return notes, files


def invoke(*arguments):
    done = CliRunner().invoke(cli, ["evaluate", *arguments])
    assert done.exit_code == 0, (done.output, done.exception)
    return done.stdout


def test_figures_stand_in_columns_with_their_intervals_and_what_follows(shown, tmp_path):
    file = write_news(tmp_path)
    shown[1].append(file)
    found = load_evaluation(file)
    lines = invoke().splitlines()
    assert lines[0].split() == ["news-test", "news-lora", "before", "most-frequent", "tfidf"]
    figure = found.scores.figures["accuracy"]
    (accuracy,) = (line for line in lines if line.startswith("accuracy"))
    assert f"{figure.value:.3f} ({figure.low:.3f} to {figure.high:.3f})" in accuracy
    (unparseable,) = (line for line in lines if line.startswith("unparseable"))
    assert unparseable.split()[1] == str(found.scores.parsed["unparseable"])
    assert found.comparisons[0].sentence in lines
    assert lines[-1] == str(file)


def test_several_models_share_a_table(shown, tmp_path):
    one = write_news(tmp_path)
    other = evaluation(tmp_path / "other", draw(300, ("sports", "finance"), 0.5, 4), title="b", baselines=False)
    shown[1].extend([one, other])
    lines = invoke("news-lora", "b").splitlines()
    assert lines[0].split()[1:] == ["news-lora", "b", "before", "most-frequent", "tfidf"]
    assert not any(line.startswith("class ") for line in lines)
    assert lines[-3:] == [str(one), str(other), "comparison.json"]


def test_lengths_are_no_shares(shown, tmp_path):
    shown[1].append(generation(tmp_path, draw(20, ("long answers", "short"), 0.5, 1)))
    (length,) = (line for line in invoke().splitlines() if line.startswith("answer length"))
    assert length.split()[2].count(".") == 1


def test_what_must_not_get_worse_is_told(shown, tmp_path):
    shown[1].append(write_news(tmp_path))
    assert "general-test by news-lora: worse than before" in invoke("--also", "general-test").splitlines()


def test_fixed_prompts_stand_in_a_table_before_and_after(shown, tmp_path):
    file = write_news(tmp_path)
    prompts = (
        Prompted(prompt="你是谁？", answer="甄嬛，\n家父", before="x" * 99),
        Prompted(prompt="why", answer="so", before=None),
    )
    shown[1].append(msgspec.structs.replace(load_evaluation(file), prompts=prompts).save(file.parent))
    lines = invoke("--prompt", "你是谁？", "--prompt", "why").splitlines()
    at = next(at for at, line in enumerate(lines) if line.startswith("prompt"))
    assert [line.split() for line in lines[at : at + 3]] == [
        ["prompt", "before", "after"],
        ["你是谁？", "x" * 60, "...", "甄嬛，", "家父"],
        ["why", "so"],
    ]
    assert shown[0]["prompt"] == ("你是谁？", "why")


def test_json_has_all(shown, tmp_path):
    shown[1].append(write_news(tmp_path))
    (found,) = json.loads(invoke("--json"))["evaluations"]
    assert found["evaluation"] == json.loads(msgspec.json.encode(load_evaluation(shown[1][0])))


def test_evaluate_options_reach_the_function(shown, tmp_path):
    shown[1].append(write_news(tmp_path))
    options = ["--dataset", "d", "--also", "x", "--also", "y", "--before", "--task", "generation", "--baseline", "none"]
    options += ["--checkpoint", "all", "--engine", "vllm", "--endpoint", "http://a", "--endpoint-model", "m"]
    options += ["--concurrency", "3", "--name", "n", "--max-new-tokens", "9", "--limit", "7", "--replace"]
    options += ["--prompt", "who", "--result-jsonl"]
    invoke("one", "two", *options)
    wanted = {"sources": ("one", "two"), "dataset": ("d",), "also": ("x", "y"), "before": True, "task": "generation"}
    wanted |= {"baseline": ("none",), "checkpoint": "all", "engine": "vllm", "endpoint": "http://a"}
    wanted |= {"prompt": ("who",), "result_jsonl": True}
    wanted |= {"endpoint_model": "m", "concurrency": 3, "name": "n", "max_new_tokens": 9, "limit": 7, "replace": True}
    assert wanted.items() <= shown[0].items()


@pytest.mark.parametrize("arguments", [["--task", "x"], ["--concurrency", "0"], ["--engine", "x"], ["--limit", "0"]])
def test_wrong_arguments_are_wrong_usage(arguments):
    assert CliRunner().invoke(cli, ["evaluate", *arguments]).exit_code == 2
