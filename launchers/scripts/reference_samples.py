"""Say how a model's chat template writes conversations, for other readings of them to be compared with.

Runs inside the training environment: `python reference_samples.py SPEC` with SPEC as JSON: `model`,
`trust_remote_code`, `template` (a chat template's text), `merged` (such texts by the name of who renders them later),
`file` (of messages), `samples` (how many conversations), `last_only`; `tokens` (a folder of ready tokens, or null), and
where there is one, `cutoff_length`, `too_long` and `packing`, as these were made with.

The last line of stdout is {"conversations": [{"samples": [...]}, ...]}, or {"error": sentence}. A sample has
`reference`, `merged` by name, and `ready`: what stands among the ready tokens, null where that is nothing.
"""

import json
import os
import re
import sys
from collections.abc import Iterator
from itertools import islice, repeat, takewhile
from pathlib import Path
from typing import Any

from chat_tokens import (
    IGNORED,
    ChatTemplate,
    Message,
    OffsetsError,
    Sample,
    TemplateError,
    as_template_reads,
    encode,
    generation_stops,
)
from cutoff_tokens import fit
from encode_samples import IdsAndLabels, TokenTexts
from tokenizer_loading import TokenizerError, load_tokenizer

Place = tuple[str, int, int]  # what stands there, and from which letter to which

_PARTS = {"system": "system", "assistant": "answer"}
_THOUGHT = re.compile("<think>.*?</think>", re.DOTALL)
_SYSTEM = "\ue000"  # a system text that no template writes by itself


class Reader:
    """Renders conversations by a chat template, and says what each token is a part of."""

    def __init__(self, spec: dict[str, Any], tokenizer: Any, template: str) -> None:
        """Prepare for a template's text."""
        self.spec, self.tokenizer = spec, tokenizer
        self.stops = generation_stops(tokenizer, spec["model"])
        self.template = ChatTemplate(tokenizer, template, self.stops)

    def samples(self, line: dict[str, Any]) -> list[tuple[IdsAndLabels, Sample | None]]:
        """Return ids and labels of a conversation's samples, none for one that is left out.

        Each comes with its text, but for those that were shortened.
        """
        messages, tools = line["messages"], line.get("tools")
        samples = self.template.samples(messages, tools, last_only=self.spec["last_only"])
        found: list[tuple[IdsAndLabels, Sample | None]] = []
        for sample, encoded in zip(samples, encode(self.tokenizer, samples), strict=True):
            if self.spec["tokens"] is None or len(encoded[0]) <= self.spec["cutoff_length"]:
                found.append((encoded, sample))
            elif self.spec["too_long"] == "cut":
                fitted = fit(self.template, messages, tools, sample, self.spec["cutoff_length"])
                found.append(((fitted.ids, fitted.labels), None))
            else:
                found.append((([], []), None))
        return found

    def about(self, line: dict[str, Any]) -> dict[str, Any]:
        """Return the begin token, the stop tokens, and the thoughts of a conversation."""
        stops = {*self.tokenizer.convert_tokens_to_ids(self.stops), self.tokenizer.eos_token_id}
        thoughts = [each.get("reasoning_content") for each in map(as_template_reads, line["messages"])]
        return {
            "bos": self.tokenizer.bos_token_id,
            "stops": sorted(stops - {None}),
            "thoughts": [str(each) for each in thoughts if each],
        }

    def asked(self, line: dict[str, Any]) -> list[IdsAndLabels]:
        """Return ids and labels as a program has them that asks with this template, and gets the answers of the data.

        Where the prompt that it renders is not how a sample begins, the sample begins with that prompt.
        """
        given = [as_template_reads(message) for message in line["messages"]]
        found = []
        for (ids, labels), sample in self.samples(line):
            result = ids, labels
            starts = [at for at, label in enumerate(labels) if label != IGNORED and (not at or labels[at - 1] < 0)]
            answers = sample.answers if sample else ()
            for number, start in zip(answers, starts, strict=False):
                text = self.template.render(given[:number], line.get("tools"), prompt=True)
                prompt = self.tokenizer.encode(text, add_special_tokens=False)
                if prompt != ids[: len(prompt)]:
                    result = [*prompt, *ids[start:]], [IGNORED] * len(prompt) + labels[start:]
                    break
            found.append(result)
        return found

    def parts(self, line: dict[str, Any], encoded: IdsAndLabels, sample: Sample | None) -> list[str]:
        """Return what each token is a part of: tag, system, question, thought, answer or stop."""
        ids, labels = encoded
        found = self._parts_by_letters(line["messages"], sample) if sample and self.tokenizer.is_fast else []
        if not found:
            first = len(list(takewhile(lambda label: label == IGNORED, labels)))
            found = ["tag" if at in {0, first - 1} else "question" for at in range(first)]
        found += ["tag" if label == IGNORED else "answer" for label in labels[len(found) :]]
        for at in self._stop_places(ids, labels):
            found[at] = "stop"
        return found

    def _stop_places(self, ids: list[int], labels: list[int]) -> list[int]:
        """Return where a special token ends what is trained."""
        ends = {*self.tokenizer.convert_tokens_to_ids(self.stops), *self.tokenizer.all_special_ids}
        both = zip(ids, labels, [*labels[1:], IGNORED], strict=False)  # none has no next
        return [at for at, (token, label, after) in enumerate(both) if token in ends and after == IGNORED != label]

    def _parts_by_letters(self, messages: list[Message], sample: Sample) -> list[str]:
        """Return what each token of a text is a part of: what its last letter is, as a blank before a word is its."""
        letters = ["tag"] * len(sample.text)
        said = [*self._template_system(messages, sample.text), *_said(messages, sample.text)]
        answers = [("answer", *span) for span in sample.spans]
        thoughts = [("thought", *found.span()) for found in _THOUGHT.finditer(sample.text)]
        for part, start, end in (*said, *answers, *thoughts):
            letters[start:end] = [part] * (end - start)
        encoded = self.tokenizer(sample.text, add_special_tokens=False, return_offsets_mapping=True)
        return [letters[max(0, end - 1)] for _, end in encoded["offset_mapping"]]

    def _template_system(self, messages: list[Message], text: str) -> Iterator[Place]:
        """Yield the place of the system text that the template writes by itself, if it writes one."""
        if messages[0]["role"] == "system":
            return
        try:
            told = self.template.render([{"role": "system", "content": _SYSTEM}, *map(as_template_reads, messages)])
        except TemplateError:  # it takes none
            return
        before, _, after = told.partition(_SYSTEM)
        end = text.find(after[:40], len(before)) if after else -1
        if text.startswith(before) and end > len(before):
            yield "system", len(before), end


def _said(messages: list[Message], text: str) -> Iterator[Place]:
    """Yield where the turns of a conversation stand in its text."""
    place = 0
    for message in map(as_template_reads, messages):
        said = str(message.get("content") or "").strip()
        start = text.find(said, place) if said else -1
        if start >= 0:
            yield _PARTS.get(message["role"], "question"), start, start + len(said)
            # A system text may be put into the first question.
            place = place if message["role"] == "system" else start + len(said)


class ReadyRows:
    """The rows of a folder of ready tokens, in their order; of packs, the samples within them."""

    def __init__(self, folder: str, *, packed: bool) -> None:
        """Open the folder."""
        from datasets import load_from_disk

        self.rows, self.packed = load_from_disk(folder), packed
        self.next = iter(range(len(self.rows)))

    def take(self, wanted: list[IdsAndLabels]) -> list[IdsAndLabels | None]:
        """Return what stands there of samples that should: those that come next, in packs those of the same tokens."""
        if self.packed:
            return self._search(wanted)
        found: list[IdsAndLabels | None] = []
        for ids, _ in wanted:
            number = next(self.next, None) if ids else None
            row = self.rows[number] if number is not None else None
            found.append((row["input_ids"], row["labels"]) if row else None)
        return found

    def _search(self, wanted: list[IdsAndLabels]) -> list[IdsAndLabels | None]:
        missing = {tuple(ids) for ids, _ in wanted if ids}
        found: dict[tuple[int, ...], IdsAndLabels] = {}
        for row in self.rows if missing else ():
            places = [at for at, position in enumerate(row["position_ids"]) if position == 0]
            for start, end in zip(places, [*places[1:], len(row["input_ids"])], strict=True):
                key = tuple(row["input_ids"][start:end])
                if key in missing:
                    found[key] = row["input_ids"][start:end], row["labels"][start:end]
            if found.keys() == missing:
                break
        return [found.get(tuple(ids)) for ids, _ in wanted]


class Told:
    """What is said of samples, with the texts of their tokens."""

    def __init__(self, reader: Reader) -> None:
        """Prepare for what a reader has read."""
        self.reader, self.texts = reader, TokenTexts(reader.tokenizer)

    def reading(self, encoded: IdsAndLabels | None) -> dict[str, Any] | None:
        """Return ids, labels and texts; None for nothing."""
        if encoded is None:
            return None
        return {"ids": encoded[0], "labels": encoded[1], "tokens": self.texts.decode(*encoded)[0]}

    def reference(self, line: dict[str, Any], encoded: IdsAndLabels, sample: Sample | None) -> dict[str, Any]:
        """Return the same with the part that each token belongs to, and what the conversation has."""
        parts = self.reader.parts(line, encoded, sample)
        return {**(self.reading(encoded) or {}), **self.reader.about(line), "parts": parts}


Read = tuple[dict[str, Any], list[tuple[IdsAndLabels, Sample | None]], dict[str, list[IdsAndLabels]]]


def _lines(spec: dict[str, Any]) -> list[dict[str, Any]]:
    with Path(spec["file"]).open("rb") as file:
        return [json.loads(line) for line in islice(file, spec["samples"])]


def _read(number: int, line: dict[str, Any], reader: Reader, later: dict[str, Reader]) -> Read:
    """Return a conversation with its samples, and these as others render them; raises TemplateError."""
    try:
        return line, reader.samples(line), {name: each.asked(line) for name, each in later.items()}
    except TemplateError as error:
        raise TemplateError(f"conversation {number}: {error}") from error


def conversations(spec: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the samples of the first conversations, read in each way; raises TemplateError."""
    tokenizer = load_tokenizer(spec["model"], trust_remote_code=spec["trust_remote_code"])
    reader = Reader(spec, tokenizer, spec["template"])
    later = {name: Reader(spec, tokenizer, template) for name, template in spec["merged"].items()}
    read = [_read(number, line, reader, later) for number, line in enumerate(_lines(spec), 1)]
    ready: Iterator[IdsAndLabels | None] = repeat(None)
    if spec["tokens"]:
        wanted = [encoded for _, samples, _ in read for encoded, _ in samples]
        ready = iter(ReadyRows(spec["tokens"], packed=spec["packing"]).take(wanted))
    told = Told(reader)
    return [
        {
            "samples": [
                {
                    "reference": told.reference(line, *sample),
                    "merged": {name: told.reading(dict(enumerate(each)).get(at)) for name, each in merged.items()},
                    "ready": told.reading(next(ready)),
                }
                for at, sample in enumerate(samples)
            ]
        }
        for line, samples, merged in read
    ]


def main() -> None:
    """Print what the spec asks for; what goes wrong with the model or the data is a sentence."""
    spec = json.loads(sys.argv[1])
    if not spec["trust_remote_code"]:
        os.environ["HF_HUB_OFFLINE"] = "1"  # the tokenizer is here already
    result: dict[str, Any]
    try:
        result = {"conversations": conversations(spec)}
    except (TemplateError, OffsetsError, TokenizerError) as error:
        result = {"error": str(error)}
    sys.stdout.write("\n" + json.dumps(result) + "\n")


if __name__ == "__main__":
    main()
