"""Encode samples by a framework's own code, as its training does, and say what its cutoff length cuts.

Runs inside the training environment: `python encode_samples.py SPEC` with SPEC as JSON: `script` (the backend's own),
`model`, `trust_remote_code`, `cutoff_length`, `samples` (how many to show), `stats` (count all of them), `processes`,
and for the backend to choose from: `file` (of its target), `dataset`, `dataset_dir`, and of the family's cell
`template`, `prompt`, `bos`, `eos` and `enable_thinking`. The last line of stdout is {"samples": [...], "stats": {...} |
null}, or {"error": sentence}.
"""

import json
import multiprocessing
import os
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from typing import Any, Protocol

from run_backend import load_script

IGNORED = -100
NO_CUTOFF = 10**9
BLOCK_ROWS = 500  # samples that a process takes at a time

Ids = list[int]
IdsAndLabels = tuple[Ids, Ids]  # token ids and labels


class Encoder(Protocol):
    """Encodes samples as a framework's training does; a backend's script has a class of this name.

    It is made of the spec; `files` are read by `datasets` as of this `format`. Other processes get a copy of it.
    """

    format: str
    files: list[str]
    tokenizer: Any

    def encode(self, row: dict[str, Any], cutoff: int) -> IdsAndLabels:
        """Return a sample's ids and labels, at most `cutoff` of them; none for a sample that is left out."""


@dataclass
class Sample:
    """A sample as it is trained (`ids`, `labels`), and what it is without a cutoff.

    `cut` is "lost" where nothing of the answer is left, "answer" where a part of it is missing, "question" where
    only other text is, "" where nothing is; and "refused" where the framework leaves it out at any length.
    """

    ids: Ids
    labels: Ids
    length: int
    answer_tokens: int
    cut: str


def encode_sample(encoder: Encoder, row: dict[str, Any], cutoff: int) -> Sample:
    """Return a sample encoded with the cutoff, and what that cut, for which it is encoded without one, too."""
    ids, labels = encoder.encode(row, cutoff)
    all_ids, all_labels = (ids, labels) if len(ids) < cutoff else encoder.encode(row, NO_CUTOFF)
    trained = [label for label in labels if label != IGNORED]
    answer_tokens = sum(label != IGNORED for label in all_labels)
    cut = ""
    if not all_ids:
        cut = "refused"
    # Templates that end all samples with the end token keep it, whatever was cut before it.
    elif not trained or (len(ids) < len(all_ids) and set(trained) == {encoder.tokenizer.eos_token_id}):
        cut = "lost"
    elif len(trained) < answer_tokens:
        cut = "answer"
    elif ids != all_ids[: len(ids)]:  # what is missing at the end comes after the last answer
        cut = "question"
    return Sample(ids, labels, len(all_ids), answer_tokens, cut)


class TokenTexts:
    """Decodes tokens one by one."""

    def __init__(self, tokenizer: Any) -> None:
        """Prepare for `tokenizer`."""
        from transformers.convert_slow_tokenizer import bytes_to_unicode

        self.tokenizer = tokenizer
        self.byte_of = {letter: byte for byte, letter in bytes_to_unicode().items()}
        # Tokenizers leave out the space that a text begins with, so each is decoded after another token.
        self.prefix = tokenizer.encode("a", add_special_tokens=False)[-1:]
        self.prefix_length = len(self._decode(self.prefix))

    def decode(self, ids: Ids, labels: Ids) -> tuple[list[str], list[dict[str, Any]]]:
        r"""Return the text of each token, and the sample's text in stretches that are trained or not.

        Bytes that are no whole letter are escapes such as `\xe4`.
        """
        tokens: list[str] = []
        stretches = []
        for trained, pairs in groupby(zip(ids, labels, strict=True), lambda pair: pair[1] != IGNORED):
            text = ""
            for letters, group in self._whole_letters([token_id for token_id, _ in pairs]):
                text += letters
                tokens += [letters] if len(group) == 1 else [self._decode_tokens([token_id])[0] for token_id in group]
            stretches.append({"text": text, "trained": trained})
        return tokens, stretches

    def _whole_letters(self, ids: Ids) -> Iterator[tuple[str, Ids]]:
        """Yield the fewest tokens that are whole letters, with their text; none takes more than four."""
        start = 0
        for end in range(1, len(ids) + 1):
            text, whole = self._decode_tokens(ids[start:end])
            if whole or end - start == 4 or end == len(ids):  # noqa: PLR2004
                yield text, ids[start:end]
                start = end

    def _decode_tokens(self, ids: Ids) -> tuple[str, bool]:
        """Return the text of tokens, and whether they are whole letters."""
        text = self._decode(self.prefix + ids)[self.prefix_length :]
        if "\ufffd" not in text:
            return text, True
        data = b"".join(map(self._token_bytes, ids))
        text = data.decode("utf-8", "backslashreplace")
        return text, text.encode() == data

    def _decode(self, ids: Ids) -> str:
        options = {"clean_up_tokenization_spaces": False, "spaces_between_special_tokens": False}
        return str(self.tokenizer.decode(ids, skip_special_tokens=False, **options))

    def _token_bytes(self, token_id: int) -> bytes:
        """Return the bytes of a token: its own, those of `<0xE4>`, or of the letters of byte-level BPE."""
        token: str | bytes = self.tokenizer.convert_ids_to_tokens(token_id)
        if isinstance(token, bytes):
            return token
        if token.startswith("<0x"):
            return bytes.fromhex(token[3:5])
        if all(letter in self.byte_of for letter in token):
            return bytes(self.byte_of[letter] for letter in token)
        return token.replace("▁", " ").encode()


def load_rows(encoder: Encoder) -> Any:
    """Return the dataset's rows as an IterableDataset, read as the framework's own loader does."""
    from datasets import load_dataset

    return load_dataset(encoder.format, data_files={"train": encoder.files}, split="train", streaming=True)


def first_samples(encoder: Encoder, count: int, cutoff: int) -> list[dict[str, Any]]:
    """Return the first `count` samples with the texts of their tokens."""
    texts = TokenTexts(encoder.tokenizer)
    result = []
    for row in load_rows(encoder).take(count):
        sample = encode_sample(encoder, row, cutoff)
        tokens, stretches = texts.decode(sample.ids, sample.labels)
        result.append({**vars(sample), "tokens": tokens, "text": stretches})
    return result


def count_samples(encoder: Encoder, cutoff: int, processes: int, rank: int) -> dict[str, Any]:
    """Return the count of samples by length, of tokens in answers, and the numbers of samples by `cut`.

    Blocks of samples go round so many `processes`; that of this `rank` counts its own.
    """
    lengths: Counter[int] = Counter()
    cut: dict[str, list[int]] = {"refused": [], "lost": [], "answer": [], "question": []}
    answer_tokens = 0
    for block, table in enumerate(load_rows(encoder).with_format("arrow").iter(batch_size=BLOCK_ROWS)):
        if block % processes != rank:
            continue
        for number, row in enumerate(table.to_pylist(), block * BLOCK_ROWS + 1):
            sample = encode_sample(encoder, row, cutoff)
            lengths[sample.length] += 1
            answer_tokens += sample.answer_tokens
            if sample.cut:
                cut[sample.cut].append(number)
    return {"lengths": lengths, "answer_tokens": answer_tokens, "cut": cut}


def count_in_processes(encoder: Encoder, cutoff: int, processes: int) -> dict[str, Any]:
    """Return what `count_samples` returns of all samples, counted by so many processes."""
    count: Callable[[int], dict[str, Any]] = partial(count_samples, encoder, cutoff, processes)
    if processes == 1:
        return count(0)
    with ProcessPoolExecutor(processes, multiprocessing.get_context("fork")) as pool:
        counts = list(pool.map(count, range(processes)))
    return {
        "lengths": sum((each["lengths"] for each in counts), Counter()),
        "answer_tokens": sum(each["answer_tokens"] for each in counts),
        "cut": {kind: sorted(number for each in counts for number in each["cut"][kind]) for kind in counts[0]["cut"]},
    }


def main() -> None:
    """Print what the spec asks for; what goes wrong with the model or the data is a sentence."""
    spec = json.loads(sys.argv[1])
    if not spec["trust_remote_code"]:
        os.environ["HF_HUB_OFFLINE"] = "1"  # the tokenizer is here already
    cutoff = spec["cutoff_length"]
    doing = f"load the tokenizer of `{spec['model']}`"
    result: dict[str, Any]
    try:
        encoder: Encoder = load_script(spec["script"]).Encoder(spec)
        doing = f"encode `{encoder.files[0]}`"
        result = {
            "samples": first_samples(encoder, spec["samples"], cutoff),
            "stats": count_in_processes(encoder, cutoff, spec["processes"]) if spec["stats"] else None,
        }
    except ImportError:
        raise
    except Exception as error:  # noqa: BLE001 - the frameworks raise many kinds
        reason = str(error.__cause__ or error).strip().partition("\n")[0][:300]
        result = {"error": f"cannot {doing}: {type(error).__name__}: {reason}"}
    sys.stdout.write("\n" + json.dumps(result) + "\n")


if __name__ == "__main__":
    main()
