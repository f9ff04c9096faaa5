"""Ready tokens as both frameworks' `datasets` reads them, of a real tokenizer."""

import json
import os
import shutil
import subprocess

import pytest

from ftbridge.launchers.process.script import CHILD_ENV, SCRIPTS
from tests.builders.chat_templates import CHATML, SYSTEM, assistant, user

READ = """
import json, sys
from datasets import load_from_disk
from transformers import AutoTokenizer
data, tokenizer = load_from_disk(sys.argv[1]), AutoTokenizer.from_pretrained(sys.argv[2])
rows = [{**row, "text": tokenizer.decode(row["input_ids"]),
         "trained": tokenizer.decode([each for each in row["labels"] if each >= 0])} for row in data]
print(json.dumps(rows))
"""
LONG = " ".join(f"word{number}" for number in range(60))


@pytest.fixture(scope="module")
def read(training_python, project, tmp_path_factory):
    """Return what makes the tokens of conversations, and their counts or error with the rows."""

    def make(conversations, again=None, **options):
        folder = again or tmp_path_factory.mktemp("tokens")
        file = folder.with_suffix(".jsonl")
        file.write_text("".join(json.dumps(each) + "\n" for each in conversations), "utf-8")
        spec = {"model": str(project / "base"), "trust_remote_code": False, "template": CHATML, "file": str(file)}
        spec |= {"folder": str(folder), "last_only": False, "cutoff_length": 2048, "too_long": "cut"}
        spec |= {"packing": False, "processes": 2, "fingerprint": "0123456789abcdef", **options}
        argv = [training_python, SCRIPTS / "tokenize_dataset.py", json.dumps(spec)]
        done = subprocess.run(argv, capture_output=True, text=True, check=False, env={**os.environ, **CHILD_ENV})
        assert done.returncode == 0, done.stderr[-2000:]
        last = json.loads(done.stdout.splitlines()[-1])
        if "error" in last:
            return last["error"], []
        argv = [training_python, "-c", READ, folder, project / "base"]
        return last["counts"], json.loads(subprocess.run(argv, capture_output=True, text=True, check=True).stdout)

    return make


def talk(*messages):
    return {"messages": [*messages]}


@pytest.mark.framework
def test_a_conversation_is_a_row_with_its_answers_as_labels(read):
    counts, (row,) = read([talk(SYSTEM, user("Why?"), assistant("Because."))])
    assert row["text"] == (
        "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nWhy?<|im_end|>\n"
        "<|im_start|>assistant\nBecause.<|im_end|>\n"
    )
    assert row["trained"] == "Because.<|im_end|>"
    assert row["attention_mask"] == [1] * len(row["input_ids"])
    assert (counts["conversations"], counts["samples"], counts["rows"]) == (1, 1, 1)
    assert counts["tokens"] == len(row["input_ids"])
    assert counts["answer_tokens"] == sum(label >= 0 for label in row["labels"])


@pytest.mark.framework
def test_packed_samples_keep_positions_of_their_own(read):
    counts, (row,) = read([talk(user(f"{n}?"), assistant("yes")) for n in range(3)], packing=True, cutoff_length=200)
    assert (counts["samples"], counts["rows"]) == (3, 1)
    starts = [place for place, position in enumerate(row["position_ids"]) if position == 0]
    assert len(starts) == 3
    ends = [*starts[1:], len(row["position_ids"])]
    assert row["position_ids"] == [at for start, end in zip(starts, ends, strict=True) for at in range(end - start)]
    assert row["trained"] == "yes<|im_end|>" * 3
    assert "attention_mask" not in row


@pytest.mark.framework
def test_the_oldest_turns_go_first_and_the_system_text_stays(read):
    turns = [message for n in range(9) for message in (user(f"question {n}"), assistant(f"answer {n}"))]
    counts, (row,) = read([talk(SYSTEM, *turns)], cutoff_length=120)
    assert len(row["input_ids"]) <= 120 < counts["longest"]
    assert row["text"].startswith("<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nquestion ")
    assert "question 0" not in row["text"]
    assert row["trained"].endswith("answer 7<|im_end|>answer 8<|im_end|>")
    assert counts["cut_turns"] == 1


@pytest.mark.framework
def test_then_the_end_of_the_question_goes_and_never_an_answer(read):
    counts, (row,) = read([talk(SYSTEM, user(LONG), assistant("short"))], cutoff_length=90)
    assert len(row["input_ids"]) <= 90
    assert "user\nword0 word1" in row["text"]
    assert "word59" not in row["text"]
    assert row["trained"] == "short<|im_end|>"
    assert counts["cut_question"] == 1


@pytest.mark.framework
def test_an_answer_that_does_not_fit_is_left_out_and_listed(read):
    talks = [talk(user("a?"), assistant("b")), talk(user("long?"), assistant(LONG)), talk(user("c?"), assistant("d"))]
    counts, rows = read(talks, cutoff_length=60)
    assert [row["trained"] for row in rows] == ["b<|im_end|>", "d<|im_end|>"]
    assert (counts["left_out"], counts["left_out_conversations"]) == (1, [2])


@pytest.mark.framework
@pytest.mark.parametrize("policy", ["drop", "refuse"])
def test_other_policies_cut_nothing(read, policy):
    told, rows = read(
        [talk(user("?"), assistant("!")), talk(user(LONG), assistant("b"))], cutoff_length=60, too_long=policy
    )
    if policy == "refuse":
        assert told.startswith("conversation 2 has ")
        assert told.endswith(" tokens, and the cutoff length is 60")
    else:
        assert [row["trained"] for row in rows] == ["!<|im_end|>"]
        assert told["left_out_conversations"] == [2]


@pytest.mark.framework
def test_the_last_answer_may_be_learned_alone(read):
    told, (row,) = read([talk(user("1?"), assistant("one"), user("2?"), assistant("two"))], last_only=True)
    assert row["trained"] == "two<|im_end|>"
    assert told["samples"] == 1


@pytest.mark.framework
def test_a_stop_token_of_the_generation_config_ends_an_answer(read, project, tmp_path):
    model = shutil.copytree(project / "base", tmp_path / "model")
    config = json.loads((model / "tokenizer_config.json").read_text())
    (model / "tokenizer_config.json").write_text(json.dumps(config | {"eos_token": "<|endoftext|>"}))
    template = CHATML + "{% if not add_generation_prompt %}{{ eos_token }}{% endif %}"
    _, (row,) = read([talk(user("1?"), assistant("one"))], template=template, model=str(model))
    assert row["text"].endswith("one<|im_end|>\n<|endoftext|>")
    assert row["trained"] == "one<|im_end|>"


@pytest.mark.framework
def test_thoughts_are_counted_with_those_that_are_not_trained(read):
    thinks = assistant("So.") | {"reasoning_content": "Hm."}
    talks = [talk(user("Why?"), thinks), talk(user("Why?"), assistant("So."))]
    counts, rows = read(talks)  # by a template without a place for them
    assert (counts["answers"], counts["thoughts"], counts.get("thoughts_left_out", 0)) == (2, 1, 0)
    assert [row["trained"] for row in rows] == ["<think>\nHm.\n</think>\n\nSo.<|im_end|>", "So.<|im_end|>"]
    off = "{%- if enable_thinking is not defined %}{%- set enable_thinking = false %}{%- endif -%}" + CHATML
    counts, rows = read(talks, template=off)
    assert (counts["thoughts"], counts["thoughts_left_out"]) == (1, 1)
    assert [row["trained"] for row in rows] == ["So.<|im_end|>"] * 2


@pytest.mark.framework
def test_an_answer_that_ends_with_what_is_no_token_is_refused(read):
    error, rows = read([talk(user("Why?"), assistant("So."))], template=CHATML.replace("im_end", "end_of_this"))
    assert error == (
        "the chat template fails on conversation 1: it ends an answer with `<|end_of_this|>`, which is no token of the "
        "tokenizer, so that no model learns to stop there; `--chat-template` names another"
    )
    assert rows == []


@pytest.mark.framework
def test_a_conversation_that_the_template_refuses_is_named(read):
    told, _ = read(
        [talk(user("?"), assistant("!")), talk(SYSTEM, user("?"), assistant("!"))],
        template=CHATML.replace(
            "{% for", "{% if messages[0].role == 'system' %}{{ raise_exception('no system here') }}{% endif %}{% for", 1
        ),
    )
    assert told == "the chat template fails on conversation 2: no system here; `--chat-template` names another"


@pytest.mark.framework
def test_a_conversation_is_counted_through_all_shards(read):
    long = talk(user("?"), assistant(" " * (3 << 20)))  # says nothing, and fills a third of a shard
    told, _ = read([*[long] * 5, talk(user(LONG), assistant("b"))], cutoff_length=60, too_long="refuse")
    assert told.startswith("conversation 6 has ")


@pytest.mark.framework
def test_nothing_to_train_leaves_no_rows(read):
    told, rows = read([talk(user("?"), assistant(" "))])
    assert rows == []
    assert (told["conversations"], told["rows"], told["without_answer"]) == (1, 0, 1)


@pytest.mark.framework
def test_a_tokenizer_that_needs_its_own_code_is_a_sentence(read, project, tmp_path):
    model = shutil.copytree(project / "base", tmp_path / "model")
    (model / "tokenizer.json").unlink()
    config = {"tokenizer_class": "Own", "auto_map": {"AutoTokenizer": ["tokenization_own.Own", None]}}
    (model / "tokenizer_config.json").write_text(json.dumps(config))
    (model / "tokenization_own.py").write_text("raise SystemExit('I ran')")
    told, _ = read([talk(user("?"), assistant("!"))], model=str(model))
    assert told.startswith(f"the tokenizer of `{model}` cannot be loaded: it comes with Python code of its own.")
    assert told.endswith("add `--trust-remote-code`")


@pytest.mark.framework
def test_shards_are_made_in_parallel_and_keep_their_order(read):
    answers = [f"{number} " * 400 for number in range(6000)]
    told, rows = read([talk(user("?"), assistant(answer)) for answer in answers], cutoff_length=64, too_long="drop")
    assert told["left_out_conversations"] == [*range(1, 6001)]
    assert rows == []


@pytest.mark.framework
def test_a_shard_that_an_earlier_start_left_counts(read, tmp_path):
    conversation = [talk(user("?"), assistant("!"))]
    folder = tmp_path / "half"
    folder.mkdir()
    told, rows = read(conversation, again=folder)
    (folder / "data-00000.json").write_text(json.dumps({**told, "samples": 77, "probes": []}))
    counted, again = read([talk(user("?"), assistant("another"))], again=folder)
    assert counted["samples"] == 77
    assert again == rows
