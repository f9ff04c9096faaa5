"""Faults that are planted in a sample's tokens and labels, and the cause that is named for each."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ftbridge.tokens.differences import CAUSES, Reading, Reference, align, compare, pairs

KNOWN: list[str] = []  # a token's id is its place here


def ids_of(tokens):
    KNOWN.extend(token for token in tokens if token not in KNOWN)
    return [KNOWN.index(token) for token in tokens]


# Each token after the part that it belongs to, with a plus where it is learned; `·` is a space.
ROWS = {
    "chatml": r"""
        tag:<|im_start|> tag:system tag:\n system:Be system:·kind. tag:<|im_end|> tag:\n
        tag:<|im_start|> tag:user tag:\n question:What question:·is question:·aspirin? tag:<|im_end|> tag:\n
        tag:<|im_start|> tag:assistant tag:\n +answer:It +answer:·relieves +answer:·pain. +stop:<|im_end|> tag:\n
        tag:<|im_start|> tag:user tag:\n question:And question:·ice? tag:<|im_end|> tag:\n
        tag:<|im_start|> tag:assistant tag:\n +answer:It +answer:·cools. +stop:<|im_end|> tag:\n
    """,
    "no system": r"""
        tag:<s> tag:<|im_start|> tag:user tag:\n question:Why? tag:<|im_end|> tag:\n
        tag:<|im_start|> tag:assistant tag:\n thought:<think> thought:\n\n thought:</think> tag:\n\n
        +answer:Because +answer:·so. +stop:<|im_end|> tag:\n
    """,
    "llama": r"""
        tag:<s> tag:[INST] question:_One question:·more? tag:·[/INST] +answer:_Yes +answer:·please +stop:</s>
        tag:<s> tag:[INST] question:_Two? tag:·[/INST] +answer:_No +stop:</s>
    """,
}


def reference(name):
    tokens, parts, trained = [], [], []
    for cell in ROWS[name].split():
        part, _, token = cell.partition(":")
        trained.append(part.startswith("+"))
        parts.append(part.lstrip("+"))
        tokens.append(token.replace("·", " ").replace("\\n", "\n"))
    ids = ids_of(tokens)
    stops = ids_of(["<|im_end|>", "</s>"])
    return Reference(
        ids, [token if learn else -100 for token, learn in zip(ids, trained, strict=True)], tokens,
        parts=parts, bos=None if name == "chatml" else ids[0], stops=stops,
    )  # fmt: skip


REFERENCES = {name: reference(name) for name in ROWS}


def changed(given, *, at=0, remove=0, insert=(), learn=()):
    """Return a reading of a reference with tokens at a place taken out and put in, some of them learned."""
    ids, labels, tokens = list(given.ids), list(given.labels), list(given.tokens)
    new = ids_of(insert)
    ids[at : at + remove] = new
    labels[at : at + remove] = [token if number in learn else -100 for number, token in enumerate(new)]
    tokens[at : at + remove] = insert
    return Reading(ids, labels, tokens)


def labelled(given, learned):
    """Return a reading that learns the tokens for which `learned` of place and part says so."""
    labels = [token if learned(at, given.parts[at]) else -100 for at, token in enumerate(given.ids)]
    return Reading(given.ids, labels, given.tokens)


def places(given, part):
    return [at for at, each in enumerate(given.parts) if each == part]


def last_trained(given):
    stops = places(given, "stop")
    return lambda at, _part: given.labels[at] >= 0 and (len(stops) < 2 or at > stops[-2])


SYSTEM_TURN = ["<|im_start|>", "system", "\n", "You", " are", "<|im_end|>", "\n"]
# The ten that must be found, on each reference where they can be planted: a function of the reference.
PLANTED = {
    "extra system prompt": {
        "no system": lambda it: changed(it, at=1, insert=SYSTEM_TURN),
        "llama": lambda it: changed(it, at=2, insert=["<<SYS>>\n", "You", " are", " kind", "\n<</SYS>>"]),
    },
    "missing stop token": {
        name: lambda it: changed(it, at=places(it, "stop")[-1], remove=1) for name in ROWS
    },
    "stop token not trained": {
        name: lambda it: labelled(it, lambda at, part: it.labels[at] >= 0 and part != "stop") for name in ROWS
    },
    "cut answer": {
        name: lambda it: changed(it, at=places(it, "answer")[-1], remove=len(it.ids)) for name in ROWS
    },
    "thought in the labels": {
        "no system": lambda it: labelled(it, lambda at, part: it.labels[at] >= 0 or part == "thought"),
        "chatml": lambda it: changed(
            it, at=places(it, "answer")[0], insert=["<think>", "\n\n", "</think>", "\n\n"], learn=range(4)
        ),
    },
    "doubled bos": {name: lambda it: changed(it, insert=it.tokens[:1]) for name in ("no system", "llama")},
    "prompt in the labels": {name: lambda it: labelled(it, lambda *_: True) for name in ("chatml", "llama")},
    "only the last turn trained": {name: lambda it: labelled(it, last_trained(it)) for name in ("chatml", "llama")},
    "wrong role tag": {
        "chatml": lambda it: changed(it, at=places(it, "question")[0] - 2, remove=1, insert=["human"]),
        "no system": lambda it: changed(it, at=places(it, "thought")[0] - 2, remove=1, insert=["model"]),
        "llama": lambda it: changed(it, at=1, remove=1, insert=["<|user|>"]),
    },
    "stray newline": {
        name: lambda it: changed(it, at=places(it, "answer")[0], insert=["\n"], learn=[0]) for name in ROWS
    },
}  # fmt: skip
# Others of their kind.
OTHERS = {
    "missing system prompt": {"chatml": lambda it: changed(it, remove=7)},
    "other system prompt": {"chatml": lambda it: changed(it, at=3, remove=2, insert=["Answer", " in", " verse."])},
    "missing bos": {"llama": lambda it: changed(it, remove=1)},
    "missing newline": {"chatml": lambda it: changed(it, at=len(it.ids) - 1, remove=1)},
    "other stop token": {"chatml": lambda it: changed(it, at=places(it, "stop")[-1], remove=1, insert=["</s>"])},
    "extra stop token": {"llama": lambda it: changed(it, at=len(it.ids), insert=["</s>"], learn=[0])},
    "cut prompt": {"chatml": lambda it: changed(it, at=places(it, "question")[0], remove=2)},
    "other prompt": {"chatml": lambda it: changed(it, at=places(it, "question")[0], remove=1, insert=["How"])},
    "other answer": {"chatml": lambda it: changed(it, at=places(it, "answer")[1], remove=1, insert=[" eases"])},
    "missing thought": {"no system": lambda it: changed(it, at=places(it, "thought")[0], remove=4)},
    "extra thought": {"llama": lambda it: changed(it, at=places(it, "answer")[0], insert=["<think>", "</think>"])},
    "answer not trained": {"chatml": lambda it: labelled(it, lambda at, _: it.labels[at] >= 0 and at < 25)},
    "part of an answer not trained": {
        "chatml": lambda it: labelled(it, lambda at, _: it.labels[at] >= 0 and at != places(it, "answer")[0])
    },
    "text after the stop token in the labels": {
        "chatml": lambda it: labelled(it, lambda at, _: it.labels[at] >= 0 or it.parts[at - 1] == "stop")
    },
    "other tokens of the same text": {
        "chatml": lambda it: changed(it, at=places(it, "question")[0], remove=2, insert=["Wha", "t is"])
    },
    "left out": {"chatml": lambda _: Reading([], [], [])},
    "other labels": {
        "llama": lambda it: Reading(it.ids, [it.ids[0] if label >= 0 else label for label in it.labels], it.tokens)
    },
}  # fmt: skip
ALL = [(cause, name) for table in (PLANTED, OTHERS) for cause, cases in table.items() for name in cases]


def planted(cause, name):
    return {**PLANTED, **OTHERS}[cause][name](REFERENCES[name])


def test_each_of_the_ten_has_a_place():
    assert len(PLANTED) == 10
    assert {*PLANTED, *OTHERS} <= CAUSES.keys()


@pytest.mark.parametrize(("cause", "name"), ALL)
def test_a_planted_fault_is_found_by_its_cause_alone(cause, name):
    assert {each.cause for each in compare(planted(cause, name), REFERENCES[name])} == {cause}


@pytest.mark.parametrize("name", ROWS)
def test_equal_readings_have_no_difference(name):
    it = REFERENCES[name]
    assert compare(Reading(it.ids, it.labels, it.tokens), it) == []


def test_blanks_behind_a_thought_in_the_labels_are_of_the_thought():
    it = REFERENCES["no system"]
    last = places(it, "thought")[-1]
    found = compare(labelled(it, lambda at, part: it.labels[at] >= 0 or part == "thought" or at == last + 1), it)
    assert [(each.cause, each.start, each.end) for each in found] == [("thought in the labels", last - 2, last + 2)]


# Of the first nothing can be seen where there is the second: the tokens in question are gone, or the label is.
HIDDEN = {
    ("stop token not trained", "missing stop token"),
    ("stop token not trained", "cut answer"),
    ("only the last turn trained", "cut answer"),
    ("only the last turn trained", "prompt in the labels"),
    ("stop token not trained", "prompt in the labels"),
    ("stop token not trained", "only the last turn trained"),
}
BY_TOKENS = [
    "extra system prompt",
    "missing stop token",
    "cut answer",
    "doubled bos",
    "wrong role tag",
    "stray newline",
]
BY_LABELS = ["stop token not trained", "thought in the labels", "prompt in the labels", "only the last turn trained"]


@pytest.mark.parametrize("name", ROWS)
@pytest.mark.parametrize("by_labels", BY_LABELS)
@pytest.mark.parametrize("by_tokens", BY_TOKENS)
def test_a_fault_of_tokens_hides_none_of_labels(by_tokens, by_labels, name):
    it = REFERENCES[name]
    if (by_labels, by_tokens) in HIDDEN or name not in PLANTED[by_tokens] or name not in PLANTED[by_labels]:
        return
    moved, learned = planted(by_tokens, name), planted(by_labels, name)
    if learned.ids != it.ids:
        return
    labels = list(moved.labels)
    for at, at2 in pairs(align(it, moved), len(it.ids)):
        labels[at2] = learned.labels[at]
    found = {each.cause for each in compare(Reading(moved.ids, labels, moved.tokens), it)}
    assert found == {by_tokens, by_labels}


@pytest.mark.parametrize("name", ["chatml", "llama"])
@pytest.mark.parametrize("first", BY_TOKENS)
@pytest.mark.parametrize("second", BY_TOKENS)
def test_two_faults_of_tokens_are_both_named(first, second, name):
    """The second in a second conversation behind the first."""
    it = REFERENCES[name]
    if name not in PLANTED[first] or name not in PLANTED[second] or second in {"extra system prompt", "doubled bos"}:
        return
    both = [planted(first, name), planted(second, name)]
    doubled = Reference(it.ids * 2, it.labels * 2, it.tokens * 2, parts=it.parts * 2, bos=it.bos, stops=it.stops)
    read = Reading(both[0].ids + both[1].ids, both[0].labels + both[1].labels, both[0].tokens + both[1].tokens)
    assert {each.cause for each in compare(read, doubled)} == {first, second}


def test_a_difference_is_a_sentence_with_its_texts_and_its_place():
    found = {cause: list(map(str, compare(planted(cause, "chatml"), REFERENCES["chatml"]))) for cause, name in ALL
             if name == "chatml"}  # fmt: skip
    assert found["wrong role tag"] == ["wrong role tag: `human` in place of `user` (before token 9)"]
    assert found["missing system prompt"] == [
        "missing system prompt: `<|im_start|>system Be kind.<|im_end|>` (tokens 1 to 7)"
    ]
    assert found["stray newline"] == ["stray newline: `\\n` (before token 19)"]
    assert found["left out"] == ["left out"]
    assert found["text after the stop token in the labels"][0] == (
        "text after the stop token in the labels: `\\n` (token 23)"
    )


TOKENS = st.lists(st.integers(0, 5), max_size=30)


@given(TOKENS, TOKENS)
def test_what_lies_between_two_hunks_is_the_same_and_nothing_is_lost(one, other):
    given = Reference(one, [-100] * len(one), list(map(str, one)), parts=["tag"] * len(one))
    told = Reading(other, [-100] * len(other), list(map(str, other)))
    hunks = align(given, told)
    same = list(pairs(hunks, len(one)))
    assert all(one[at] == other[at2] for at, at2 in same)
    covered = {at2 for hunk in hunks for at2 in range(hunk.start2, hunk.end2)}
    assert {at2 for _, at2 in same} | covered == set(range(len(other)))
    lost = {at for hunk in hunks for at in range(hunk.start, hunk.end)}
    assert {at for at, _ in same} | lost == set(range(len(one)))
    assert len(same) + len(lost) == len(one)
    assert len(same) + len(covered) == len(other)


PARTS = st.sampled_from(["tag", "system", "question", "thought", "answer", "stop"])
MADE = st.lists(st.tuples(st.integers(0, 5), PARTS, st.booleans()), max_size=30)


@given(MADE, st.lists(st.tuples(st.integers(0, 5), st.booleans()), max_size=30))
def test_whatever_differs_has_a_cause_with_an_explanation(made, others):
    ids = [token for token, _, _ in made]
    labels = [token if learn else -100 for token, _, learn in made]
    given = Reference(ids, labels, list(map(str, ids)), parts=[part for _, part, _ in made], bos=0, stops=[5])
    told = Reading(
        [token for token, _ in others],
        [token if learn else -100 for token, learn in others],
        [str(token) for token, _ in others],
    )
    found = compare(told, given)
    assert bool(found) == ((told.ids, told.labels) != (given.ids, given.labels)) or not told.ids
    assert all(each.cause in CAUSES for each in found)
    assert all(str(each).startswith(each.cause) for each in found)
