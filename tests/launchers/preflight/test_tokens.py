"""What the making of tokens tells before a training starts."""

import pytest

from ftbridge.core.train_spec import TrainSpec
from ftbridge.launchers.preflight.tokens import token_checks
from ftbridge.tokens.ready import Counts

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
                    "left out (conversations 3, 9); no answer is cut"
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
