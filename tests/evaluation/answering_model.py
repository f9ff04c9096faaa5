"""Stands for a model where it is not the answers that are tested, but what becomes of them."""

import json
from pathlib import Path

import msgspec

import ftbridge
from ftbridge.core.project import Project
from ftbridge.dialogue.generation import BatchAnswer
from ftbridge.evaluation.answers.folder import FINISHED
from ftbridge.weights.card import load_card

from ..builders.runs import record_run  # noqa: TID252

SYSTEM = "You sort news."
NEWS = [(f"news {'x' * (7 * number % 5)} {number}", "Sports" if number % 3 else "Politics") for number in range(1, 7)]


class AnsweringModel:
    """Stands for a model: answers what it was asked for last, the longest first, and may be stopped."""

    asked: list[str]
    stop_after: int
    thought = ""

    def __init__(self, _python, card, *_):
        self.card = card

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def prompt_for(self, system, turns, card):
        return card.prompt_for(system, turns)

    def batch(self, prompts, stop, sampling, batch_size, *, adapter, card):
        assert (adapter, card) == (None, self.card)
        assert (stop, batch_size) == (("<|im_end|>", "<|endoftext|>"), None)
        assert sampling.max_new_tokens in {512, 9}
        texts = ["".join(prompt) for prompt in prompts]
        for count, at in enumerate(sorted(range(len(texts)), key=lambda at: -len(texts[at]))):
            if count == type(self).stop_after:
                raise KeyboardInterrupt
            type(self).asked.append(texts[at])
            yield BatchAnswer(at, type(self).thought + ("It is Sports." if count else "药"), "stop", "")


def rows(folder, name=FINISHED):
    """Return the rows of a file in a prediction's folder."""
    return [json.loads(line) for line in (folder / name).read_text(encoding="utf-8").splitlines()]


def predict(model, **options):
    """Answer all six news, into the folder `out`."""
    return ftbridge.predict(model, "all", **{"out": "out", **options})


def evaluate(model, dataset="all", **options):
    """Evaluate the answers to a dataset, and return the evaluation."""
    (written,) = ftbridge.evaluate(model, dataset=dataset, **options).evaluations
    return written.evaluation


def of_a_run(model, name="one", dataset="parts-train"):
    """Make a run that was trained on a dataset, say that the model is made of it, and return it."""
    Path("runs", name).mkdir(parents=True)
    entry = json.loads(Path("data/dataset_info.json").read_text())[dataset]["ftbridge"]
    run = record_run(Project.find(), name, dataset=dataset)
    digests = {file: entry["options"]["sha256"][target] for target, file in entry["files"].items()}
    run = msgspec.structs.replace(run, datasets=digests).save()
    msgspec.structs.replace(load_card(model), run=name).save(model)
    return run
