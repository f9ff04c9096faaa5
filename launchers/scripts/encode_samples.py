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

from run_backend import load

IGNORED = -100
ENDLESS = 10**9
BLOCK = 500  # samples that a process takes at a time

Ids = list[int]
Pair = tuple[Ids, Ids]  # token ids and labels


class Encoder(Protocol):
    """Encodes samples as a framework's training does; a backend's script has a class of this name.

    It is made of the spec; `files` are read by `datasets` as of this `format`. Other processes get a copy of it.
    """

    format: str
    files: list[str]
    tokenizer: Any

    def encode(self, row: dict[str, Any], cutoff: int) -> Pair:
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


def encode(framework: Encoder, row: dict[str, Any], cutoff: int) -> Sample:
    """Encode a sample with the cutoff, and again without where that may have cut it."""
    ids, labels = framework.encode(row, cutoff)
    whole, whole_labels = (ids, labels) if len(ids) < cutoff else framework.encode(row, ENDLESS)
    trained = [label for label in labels if label != IGNORED]
    answer_tokens = sum(label != IGNORED for label in whole_labels)
    cut = ""
    if not whole:
        cut = "refused"
    # Templates that end all samples with the end token keep it, whatever was cut before it.
    elif not trained or (len(ids) < len(whole) and set(trained) == {framework.tokenizer.eos_token_id}):
        cut = "lost"
    elif len(trained) < answer_tokens:
        cut = "answer"
    elif ids != whole[: len(ids)]:  # what is missing at the end comes after the last answer
        cut = "question"
    return Sample(ids, labels, len(whole), answer_tokens, cut)


class Texts:
    """What tokens stand for."""

    def __init__(self, tokenizer: Any) -> None:
        """Prepare for `tokenizer`."""
        from transformers.convert_slow_tokenizer import bytes_to_unicode

        self.tokenizer = tokenizer
        self.bytes = {letter: byte for byte, letter in bytes_to_unicode().items()}
        # Tokenizers leave out the space that a text begins with, so each is decoded after another token.
        self.before = tokenizer.encode("a", add_special_tokens=False)[-1:]
        self.skipped = len(self._decode(self.before))

    def of(self, ids: Ids, labels: Ids) -> tuple[list[str], list[dict[str, Any]]]:
        r"""Return the text of each token, and the whole text in stretches that are trained or not.

        Bytes that are no whole letter are escapes such as `\xe4`.
        """
        tokens: list[str] = []
        stretches = []
        for trained, pairs in groupby(zip(ids, labels, strict=True), lambda pair: pair[1] != IGNORED):
            text = ""
            for letters, group in self._letters([each for each, _ in pairs]):
                text += letters
                tokens += [letters] if len(group) == 1 else [self._text([each])[0] for each in group]
            stretches.append({"text": text, "trained": trained})
        return tokens, stretches

    def _letters(self, ids: Ids) -> Iterator[tuple[str, Ids]]:
        """Put tokens together until they are whole letters; none takes more than four."""
        start = 0
        for end in range(1, len(ids) + 1):
            text, whole = self._text(ids[start:end])
            if whole or end - start == 4 or end == len(ids):  # noqa: PLR2004
                yield text, ids[start:end]
                start = end

    def _text(self, ids: Ids) -> tuple[str, bool]:
        """Return the text of tokens, and whether they are whole letters."""
        text = self._decode(self.before + ids)[self.skipped :]
        if "\ufffd" not in text:
            return text, True
        data = b"".join(map(self._bytes, ids))
        text = data.decode("utf-8", "backslashreplace")
        return text, text.encode() == data

    def _decode(self, ids: Ids) -> str:
        options = {"clean_up_tokenization_spaces": False, "spaces_between_special_tokens": False}
        return str(self.tokenizer.decode(ids, skip_special_tokens=False, **options))

    def _bytes(self, token_id: int) -> bytes:
        """Return the bytes of a token: its own, those of `<0xE4>`, or of the letters of byte-level BPE."""
        token: str | bytes = self.tokenizer.convert_ids_to_tokens(token_id)
        if isinstance(token, bytes):
            return token
        if token.startswith("<0x"):
            return bytes.fromhex(token[3:5])
        if all(letter in self.bytes for letter in token):
            return bytes(self.bytes[letter] for letter in token)
        return token.replace("▁", " ").encode()


def rows(framework: Encoder) -> Any:
    """Return the dataset as the framework's own loader reads it, piece by piece."""
    from datasets import load_dataset

    return load_dataset(framework.format, data_files={"train": framework.files}, split="train", streaming=True)


def shown(framework: Encoder, count: int, cutoff: int) -> list[dict[str, Any]]:
    """Return the first `count` samples with the texts of their tokens."""
    texts = Texts(framework.tokenizer)
    result = []
    for row in rows(framework).take(count):
        sample = encode(framework, row, cutoff)
        tokens, stretches = texts.of(sample.ids, sample.labels)
        result.append({**vars(sample), "tokens": tokens, "text": stretches})
    return result


def counted(framework: Encoder, cutoff: int, parts: int, part: int) -> dict[str, Any]:
    """Return the count of samples by length, of tokens in answers, and the numbers of samples by `cut`."""
    lengths: Counter[int] = Counter()
    cut: dict[str, list[int]] = {"refused": [], "lost": [], "answer": [], "question": []}
    answer_tokens = 0
    for block, table in enumerate(rows(framework).with_format("arrow").iter(batch_size=BLOCK)):
        if block % parts != part:
            continue
        for number, row in enumerate(table.to_pylist(), block * BLOCK + 1):
            sample = encode(framework, row, cutoff)
            lengths[sample.length] += 1
            answer_tokens += sample.answer_tokens
            if sample.cut:
                cut[sample.cut].append(number)
    return {"lengths": lengths, "answer_tokens": answer_tokens, "cut": cut}


def counted_by_all(framework: Encoder, cutoff: int, processes: int) -> dict[str, Any]:
    """Return what `counted` does, with the work shared out."""
    work: Callable[[int], dict[str, Any]] = partial(counted, framework, cutoff, processes)
    if processes == 1:
        return work(0)
    with ProcessPoolExecutor(processes, multiprocessing.get_context("fork")) as pool:
        parts = list(pool.map(work, range(processes)))
    return {
        "lengths": sum((part["lengths"] for part in parts), Counter()),
        "answer_tokens": sum(part["answer_tokens"] for part in parts),
        "cut": {kind: sorted(number for part in parts for number in part["cut"][kind]) for kind in parts[0]["cut"]},
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
        framework: Encoder = load(spec["script"]).Encoder(spec)
        doing = f"encode `{framework.files[0]}`"
        result = {
            "samples": shown(framework, spec["samples"], cutoff),
            "stats": counted_by_all(framework, cutoff, spec["processes"]) if spec["stats"] else None,
        }
    except ImportError:
        raise
    except Exception as error:  # noqa: BLE001 - the frameworks raise many kinds
        reason = str(error.__cause__ or error).strip().partition("\n")[0][:300]
        result = {"error": f"cannot {doing}: {type(error).__name__}: {reason}"}
    sys.stdout.write("\n" + json.dumps(result) + "\n")


if __name__ == "__main__":
    main()
