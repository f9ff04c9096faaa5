"""A tokenizer's files: the base's own where a training has only saved them anew."""

import json

import pytest

from ftbridge.core.errors import InputError
from ftbridge.weights.model_files.tokenizer import copy_tokenizer, refuse_other_vocabulary, token_ids

TOKENIZER = {"model": {"vocab": {"a": 0, "</s>": 1}}, "added_tokens": [{"id": 2, "content": "<|im_end|>"}]}
NEW = {"backend": "tokenizers", "tokenizer_class": "TokenizersBackend"}


@pytest.fixture
def folders(tmp_path):
    """Return a training's folder, the base and a new one, the first saved anew by transformers 5."""
    made = [tmp_path / name for name in ("own", "base", "new")]
    for folder in made:
        folder.mkdir()
    own, base, _ = made
    (own / "tokenizer.json").write_text(json.dumps({**TOKENIZER, "saved": "anew"}))
    (own / "tokenizer_config.json").write_text(json.dumps(NEW))
    (base / "tokenizer.json").write_text(json.dumps(TOKENIZER))
    (base / "tokenizer_config.json").write_text('{"legacy": true}')
    (base / "merges.txt").write_text("")
    return made


def held(folder):
    return json.loads((folder / "tokenizer.json").read_text()), json.loads(
        (folder / "tokenizer_config.json").read_text()
    )


def test_base_tokenizer_is_kept_where_the_tokens_are_the_same(folders):
    own, base, new = folders
    (own / "chat_template.jinja").write_text("own")
    (base / "chat_template.jinja").write_text("base")
    copy_tokenizer(own, base, new)
    assert held(new) == (TOKENIZER, {"legacy": True})
    assert (new / "chat_template.jinja").read_text() == "own"
    assert (new / "merges.txt").exists()


def test_tokenizer_settings_without_tokens_are_not_taken(folders):
    own, base, new = folders
    (own / "tokenizer.json").unlink()
    copy_tokenizer(own, base, new)
    assert held(new) == (TOKENIZER, {"legacy": True})


def test_a_tokenizer_with_other_tokens_counts_and_4_57_can_read_it(folders):
    own, base, new = folders
    more = {**TOKENIZER, "added_tokens": [*TOKENIZER["added_tokens"], {"id": 3, "content": "<new>"}]}
    (own / "tokenizer.json").write_text(json.dumps(more))
    copy_tokenizer(own, base, new)
    assert held(new) == (more, {"tokenizer_class": "PreTrainedTokenizerFast"})


def test_tokenizer_saved_by_transformers_4_is_kept(folders):
    own, base, new = folders
    (own / "tokenizer_config.json").write_text('{"tokenizer_class": "Mine"}')
    copy_tokenizer(own, base, new)
    assert held(new)[1] == {"tokenizer_class": "Mine"}


def test_tokens_are_found_in_each_of_the_files(tmp_path):
    (tmp_path / "tokenizer.json").write_text(json.dumps(TOKENIZER))
    (tmp_path / "added_tokens.json").write_text('{"<x>": 3}')
    (tmp_path / "tokenizer_config.json").write_text('{"added_tokens_decoder": {"4": {"content": "<y>"}}}')
    assert token_ids(tmp_path) == {"a": 0, "</s>": 1, "<|im_end|>": 2, "<x>": 3, "<y>": 4}
    (tmp_path / "tokenizer.json").write_text('{"added_tokens": [1]}')
    with pytest.raises(InputError, match=r"the tokenizer in .* is damaged"):
        token_ids(tmp_path)


def test_an_adapter_of_another_vocabulary_is_refused_with_a_token_that_differs(tmp_path):
    adapter, base = tmp_path / "adapter", tmp_path / "base"
    for folder, ids in ((adapter, {"a": 0, "b": 1, "new": 2}), (base, {"b": 0, "a": 1})):
        folder.mkdir()
        refuse_other_vocabulary(adapter, base)  # one has none, and nothing can be told
        (folder / "tokenizer.json").write_text(json.dumps({"model": {"vocab": ids}}))
    with pytest.raises(InputError) as refused:
        refuse_other_vocabulary(adapter, base)
    assert str(refused.value) == (
        f"the adapter `{adapter}` was trained with another vocabulary than that of `{base}`: 2 tokens have other ids, "
        "such as `a` (0, and 1 in the base); name the base that it was trained on with `--model`"
    )
    (base / "tokenizer.json").write_text(json.dumps({"model": {"vocab": {"a": 0, "b": 1}}}))
    refuse_other_vocabulary(adapter, base)  # it has further ones
    (base / "tokenizer.json").write_text("{")
    refuse_other_vocabulary(adapter, base)
