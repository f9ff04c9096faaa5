"""What `ftbridge preview --verify` shows, in a narrow terminal, in colours and without, and in a pipe."""

import json
import re
from functools import partial

import pytest
from click.testing import CliRunner

from ftbridge.cli import cli
from ftbridge.core import console
from ftbridge.launchers.preview import verification as module
from ftbridge.launchers.preview.verification import Verification, VerifiedSample
from ftbridge.tokens.differences import CAUSES, Reading, Reference, compare
from ftbridge.weights.model_files.chat_template import text_of_native

TOKENS = ["<|im_start|>", "user\n", "Why?", "<|im_end|>", "\n", "assistant\n", "Be", "\x1b[31m", "<|im_end|>"]
PARTS = ["tag", "tag", "question", "tag", "tag", "tag", "answer", "answer", "stop"]
IDS = [7, 20, 21, 4, 5, 22, 23, 24, 4]
LABELS = [-100] * 6 + IDS[6:]
REFERENCE = Reference(IDS, LABELS, TOKENS, parts=PARTS, stops=[4])
SAME = Reading(IDS, LABELS, TOKENS)
STOP_NOT_TRAINED = Reading(IDS, [*LABELS[:-1], -100], TOKENS)
SYSTEM = Reading(
    [7, 30, 31, 4, 5, *IDS], [-100] * 5 + LABELS, ["<|im_start|>", "system\n", "Be kind.", *TOKENS[3:5], *TOKENS]
)


def sample(conversation, **readings):
    named = {{"xtuner": "XTuner", "llamafactory": "LLaMA-Factory", "merged": "merged folder"}[name]: reading
             for name, reading in readings.items()}  # fmt: skip
    differences = {name: compare(reading, REFERENCE) for name, reading in named.items()}
    return VerifiedSample(conversation, REFERENCE, named, differences)


def found(*samples, tokens="once"):
    return Verification("faq-train", "base", tokens, "the chat template of `base`", 9, list(samples))


EQUAL = found(*(sample(number, xtuner=SAME, llamafactory=SAME, merged=SAME) for number in (1, 2)))
UNLIKE = found(
    sample(1, xtuner=SYSTEM, llamafactory=SYSTEM, merged=SAME),
    sample(2, xtuner=SAME, llamafactory=STOP_NOT_TRAINED, merged=SAME),
    sample(3, xtuner=SYSTEM, llamafactory=SYSTEM, merged=SAME),
    tokens="native",
)


@pytest.fixture
def run(monkeypatch):
    """Return a function that runs the command over what was found; `asked` is what it asked the library for."""

    def run(verification, *arguments, charset="utf-8", **env):
        def library(dataset, merged_template, **options):
            run.asked = {"dataset": dataset, "merged_template": merged_template, **options}
            return verification

        monkeypatch.setattr(module, "verify", library)
        env = {"NO_COLOR": None, "FORCE_COLOR": None, "TERM": "xterm-256color", **env}
        return CliRunner(charset=charset).invoke(cli, ["preview", *arguments], env=env)

    return run


def rows(output):
    return [line.split() for line in output.partition("token  ")[2].partition("\n\n")[0].splitlines()[1:]]


def test_equal_readings_are_said_to_be_and_shown_token_by_token(run):
    done = run(EQUAL, "faq", "--verify", "--strict")
    assert done.exit_code == 0, done.stderr
    assert "sample 1, of conversation 1 of 9: the same for all; 9 tokens, 3 learned\n" in done.stdout
    assert rows(done.stdout)[5:] == [
        ["6", "22", "assistant\\n", "=", "=", "="],
        ["7", "23", "⟦Be⟧", "=", "=", "="],
        ["8", "24", "⟦\\x1b[31m⟧", "=", "=", "="],
        ["9", "4", "⟦<|im_end|>⟧", "=", "=", "="],
    ]
    assert done.stdout.count("<|im_start|>") == 1  # the second sample needs no table
    last = "2 of 2 samples are the same for chat template, XTuner, LLaMA-Factory, merged folder\n"
    assert done.stdout.endswith(last)


def test_differences_are_named_with_their_cause_and_who_has_them(run):
    done = run(UNLIKE, "faq", "--verify")
    assert done.exit_code == 0
    assert (
        "XTuner, LLaMA-Factory: extra system prompt: `<|im_start|>system Be kind.<|im_end|>` (before token 1)\n"
        f"  {CAUSES['extra system prompt']}\n"
    ) in done.stdout
    assert f"LLaMA-Factory: stop token not trained: `<|im_end|>` (token 9)\n  {CAUSES['stop token not trained']}\n" in (
        done.stdout
    )
    assert done.stdout.endswith(
        "0 of 3 samples are the same for chat template, XTuner, LLaMA-Factory, merged folder\n"
        "extra system prompt: XTuner, LLaMA-Factory in 2 conversations\n"
        "stop token not trained: LLaMA-Factory in 1 conversation\n"
    )
    assert ["≠", "Be", "kind.", "≠", "Be", "kind."] in rows(done.stdout)
    # Of the second, what is around the difference; the third has nothing that was not shown.
    assert re.search(r"\.\.\. *\n +6 +22 .*\n.*\n.*\n +9 +4 +⟦<\|im_end\|>⟧ += +≠ not learned +=", done.stdout)
    assert done.stdout.count("assistant\\n") == 2


def test_strict_makes_a_difference_an_error(run):
    done = run(UNLIKE, "faq", "--verify", "--strict")
    assert done.exit_code == 1  # click's runner shows what the command raises
    assert type(done.exception).__name__ == "InputError"
    assert str(done.exception) == (
        "3 of 3 samples are not the same for all who read them: extra system prompt, stop token not trained"
    )
    assert "extra system prompt" in done.stdout


def test_json_has_all_of_it(run):
    done = run(UNLIKE, "faq", "--verify", "--json")
    told = json.loads(done.stdout)
    assert [each["conversation"] for each in told["samples"]] == [1, 2, 3]
    first = told["samples"][0]
    assert first["reference"]["parts"] == PARTS
    assert first["readings"]["XTuner"] == {"ids": SYSTEM.ids, "labels": SYSTEM.labels, "tokens": SYSTEM.tokens}
    assert first["differences"]["merged folder"] == []
    assert first["differences"]["XTuner"][0]["cause"] == "extra system prompt"
    assert (first["differences"]["XTuner"][0]["start2"], first["differences"]["XTuner"][0]["end2"]) == (0, 5)


def test_colours_stand_in_place_of_brackets(run):
    output = run(UNLIKE, "faq", "--verify", FORCE_COLOR="1").stdout
    assert "\x1b[32mBe" in output
    assert "\x1b[31m≠ not learned" in output
    assert "⟦" not in output


def test_sixty_columns_hold_the_table(run, monkeypatch):
    narrow = partial(console.rich_console, width=60)
    monkeypatch.setattr(console, "rich_console", lambda **_: narrow())
    output = run(UNLIKE, "faq", "--verify", NO_COLOR="1").stdout
    assert max(map(len, output.splitlines())) <= 60
    assert re.search("9 +4 +⟦<[|]im_end[|]>⟧ +=", output)


def test_an_encoding_without_marks_gets_others(run):
    output = run(UNLIKE, "faq", "--verify", charset="ascii").stdout
    assert "[[Be]]" in output
    assert "!= not learned" in output


def test_the_library_is_asked_for_what_was_typed(run):
    run(EQUAL, "faq", "--verify")
    assert (run.asked["dataset"], run.asked["samples"], run.asked["merged_template"]) == ("faq", None, text_of_native)
    run(EQUAL, "faq", "--verify", "-n", "3", "--tokens", "once", "--model", "m", "--backend", "xtuner")
    assert (run.asked["samples"], run.asked["tokens"]) == (3, "once")
    assert (run.asked["model"], run.asked["backend"]) == ("m", "xtuner")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--strict"], "`--strict` is for `--verify`; add `--verify`"),
        (["--verify", "--stats"], "`--verify` shows samples, and `--stats` counts them; leave one of them out"),
        (["--verify", "--png", "x.png"], "`--verify` shows samples, and `--stats` counts them; leave one of them out"),
    ],
)
def test_options_that_do_not_fit_are_refused(run, arguments, message):
    assert str(run(EQUAL, "faq", *arguments).exception) == message


def test_a_sample_that_is_left_out_is_said_to_be(run):
    nothing = Reading([], [], [])
    empty = Reference([], [], [], parts=[])
    left_out = VerifiedSample(1, empty, {"XTuner": nothing}, {"XTuner": compare(nothing, empty)})
    assert "conversation 1 of 9: left out, as it is too long" in run(found(left_out), "faq", "--verify").stdout
