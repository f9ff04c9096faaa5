"""What is recorded of samples that were read in several ways."""

from ftbridge.tokens.agreement import MERGED, Agreement
from ftbridge.tokens.compared import NOTHING, Compared, ReadConversation, ReadSample, agreement_of
from ftbridge.tokens.differences import Reading, Reference

FRAMEWORKS = ["XTuner", "LLaMA-Factory"]
ID = Reference([1, 2, 3], [-100, 2, 3], ["?", "a", "<end>"], parts=["question", "answer", "stop"], stops=[3])
SAME = Reading(ID.ids, ID.labels, ID.tokens)
UNTRAINED = Reading(ID.ids, [-100, 2, -100], ID.tokens)


def sample(ready=SAME, merged=SAME):
    return ReadSample(ID, {MERGED: merged}, ready)


def test_frameworks_read_what_is_ready_and_the_folder_what_it_renders():
    assert sample(ready=UNTRAINED).readings(dict.fromkeys(FRAMEWORKS, UNTRAINED)) == {
        "XTuner": UNTRAINED,
        "LLaMA-Factory": UNTRAINED,
        MERGED: SAME,
    }
    assert sample(merged=None).readings({"XTuner": None}) == {"XTuner": NOTHING, MERGED: NOTHING}


def test_samples_are_counted_alone_and_causes_by_conversation():
    found = Compared(
        samples=9,
        conversations=[
            ReadConversation(4, [sample(ready=UNTRAINED)]),
            ReadConversation(4, [sample(ready=UNTRAINED)]),
            ReadConversation(7, [sample(ready=None, merged=UNTRAINED)]),
        ],
    )
    assert agreement_of(found, FRAMEWORKS, 90) == Agreement(
        samples=9,
        total=90,
        same=6,
        readers=("chat template", *FRAMEWORKS, MERGED),
        causes={
            "stop token not trained": {**dict.fromkeys(FRAMEWORKS, 1), MERGED: 1},
            "left out": dict.fromkeys(FRAMEWORKS, 1),
        },
    )


def test_what_all_have_alike_has_no_cause():
    assert agreement_of(Compared(samples=3, conversations=[]), [], 3).causes == {}
