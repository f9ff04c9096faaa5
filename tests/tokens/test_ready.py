"""Where ready tokens stand, when they are made, and what is refused."""

import json
import os
import re
import shutil
import threading

import msgspec
import pytest

from ftbridge.core.errors import InputError, SetupError
from ftbridge.tokens.agreement import Agreement
from ftbridge.tokens.chat_template import ChatTemplate
from ftbridge.tokens.ready import PART, Counts, Fingerprint, TokenOptions, ready_tokens, together, tokenizer_files

TEMPLATE = ChatTemplate("{{ messages }}", "a template", None)
COUNTS = Counts(conversations=3, samples=3, rows=3, tokens=90, answer_tokens=30, longest=31)
AGREEMENT = Agreement(samples=3, same=2, readers=("chat template",), causes={"cut answer": {"chat template": 1}})


def fingerprint(**changes):
    made = Fingerprint(
        messages="a" * 64,
        tokenizer={"tokenizer.json": "b" * 64},
        chat_template=TEMPLATE.sha256,
        options=TokenOptions(cutoff_length=64),
        code="c" * 64,
        version="5.24.0",
    )
    return msgspec.structs.replace(made, **changes)


def write(folder):
    (folder / "data-00000.arrow").write_bytes(b"schema of " + folder.name.removesuffix(PART).encode() + b" tokens")
    (folder / "state.json").write_text("{}")
    return COUNTS, AGREEMENT


def never(folder):
    raise AssertionError(f"{folder} is made again")


def test_tokens_are_made_once(tmp_path):
    made = ready_tokens(tmp_path / "分词", fingerprint(), TEMPLATE, write)
    again = ready_tokens(tmp_path / "分词", fingerprint(), TEMPLATE, never)
    assert made == again
    assert again.agreement == AGREEMENT
    assert made.folder.parent == tmp_path / "分词"
    assert (made.folder / "data-00000.arrow").read_bytes().endswith(b" tokens")
    assert json.loads((made.folder / "fingerprint.json").read_text())["template"] == TEMPLATE.text


@pytest.mark.parametrize(
    "change",
    [
        {"messages": "d" * 64},
        {"tokenizer": {"tokenizer.json": "d" * 64}},
        {"chat_template": "d" * 64},
        {"options": TokenOptions(cutoff_length=65)},
        {"options": TokenOptions(cutoff_length=64, learn="last")},
        {"options": TokenOptions(cutoff_length=64, too_long="drop")},
        {"options": TokenOptions(cutoff_length=64, packing=True)},
        {"code": "d" * 64},
        {"version": "4.57.1"},
    ],
    ids=str,
)
def test_whatever_decides_the_tokens_decides_their_folder(change):
    assert fingerprint(**change).key != fingerprint().key


def test_tokens_that_were_not_finished_are_gone_on_with(tmp_path):
    def fail(folder):
        (folder / "data-00000.arrow").write_bytes(b"half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ready_tokens(tmp_path, fingerprint(), TEMPLATE, fail)
    seen = []

    def go_on(folder):
        seen.append((folder / "data-00000.arrow").read_bytes())
        return write(folder)

    assert ready_tokens(tmp_path, fingerprint(), TEMPLATE, go_on).counts == COUNTS
    assert seen == [b"half"]


def test_what_was_not_begun_leaves_no_folder(tmp_path):
    def refuse(folder):
        assert folder.is_dir()
        raise InputError("no system here")

    with pytest.raises(InputError, match="no system here"):
        ready_tokens(tmp_path, fingerprint(), TEMPLATE, refuse)
    assert not [path for path in tmp_path.iterdir() if path.is_dir()]


def test_two_at_a_time_make_them_once(tmp_path):
    made, slow = [], threading.Event()

    def make(folder):
        made.append(folder)
        slow.wait(0.2)
        return write(folder)

    threads = [threading.Thread(target=ready_tokens, args=(tmp_path, fingerprint(), TEMPLATE, make)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 1


def test_a_folder_of_other_tokens_is_refused(tmp_path):
    made = ready_tokens(tmp_path, fingerprint(), TEMPLATE, write)
    other = ready_tokens(tmp_path, fingerprint(messages="e" * 64), TEMPLATE, write)
    (made.folder / "fingerprint.json").write_bytes((other.folder / "fingerprint.json").read_bytes())
    with pytest.raises(InputError, match="holds the tokens of another dataset or tokenizer"):
        ready_tokens(tmp_path, fingerprint(), TEMPLATE, never)


def cut(folder):
    os.truncate(folder / "data-00000.arrow", 9)


def take_another_tokenizers(folder):
    file = folder / "data-00000.arrow"
    file.write_bytes(file.read_bytes().replace(folder.name.encode(), b"f" * len(folder.name)))


def put_a_file_there(folder):
    shutil.rmtree(folder)
    folder.write_text("tokens")


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (cut, "is damaged: `data-00000.arrow` is incomplete"),
        (take_another_tokenizers, "is damaged: `data-00000.arrow` is of another dataset or tokenizer"),
        (lambda folder: (folder / "data-00000.arrow").unlink(), "is damaged: `data-00000.arrow` is incomplete"),
        (lambda folder: (folder / "state.json").write_text(""), "is damaged: `state.json` is incomplete"),
        (lambda folder: (folder / "fingerprint.json").unlink(), "has no `fingerprint.json`, as ready tokens have"),
        (put_a_file_there, "has no `fingerprint.json`, as ready tokens have"),
    ],
)
def test_tokens_that_are_not_whole_are_refused(tmp_path, damage, told):
    made = ready_tokens(tmp_path, fingerprint(), TEMPLATE, write)
    damage(made.folder)
    with pytest.raises(InputError, match=f"`{re.escape(str(made.folder))}` {told}; delete it, and the tokens are made"):
        ready_tokens(tmp_path, fingerprint(), TEMPLATE, never)


def test_a_file_where_tokens_are_begun_is_one_sentence(tmp_path):
    (tmp_path / f"{fingerprint().key}{PART}").write_text("mine")
    with pytest.raises(SetupError, match=rf"cannot keep tokens in `.*{fingerprint().key}`: File exists"):
        ready_tokens(tmp_path, fingerprint(), TEMPLATE, never)


@pytest.mark.parametrize("content", ["", "{}", "[", '{"fingerprint": 1}'])
def test_a_record_that_is_none_is_refused(tmp_path, content):
    made = ready_tokens(tmp_path, fingerprint(), TEMPLATE, write)
    (made.folder / "fingerprint.json").write_text(content)
    with pytest.raises(InputError, match=r"fingerprint\.json` is not what ftbridge wrote"):
        ready_tokens(tmp_path, fingerprint(), TEMPLATE, never)


def test_training_and_validation_are_put_together_by_links(tmp_path):
    train = ready_tokens(tmp_path, fingerprint(), TEMPLATE, write)
    validation = ready_tokens(tmp_path, fingerprint(messages="e" * 64), TEMPLATE, write)
    assert together(train, None) == train.folder
    for _ in range(2):
        both = together(train, validation)
    assert json.loads((both / "dataset_dict.json").read_text()) == {"splits": ["train", "validation"]}
    assert (both / "train").resolve() == train.folder.resolve()
    assert (both / "validation").resolve() == validation.folder.resolve()


def test_a_tokenizer_is_told_by_all_its_files(tmp_path):
    for name in (
        "tokenizer.json",
        "vocab.json",
        "merges.txt",
        "tokenizer.model",
        "generation_config.json",
        "config.json",
    ):
        (tmp_path / name).write_text(name)
    known = tokenizer_files(tmp_path)
    assert [*known] == ["generation_config.json", "merges.txt", "tokenizer.json", "tokenizer.model", "vocab.json"]
    (tmp_path / "vocab.json").write_text("other")
    assert tokenizer_files(tmp_path) != known
