"""Whether faults in ready tokens are found by those who read them again, whatever is planted."""

import json
import os
import re
import subprocess
from itertools import product

import msgspec
import pytest

from ftbridge.launchers.process.script import CHILD_ENV, SCRIPTS
from ftbridge.tokens.compared import Compared, agreement_of
from tests.builders import chat_templates
from tests.builders.chat_templates import CALLS, SYSTEM, THOUGHTS, THREE, assistant, user

# Begins with a token of its own, and has an empty thought stand before each answer, as the prompt for it ends.
OWN = (
    "<|endoftext|>{% for m in messages %}[{{ m.role }}]\n"
    "{% if m.role == 'assistant' %}<think>\n\n</think>\n\n{% endif %}{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}[assistant]\n<think>\n\n</think>\n\n{% endif %}"
)
LONG = " ".join(f"word{number}" for number in range(60))
TALKS = [{"messages": messages} for messages in ([SYSTEM, *THREE], THREE, [*THREE[:4], user(LONG), assistant("vier")])]
# Makes the tokens of each spec, plants a fault in them, and prints what is then found when they are read again.
PROGRAM = r"""
import contextlib, io, json, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import tokenize_dataset
from datasets import load_from_disk
from reference_samples import compared
from transformers import AutoTokenizer

def at(ids, piece, start=0):
    return next(n for n in range(start, len(ids)) if ids[n:n + len(piece)] == piece)

class Faults:
    def __init__(self, tokenizer):
        self.of = lambda text: tokenizer.encode(text, add_special_tokens=False)
        self.stop = tokenizer.convert_tokens_to_ids("<|im_end|>")
    def put(self, ids, labels, place, new, learned=False):
        ids[place:place], labels[place:place] = new, new if learned else [-100] * len(new)
    def extra_system_prompt(self, ids, labels):
        self.put(ids, labels, 1, self.of("[system]\nYou are kind.<|im_end|>\n"))
    def missing_stop_token(self, ids, labels):
        last = max(n for n, label in enumerate(labels) if label == self.stop)
        del ids[last], labels[last]
    def stop_token_not_trained(self, ids, labels):
        labels[:] = [-100 if label == self.stop else label for label in labels]
    def cut_answer(self, ids, labels):
        last = max(n for n, label in enumerate(labels) if label == self.stop)
        del ids[last - 2:], labels[last - 2:]
    def thought_in_the_labels(self, ids, labels):
        thought = self.of("<think>\n\n</think>\n\n")
        place = at(ids, thought)
        labels[place:place + len(thought)] = thought
    def doubled_bos(self, ids, labels):
        self.put(ids, labels, 0, ids[:1])
    def prompt_in_the_labels(self, ids, labels):
        labels[:] = ids
    def only_the_last_turn_trained(self, ids, labels):
        last = [n for n, label in enumerate(labels) if label == self.stop][-2]
        labels[:last + 1] = [-100] * (last + 1)
    def wrong_role_tag(self, ids, labels):
        place, length = at(ids, self.of("[user]")) + 1, len(self.of("user"))
        del ids[place:place + length], labels[place:place + length]
        self.put(ids, labels, place, self.of("human"))
    def stray_newline(self, ids, labels):
        first = min(n for n, label in enumerate(labels) if label >= 0)
        self.put(ids, labels, first, self.of("\n"), learned=True)
    def none(self, ids, labels):
        pass
    def left_out(self, ids, labels):
        del ids[:], labels[:]

def planted(row, fault):
    starts = [n for n, position in enumerate(row.get("position_ids", [0])) if position == 0]
    found, moved = {name: [] for name in row}, {}
    for start, end in zip(starts, [*starts[1:], len(row["input_ids"])]):
        ids, labels = row["input_ids"][start:end], row["labels"][start:end]
        fault(ids, labels)
        moved[start] = len(found["input_ids"])
        columns = {"input_ids": ids, "labels": labels}
        columns |= {"attention_mask": [1] * len(ids), "position_ids": [*range(len(ids))]}
        for name in found:
            found[name] += columns[name]
    return found, moved

for spec in json.loads(sys.argv[2]):
    sys.argv[1] = json.dumps(spec)
    with contextlib.redirect_stdout(io.StringIO()) as out:
        tokenize_dataset.main()
    last = json.loads(out.getvalue().splitlines()[-1])
    if spec["fault"] and "counts" in last:
        tokenizer = AutoTokenizer.from_pretrained(spec["model"])
        data = load_from_disk(spec["folder"])
        made = [planted(row, getattr(Faults(tokenizer), spec["fault"].replace(" ", "_"))) for row in data]
        probes = json.loads(Path(spec["folder"], "probes.json").read_text())
        spec["folder"] += "-planted"
        data.from_list([row for row, _ in made], features=data.features).save_to_disk(spec["folder"])
        for probe in probes:
            probe["samples"] = [place and [place[0], made[place[0]][1][place[1]]] for place in probe["samples"]]
        Path(spec["folder"], "probes.json").write_text(json.dumps(probes))
        last["compared"] = compared(tokenizer, spec)
    print(json.dumps(last))
"""
TEN = [
    "extra system prompt", "missing stop token", "stop token not trained", "cut answer", "thought in the labels",
    "doubled bos", "prompt in the labels", "only the last turn trained", "wrong role tag", "stray newline",
]  # fmt: skip


@pytest.fixture(scope="module")
def found(training_python, project, tmp_path_factory):
    """Return what makes tokens as each of several specs says, and what is recorded of them."""

    def make(*specs, talks=TALKS):
        folder = tmp_path_factory.mktemp("reference")
        file = folder / "faq.messages.jsonl"
        file.write_text("".join(json.dumps(each) + "\n" for each in talks), "utf-8")
        told = []
        for number, changes in enumerate(specs):
            (folder / str(number)).mkdir()
            spec = {"model": str(project / "base"), "trust_remote_code": False, "template": OWN, "file": str(file)}
            spec |= {"folder": str(folder / str(number)), "last_only": False, "cutoff_length": 2048, "too_long": "cut"}
            spec |= {"packing": False, "processes": 1, "fingerprint": "0123456789abcdef", "fault": ""}
            told.append(spec | changes)
        argv = [training_python, "-c", PROGRAM, SCRIPTS, json.dumps(told)]
        done = subprocess.run(argv, capture_output=True, text=True, check=False, env={**os.environ, **CHILD_ENV})
        assert done.returncode == 0, done.stderr[-2000:]
        lines = [json.loads(line) for line in done.stdout.splitlines()]
        assert [line["error"] for line in lines if "error" in line] == []
        return [agreement_of(msgspec.convert(line["compared"], Compared), ["XTuner"], 0) for line in lines]

    return make


@pytest.mark.framework
def test_each_of_ten_planted_faults_is_named_alone_and_in_packs(found):
    cases = [*product([False, True], [*TEN, "none"]), (False, "left out")]
    made = found(*({"fault": fault, "packing": packing, "cutoff_length": 1024} for packing, fault in cases))
    causes = dict(zip(cases, (each.causes for each in made), strict=True))
    for packing in (False, True):
        assert causes.pop((packing, "none")) == {}
        prompt = causes.pop((packing, "prompt in the labels"))  # which holds the empty thought
        assert prompt == {each: {"XTuner": 3} for each in ("prompt in the labels", "thought in the labels")}
    assert causes == {(packing, fault): {fault: {"XTuner": 3}} for packing, fault in causes}
    assert {(each.samples, each.same) for each in made} == {(3, 0), (3, 3)}


HABITS = {
    name: re.sub(r"</s>|<\|(?:end|return)\|>", "<|im_end|>", getattr(chat_templates, name))  # which the model has
    for name in (
        "CHATML", "DEFAULT_SYSTEM", "SYSTEM_INSIDE", "FORGETS_THOUGHTS", "OPENS_THOUGHT", "NO_STOP", "GLM", "TWO_STOPS",
        "LAST_ENDS_OTHERWISE", "TOOLS",
    )
}  # fmt: skip
OPTIONS = [{}, {"packing": True, "cutoff_length": 300}, {"cutoff_length": 150}, {"last_only": True}]


def differing(found, templates, talks, options=OPTIONS):
    """Return what is not the same for all who read the tokens of conversations, of which there are some."""
    cases = [(name, {"template": text, **more}) for name, text in templates.items() for more in options]
    made = found(*(spec for _, spec in cases), talks=[{"messages": messages} for messages in talks])
    assert all(each.samples for each in made)
    return [(name, spec, str(each)) for (name, spec), each in zip(cases, made, strict=True) if each.causes]


@pytest.mark.framework
@pytest.mark.matrix
def test_every_habit_of_a_template_is_read_alike_by_all(found):
    talks = [THREE, [user(LONG), assistant(LONG)], [SYSTEM, *THREE]]
    assert differing(found, HABITS | chat_templates.SHIPPED, talks) == []
    for name in ("FORGETS_THOUGHTS", "OPENS_THOUGHT"):
        thinking = {name: "{% set enable_thinking = true %}" + HABITS[name]}
        assert differing(found, thinking, [THREE, THOUGHTS]) == []
    assert differing(found, {"TOOLS": HABITS["TOOLS"]}, [CALLS]) == []
