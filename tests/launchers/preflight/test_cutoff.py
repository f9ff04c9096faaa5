"""About how long samples are, and what a cutoff length leaves of their answers."""

import json

import pytest
from tokenizers import Tokenizer

from ftbridge.core.errors import InputError
from ftbridge.core.plugins import load_backend
from ftbridge.dataset_info.entries import target_entry
from ftbridge.launchers.preflight.cutoff import CutoffEstimate, dataset_files, estimate_cutoff, spread_samples

from ...builders.models import write_tokenizer  # noqa: TID252
from ...builders.plans import plan_of_files, turn  # noqa: TID252


@pytest.fixture
def words(tmp_path):
    """Return a tokenizer whose every word is a token."""
    write_tokenizer(tmp_path)
    return Tokenizer.from_file(str(tmp_path / "tokenizer.json"))


@pytest.fixture
def counted(tmp_path, words):
    """Return a function that counts samples of XTuner's format, the prompt's own words left out."""

    def count_them(samples, backend="xtuner", **spec):
        file = tmp_path / "faq.xtuner.jsonl"
        file.write_text("".join(json.dumps({"conversation": turns}) + "\n" for turns in samples))
        planned = plan_of_files(tmp_path, len(samples), {"xtuner": file.name}, backend, **spec)
        return estimate_cutoff(planned, [*spread_samples(target_entry("xtuner", "faq", file.name), [file])], words)

    return count_them


# A question has two words around it here, "<|im_start|>user" and "<|im_end|>", a third for the assistant, and an answer
# one more, "<|im_end|>"; a system text two.
def test_the_longest_counts_texts_and_what_the_prompt_adds(counted):
    assert counted([[turn(4, 3)]]) == CutoffEstimate(1, 0, 0, 4 + 3 + OPENING + CLOSING)
    assert counted([[turn(4, 3), turn(1, 1)]]).longest == 9 + 2 * (OPENING + CLOSING)
    assert counted([[turn(4, 3, system="be kind")]]).longest > counted([[turn(4, 3)]]).longest + 1


OPENING, CLOSING = 3, 1


@pytest.mark.parametrize(
    ("question", "answer", "cutoff", "cut", "lost"),
    [(10, 10, 24, 0, 0), (10, 10, 23, 1, 0), (10, 10, 13, 1, 1), (10, 10, 14, 1, 0)],
)
def test_xtuner_cuts_off_the_end(counted, question, answer, cutoff, cut, lost):
    found = counted([[turn(question, answer)]], cutoff_length=cutoff)
    assert (found.cut, found.lost) == (cut, lost)


@pytest.mark.parametrize(
    ("question", "answer", "cutoff", "cut"),
    [(100, 5, 50, 0), (5, 100, 50, 1), (100, 100, 50, 1), (5, 5, 50, 0)],
)
def test_llamafactory_shortens_the_question_where_the_answer_is_short(counted, question, answer, cutoff, cut):
    assert counted([[turn(question, answer)]], backend="llamafactory", cutoff_length=cutoff).cut == cut


def test_samples_that_lose_a_part_of_a_question_are_counted(counted):
    samples = [[turn(100, 5)], [turn(5, 5)]]
    assert counted(samples, backend="llamafactory", cutoff_length=50).questions == 1
    assert counted(samples, backend="llamafactory", cutoff_length=200).questions == 0


def test_tokenizer_that_cannot_encode_is_one_sentence(tmp_path, words):
    described = json.loads(words.to_str())
    described["model"] |= {"unk_token": "of no vocabulary"}
    broken = Tokenizer.from_str(json.dumps(described))
    file = tmp_path / "faq.xtuner.jsonl"
    file.write_text(json.dumps({"conversation": [turn(1, 1)]}) + "\n")
    planned = plan_of_files(tmp_path, 1, {"xtuner": file.name}, "xtuner")
    with pytest.raises(InputError, match=r"tokenizer.json cannot encode texts: ."):
        estimate_cutoff(
            planned, [*spread_samples(*dataset_files(planned, load_backend(planned.spec.backend).target))], broken
        )


def test_conversation_over_the_cutoff_cuts_later_turns_without_losing_it(counted):
    samples = [[turn(5, 5), turn(5, 5)]]
    for backend in ("xtuner", "llamafactory"):
        found = counted(samples, backend=backend, cutoff_length=15)
        assert (found.cut, found.lost) == (1, 0)


def test_cutoff_is_judged_from_two_thousand_samples_spread_over_the_data(counted):
    samples = [[turn(1, 1)]] * 2500 + [[turn(1, 50)]] * 2500
    found = counted(samples)
    assert 1900 <= found.samples <= 2000
    assert found.longest == 51 + OPENING + CLOSING
    assert 0.3 < counted(samples, cutoff_length=20).cut / found.samples < 1


@pytest.mark.slow
def test_counting_for_the_cutoff_ends_early_on_long_texts(counted):
    assert counted([[turn(1, 600_000)]] * 5).samples == 2


def test_the_file_of_the_entry_is_what_llamafactory_reads(tmp_path, words):
    info = {"faq": {"file_name": "faq.json", "columns": {"prompt": "q", "response": "a"}}}
    (tmp_path / "dataset_info.json").write_text(json.dumps(info))
    (tmp_path / "faq.json").write_text(json.dumps([{"q": "w w", "a": "w"}, {"q": "w", "a": 7}]))
    planned = plan_of_files(tmp_path, 2, {}, "llamafactory")
    entry, files = dataset_files(planned, load_backend(planned.spec.backend).target)
    assert [file.name for file in files] == ["faq.json"]
    # An answer that is no text is left out.
    assert estimate_cutoff(planned, [*spread_samples(entry, files)], words).samples == 1


def test_a_file_that_is_missing_is_named(tmp_path):
    with pytest.raises(InputError, match="its file is missing"):
        dataset_files(plan_of_files(tmp_path, 1, {"xtuner": "gone.jsonl"}), "xtuner")
