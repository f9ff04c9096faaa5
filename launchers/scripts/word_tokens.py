"""Token ids by the words that a tokenizer splits a text into, each of which it encodes only once.

Most of a byte-level tokenizer's time goes into the regular expression that finds the words. The package `regex` runs
the same one several times as fast. Where the two could read a text otherwise, it is left to the tokenizer.
"""

import json
import re
import unicodedata
from bisect import bisect_left
from collections.abc import Sequence
from functools import lru_cache
from itertools import accumulate
from typing import Any

import numpy as np
import regex
from chat_tokens import IGNORED, Sample, any_of, plain_backend
from tokenizers import Regex, pre_tokenizers

WORDS = 1 << 16  # that are kept at most
PART = 300  # letters of the longest part of a text that is kept with its words, of the last 256
LETTERS = 24  # of the longest that is kept; longer ones seldom come back

Encoded = tuple[Any, Any]  # token ids and labels, as numpy's arrays

_OF_BYTE_LEVEL = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
# Patterns of these parts mean the same to both, but for which letters are of a kind.
_KIND = r"\\s|\\p\{(?:L|Lu|Ll|Lt|Lm|Lo|M|N)\}"
_PLAIN = r"[a-z'/ ]|\\[rn]"
_PATTERN = re.compile(
    rf"(?:{_KIND}|{_PLAIN}|\[\^?(?:{_KIND}|{_PLAIN})+\]|\\S|\((?!\?)|\(\?!|\(\?i:|[)|]|(?:[?*+]|\{{1,3\}})(?![?*+{{]))+"
)


class WordTokens:
    """Encodes samples as a tokenizer does, by the words that it has met."""

    def __init__(self, tokenizer: Any, pattern: str) -> None:
        """Take the `pattern` of the tokenizer's words."""
        self.tokenizer, self.backend = tokenizer, plain_backend(tokenizer)
        self.composes = self.backend.normalizer is not None
        self.find = regex.compile(pattern).findall
        # What a template writes around the turns comes again in every text.
        self.find_again = lru_cache(256)(self.find)
        added = self.backend.get_added_tokens_decoder().values()
        self.added = re.compile(f"({any_of(token.content for token in added)})")
        kinds = {*re.findall(_KIND, pattern), r"\s", "(?i:[a-z])"}
        self.kinds = [(pre_tokenizers.Split(Regex(kind), "removed"), regex.compile(kind)) for kind in kinds]
        self.alike: set[str] = set()
        self.strange: set[str] = set()  # letters that are not of the same kind to both
        self.ids: dict[str, bytes] = {}

    @classmethod
    def of(cls, tokenizer: Any) -> "WordTokens | None":
        """Return what encodes as this tokenizer does; None where its words are none of such a pattern."""
        pattern = _pattern(tokenizer.backend_tokenizer) if tokenizer.is_fast else None
        return cls(tokenizer, pattern) if pattern and not tokenizer.split_special_tokens else None

    def encode(self, samples: Sequence[Sample]) -> list[Encoded | None]:
        """Return ids and labels of each sample; None where only the tokenizer itself can tell them."""
        self._compare(set("".join(sample.text for sample in samples)))
        split = [self._words(sample.text) for sample in samples]
        missing = list({word for words in split for word in words or ()} - self.ids.keys())
        if len(self.ids) + len(missing) > WORDS:
            self.ids.clear()
            missing = list({word for words in split for word in words or ()})
        for word, encoding in zip(
            missing, self.backend.encode_batch_fast(missing, add_special_tokens=False), strict=True
        ):
            self.ids[word] = np.array(encoding.ids, np.int32).tobytes()
        found = [self._labelled(sample, words) if words else None for sample, words in zip(samples, split, strict=True)]
        for word in missing:
            if len(word) > LETTERS:
                del self.ids[word]
        return found

    def _compare(self, letters: set[str]) -> None:
        """Learn which letters are of the same kinds to both."""
        new = letters - self.alike - self.strange
        text = "".join(new)
        for split, kind in self.kinds if new else ():
            others = {letter for part, _ in split.pre_tokenize_str(text) for letter in part}
            self.strange |= others ^ set(kind.sub("", text))
        if self.composes:  # what this Python does not know yet may be put together by the tokenizer
            self.strange |= {letter for letter in new if unicodedata.category(letter) == "Cn"}
        self.alike |= new - self.strange

    def _words(self, text: str) -> list[str] | None:
        """Return the words and added tokens of a text; None where it may be another that the tokenizer encodes."""
        if self.strange and not self.strange.isdisjoint(text):
            return None
        if self.composes and not unicodedata.is_normalized("NFC", text):
            return None
        parts = self.added.split(text)
        words: list[str] = []
        for at, part in enumerate(parts):
            if at % 2:
                words.append(part)
            elif part:
                words += (self.find_again if len(part) < PART else self.find)(part)
        return words

    def _labelled(self, sample: Sample, words: list[str]) -> Encoded | None:
        """Return ids and labels; None where a span begins or ends within a word."""
        ends = [0, *accumulate(map(len, words))]
        pieces = [self.ids[word] for word in words]
        if ends[-1] != len(sample.text):
            return None
        ids = np.frombuffer(b"".join(pieces), np.int32)
        labels = np.full_like(ids, IGNORED)
        for span in sample.spans:
            places = [bisect_left(ends, place) for place in span]
            if any(ends[at] != place for at, place in zip(places, span, strict=True)):
                return None
            first, last = (sum(map(len, pieces[:at])) // ids.itemsize for at in places)
            labels[first:last] = ids[first:last]
        if not sample.closing:
            return ids, labels
        stop = np.int32(self.tokenizer.convert_tokens_to_ids(sample.closing))
        return np.append(ids, stop), np.append(labels, stop)


def _pattern(backend: Any) -> str | None:
    """Return the pattern of a tokenizer's words; None where these, or what comes before, are found otherwise."""
    added = backend.get_added_tokens_decoder().values()
    if any(token.lstrip or token.rstrip or token.single_word for token in added):
        return None
    if len({token.normalized for token in added}) > 1 or getattr(backend.model, "dropout", None):
        return None
    if backend.normalizer is not None and _state(backend.normalizer) != {"type": "NFC"}:
        return None
    steps = _state(backend.pre_tokenizer) if backend.pre_tokenizer is not None else {}
    match steps.get("pretokenizers", [steps]):
        case [{"type": "ByteLevel", "add_prefix_space": False, "use_regex": True}]:
            return _OF_BYTE_LEVEL
        case [
            {"type": "Split", "pattern": {"Regex": str(pattern)}, "behavior": "Isolated", "invert": False},
            {"type": "ByteLevel", "add_prefix_space": False, "use_regex": False},
        ]:
            return pattern if _PATTERN.fullmatch(pattern) else None
    return None


def _state(part: Any) -> dict[str, Any]:
    return dict(json.loads(part.__getstate__()))
