"""`ftbridge preview`: what is trained stands out, with colours and without, and nothing else is obeyed."""

import json

import pytest
from click.testing import CliRunner

from ftbridge.cli import cli
from ftbridge.launchers.preview.preview import BackendView, EncodedSample, Preview, Stretch
from ftbridge.launchers.preview.token_statistics import TokenStatistics

TOKENS = ["<|im_start|>", "药\n", "\\xf0\\x9f", "\x1b[31m", "<|im_end|>"]
IDS = [7, 20, 300, 4, 5]


def encoded(trained, ids=IDS, cut="", length=5):
    """Return a sample whose last `trained` tokens are trained."""
    labels = [-100] * (len(ids) - trained) + ids[len(ids) - trained :]
    text = [Stretch("".join(TOKENS[:-trained]), trained=False), Stretch("".join(TOKENS[-trained:]), trained=True)]
    return EncodedSample(ids, labels, TOKENS[: len(ids)], text, length, trained, cut)


def stats(lengths, cut=()):
    zero = dict.fromkeys(("shortest", "median", "p95"), 1)
    return TokenStatistics(
        samples=sum(lengths.values()),
        tokens=1000,
        answer_tokens=250,
        longest=max(lengths),
        over=1,
        lengths=lengths,
        cut={"refused": [], "lost": [], "answer": [], "question": [], **dict(cut)},
        **zero,
    )


def found(xtuner, llamafactory, differences=("",), warnings=(), png=None):
    views = {"xtuner": BackendView("XTuner", *xtuner), "llamafactory": BackendView("LLaMA-Factory", *llamafactory)}
    return Preview("faq-train", 21, "base", "Qwen 2.5", 2048, views, list(differences), list(warnings), png)


@pytest.fixture
def run(monkeypatch):
    """Return a function that runs the command over a given preview; `asked` is what it asked the library for."""

    def run(preview, *arguments, charset="utf-8", **env):
        def library(dataset, **options):
            run.asked = {"dataset": dataset, **options}
            return preview

        monkeypatch.setattr("ftbridge.launchers.preview.preview.preview", library)
        env = {"NO_COLOR": None, "FORCE_COLOR": None, "TERM": "xterm-256color", **env}
        return CliRunner(charset=charset).invoke(cli, ["preview", *arguments], env=env, catch_exceptions=False)

    return run


@pytest.fixture
def alike():
    return found(([encoded(2)], None), ([encoded(2)], None))


@pytest.fixture
def unlike():
    return found(([encoded(2)], None), ([encoded(1)], None), ["they differ"], ["an answer is cut"])


def test_frameworks_that_agree_are_shown_once(run, alike):
    output = run(alike, "faq", "--token-table").stdout
    assert "sample 1 of 21\n\nXTuner and LLaMA-Factory: 5 tokens, 2 learned\n" in output
    assert output.count("<|im_start|>") == 2  # in the text and in the table
    rows = [line.split() for line in output.partition("position")[2].splitlines()[1:]]
    assert rows == [
        ["1", "7", "'<|im_start|>'", "-"],
        ["2", "20", "'药\\n'", "-"],
        ["3", "300", "'\\xf0\\x9f'", "-"],
        ["4", "4", "'\\x1b[31m'", "4"],
        ["5", "5", "'<|im_end|>'", "5"],
    ]


def test_frameworks_that_disagree_on_labels_share_a_table(run, unlike):
    done = run(unlike, "faq", "--token-table")
    assert "XTuner: 5 tokens, 2 learned" in done.stdout
    assert "LLaMA-Factory: 5 tokens, 1 learned" in done.stdout
    assert done.stdout.count("position") == 1
    assert ["4", "4", "'\\x1b[31m'", "4", "-"] in [line.split() for line in done.stdout.splitlines()]
    assert done.stdout.endswith("\nthey differ\n")
    assert done.stderr == "warning: an answer is cut\n"


def test_frameworks_that_disagree_on_tokens_have_a_table_each(run):
    done = run(found(([encoded(2)], None), ([encoded(2, IDS[:4], "answer", 9)], None)), "faq", "--token-table")
    assert "LLaMA-Factory: 4 of 9 tokens, 2 learned" in done.stdout
    assert done.stdout.count("position") == 2


def test_the_text_alone_is_shown_unless_the_table_is_asked_for(run, alike):
    output = run(alike, "faq").stdout
    assert output.count("<|im_start|>") == 1
    assert "position" not in output
    assert "\nThe text in ⟦brackets⟧ is learned.\n" in output
    assert output.endswith("\n--token-table shows each token with its id and its label\n")
    assert "\nThe green text is learned.\n" in run(alike, "faq", FORCE_COLOR="1").stdout


def test_trained_text_without_colours_stands_in_brackets(run, alike):
    text = "<|im_start|>药\n\\xf0\\x9f⟦\\x1b[31m<|im_end|>⟧\n"
    assert text in run(alike, "faq").stdout
    assert text in run(alike, "faq", FORCE_COLOR="1", NO_COLOR="1").stdout
    ascii_only = run(alike, "faq", charset="ascii").stdout
    assert "<|im_start|>\\u836f\n\\xf0\\x9f[[\\x1b[31m<|im_end|>]]\n" in ascii_only


def test_trained_text_with_colours_is_green_and_data_cannot_colour(run, alike):
    output = run(alike, "faq", FORCE_COLOR="1").stdout
    assert "\\xf0\\x9f\x1b[32m\\x1b[31m<|im_end|>\x1b[0m" in output
    assert "\x1b[31m" not in output
    assert "⟦" not in output


def test_preview_with_stats_prints_two_tables(run):
    one = stats({100: 1, 115: 2}, {"lost": [3]})
    done = run(found(([], one), ([], stats({100: 3, 115: 0})), (), (), "faq-train-lengths.png"), "faq", "--stats")
    lines = [" ".join(line.split()) for line in done.stdout.splitlines()]
    for line in (
        "samples 3 3",
        "tokens learned 250 (25.0%) 250 (25.0%)",
        "tokens of the longest sample 115 115",
        "samples over 2048 1 (33.3%) 1 (33.3%)",
        "whole answer truncated 1 (33.3%) 0 (0.0%)",
        "tokens XTuner LLaMA-Factory",
        "100 1 ########## 3 ##############################",
        "115 2 #################### 0",
        "`--cutoff-length 115` truncates nothing; the picture is faq-train-lengths.png",
    ):
        assert line in lines


def test_json_is_ids_tokens_labels_and_warnings(run, unlike):
    done = run(unlike, "faq", "--json")
    values = json.loads(done.stdout)
    sample = values["views"]["llamafactory"]["samples"][0]
    assert (sample["ids"], sample["labels"], sample["tokens"]) == (IDS, [-100] * 4 + [5], TOKENS)
    assert sample["text"][1] == {"text": "<|im_end|>", "trained": True}
    assert (values["dataset"], values["differences"], values["warnings"]) == (
        "faq-train",
        ["they differ"],
        ["an answer is cut"],
    )


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], {"samples": 3, "stats": False}),
        (["--stats"], {"samples": 0, "stats": True}),
        (["--stats", "-n", "2", "--png", "x.png"], {"samples": 2, "stats": True, "png": "x.png"}),
        (["--backend", "xtuner", "--cutoff-length", "9"], {"backend": "xtuner", "cutoff_length": 9}),
        (["--trust-remote-code", "--template", "glm4"], {"trust_remote_code": True, "template": "glm4"}),
    ],
)
def test_preview_options_reach_the_function(run, alike, arguments, expected):
    assert run(alike, "faq", "--model", "m", *arguments).exit_code == 0
    assert run.asked.items() >= {"dataset": "faq", "model": "m", **expected}.items()


@pytest.mark.parametrize("arguments", [["-n", "-1"], ["--cutoff-length", "long"], ["a", "b"]])
def test_wrong_arguments_are_wrong_usage(run, alike, arguments):
    assert run(alike, *arguments).exit_code == 2
