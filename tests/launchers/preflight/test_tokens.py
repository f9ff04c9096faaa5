"""What the pre-flight says of ready tokens."""

import json
from pathlib import Path

import msgspec
import pytest

from ftbridge.adapters.registered.dataset import Dataset
from ftbridge.core.errors import InputError
from ftbridge.core.train_spec import TrainSpec
from ftbridge.launchers.preflight.tokens import agreement_checks, packing_table, refuse_packing, token_checks
from ftbridge.tokens.agreement import Agreement
from ftbridge.tokens.ready import Counts, Fingerprint, ReadyTokens, TokenOptions

from ...builders.plans import plan  # noqa: TID252

COUNTS = Counts(conversations=9, samples=8, rows=2, tokens=150, answer_tokens=30, longest=80)
MADE = Fingerprint(
    messages="", tokenizer={}, chat_template="", options=TokenOptions(cutoff_length=100), code="", version=""
)
FOUR = ("chat template", "XTuner", "LLaMA-Factory", "merged folder")
ALIKE = Agreement(samples=8, same=8, readers=FOUR)
TOKENS = ReadyTokens(folder=Path("/tokens"), fingerprint=MADE, counts=COUNTS, agreement=ALIKE)


@pytest.fixture
def refusal(tmp_path):
    """Return what says why a class's samples are not packed, "" where they are."""

    def told(kind, transformers="5.24.0", own_code=False, **spec):
        config = {"model_type": kind, **({"auto_map": {"AutoModel": "own.Model"}} if own_code else {})}
        (tmp_path / "config.json").write_text(json.dumps(config))
        try:
            refuse_packing(plan(**{"packing": True, "tokens": "once", **spec}).spec, tmp_path, transformers)
        except InputError as error:
            return str(error)
        return ""

    return told


def test_a_class_that_keeps_packed_samples_apart_is_let_through(refusal):
    assert [refusal(kind) for kind in packing_table().apart] == [""] * len(packing_table().apart)
    assert refusal("qwen2", own_code=True) == ""  # which is not asked for
    assert refusal("qwen2_moe") == ""


@pytest.mark.parametrize(
    ("kind", "options", "told"),
    [
        ("qwen3_next", {}, "does not keep samples of `qwen3_next` apart: its linear attention carries what it has"),
        ("gpt_oss", {}, "does not keep samples of `gpt_oss` apart: it makes its attention mask without positions"),
        ("nobodys", {}, "is not known to keep samples of `nobodys` apart;"),
        ("qwen2_moe", {"transformers": "4.57.1"}, "samples of `qwen2_moe` apart with transformers 4;"),
        ("qwen2", {"own_code": True, "trust_remote_code": True}, "apart where the model's own code computes;"),
    ],
)
def test_a_class_that_does_not_or_was_not_tried_is_refused_by_name(refusal, kind, options, told):
    found = refusal(kind, **options)
    assert found.startswith("packing ")
    assert told in found
    assert found.endswith("; leave `--packing` out")
    assert refusal(kind, **options, packing=False) == ""


def test_packing_by_the_framework_is_not_judged(refusal):
    assert refusal("qwen3_next", tokens="native") == ""


def test_flash_attention_keeps_only_the_packs_of_a_single_row_apart(refusal):
    found = refusal("qwen2", attention="flash_attention_2", micro_batch_size=2)
    assert found.startswith("flash_attention_2 keeps packed samples apart only at `--micro-batch-size 1`")
    assert refusal("qwen2", attention="flash_attention_2") == refusal("qwen2", micro_batch_size=2) == ""


def agreements(*found):
    """Return what is said of these of a dataset, and of what it is validated on."""
    made = [TOKENS, None] if not found else [msgspec.structs.replace(TOKENS, agreement=each) for each in found]
    tokens, validated = [*made, None][:2]
    other = Dataset("faq-validation", Path("/data"), plan().entry) if validated else None
    planned = msgspec.structs.replace(plan(), tokens=tokens, validation=other, validation_tokens=validated)
    return [f"{check.status}: {check.found} -> {check.remedy}" for check in agreement_checks(planned)]


def test_tokens_that_all_read_alike_are_said_to_be():
    assert agreements(ALIKE) == [
        "ok: `faq`: 8 of 8 samples are the same for chat template, XTuner, LLaMA-Factory, merged folder -> "
    ]
    nothing = Agreement(samples=0, same=0, readers=FOUR)
    assert agreements(nothing) == ["ok: `faq`: no conversation is short enough to be checked -> "]
    assert agreement_checks(plan()) == []  # the framework's own


def test_tokens_that_somebody_reads_otherwise_are_a_warning_with_cause_count_and_command():
    causes = {"stray newline": {"merged folder": 2}, "cut answer": {"XTuner": 1, "LLaMA-Factory": 1}}
    other = Agreement(samples=8, same=5, readers=FOUR, causes=causes)
    first, second = agreements(ALIKE, other)
    assert first.startswith("ok: ")
    assert second == (
        "warning: `faq-validation`: 5 of 8 samples are the same for chat template, XTuner, LLaMA-Factory, merged "
        "folder; stray newline: merged folder in 2 conversations; cut answer: XTuner, LLaMA-Factory in 1 conversation "
        "-> `ftbridge preview faq-validation --verify` shows them"
    )


def test_what_is_shortened_left_out_or_has_no_answer_is_said():
    told = msgspec.structs.replace(
        COUNTS, cut_turns=12, cut_question=3, left_out=1, left_out_conversations=[7], without_answer=2
    )
    cutoff, answers, packs = token_checks(plan(cutoff_length=100, packing=True).spec, told)
    assert (cutoff.status, answers.status, packs.status) == ("warning", "warning", "ok")
    assert cutoff.found == (
        "of 9 samples, the longest has 80 tokens; with 100, 12 lose their oldest turns, "
        "3 lose the end of their question, 1 is skipped (conversations 7); no answer is cut"
    )
    assert answers.found == "2 of 9 conversations have no answer to train on"
    assert packs.found == "8 samples in 2 packs, which are 75% full"


@pytest.mark.parametrize(
    ("thinking", "answers", "thoughts", "left_out", "told"),
    [
        ("auto", 9, 0, 0, []),
        ("on", 9, 0, 0, ["warning: no answer has a thought, and `--thinking on` trains an empty one where"]),
        ("on", 9, 9, 0, []),
        ("off", 9, 2, 2, ["ok: 2 answers have a thought, which `--thinking off` drops"]),
        ("auto", 9, 2, 0, ["warning: 2 of 9 answers have a thought, so that the model may think or not"]),
        ("auto", 2, 2, 1, ["warning: the chat template drops 1 of 2 thoughts"]),
    ],
)
def test_thoughts_that_only_some_answers_have_or_that_are_left_out_are_told(
    thinking, answers, thoughts, left_out, told
):
    counts = msgspec.structs.replace(COUNTS, answers=answers, thoughts=thoughts, thoughts_left_out=left_out)
    found = [each for each in token_checks(plan(thinking=thinking).spec, counts) if each.name == "thoughts"]
    assert len(found) == len(told)
    for check, words in zip(found, told, strict=True):
        assert f"{check.status}: {check.found}".startswith(words)


def test_samples_that_fit_are_said_to():
    (only,) = token_checks(plan(cutoff_length=100).spec, COUNTS)
    assert (only.status, only.found) == ("ok", "of 8 samples, the longest has 80 tokens; 100 cuts nothing")


WHOLE = {"conversations": 20, "samples": 20, "rows": 20, "tokens": 900, "answer_tokens": 300, "longest": 70}


@pytest.mark.parametrize(
    ("counts", "packing", "told"),
    [
        ({}, False, ["ok: of 20 samples, the longest has 70 tokens; 100 cuts nothing"]),
        (
            {"samples": 18, "left_out": 2, "left_out_conversations": [3, 9], "cut_turns": 4, "longest": 500},
            False,
            [
                (
                    "warning: of 20 samples, the longest has 500 tokens; with 100, 4 lose their oldest turns, 2 are "
                    "skipped (conversations 3, 9); no answer is cut"
                )
            ],
        ),
        (
            {"rows": 10, "without_answer": 1, "cut_question": 2},
            True,
            [
                (
                    "warning: of 20 samples, the longest has 70 tokens; with 100, 2 lose the end of their question; no "
                    "answer is cut"
                ),
                "warning: 1 of 20 conversations have no answer to train on",
                "ok: 20 samples in 10 packs, which are 90% full",
            ],
        ),
    ],
)
def test_what_was_cut_left_out_and_packed_is_told(counts, packing, told):
    spec = TrainSpec(backend="xtuner", model="base", dataset="faq", tokens="once", cutoff_length=100, packing=packing)
    checks = token_checks(spec, Counts(**(WHOLE | counts)))
    assert [f"{check.status}: {check.found}" for check in checks] == told
