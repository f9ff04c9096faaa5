"""Answering a dataset: what is asked, what is kept, and what is written."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import openpyxl
import pytest
from msgspec.structs import replace

import ftbridge
from ftbridge.core.errors import InputError, UsageError
from ftbridge.dialogue.generation import Generator, Sampling
from ftbridge.dialogue.placement import Loading
from ftbridge.evaluation.answers.asking import AskOptions, plan
from ftbridge.evaluation.answers.folder import FINISHED, UNFINISHED
from ftbridge.launchers.environment.venv import interpreter
from ftbridge.launchers.process.script import SCRIPTS
from ftbridge.templates.families import get_family
from ftbridge.weights.card import card_of, load_card
from ftbridge.weights.merge import adapter_of
from ftbridge.weights.source import resolve

from ..builders.trained_runs import trained  # noqa: TID252
from .answering_model import NEWS, SYSTEM, AnsweringModel, of_a_run, predict, rows


def test_predictions_are_in_the_datasets_order_with_references(model):
    found = predict(model)
    assert (found.file, found.dataset, found.samples, found.asked) == ("out/predictions.jsonl", "all-train", 6, 6)
    written = rows(Path("out"))
    assert [row["id"] for row in written] == [1, 2, 3, 4, 5, 6]
    assert [row["reference"] for row in written] == [answer for _, answer in NEWS]
    assert list(written[0]) == ["id", "prompt", "answer", "reference", "finish_reason"]
    assert written[0]["prompt"] == (
        f"<|im_start|>system\n{SYSTEM}<|im_end|>\n"
        f"<|im_start|>user\nSort it\n{NEWS[0][0]}<|im_end|>\n<|im_start|>assistant\n"
    )
    assert not Path("out", UNFINISHED).exists()


def test_the_last_turn_is_asked_with_what_was_said_before(model):
    turns = [{"role": role, "content": text} for role, text in zip(["user", "assistant"] * 2, "abcd", strict=True)]
    Path("talk.jsonl").write_text(json.dumps({"messages": turns}) + "\n")
    ftbridge.convert("talk.jsonl")
    ftbridge.predict(model, "talk", out="out")
    (row,) = rows(Path("out"))
    assert AnsweringModel.asked == [row["prompt"]]
    assert row["prompt"] == (
        "<|im_start|>user\na<|im_end|>\n<|im_start|>assistant\nb<|im_end|>\n"
        "<|im_start|>user\nc<|im_end|>\n<|im_start|>assistant\n"
    )
    assert row["reference"] == "d"


def test_predict_answers_a_foreign_dataset(model):
    Path("data/own.json").write_text(json.dumps([{"q": "news 1", "a": "Sports"}]))
    info = json.loads(Path("data/dataset_info.json").read_text())
    info["own"] = {"file_name": "own.json", "columns": {"prompt": "q", "response": "a"}}
    Path("data/dataset_info.json").write_text(json.dumps(info))
    assert ftbridge.predict(model, "own", out="own").samples == 1
    assert rows(Path("own"))[0]["reference"] == "Sports"


def test_predict_without_a_unique_dataset_is_refused(model):
    with pytest.raises(UsageError, match="give `--dataset NAME`"):
        ftbridge.predict(model, out="out")
    with pytest.raises(InputError, match="there is no dataset `new`"):
        ftbridge.predict(model, "new", out="out")
    assert ftbridge.predict(model, "parts", out="out").dataset == "parts-test"


@pytest.mark.parametrize(
    ("out", "said"),
    [
        ("model", "what `export` or `merge` wrote is there"),
        ("model/answers", "what `export` or `merge` wrote is around it"),
        ("link/new", "what `export` or `merge` wrote is around it"),
        ("base/new", "the base model is around it"),
        ("data", "the dataset folder is there"),
        ("data/new", "the dataset folder is around it"),
        ("runs/one", "the run `one` is there"),
        ("runs/one/predictions", "`predictions` of the run `one` is there"),
        ("runs/one/adapter", "`adapter` of the run `one` is there"),
        ("runs/one/merged-iter_8/new", "`merged-iter_8` of the run `one` is around it"),
        ("runs/one/output/", "`output` of the run `one` is there"),
        ("runs/one/output/iter_8.pth", "`output` of the run `one` is around it"),
        ("runs/one/tracking", "`tracking` of the run `one` is there"),
        ("runs/one/predictions/mine", ""),
        ("runs/one/mine", ""),
        ("new/deep", ""),
    ],
)
def test_no_answers_are_put_where_something_else_has_its_place(model, out, said):
    Path("link").symlink_to("model")
    Path("base").mkdir()
    of_a_run(model)
    msgspec.structs.replace(load_card(model), base=str(Path("base").absolute())).save(model)
    if not said:
        assert predict(model, out=out).samples == len(NEWS)
        return
    before = {*Path().rglob("*")}
    with pytest.raises(InputError, match=f"` cannot be written to: {said}; choose another folder with `--out`"):
        predict(model, out=out)
    assert {*Path().rglob("*")} == before


def test_answers_may_lie_in_a_project_that_is_its_own_dataset_folder(model):
    ftbridge.convert("news.json", name="here", dataset_dir=".")
    assert ftbridge.predict(model, "here", dataset_dir=".", out="out").samples == len(NEWS)
    with pytest.raises(InputError, match="the dataset folder is there"):
        ftbridge.predict(model, "here", dataset_dir=".", out=".")


def test_thinking_is_among_what_decides_the_answers(model):
    prompt = msgspec.to_builtins(get_family("qwen3").cell("xtuner").prompt)
    msgspec.structs.replace(load_card(model), family="qwen3", template=prompt, thinking="off").save(model)
    predict(model)
    assert all(asked.endswith("<think>\n\n</think>\n\n") for asked in AnsweringModel.asked)
    assert predict(model, thinking="off").asked == 0  # as it was trained
    with pytest.raises(InputError, match=r"a change of .*thinking \(off, now on\)"):
        predict(model, thinking="on")
    AnsweringModel.asked.clear()
    assert predict(model, thinking="on", replace=True).asked == 6
    assert all(asked.endswith("<|im_start|>assistant\n") for asked in AnsweringModel.asked)


def test_result_jsonl_ends_as_the_tutorial_writes_it(model):
    predict(model, result_jsonl=True)
    last = rows(Path("out"))[-1]
    # What the tutorial's script does: `messages` are those of the last sample, and its answer.
    messages = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": f"Sort it\n{NEWS[-1][0]}"}]
    messages.append(last["answer"])
    expected = "".join(json.dumps(message, ensure_ascii=False) + "\n" for message in messages)
    written = Path("out/result.jsonl").read_bytes()
    assert written.endswith(expected.encode())
    assert written.count(b"\n") == 3 * len(NEWS)
    assert "药" in written.decode()


@pytest.fixture
def asked(trained, in_project):
    """Return the trained run and prompts of many lengths."""
    run = trained(backend="xtuner")
    return run, [f"{'what is aspirin taken for, and what not? ' * (number % 7)}{number}" for number in range(1, 15)]


def sure(python, card, adapter, questions, length):
    """Return the questions whose answers no rounding changes: float32 is off by millionths, and they are decided by
    more than a hundred times that."""
    prompts = [card.prompt_for(card.system, [(question, None)]) for question in questions]
    told = {"base": card.base, "adapter": str(adapter), "template": card.chat_template.text}
    spec = {**told, "prompts": prompts, "max_new_tokens": length}
    argv = [python, Path(__file__).with_name("margins.py"), json.dumps(spec)]
    done = subprocess.run(argv, capture_output=True, text=True, check=True)
    margins = json.loads(done.stdout.splitlines()[-1])
    return [question for question, margin in zip(questions, margins, strict=True) if margin > 1e-3]


@pytest.mark.framework
def test_answers_in_batches_equal_those_one_by_one(asked):
    run, questions = asked
    source = resolve(run.id)
    card, adapter = card_of(source), adapter_of(source)  # also where another test has merged the run
    stop, sampling = card.stop, Sampling(max_new_tokens=12)
    questions = sure(interpreter(source.project, "xtuner"), card, adapter, questions, sampling.max_new_tokens)
    assert len(questions) > 7
    with Generator(
        interpreter(source.project, "xtuner"), card, Path(card.base), adapter, (), Loading(dtype="float32")
    ) as generator:
        alone = ["".join(generator.ask([(question, None)], card.system, stop, sampling)) for question in questions]
        prompts = [card.prompt_for(card.system, [(question, None)]) for question in questions]
        prompts.append(card.prompt_for("", [("aspirin " * 3000, None)]))
        for size in (None, 1, 4):
            found = list(generator.batch(prompts, stop, sampling, size))
            assert [each.text for each in sorted(found)] == [*alone, ""]
            assert found[0][:3] == (len(questions), "", "too_long")
            assert {each.finish for each in found[1:]} <= {"stop", "length"}


SMALL_GPU = """
import json, sys, types, torch
sys.path.insert(0, sys.argv[1])
import generate

asked, written = [], []

def model(inputs, **_):
    asked.append(len(inputs))
    if len(inputs) > 4:
        raise torch.OutOfMemoryError
    if len(inputs) > 1:
        raise RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`")
    return torch.cat([inputs, torch.full((len(inputs), 1), 9)], 1)

tokenizer = types.SimpleNamespace(
    encode=lambda text, **_: [1] * len(text), decode=lambda ids, **_: str(ids), eos_token_id=0, pad_token_id=0,
)
config = generate.transformers.Qwen2Config(max_position_embeddings=10)
fake = types.SimpleNamespace(generate=model, config=config, device=torch.device("cpu"))
request = {"prompts": [["a" * length] for length in (1, 2, 3, 4, 5, 6)], "batch_size": 5, "stop": [],
           "max_new_tokens": 4, "temperature": 0.0, "repetition_penalty": 1.0, "adapter": None}
generate.answer_all(tokenizer, fake, request, written.append)
print(json.dumps([asked, written]))
"""


@pytest.mark.framework
def test_batch_without_enough_gpu_memory_is_halved(training_python):
    argv = [training_python, "-c", SMALL_GPU, SCRIPTS]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    asked, written = json.loads(done.stdout)
    assert asked == [5, 2, 1, 1, 1, 1, 1, 1]
    assert [row["index"] for row in written[:-1]] == [5, 4, 3, 2, 1, 0]
    assert written[-1] == {"end": "stop"}


@pytest.mark.framework
def test_killed_predict_command_goes_on_where_it_stopped(asked, in_project):
    run, _ = asked
    command = [sys.executable, "-m", "ftbridge", "predict", run.id, "--max-new-tokens", "200", "--device", "cpu"]
    command += ["--dataset", "medqa-train", "--out", "killed", "--json"]
    unfinished = in_project / "killed" / UNFINISHED
    with subprocess.Popen(
        [*command, "--batch-size", "1"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as child:
        end = time.monotonic() + 300
        while not (unfinished.exists() and unfinished.stat().st_size) and time.monotonic() < end:
            time.sleep(0.01)
        child.send_signal(signal.SIGKILL)
    kept = [
        json.loads(line) for line in unfinished.read_text(encoding="utf-8").splitlines(keepends=True) if "\n" in line
    ]
    assert 0 < len(kept) < 21
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert (found["samples"], found["asked"]) == (21, 21 - len(kept))
    written = rows(in_project / "killed")
    assert [row["id"] for row in written] == list(range(1, 22))
    assert all(row in written for row in kept)
    again = ftbridge.predict(run.id, limit=1, max_new_tokens=1, device="cpu", replace=True)
    assert again.dataset == "medqa-test"
    assert (run.path / "predictions" / "medqa-test" / FINISHED).is_file()


def test_a_model_of_no_run_has_its_answers_in_a_folder_of_its_name(model):
    found = ftbridge.predict(model, "parts")
    assert Path(found.file).relative_to(Path.cwd()) == Path("predictions/model/parts-test/predictions.jsonl")
    with pytest.raises(InputError, match="there is no model folder `nothing`"):
        ftbridge.predict(model="nothing", dataset="parts")


def test_several_datasets_have_their_answers_in_folders_of_their_own(model):
    found = ftbridge.predict(model, ["all", "parts"], out="out")
    files = [each.file for each in (found, *found.others)]
    assert files == ["out/all/predictions.jsonl", "out/parts/predictions.jsonl"]
    assert [each.dataset for each in (found, *found.others)] == ["all-train", "parts-test"]
    with pytest.raises(UsageError, match="the dataset `all-train` is named twice"):
        ftbridge.predict(model, "all,all-train", out="out")
    with pytest.raises(UsageError, match=r"`all#2` takes a part for training; .* use `--limit N`"):
        ftbridge.predict(model, "all#2", out="out")


def test_answers_beside_the_questions_of_a_file_are_told_not_to_be_used(model, capsys):
    Path("ask it.csv").write_text("question,answer\nwhy?,so\n")
    ftbridge.predict(model, questions="ask it.csv", out="out")
    told = "note: the answers in the column `answer` of `ask it.csv` are not used; to measure with them, make a dataset"
    said = capsys.readouterr().err
    assert told in said
    assert "`ftbridge convert 'ask it.csv'`" in said


def test_a_file_or_a_folder_is_told_which_command_answers_questions(model):
    Path("ask it.csv").write_text("question,answer\nwhy?,so\n")
    told = "a dataset or a run: `ftbridge predict --questions 'ask it.csv'` answers the questions in it"
    for call in (lambda: ftbridge.evaluate("ask it.csv"), lambda: ftbridge.evaluate(model, dataset="ask it.csv")):
        with pytest.raises(InputError, match=told):
            call()
    with pytest.raises(UsageError, match="give `--dataset NAME`; `ftbridge predict --questions FILE` answers"):
        ftbridge.predict(model)


def test_predict_warns_where_the_data_were_converted_anew_since_the_training(model, capsys):
    Path("x.jsonl").write_text("".join(json.dumps({"question": f"q{at}", "answer": "a"}) + "\n" for at in range(20)))
    ftbridge.convert("x.jsonl", split="7:3", seed=1)
    trained("x-train", name="one")
    msgspec.structs.replace(load_card(model), run="one").save(model)
    for seed, warns in ((1, False), (2, True)):
        ftbridge.convert("x.jsonl", split="7:3", seed=seed, replace=True)
        capsys.readouterr()
        ftbridge.predict(model, "x-test", out=f"out{seed}")
        told = "warning: `x` was converted anew after this run was trained, and the samples that it was trained on are"
        assert (told in capsys.readouterr().err) == warns


def test_an_evaluation_that_goes_with_replaced_answers_is_told_of(model, capsys):
    ftbridge.evaluate(model, dataset="all")
    file, again = (
        Path("evaluations/model/all-train/evaluation.json"),
        f"`ftbridge evaluate {model} --dataset all-train`",
    )
    ftbridge.predict(model, "all", out=file.parent)
    assert file.exists()
    assert "goes with" not in capsys.readouterr().err
    ftbridge.predict(model, "all", out=file.parent, replace=True)
    assert not file.exists()
    told = f"note: the evaluation of `all-train` goes with the old answers; {again} makes it again"
    assert told in capsys.readouterr().err


def test_answers_elsewhere_leave_the_evaluation_of_the_run(model):
    planned, run = plan(resolve(model), "all", AskOptions(), out="elsewhere"), of_a_run(model)
    planned = replace(planned, source=replace(planned.source, folder=run.path, run=run))
    assert planned.evaluation_folder == Path("elsewhere")
    inside = replace(planned, folder=run.path / "predictions" / "all-train")
    assert inside.evaluation_folder == run.path / "evaluations" / "all-train"


def test_questions_of_a_file_are_asked_with_the_system_prompt_of_the_training_and_not_measured(model, capsys):
    msgspec.structs.replace(load_card(model), system=SYSTEM).save(model)
    Path("ask.csv").write_text("question\n=1+1\nwhy?\n")
    found = ftbridge.predict(model, questions="ask.csv", out="out", xlsx=True)
    assert (found.dataset, found.samples) == ("ask", 2)
    assert all(f"system\n{SYSTEM}<" in row["prompt"] and row["reference"] == "" for row in rows(Path("out")))
    assert "`ask` has no reference answers, so `ftbridge evaluate` cannot" in capsys.readouterr().err
    with pytest.raises(InputError, match="has no reference answers, so nothing can be measured"):
        ftbridge.evaluate("out/predictions.jsonl")
    (page,) = openpyxl.load_workbook(found.xlsx)
    header, first, *_others = ([cell.value for cell in row] for row in page)
    assert header == ["id", "system prompt", "question", "prediction", "finish reason"]
    assert first[:3] == [1, SYSTEM, "=1+1"]
    assert page["C2"].data_type == "s"


def test_a_dataset_without_references_is_refused_by_evaluate_before_anything_is_asked(model):
    Path("data/own.json").write_text(json.dumps([{"q": "news 1", "a": ""}]))
    info = json.loads(Path("data/dataset_info.json").read_text())
    info["own"] = {"file_name": "own.json", "columns": {"prompt": "q", "response": "a"}}
    Path("data/dataset_info.json").write_text(json.dumps(info))
    with pytest.raises(InputError, match="`ftbridge predict --dataset own` answers it"):
        ftbridge.evaluate(model, dataset="own")
    assert not AnsweringModel.asked


def test_a_workbook_has_references_and_says_which_answers_are_the_same_and_which_are_cut(model, monkeypatch):
    monkeypatch.setattr(AnsweringModel, "thought", "<think>hm</think>")
    Path("talk.jsonl").write_text(json.dumps({"question": "x" * 40_000, "answer": "药"}) + "\n")
    ftbridge.convert("talk.jsonl")
    found = ftbridge.predict(model, "talk", out="out", xlsx=True)
    (page,) = openpyxl.load_workbook(found.xlsx)
    header, row = ([cell.value for cell in row] for row in page)
    values = dict(zip(header, row, strict=True))
    assert (values["reference"], len(values["question"])) == ("药", 32_767)
    assert values["note"] == "question cut to 32,767 characters here, the most that a cell holds"
    assert ftbridge.predict(model, "talk", out="out").xlsx is None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"column": "q", "dataset": "all"}, "`--column` is for `--questions FILE`"),
        ({"questions": "ask.csv", "dataset": "all"}, "both say what to answer"),
    ],
)
def test_what_does_not_go_together_is_refused(model, options, message):
    with pytest.raises(UsageError, match=message):
        ftbridge.predict(model, out="out", **options)
