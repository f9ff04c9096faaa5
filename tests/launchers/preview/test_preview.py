"""Preview: the tokens and labels of a training, counted, and what a cutoff length does to them."""

import base64
import contextlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import ftbridge
from ftbridge.core.errors import InputError, SetupError, UsageError
from ftbridge.core.project import Project
from ftbridge.dataset_info.registry import FILE
from ftbridge.launchers.preview import preview as module
from ftbridge.launchers.preview import tokenize
from ftbridge.launchers.preview.preview import EncodedSample, Stretch, preview
from ftbridge.launchers.process.script import CHILD_ENV, SCRIPTS
from ftbridge.launchers.runs.charts import picture
from ftbridge.launchers.training.prepare import prepare
from ftbridge.templates.families import get_family

from ...builders.projects import write_project  # noqa: TID252

TITLES = {"xtuner": "XTuner", "llamafactory": "LLaMA-Factory"}
LONG = "one two three four five six seven eight nine ten "
# Questions and answers, short and long; several turns; letters that this tokenizer splits into bytes.
ROWS = [
    {"input": "short?", "output": "short."},
    {"input": "short?", "output": LONG * 3 + "end."},
    {"input": LONG * 3 + "?", "output": "short."},
    {"instruction": "third?", "output": "3", "system": "S", "history": [["first?", "1"], ["second?", "2"]]},
    {"input": "药?", "output": "阿司匹林 💊\ufffd"},
    {"input": LONG * 2, "output": LONG * 2},
]
NOTHING = "`--cutoff-length %s` truncates nothing"
COPIES = 200
CUTOFF = 70


def conversation(row):
    """Return system and turns of a row."""
    question = row.get("instruction", "") + row.get("input", "")
    return row.get("system", ""), [*map(tuple, row.get("history", [])), (question, row["output"])]


@pytest.fixture(scope="module")
def faq(tmp_path_factory):
    """Return a project whose dataset has the rows above many times."""
    folder = tmp_path_factory.mktemp("faq")
    rows = [{"instruction": "", "input": "", "system": "", "history": [], **row} for row in ROWS]
    (folder / "faq.json").write_text(json.dumps(rows * COPIES))
    with contextlib.chdir(folder):
        ftbridge.convert("faq.json")
    return folder


@pytest.fixture(scope="module")
def seen(faq, project):
    """Return the preview of all rows, none of them cut."""
    with contextlib.chdir(faq):
        return preview("faq", model=str(project / "base"), tokens="native", samples=len(ROWS))


@pytest.fixture(scope="module")
def cut(faq, project):
    """Return the preview with a cutoff and with stats, counted by two processes for each framework."""
    with contextlib.chdir(faq), pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_PER_PROCESS", 500)
        patch.setattr(os, "sched_getaffinity", lambda _: range(4))
        options = {"tokens": "native", "stats": True, "cutoff_length": CUTOFF}
        return preview("faq", model=str(project / "base"), samples=len(ROWS), **options)


@pytest.fixture(scope="module")
def counted_by_hand(project, training_python):
    """Return how many tokens each piece of each row has, by the tokenizer alone."""
    prompt = get_family("qwen2.5").cell("xtuner").prompt
    pieces = [prompt.segments(*conversation(row)) for row in ROWS]
    code = (
        "import json, sys, tokenizers\n"
        "encode = tokenizers.Tokenizer.from_file(sys.argv[1]).encode\n"
        "rows = json.load(sys.stdin)\n"
        "print(json.dumps([[len(encode(text, add_special_tokens=False).ids) for text in row] for row in rows]))"
    )
    command = [training_python, "-c", code, project / "base" / "tokenizer.json"]
    return json.loads(
        subprocess.run(command, input=json.dumps(pieces), capture_output=True, text=True, check=True).stdout
    )


@pytest.mark.framework
@pytest.mark.parametrize("backend", TITLES)
def test_trained_text_is_each_answer_and_its_end_token(seen, backend):
    prompt = get_family("qwen2.5").cell(backend).prompt
    for row, sample in zip(ROWS, seen.views[backend].samples, strict=True):
        system, turns = conversation(row)
        assert "".join(stretch.text for stretch in sample.text) == prompt.render(system, turns)
        trained = [stretch.text for stretch in sample.text if stretch.trained]
        assert trained == [answer + prompt.suffix for _, answer in turns]
        assert all(label in {-100, token} for token, label in zip(sample.ids, sample.labels, strict=True))
        assert sample.answer_tokens == sum(label != -100 for label in sample.labels)
        assert (sample.length, sample.cut) == (len(sample.ids), "")


@pytest.mark.framework
def test_the_two_frameworks_differ_by_the_last_newline(seen):
    assert seen.views["xtuner"].samples[0].ids == seen.views["llamafactory"].samples[0].ids
    at = len(seen.views["xtuner"].samples[0].ids)
    assert seen.differences[0] == (f"the tokens are the same, but LLaMA-Factory alone trains on '\\n' (position {at})")


@pytest.mark.framework
def test_tokens_of_half_characters_are_shown_as_byte_escapes(seen):
    tokens = seen.views["xtuner"].samples[4].tokens
    assert {"\\xf0", "\\x9f", "\\x92", "\\x8a"} <= set(tokens)
    assert not [token for token in tokens if "\ufffd" in token]


@pytest.mark.framework
def test_a_sentencepiece_tokenizer_keeps_its_spaces_and_bytes(training_python):
    command = [training_python, Path(__file__).with_name("token_texts.py"), SCRIPTS]
    done = subprocess.run(command, capture_output=True, encoding="utf-8", check=True)
    tokens, text = json.loads(done.stdout.splitlines()[-1])
    pill = ["\\xf0", "\\x9f", "\\x92", "\\x8a"]
    assert tokens == ["<s>", " ab", " ", "药", *pill, " ab", "</s>", *pill[:3]]
    assert text == [
        {"text": "<s> ab 药💊", "trained": False},
        {"text": " ab</s>", "trained": True},
        {"text": "".join(pill[:3]), "trained": False},
    ]


@pytest.mark.framework
def test_token_statistics_equal_those_counted_by_hand(cut, counted_by_hand):
    lengths = [sum(row) for row in counted_by_hand]
    stats = cut.views["xtuner"].stats
    assert stats.lengths == {length: COPIES * lengths.count(length) for length in sorted(lengths)}
    assert (stats.samples, stats.tokens) == (COPIES * len(ROWS), COPIES * sum(lengths))
    # Of three pieces a turn, question, answer and separator, the second is trained.
    assert stats.answer_tokens == COPIES * sum(sum(row[1::3]) for row in counted_by_hand)
    ordered = sorted(lengths)
    assert (stats.shortest, stats.median, stats.p95, stats.longest) == (ordered[0], ordered[2], ordered[5], ordered[5])
    assert stats.over == COPIES * sum(length > CUTOFF for length in lengths)
    newlines = COPIES * sum(len(conversation(row)[1]) for row in ROWS)
    other = cut.views["llamafactory"].stats
    assert (other.lengths, other.answer_tokens) == (stats.lengths, stats.answer_tokens + newlines)


@pytest.mark.framework
@pytest.mark.parametrize("backend", TITLES)
def test_samples_cut_in_preview_are_those_cut_in_training(faq, project, cut, backend, training_python, tmp_path):
    """The very dataset that the rendered config gives: same ids, same labels, same samples left out."""
    with contextlib.chdir(faq):
        options = {"model": str(project / "base"), "dataset": "faq", "device": "cpu", "cutoff_length": CUTOFF}
        ready = prepare(backend=backend, tokens="native", **options)
    config = next(Path(name) for name in ready.launch.files if Path(name).suffix in {".py", ".yaml"})
    (tmp_path / config.name).write_text(ready.launch.files[str(config)])
    command = [training_python, Path(__file__).parents[2] / "builders" / "training_rows.py", backend]
    env = {**os.environ, **CHILD_ENV, "PYTHONPATH": str(SCRIPTS), "CUDA_VISIBLE_DEVICES": ""}
    env["HF_DATASETS_CACHE"] = str(tmp_path / "cache")
    done = subprocess.run(
        [*command, tmp_path / config.name, tmp_path / "rows.json"], env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    rows = json.loads((tmp_path / "rows.json").read_text())
    kept = [sample for sample in cut.views[backend].samples if backend != "xtuner" or sample.cut != "lost"]
    assert rows == [[sample.ids, sample.labels] for sample in kept] * COPIES


@pytest.mark.framework
def test_cut_answers_are_told_by_kind_and_number(cut):
    kinds = {backend: [sample.cut for sample in view.samples] for backend, view in cut.views.items()}
    assert kinds["xtuner"] == ["", "answer", "lost", "answer", "", "lost"]
    assert kinds["llamafactory"] == ["", "answer", "question", "answer", "", "answer"]
    for backend, view in cut.views.items():
        numbers = {
            kind: [at + 1 for at, each in enumerate(kinds[backend] * COPIES) if each == kind] for kind in view.stats.cut
        }
        assert view.stats.cut == numbers
    assert (
        cut.warnings[0]
        == (
            f"with a cutoff length of {CUTOFF}, XTuner truncates the whole answer of 400 samples "
            "(3, 6, 9, 12, 15, 18, 21, 24, 27, 30, ...), so that it is skipped; "
        )
        + NOTHING % cut.views["xtuner"].stats.longest
    )


@pytest.mark.framework
def test_answers_that_a_loader_does_not_read_as_text_are_refused(tmp_path, project, monkeypatch):
    """Where all answers look like times, `datasets` makes them times."""
    monkeypatch.chdir(tmp_path)
    Path("times.json").write_text(json.dumps([{"instruction": "when?", "output": "later"}]))
    file = ftbridge.convert("times.json").parts[0].files["alpaca"]
    file.write_text(file.read_text().replace("later", "2020-01-01 10:00:00"))
    with pytest.raises(InputError, match="`output` holds nothing but dates, which are loaded as times, not as text"):
        preview("times", model=str(project / "base"), backend="llamafactory", tokens="native")


@pytest.mark.framework
def test_a_folder_of_files_is_read_whole_by_both(tmp_path, project, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data" / "parts").mkdir(parents=True)
    (tmp_path / "data" / FILE).write_text(json.dumps({"parts": {"file_name": "parts"}}))
    for each in "ba":
        row = {"instruction": each, "input": "", "output": each}
        (tmp_path / "data" / "parts" / f"{each}.json").write_text(json.dumps([row]))
    found = preview("parts", model=str(project / "base"), samples=2, tokens="native")
    assert [found.samples, *map(len, (view.samples for view in found.views.values()))] == [2, 2, 2]
    assert all("a" in view.samples[0].tokens for view in found.views.values())
    assert found.views["xtuner"].samples[1].ids == found.views["llamafactory"].samples[1].ids


@pytest.mark.framework
def test_preview_writes_its_histogram_as_png(cut, faq, monkeypatch):
    monkeypatch.chdir(faq)
    assert cut.png == "faq-train-lengths.png"
    assert Path(cut.png).read_bytes().startswith(b"\x89PNG\r\n\x1a\n")


@pytest.fixture
def made_up(tmp_path, monkeypatch):
    """Stand in a project with a dataset, a model, and interpreters that are never started."""
    monkeypatch.chdir(tmp_path)
    write_project(tmp_path, "model: base", samples=2)
    (tmp_path / "base" / "tokenizer_config.json").write_text('{"tokens": ["<|im_start|>", "<tool_call>"]}')
    return tmp_path


@pytest.fixture
def asked(monkeypatch):
    """Put in a helper that answers with one sample, and return what it was asked, by backend."""
    specs = {}

    def ask(python, helper, spec, *, stderr):
        specs[Path(spec["script"]).stem.removesuffix("_backend") if "script" in spec else helper] = spec
        if helper == "draw":
            return json.dumps({"png": base64.b64encode(b"picture").decode(), "missing": ""})
        counts = {
            "lengths": {"3": 2},
            "answer_tokens": 2,
            "cut": {"refused": [1], "lost": [], "answer": [2], "question": []},
        }
        sample = {"ids": [1, 2, 3], "labels": [-100, -100, 3], "tokens": ["a", "b", "c"], "text": []}
        return json.dumps(
            {
                "samples": [{**sample, "length": 3, "answer_tokens": 1, "cut": ""}] * spec["samples"],
                "stats": counts if spec["stats"] else None,
            }
        )

    monkeypatch.setattr(module, "run_script", ask)
    monkeypatch.setattr(picture, "run_script", ask)
    return specs


def test_preview_helper_gets_the_options_of_the_training(made_up, asked):
    found = preview("faq", samples=1, cutoff_length=9, template="glm4")
    common = {"model": str(made_up / "base"), "cutoff_length": 9, "trust_remote_code": False, "processes": 1}
    assert asked["xtuner"].items() >= common.items()
    assert asked["llamafactory"].items() >= common.items()
    cell = get_family("glm4").cell("xtuner")
    assert (asked["xtuner"]["template"], asked["xtuner"]["bos"]) == (cell.prompt.template_dict(), cell.prompt.bos)
    assert asked["llamafactory"]["template"] == "glm4"
    assert (found.dataset, found.samples, found.family, found.png) == ("faq-train", 2, "GLM-4", None)
    assert (list(found.views), found.differences) == (["xtuner", "llamafactory"], [""])


def test_preview_of_one_backend_passes_thinking_and_picture_options(made_up, asked):
    found = preview("faq", template="qwen3", backend="llamafactory", stats=True, samples=0, png="here.png")
    assert asked["llamafactory"]["enable_thinking"] is False
    assert (list(found.views), found.differences) == (["llamafactory"], [])
    assert (made_up / "here.png").read_bytes() == b"picture"
    assert (asked["draw"]["title"], asked["draw"]["cutoff_length"]) == ("faq-train, base", 2048)
    refused, cut = found.warnings
    assert refused == "LLaMA-Factory skips sample 1: its loader does not read the answer as text"
    assert (
        cut == "with a cutoff length of 2048, LLaMA-Factory truncates a part of the answer of sample 2; " + NOTHING % 3
    )


def test_preview_of_a_hubs_model_fetches_no_weights(made_up, asked, monkeypatch):
    fetched = {}

    def local_model(model, python, folder, **options):
        fetched[model] = options
        return made_up / "base"

    monkeypatch.setattr(tokenize, "local_model", local_model)
    preview("faq", model="owner/name")
    assert fetched == {"owner/name": {"weights": False}}


@pytest.mark.parametrize(("gone", "left"), [("xtuner", "llamafactory"), ("alpaca", "xtuner")])
def test_preview_leaves_out_a_framework_whose_file_is_missing(made_up, asked, capsys, gone, left):
    (made_up / "data" / f"faq-train.{gone}.jsonl").unlink()
    assert list(preview("faq").views) == [left]
    assert "is skipped: the dataset `faq-train` lacks its file" in capsys.readouterr().err


def test_a_framework_without_an_interpreter_is_left_out_unless_it_is_asked_for(made_up, asked, capsys, monkeypatch):
    monkeypatch.setenv("XDG_DATA_HOME", str(made_up / "empty"))
    (made_up / "ftbridge.yaml").write_text(f"model: base\nbackends: {{llamafactory: {{python: {sys.executable}}}}}\n")
    assert list(preview("faq").views) == ["llamafactory"]
    assert "note: XTuner is skipped: the training environment is not there" in capsys.readouterr().err
    with pytest.raises(SetupError, match="the training environment is not there"):
        preview("faq", backend="xtuner")


def test_a_framework_without_a_template_is_left_out_unless_it_is_asked_for(made_up, asked, capsys):
    assert list(preview("faq", template="baichuan2").views) == ["xtuner"]
    assert "LLaMA-Factory is skipped: `llamafactory` has no template for" in capsys.readouterr().err
    with pytest.raises(UsageError, match="has no template for"):
        preview("faq", template="baichuan2", backend="llamafactory")


@pytest.mark.parametrize(
    ("options", "kind", "message"),
    [
        ({"dataset": "fqa"}, InputError, "there is no dataset `fqa`"),
        ({"model": "absent"}, InputError, "there is no model folder `absent`"),
        ({"backend": "xtunre"}, UsageError, "there is no backend `xtunre`; did you mean `xtuner`"),
        ({"template": "qwne"}, UsageError, "no model family `qwne`"),
        ({"cutoff_length": 0}, UsageError, "`--cutoff-length` takes"),
        ({"png": "x.png"}, UsageError, "add `--stats`"),
        ({"stats": True, "png": "x.jpg"}, UsageError, "must end with .png"),
        ({"stats": True, "png": "ftbridge.png"}, UsageError, "not a picture of ftbridge"),
    ],
)
def test_wrong_option_of_preview_is_one_sentence(made_up, asked, options, kind, message):
    (made_up / "ftbridge.png").write_bytes(b"a picture of somebody's")
    with pytest.raises(kind, match=message):
        preview(**{"dataset": "faq", **options})
    assert asked == {}
    assert (made_up / "ftbridge.png").read_bytes() == b"a picture of somebody's"


def test_a_model_without_a_tokenizer_or_of_no_known_family_is_wrong_input(made_up):
    (made_up / "base" / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(InputError, match="is of no known family"):
        preview("faq")
    (made_up / "base" / "tokenizer_config.json").unlink()
    with pytest.raises(InputError, match="has no tokenizer"):
        preview("faq")


def test_preview_without_the_training_environment_names_the_setup_command(made_up, monkeypatch):
    (made_up / "ftbridge.yaml").unlink()
    monkeypatch.setenv("XDG_DATA_HOME", str(made_up))
    with pytest.raises(SetupError, match="ftbridge setup"):
        preview("faq", model="base")


@pytest.mark.parametrize(
    ("error", "message"),
    [
        ("cannot encode `x`: TypeError: None", "XTuner cannot encode `x`: TypeError: None"),
        ("cannot load: ValueError: set `trust_remote_code=True`", "again with `--trust-remote-code`"),
        ("cannot load: ValueError: The repository /m contains custom code which", "again with `--trust-remote-code`"),
    ],
)
def test_failure_of_a_framework_in_preview_is_wrong_input(made_up, monkeypatch, error, message):
    monkeypatch.setattr(module, "run_script", lambda *_, **__: json.dumps({"error": error}))
    with pytest.raises(InputError, match=message):
        preview("faq")


def test_settings_that_preview_does_not_follow_are_named(made_up, asked, capsys):
    with (made_up / "ftbridge.yaml").open("a") as file:
        file.write("cutoff_length: 7\nset: {train_on_prompt: 'true'}\n")
    assert preview("faq").cutoff_length == 7
    assert "the preview does not show what `set` changes: train_on_prompt" in capsys.readouterr().err
    assert Project.find().settings.train["cutoff_length"] == 7


SAME = "the tokens are the same, but "


def encoded(ids, labels):
    return EncodedSample(ids, labels, [f"t{each}" for each in ids], [Stretch("", trained=True)], len(ids), 0, "")


@pytest.mark.parametrize(
    ("one", "other", "message"),
    [
        (([1, 2], [-100, 2]), ([1, 2], [-100, 2]), ""),
        (([1, 2], [1, -100]), ([1, 2], [-100, 2]), SAME + "A alone trains on 't1' (1); B alone trains on 't2' (2)"),
        (([1, 2], [-100, 2]), ([1, 2], [-100, 9]), SAME + "the labels differ at 't2' (2)"),
        (([1, 2], [1, 2]), ([1, 3], [1, 3]), "the tokens differ from position 2 on: A has 't2', B 't3'"),
        (([1], [1]), ([1, 3], [1, 3]), "the tokens differ from position 2 on: A has its end, B 't3'"),
    ],
)
def test_difference_between_frameworks_is_a_sentence(one, other, message):
    said = module._difference({"A": encoded(*one), "B": encoded(*other)})
    assert said.replace("(position ", "(") == message


def test_differences_beyond_the_first_are_counted():
    ids = list(range(9))
    assert module._difference({"A": encoded(ids, ids), "B": encoded(ids, [-100] * 9)}).endswith(
        "'t4' (position 5) and 4 more"
    )


@pytest.mark.framework
@pytest.mark.parametrize("packing", [False, True])
def test_ready_tokens_are_shown_once_for_all_frameworks(faq, project, monkeypatch, packing):
    """The system prompt of one row, and nothing else, is that row's own; what is learned is the answer and its stop."""
    monkeypatch.chdir(faq)
    options = {"model": str(project / "base"), "tokens": "once", "packing": packing, "cutoff_length": 200}
    found = preview("faq", samples=len(ROWS), stats=True, **options)
    assert list(found.views) == ["once"]
    view = found.views["once"]
    assert (view.title, found.differences, found.family) == (
        "LLaMA-Factory and XTuner" if view.title.startswith("LL") else "XTuner and LLaMA-Factory",
        [], "the chat template of `base`",
    )  # fmt: skip
    total = len(ROWS) * COPIES
    assert (found.samples, found.counts.samples, view.stats.samples) == (total, total, total)
    assert (view.stats.tokens, view.stats.answer_tokens) == (found.counts.tokens, found.counts.answer_tokens)
    assert view.stats.longest == found.counts.longest
    assert (found.counts.rows < total) == packing
    for sample in view.samples:
        assert sample.text[-1].text.rstrip("\n") == "" or sample.text[-1].trained
        trained = [stretch.text for stretch in sample.text if stretch.trained]
        assert trained
        assert all(text.endswith("<|im_end|>") for text in trained)
        assert sample.length == len(sample.ids)
    if not packing:
        learned = [[stretch.text for stretch in sample.text if stretch.trained] for sample in view.samples]
        assert learned[3] == ["1<|im_end|>", "2<|im_end|>", "3<|im_end|>"]
        assert learned[4] == ["阿司匹林 💊\ufffd<|im_end|>"]
    only = preview("faq", backend="xtuner", samples=1, **options)
    assert (only.views["once"].title, only.views["once"].stats) == ("XTuner", None)


@pytest.mark.framework
def test_what_was_cut_of_ready_tokens_is_told(faq, project, monkeypatch):
    monkeypatch.chdir(faq)
    found = preview("faq", model=str(project / "base"), tokens="once", samples=0, cutoff_length=CUTOFF)
    counts = found.counts
    assert counts.left_out > 0
    assert counts.cut_question > 0
    (warning,) = found.warnings
    assert f"{counts.left_out:,} are skipped (conversations " in warning
    assert f"`--cutoff-length {counts.longest}` truncates none" in warning
    whole = preview("faq", model=str(project / "base"), tokens="once", samples=0, cutoff_length=counts.longest)
    assert (whole.counts.left_out, whole.counts.cut_question, whole.counts.cut_turns) == (0, 0, 0)


def test_options_of_ready_tokens_are_refused_without_them(tmp_path, monkeypatch):
    monkeypatch.chdir(write_project(tmp_path, "", 3))
    with pytest.raises(UsageError, match="`--learn` is for `--tokens once`"):
        preview("faq", model="base", learn="last", backend="xtuner")
