"""What four readers have of a dataset: the same where tokens are made once, and why not where they are not."""

import contextlib
import json
import shutil
import subprocess

import pytest

import ftbridge
from ftbridge.core.errors import InputError
from ftbridge.launchers.preview.verification import Verification, VerifiedSample, _in_order, verify
from ftbridge.tokens.agreement import MERGED
from ftbridge.tokens.differences import Reading, Reference, compare
from ftbridge.weights.model_files.chat_template import text_of_native
from tests.builders.chat_templates import CHATML, FORGETS_THOUGHTS, NO_STOP, REFUSED, SHIPPED

FOUR = ["XTuner", "LLaMA-Factory", MERGED]
QWEN = "{% if messages[0].role != 'system' %}<|im_start|>system\nYou are kind.<|im_end|>\n{% endif %}" + CHATML
ROWS = [
    {"instruction": "What is aspirin for?", "output": "It relieves pain."},
    {"instruction": "3?", "output": "drei", "history": [["1?", "eins"], ["2?", "zwei"]]},
    {"instruction": "药?", "output": "阿司匹林 💊"},
    {"instruction": "long " * 60, "output": "short"},
]
# Takes the label from the last trained token of the sample that a row of ready tokens ends with, from a row on.
TAKE_LABEL = """
import sys
from datasets import load_from_disk
found = load_from_disk(sys.argv[1])
rows = [dict(row) for row in found]
for row in rows[int(sys.argv[3]):]:
    last = max(at for at, label in enumerate(row["labels"]) if label >= 0)
    row["labels"][last] = -100
found.from_list(rows, features=found.features).save_to_disk(sys.argv[2])
"""


@pytest.fixture(scope="module")
def faq(tmp_path_factory, project):
    """Return a project with a dataset of the rows above, and a function that makes a model of a chat template."""
    folder = tmp_path_factory.mktemp("faq")
    rows = [{"input": "", "history": [], **row} for row in ROWS]
    (folder / "faq.json").write_text(json.dumps(rows))
    with contextlib.chdir(folder):
        ftbridge.convert("faq.json")

    def model(name, template):
        made = folder / name
        if not made.is_dir():
            shutil.copytree(project / "base", made)
            (made / "chat_template.jinja").write_text(template)
        return str(made)

    return folder, model


@pytest.fixture
def many(tmp_path, project, monkeypatch):
    """Return a project with a dataset of 300 conversations, in which one stands."""
    shutil.copytree(project / "base", tmp_path / "base")
    rows = [{"instruction": f"Question {number}?", "output": "yes " * (number % 7 + 1)} for number in range(300)]
    (tmp_path / "many.json").write_text(json.dumps(rows))
    monkeypatch.chdir(tmp_path)
    ftbridge.convert("many.json")
    return tmp_path


@pytest.fixture
def verified(faq, monkeypatch):
    """Return a function that verifies the dataset with a model of this chat template."""
    folder, model = faq
    monkeypatch.chdir(folder)
    return lambda name, template, **options: verify("faq", text_of_native, model=model(name, template), **options)


@pytest.mark.framework
def test_a_system_prompt_that_the_template_adds_is_found_in_both_frameworks(verified):
    found = verified("qwen", QWEN, tokens="native")
    assert found.readers == FOUR
    causes = found.causes()
    # The merged folder's template is that of the training, which is without it.
    assert causes["missing system prompt"] == {reader: [1, 2, 3, 4] for reader in FOUR}
    assert causes["text after the stop token in the labels"] == {"LLaMA-Factory": [1, 2, 3, 4]}
    assert causes.keys() == {"missing system prompt", "text after the stop token in the labels"}
    (missing,) = found.samples[0].differences["XTuner"]
    assert missing.expected == "<|im_start|>system\nYou are kind.<|im_end|>\n"
    with pytest.raises(InputError, match="4 of 4 samples are not the same for all who read them: missing system"):
        found.refuse_differences()


@pytest.mark.framework
def test_an_answer_that_a_framework_cuts_is_found(verified):
    found = verified("plain", CHATML, tokens="native", backend="xtuner", cutoff_length=24)
    assert 2 in found.causes()["cut answer"]["XTuner"]


@pytest.mark.framework
@pytest.mark.parametrize(
    ("name", "template", "options"),
    [
        pytest.param("qwen", QWEN, {}, marks=pytest.mark.matrix),
        pytest.param("qwen", QWEN, {"packing": True}, marks=pytest.mark.matrix),
        pytest.param("qwen", QWEN, {"learn": "last"}, marks=pytest.mark.matrix),
        pytest.param("qwen", QWEN, {"cutoff_length": 100}, marks=pytest.mark.matrix),
        ("qwen", QWEN, {"cutoff_length": 100, "too_long": "drop"}),
        pytest.param("forgets", FORGETS_THOUGHTS, {"thinking": "on"}, marks=pytest.mark.matrix),
        pytest.param("no stop", NO_STOP, {}, marks=pytest.mark.matrix),
        pytest.param("alpaca", SHIPPED["alpaca"], {}, marks=pytest.mark.matrix),
        pytest.param("vicuna", SHIPPED["vicuna"], {}, marks=pytest.mark.matrix),
        pytest.param("shipped plain", SHIPPED["plain"], {}, marks=pytest.mark.matrix),
    ],
)
def test_ready_tokens_are_the_same_for_all_four(verified, name, template, options):
    found = verified(name, template, tokens="once", **options)
    assert found.readers == FOUR
    assert {each.conversation for each in found.samples} == {1, 2, 3, 4}
    assert found.causes() == {}
    found.refuse_differences()
    trained = [each for each in found.samples if each.reference.ids]
    assert trained
    assert all(each.readings["XTuner"].ids == each.reference.ids for each in trained)
    assert all("answer" in each.reference.parts and "stop" in each.reference.parts for each in trained)


def plant(folder, python, row):
    """Take labels out of the ready tokens that were made last, from a row on."""
    record = max((folder / ".ftbridge/tokens").glob("*/fingerprint.json"), key=lambda file: file.stat().st_mtime)
    other = folder / "other"
    command = [python, "-c", TAKE_LABEL, record.parent, other, str(row)]
    subprocess.run(command, check=True, capture_output=True)
    shutil.copy(record.with_name("probes.json"), other)
    whole = json.loads(record.read_text())
    (other / record.name).write_text(json.dumps(whole | {"files": {}}))  # by which a changed file is told
    shutil.rmtree(record.parent)
    other.rename(record.parent)


@pytest.mark.framework
def test_what_is_wrong_in_ready_tokens_is_found(faq, verified, training_python):
    verified("planted", QWEN, tokens="once", cutoff_length=999)
    plant(faq[0], training_python, 0)
    found = verified("planted", QWEN, tokens="once", cutoff_length=999)
    assert found.causes() == {"stop token not trained": {reader: [1, 2, 3, 4] for reader in FOUR[:2]}}


@pytest.mark.framework
@pytest.mark.parametrize(
    "options", [{}, pytest.param({"packing": True, "cutoff_length": 200}, marks=pytest.mark.matrix)]
)
def test_what_is_wrong_far_behind_in_the_data_is_found_by_its_cause(many, training_python, options):
    asked = {"model": "base", "tokens": "once", **options}
    whole = verify("many", **asked)
    numbers = [each.conversation for each in whole.samples]
    assert numbers[:20] == [*range(1, 21)]
    assert len(numbers) > 30
    assert numbers[-1] > 280
    assert whole.causes() == {}
    plant(many, training_python, 0 if options else 200)
    found = verify("many", **asked).causes()["stop token not trained"]
    assert found["XTuner"] == found["LLaMA-Factory"]
    assert found.keys() == {"XTuner", "LLaMA-Factory"}
    assert found["XTuner"] == [number for number in numbers if number > 200] or options
    only = verify("many", samples=3, **asked)
    assert [each.conversation for each in only.samples] == [1, 2, 3]


@pytest.mark.framework
def test_a_prompt_that_is_cut_into_other_tokens_than_the_whole_is_a_warning_before_the_training(many, run_ftbridge):
    """As by a tokenizer with a token for two newlines, of which the template writes one, and the answer the other."""
    model = shutil.copytree(many / "base", many / "newlines")
    made = json.loads((model / "tokenizer.json").read_text())
    token = {"content": "\n\n", "single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
    number = 1 + max(each["id"] for each in made["added_tokens"])
    made["added_tokens"].append({"id": number, "special": False, **token})
    (model / "tokenizer.json").write_text(json.dumps(made))
    rows = [{"instruction": f"{number}?", "output": f"\n{number}" if number < 3 else "!"} for number in range(9)]
    (many / "lines.json").write_text(json.dumps(rows))
    assert run_ftbridge("convert", "lines.json", cwd=many).returncode == 0
    options = ("lines", "--model", "newlines")
    done = run_ftbridge("train", "--backend", "xtuner", "--dataset", *options, "--device", "cpu", "--dry-run", cwd=many)
    told = "tokens: `lines-train`: 6 of 9 samples are the same for chat template, XTuner, LLaMA-Factory, merged folder"
    cause = "other tokens of the same text: XTuner, LLaMA-Factory, merged folder in 3 conversations"
    assert f"{told}; {cause}\n" in done.stdout, done.stderr
    assert "`ftbridge preview lines-train --verify` shows them" in done.stdout
    shown = run_ftbridge("preview", *options, "--verify", "--strict", cwd=many)
    assert shown.returncode == 3
    assert shown.stdout.splitlines()[-1] == cause


@pytest.mark.framework
@pytest.mark.parametrize(
    "name", ["raises", *(pytest.param(each, marks=pytest.mark.matrix) for each in ("runs code", "reorders turns"))]
)
def test_a_template_that_is_no_good_for_the_conversation_is_one_sentence(verified, name):
    template, _, reason = REFUSED[name]
    with pytest.raises(InputError) as refused:
        verified(name, template, tokens="once")
    assert "conversation" in str(refused.value)
    assert reason.partition("`")[0] in str(refused.value)
    assert "\n" not in str(refused.value)


REFERENCES = [Reference([number], [-100], [str(number)], parts=["question"]) for number in range(5)]
READINGS = [Reading([number], [-100], [str(number)]) for number in range(5)]


def test_a_conversation_that_a_framework_lacks_moves_no_other():
    assert _in_order([READINGS[0], *READINGS[2:]], REFERENCES) == [READINGS[0], None, *READINGS[2:]]
    assert _in_order(READINGS[:2], REFERENCES[:3]) == [*READINGS[:2], None]


def test_a_question_that_is_nowhere_stays_in_its_place():
    other = Reading([9], [-100], ["9"])
    assert _in_order([READINGS[0], other, READINGS[2]], REFERENCES[:3]) == [READINGS[0], other, READINGS[2]]
    nothing = Reading([], [], [])
    assert _in_order([nothing, READINGS[1]], REFERENCES[:2]) == [nothing, READINGS[1]]


def test_causes_count_a_conversation_once():
    wrong = {"XTuner": Reading([7], [-100], ["7"])}
    samples = [
        VerifiedSample(number, each, wrong, {"XTuner": compare(wrong["XTuner"], each)})
        for number, each in ((1, REFERENCES[0]), (1, REFERENCES[1]), (2, REFERENCES[2]))
    ]
    found = Verification("faq", "base", "native", "its own", 2, samples)
    assert found.causes() == {"other prompt": {"XTuner": [1, 2]}}
    assert not found.samples[0].is_same
