"""How what is recorded of the readers of tokens is told."""

from ftbridge.tokens.agreement import Agreement, causes_in_words

READERS = ("chat template", "XTuner", "LLaMA-Factory", "merged folder")


def test_tokens_that_all_have_alike_are_told_in_a_line():
    found = Agreement(samples=23, same=23, readers=READERS)
    assert str(found) == "23 of 23 samples are the same for chat template, XTuner, LLaMA-Factory, merged folder"


def test_where_a_part_of_the_samples_was_compared_it_says_of_how_many():
    found = Agreement(samples=25, same=24, total=1026, readers=READERS)
    assert str(found).startswith("compared 25 of 1,026 samples: 24 are the same for chat template, ")
    assert str(Agreement(samples=25, same=25, total=25, readers=READERS)).startswith("25 of 25 samples are the same ")


def test_causes_come_with_readers_and_counts():
    causes = {"cut answer": {"XTuner": 3, "LLaMA-Factory": 1, "merged folder": 3}, "doubled bos": {"XTuner": 1}}
    assert causes_in_words(causes) == [
        "cut answer: XTuner, merged folder in 3 conversations; LLaMA-Factory in 1 conversation",
        "doubled bos: XTuner in 1 conversation",
    ]
    told = str(Agreement(samples=9, same=5, readers=READERS, causes=causes))
    assert told.startswith("5 of 9 samples are the same for ")
    assert told.endswith("; doubled bos: XTuner in 1 conversation")
