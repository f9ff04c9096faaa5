"""`ftbridge tokenize`: its options go through, and what came of the conversations is shown."""

import json

import pytest
from click.testing import CliRunner

from ftbridge.cli import cli
from ftbridge.launchers.preview.tokenize import Tokenization, TokenizedPart
from ftbridge.tokens.ready import Counts

WHOLE = Counts(conversations=3, samples=3, rows=2, tokens=1900, answer_tokens=300, longest=700)
CUT = Counts(
    conversations=1030, samples=1004, rows=1004, tokens=5, answer_tokens=3, longest=70, cut_turns=7, cut_question=8,
    left_out=22, without_answer=4, left_out_conversations=[*range(1, 23)],
)  # fmt: skip


@pytest.fixture
def run(monkeypatch):
    """Return a function that runs the command over given parts; `asked` is what it asked the library for."""

    def run(parts, *arguments):
        def library(dataset, **options):
            run.asked = {"dataset": dataset, **options}
            return Tokenization(
                model="base", chat_template="the chat template of `base`", thinking="off", cutoff_length=64,
                packing=True, parts=tuple(TokenizedPart(name, f"/p/{name}", counts) for name, counts in parts),
            )  # fmt: skip

        monkeypatch.setattr("ftbridge.launchers.preview.tokenize.tokenize", library)
        return CliRunner().invoke(cli, ["tokenize", *arguments], catch_exceptions=False).stdout

    return run


def test_what_came_of_the_conversations_is_shown_for_each_part(run):
    assert run([("faq-train", WHOLE), ("faq-validation", CUT)], "faq") == (
        "tokens for base, made with the chat template of `base`, thinking off; cutoff length 64\n"
        "\n"
        "dataset  faq-train, 3 conversations\n"
        "samples  3 in 2 rows\n"
        "tokens   1,900, 300 of them learned\n"
        "longest  700 tokens\n"
        "folder   /p/faq-train\n"
        "\n"
        "dataset                          faq-validation, 1,030 conversations\n"
        "samples                          1,004 in 1,004 rows\n"
        "tokens                           5, 3 of them learned\n"
        "longest                          70 tokens\n"
        "lose their oldest turns          7\n"
        "lose the end of their question   8\n"
        "do not fit and are skipped       22 (conversations 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, "
        "17, 18, 19, 20 and 2 more)\n"
        "conversations without an answer  4\n"
        "folder                           /p/faq-validation\n"
    )


def test_json_has_every_number(run):
    found = json.loads(run([("faq-train", CUT)], "--json"))
    assert (found["thinking"], found["packing"], found["parts"][0]["folder"]) == ("off", True, "/p/faq-train")
    assert found["parts"][0]["counts"]["left_out_conversations"] == [*range(1, 23)]
    assert run.asked["dataset"] is None


def test_options_reach_the_library(run):
    options = ["--model", "base", "--chat-template", "plain", "--thinking", "on", "--learn", "last", "--packing"]
    options += ["--cutoff-length", "64", "--too-long", "drop", "--backend", "xtuner", "--validation-dataset", "none"]
    options += ["--dataset-dir", "d", "--trust-remote-code", "--config", "c"]
    run([], "faq", *options)
    assert run.asked == {
        "dataset": "faq", "model": "base", "chat_template": "plain", "thinking": "on", "learn": "last",
        "packing": True, "cutoff_length": 64, "too_long": "drop", "backend": "xtuner", "validation_dataset": "none",
        "dataset_dir": "d", "trust_remote_code": True, "config": "c",
    }  # fmt: skip
