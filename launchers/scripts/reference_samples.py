"""Say how a model's chat template writes conversations, for other readings of them to be compared with.

Runs inside the training environment: `python reference_samples.py SPEC` with SPEC as JSON: `model`,
`trust_remote_code`, `template` (a chat template's text), `merged` (such texts by the name of who renders them later),
`file` (of messages), `samples` (how many conversations; null for those that probes.py has chosen), `last_only`;
`tokens` (a folder of ready tokens, or null), and where there is one, `cutoff_length`, `too_long` and `packing`, as
these were made with.

The last line of stdout is {"conversations": [{"number": ..., "samples": [...]}, ...]}, or {"error": sentence}. A sample
has `reference`, `merged` by name, and `ready`: what stands among the ready tokens, null where that is nothing.

The reference is made by the tokenizer's own way from messages to tokens, and not as the ready tokens were.
"""

import json
import os
import re
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import dropwhile, islice, takewhile
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
    template_error,
)
from cutoff_tokens import fit
from encode_samples import IdsAndLabels, TokenTexts
from ready_rows import ReadyRows
from tokenizer_loading import TokenizerError, load_tokenizer

Place = tuple[str, int, int]  # what stands there, and from which letter to which

MERGED = "merged folder"
_PARTS = {"system": "system", "assistant": "answer"}
_THOUGHT = re.compile("<think>.*?</think>", re.DOTALL)
_SYSTEM = "\ue000"  # a system text that no template writes by itself


@dataclass(frozen=True)
class Reading:
    """Token ids and labels of a sample, with the messages that it has and the text; none for one that is left out."""

    encoded: IdsAndLabels
    messages: list[Message]
    sample: Sample | None


class Reader:
    """Renders conversations by a chat template, and says what each token is a part of."""

    def __init__(self, spec: dict[str, Any], tokenizer: Any, template: str) -> None:
        """Prepare for a template's text."""
        self.spec, self.tokenizer = spec, tokenizer
        stops = generation_stops(tokenizer, spec["model"])
        self.template = ChatTemplate(tokenizer, template, stops)
        self.stops = {*tokenizer.convert_tokens_to_ids(stops), tokenizer.eos_token_id} - {None}
        special = (number for number, token in tokenizer.added_tokens_decoder.items() if token.special)
        self.ends = {*self.stops, *tokenizer.all_special_ids, *special}

    def samples(self, line: dict[str, Any]) -> list[Reading]:
        """Return the samples of a conversation, as a server's tokenizer reads them; raises TemplateError."""
        messages, tools = line["messages"], line.get("tools")
        samples = self.template.samples(messages, tools, last_only=self.spec["last_only"])
        return [
            self._within_cutoff(line, sample, encoded)
            for sample, encoded in zip(samples, encode(self.tokenizer, samples), strict=True)
        ]

    def _within_cutoff(self, line: dict[str, Any], sample: Sample, encoded: IdsAndLabels) -> Reading:
        """Return a sample, which has the tokens `encoded`, shortened as the training has it where it is too long."""
        messages, tools = line["messages"], line.get("tools")
        if self.spec["tokens"] and len(encoded[0]) > self.spec["cutoff_length"]:
            if self.spec["too_long"] != "cut":
                return Reading(([], []), messages, None)
            fitted = fit(self.template, messages, tools, sample, self.spec["cutoff_length"])
            if not fitted.ids:
                return Reading(([], []), messages, None)
            messages, encoded = list(fitted.messages), (fitted.ids, fitted.labels)
            sample = self.template.samples(messages, tools, last_only=len(sample.answers) == 1)[-1]
        return Reading(self._read(messages, tools, sample, encoded[1]), messages, sample)

    def ids(self, messages: list[Message], tools: Any, *, prompt: bool = False) -> list[int]:
        """Return the tokens of a conversation, as a `prompt` up to where an answer begins; raises TemplateError."""
        try:
            ids = self.tokenizer.apply_chat_template(
                messages,
                tools=tools,
                chat_template=self.template.template,
                add_generation_prompt=prompt,
                tokenize=True,
                return_dict=False,
            )
        except Exception as error:
            raise template_error(error) from error
        return list(ids)

    def _read(self, messages: list[Message], tools: Any, sample: Sample, labels: list[int]) -> IdsAndLabels:
        """Return ids and labels of a sample by the tokens of its prompts and of its beginnings.

        Where these cannot tell what is learned, it is what `labels` say.
        """
        given = [as_template_reads(message) for message in messages]
        last = sample.answers[-1] + 1
        prompts = {number: self.ids(given[:number], tools, prompt=True) for number in sample.answers}
        if sample.text == self.template.render(given, tools):
            ids = self.ids(given, tools)
        elif sample.text == self.template.render(given[:last], tools):
            ids = self.ids(given[:last], tools)
        else:  # the prompt has opened a thought
            text = self.template.render(given[: last - 1], tools, prompt=True)
            rest = self.tokenizer.encode(sample.text[len(text) :], add_special_tokens=False)
            ids = [*prompts[last - 1], *rest]
        stop = [self.tokenizer.convert_tokens_to_ids(sample.closing)] if sample.closing else []
        ids += stop
        learned = [IGNORED] * len(ids)
        for number, prompt in prompts.items():
            said = str(given[number].get("content") or "").strip()
            end = self._end(ids, self.ids(given[: number + 1], tools), len(prompt), said)
            start = _common(prompt, ids)
            if not end and len(labels) == len(ids):
                return ids, labels
            learned[start:end] = ids[start:end]
        return ids, learned

    def _end(self, ids: list[int], beginning: list[int], least: int, said: str) -> int:
        """Return where an answer ends in `ids`, by those of the `beginning` that ends with it; 0 if that is unclear.

        That is behind the stop token that comes straight after it; it begins at `least`, and is what is `said`.
        """
        content = len(beginning)
        while content > least and self._says_nothing(beginning[content - 1]):
            content -= 1
        specials = [at for at in range(content, len(beginning)) if beginning[at] in self.ends]
        if specials:
            end = 1 + next((at for at in specials if beginning[at] in self.stops), specials[0])
            rest = len(beginning) - end
            if ids[:end] == beginning[:end]:
                return end
            # What the prompt has opened begins otherwise.
            return len(ids) - rest if ids[len(ids) - rest - 1 :] == beginning[end - 1 :] else 0
        if ids[:content] != beginning[:content] or not self.tokenizer.decode(ids[:content]).endswith(said):
            return 0
        after = dropwhile(lambda at: ids[at] not in self.ends and self._says_nothing(ids[at]), range(content, len(ids)))
        end = next(after, len(ids))
        return end + 1 if ids[end : end + 1] and ids[end] in self.ends else 0

    def _says_nothing(self, token: int) -> bool:
        """Tell whether a token is blank, or special."""
        return token in self.ends or not self.tokenizer.decode([token]).strip()

    def about(self, line: dict[str, Any]) -> dict[str, Any]:
        """Return the begin token, the stop tokens, and the thoughts of a conversation."""
        thoughts = [each.get("reasoning_content") for each in map(as_template_reads, line["messages"])]
        return {
            "bos": self.tokenizer.bos_token_id,
            "stops": sorted(self.stops),
            "thoughts": [str(each) for each in thoughts if each],
        }

    def asked(self, read: Reading, tools: Any) -> IdsAndLabels:
        """Return ids and labels as a program has them that asks with this template, and gets the answers of the data.

        Where the prompt that it renders is not how a sample begins, the sample begins with that prompt.
        """
        if read.sample is None:
            return read.encoded
        given = [as_template_reads(message) for message in read.messages]
        for number, (place, _) in zip(read.sample.answers, read.sample.spans, strict=True):
            prompt = self.ids(given[:number], tools, prompt=True)
            if prompt != read.encoded[0][: len(prompt)]:
                return self._with_prompt(prompt, read, read.sample.text, place)
        return read.encoded

    def _with_prompt(self, prompt: list[int], read: Reading, text: str, place: int) -> IdsAndLabels:
        """Return a sample with this `prompt`, which ends at this place of its `text`.

        A token that belongs to both the prompt and the answer is cut in two.
        """
        ids, labels = read.encoded
        if not self.tokenizer.is_fast:
            start = _common(prompt, ids)
            return [*prompt, *ids[start:]], [IGNORED] * len(prompt) + labels[start:]
        encoded = self.tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
        starts = [start for start, _ in encoded["offset_mapping"]]
        after = next((at for at, start in enumerate(starts) if start >= place), len(starts))
        until = starts[after] if after < len(starts) else len(text)
        begun = self.tokenizer.encode(text[place:until], add_special_tokens=False)
        return [*prompt, *begun, *ids[after:]], [IGNORED] * len(prompt) + begun + labels[after:]

    def parts(self, read: Reading) -> list[str]:
        """Return what each token is a part of: tag, system, question, thought, answer or stop."""
        ids, labels = read.encoded
        found = self._parts_by_letters(read.messages, read.sample) if read.sample and self.tokenizer.is_fast else []
        if not found or len(found) > len(ids):
            first = len(list(takewhile(lambda label: label == IGNORED, labels)))
            found = ["tag" if at in {0, first - 1} else "question" for at in range(first)]
        found += ["tag" if label == IGNORED else "answer" for label in labels[len(found) :]]
        for at in self._stop_places(ids, labels):
            found[at] = "stop"
        return found

    def _stop_places(self, ids: list[int], labels: list[int]) -> list[int]:
        """Return where a special token ends what is trained."""
        both = zip(ids, labels, [*labels[1:], IGNORED], strict=False)  # none has no next
        return [at for at, (token, label, after) in enumerate(both) if token in self.ends and after == IGNORED != label]

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


def _common(one: list[int], other: list[int]) -> int:
    """Return how many tokens two sequences have in common at their beginning."""
    both = zip(one, other, strict=False)
    return next((at for at, (mine, theirs) in enumerate(both) if mine != theirs), min(len(one), len(other)))


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

    def reference(self, line: dict[str, Any], read: Reading) -> dict[str, Any]:
        """Return the same with the part that each token belongs to, and what the conversation has."""
        return {**(self.reading(read.encoded) or {}), **self.reader.about(line), "parts": self.reader.parts(read)}


@dataclass(frozen=True)
class Conversation:
    """A conversation of a number, from 1, with its samples: as the template writes, others ask, and what is ready."""

    number: int
    line: dict[str, Any]
    samples: list[Reading]
    merged: dict[str, list[IdsAndLabels]]
    ready: list[IdsAndLabels | None]

    def read(self, at: int) -> tuple[dict[str, IdsAndLabels | None], IdsAndLabels | None]:
        """Return how others read the sample of this number, by their names, and what is ready of it."""
        return {name: dict(enumerate(each)).get(at) for name, each in self.merged.items()}, self.ready[at]


def _lines(spec: dict[str, Any], probes: Iterable[dict[str, Any]]) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the conversations that are looked at, with their numbers."""
    with Path(spec["file"]).open("rb") as file:
        if spec["samples"] is not None:
            yield from enumerate(map(json.loads, islice(file, spec["samples"])), 1)
            return
        for probe in probes:
            file.seek(probe["place"])
            yield probe["conversation"], json.loads(file.readline())


def conversations(reader: Reader) -> Iterator[Conversation]:
    """Yield the conversations that a reader's spec names, read in each way; raises TemplateError."""
    spec, template = reader.spec, reader.template.template
    later = {
        name: reader if merged == template else Reader(spec, reader.tokenizer, merged)
        for name, merged in spec["merged"].items()
    }
    ready = ReadyRows(spec["tokens"], packed=spec["packing"]) if spec["tokens"] else None
    for number, line in _lines(spec, ready.probes.values() if ready else ()):
        try:
            samples = reader.samples(line)
            merged = {name: _asked_by(each, line, reader, samples) for name, each in later.items()}
        except TemplateError as error:
            raise TemplateError(f"conversation {number}: {error}") from error
        found = ready.take(number, [each.encoded for each in samples]) if ready else [None] * len(samples)
        yield Conversation(number, line, samples, merged, found)


def _asked_by(later: Reader, line: dict[str, Any], reader: Reader, samples: list[Reading]) -> list[IdsAndLabels]:
    """Return what a program has that asks as `later` does; the `samples` of the conversation are those of `reader`."""
    read = samples if later is reader else later.samples(line)
    return [later.asked(each, line.get("tools")) for each in read]


def compared(tokenizer: Any, spec: dict[str, Any]) -> dict[str, Any]:
    """Return how many samples of ready tokens were looked at (`samples`), and `conversations` where readers differ.

    `spec` is what tokenize_dataset.py gets, whose `folder` is finished.
    """
    asked = {**spec, "tokens": spec["folder"], "samples": None, "merged": {MERGED: spec["template"]}}
    told = Told(Reader(asked, tokenizer, spec["template"]))
    count, different = 0, []
    for each in conversations(told.reader):
        count += sum(bool(sample.encoded[0]) for sample in each.samples)
        for at, sample in enumerate(each.samples):
            merged, ready = each.read(at)
            readings: list[IdsAndLabels | None] = [ready or ([], []), *merged.values()]
            if any(reading is None or tuple(reading) != sample.encoded for reading in readings):
                different.append({"number": each.number, "samples": [_told(told, each, at)]})
    return {"samples": count, "conversations": different}


def _told(told: Told, conversation: Conversation, at: int) -> dict[str, Any]:
    """Return all readings of a sample, with the texts of their tokens."""
    merged, ready = conversation.read(at)
    return {
        "reference": told.reference(conversation.line, conversation.samples[at]),
        "merged": {name: told.reading(each) for name, each in merged.items()},
        "ready": told.reading(ready),
    }


def main() -> None:
    """Print what the spec asks for; what goes wrong with the model or the data is a sentence."""
    spec = json.loads(sys.argv[1])
    if not spec["trust_remote_code"]:
        os.environ["HF_HUB_OFFLINE"] = "1"  # the tokenizer is here already
    result: dict[str, Any]
    try:
        tokenizer = load_tokenizer(spec["model"], trust_remote_code=spec["trust_remote_code"])
        told = Told(Reader(spec, tokenizer, spec["template"]))
        result = {
            "conversations": [
                {"number": each.number, "samples": [_told(told, each, at) for at in range(len(each.samples))]}
                for each in conversations(told.reader)
            ]
        }
    except (TemplateError, OffsetsError, TokenizerError) as error:
        result = {"error": str(error)}
    sys.stdout.write("\n" + json.dumps(result) + "\n")


if __name__ == "__main__":
    main()
