"""A conversation as a model's chat template writes it, and which of its tokens are trained.

Trained are each assistant's answer and the stop token that the template writes straight after it, and nothing else. The
text is encoded as a whole, as a server encodes it, and labelled by where its characters are.
"""

import json
import re
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any

from template_bounds import Bounds
from thoughts import THOUGHT_CLOSED, Message, are_off, as_template_reads, as_text, between, is_opened

IGNORED = -100  # the label of a token that is not trained
_MARK = "\ue000{}\ue001"  # stands for what a turn says


class TemplateError(ValueError):
    """A conversation that the chat template refuses, or of which it drops or moves a turn."""


def template_error(error: Exception) -> TemplateError:
    """Return what a template has raised, in one line."""
    return TemplateError(" ".join(str(error).split())[:200] or type(error).__name__)


class OffsetsError(ValueError):
    """A tokenizer without offsets, by which a text does not begin with the tokens of its beginning."""


@dataclass(frozen=True)
class Sample:
    """The text of one sample, and the places of its characters that are trained, as (start, end).

    `closing` is a stop token that is trained after the text, where the template writes one only before another turn;
    `answers` are the numbers of the messages that are trained.
    """

    text: str
    spans: tuple[tuple[int, int], ...]
    answers: tuple[int, ...]
    closing: str = ""


@dataclass(frozen=True)
class Layout:
    """What a template writes around the turns of a conversation, however they read.

    `around` are the texts before each turn and after the last; `spans` are the numbers of trained turns, with the count
    of characters before and after each that are trained with it.
    """

    around: list[str]
    spans: list[tuple[int, int, int]]
    closing: str

    def sample(self, contents: list[str], text: str) -> Sample | None:
        """Return the sample of a conversation with these turns, if the template has written this `text` so."""
        if text != "".join(part for pair in zip(self.around, [*contents, ""], strict=True) for part in pair):
            return None
        lengths = map(len, contents)
        ends = list(accumulate(len(around) + length for around, length in zip(self.around, lengths, strict=False)))
        spans = tuple((ends[at] - len(contents[at]) - before, ends[at] + after) for at, before, after in self.spans)
        return Sample(text, spans, tuple(at for at, _, _ in self.spans), self.closing)


class ChatTemplate:
    """A chat template, rendered by transformers' own code, with the tokenizer that it belongs to."""

    def __init__(self, tokenizer: Any, template: str, stops: Collection[str]) -> None:
        """Take the text of a `template`, which decides all variables beside the messages and tools.

        `stops` are the tokens at which generation ends, besides the tokenizer's own end token.
        """
        self.tokenizer, self.template = tokenizer, template
        self.stops = {*stops, tokenizer.eos_token}
        added = tokenizer.added_tokens_decoder.values()
        special = {token.content for token in added if token.special}
        special = {*special, *tokenizer.all_special_tokens, *stops} - {""}
        names = any_of(special)
        self._next_special = re.compile(rf"\s*({names})")
        self._next_added = re.compile(rf"\s*({any_of(token.content for token in added)})")
        self._layouts: dict[Any, Layout | None] = {}
        self._bounds = Bounds()
        self._last_specials = re.compile(rf"(?:(?:{names})\s*)+\Z")

    def render(self, messages: Sequence[Message], tools: Any = None, *, prompt: bool = False, **variables: Any) -> str:
        """Return the text of a conversation, as a `prompt` up to where an answer begins; raises TemplateError.

        `variables` are what the template may ask for besides.
        """
        try:
            with self._bounds:
                if self._direct and tools is None and not prompt and not variables and all(map(_is_plain, messages)):
                    text = str(self._direct(messages=messages))
                else:
                    text = self.tokenizer.apply_chat_template(
                        list(messages),
                        tools=tools,
                        chat_template=self.template,
                        add_generation_prompt=prompt,
                        tokenize=False,
                        **variables,
                    )
            text.encode()  # refuses half a character
        except MemoryError as error:
            raise TemplateError("it takes more memory than any conversation needs") from error
        except Exception as error:
            raise template_error(error) from error
        return str(text)

    @cached_property
    def _direct(self) -> Any:
        """Return what renders whole conversations as `apply_chat_template` does, without copying each message.

        None where the tokenizer has a way of its own.
        """
        from transformers import PreTrainedTokenizerBase
        from transformers.utils.chat_template_utils import _compile_jinja_template

        if type(self.tokenizer).apply_chat_template is not PreTrainedTokenizerBase.apply_chat_template:
            return None
        given = {"tools": None, "documents": None, "add_generation_prompt": False, **self.tokenizer.special_tokens_map}
        return partial(_compile_jinja_template(self.template).render, **given)

    @cached_property
    def closing(self) -> str:
        """Return the special token that follows an answer only before another question, else the end token.

        GLM writes `<|user|>`, one of its stop tokens, before the next question, and nothing after the last answer.
        """
        turn = [{"role": "user", "content": "question"}, {"role": "assistant", "content": "answer"}]
        text = self.render([*turn, *turn])
        found = self._next_special.match(text, text.find("answer") + len("answer"))
        return found[1] if found else str(self.tokenizer.eos_token or "")

    @cached_property
    def _drops_thoughts(self) -> bool:
        """Tell whether a thought must stand in an answer's text, as the template writes it nowhere and is not off."""
        mark = _MARK.format("")
        question, answer = {"role": "user", "content": "?"}, {"role": "assistant", "content": "!"}
        if are_off(self.template) or mark in self.render([question, {**answer, "reasoning_content": mark}]):
            return False
        return mark in self.render([question, as_text({**answer, "reasoning_content": mark})])

    def samples(self, messages: Sequence[Message], tools: Any = None, *, last_only: bool = False) -> list[Sample]:
        """Return the samples that train the answers of a conversation: one, where they can stand in one text.

        A template that writes a turn otherwise once another follows, as Qwen 3 takes its thought away, gives a sample
        for each answer, with the prompt that it is asked with. A message whose `train` is false, or which is empty, is
        not trained. Raises TemplateError as `render`, and where the text lacks a turn.
        """
        given = [as_template_reads(message) for message in messages]
        text = self.render(given, tools)
        shape = _shape(messages, last_only) if tools is None else None
        if shape:
            if shape not in self._layouts:
                self._layouts[shape] = self._layout(messages, last_only)
            layout = self._layouts[shape]
            if layout and (sample := layout.sample([message["content"] for message in messages], text)):
                return [sample]
        return self._compared(messages, given, tools, text, last_only=last_only)

    def _layout(self, messages: Sequence[Message], last_only: bool) -> "Layout | None":
        """Return what the template writes around the turns of such a conversation; None where that depends on them."""
        marks = [_MARK.format(number) for number in range(len(messages))]
        marked = [{**message, "content": mark} for message, mark in zip(messages, marks, strict=True)]
        given = [as_template_reads(message) for message in marked]
        try:
            text = self.render(given)
            samples = self._compared(marked, given, None, text, last_only=last_only)
        except TemplateError:
            return None
        if len(samples) != 1 or samples[0].text != text or any(text.count(mark) != 1 for mark in marks):
            return None
        places = [text.index(mark) for mark in marks]
        if places != sorted(places):
            return None
        ends = [place + len(mark) for place, mark in zip(places, marks, strict=True)]
        around = [text[start:end] for start, end in zip([0, *ends], [*places, len(text)], strict=True)]
        spans = [
            (number, places[number] - start, end - ends[number])
            for number, (start, end) in zip(samples[0].answers, samples[0].spans, strict=True)
        ]
        return Layout(around, spans, samples[0].closing)

    def _compared(
        self, messages: Sequence[Message], given: list[Message], tools: Any, text: str, *, last_only: bool
    ) -> list[Sample]:
        """Return the samples of a conversation, by comparing its `text` with that of each beginning."""
        numbers = [
            number
            for number, message in enumerate(messages)
            if message["role"] == "assistant" and message.get("train", True) and _says_something(given[number])
        ]
        _check_turns(given, text, lambda: self.render(given[: max(numbers, default=0)], tools, prompt=True))
        alone = [self._one_answer(given, tools, number, text) for number in (numbers[-1:] if last_only else numbers)]
        if len(alone) == 1 and alone[0].answers[0] == len(given) - 1:
            return alone
        if not alone or not all(text.startswith(sample.text[: sample.spans[0][1]]) for sample in alone):
            return alone
        # The blank at a prompt's end is a token of its own there, and in the text of an earlier turn none.
        if any(sample.text[: sample.spans[0][0]].endswith(" ") for sample in alone):
            return alone
        return [
            Sample(
                text,
                tuple(self._with_next_special(text, sample) for sample in alone),
                tuple(number for sample in alone for number in sample.answers),
                alone[-1].closing if alone[-1].answers[0] == len(given) - 1 else "",
            )
        ]

    def _one_answer(self, messages: list[Message], tools: Any, number: int, whole: str) -> Sample:
        """Return the sample that trains the answer `number` alone, with all that comes before it as its prompt."""
        prompt = self.render(messages[:number], tools, prompt=True)
        if messages[number].get("reasoning_content") and not is_opened(prompt) and self._drops_thoughts:
            text = self.render([*messages[:number], as_text(messages[number])], tools)
        else:
            text = whole if number == len(messages) - 1 else self.render(messages[: number + 1], tools)
        if not text.startswith(prompt):
            text = self._continued(messages[: number + 1], tools, prompt, text)
        if specials := self._last_specials.search(text, len(prompt)):
            return Sample(text, ((len(prompt), self._end_of_stop(text, specials.start())),), (number,))
        content = str(messages[number].get("content") or "").strip()
        place = text.rfind(content, len(prompt)) if content else -1
        end = place + len(content) if place >= 0 else max(len(text.rstrip()), len(prompt))
        if found := self._next_added.match(text, end):
            return Sample(text, ((len(prompt), found.end(1)),), (number,))
        if mark := text[end:].strip():
            raise TemplateError(
                f"it ends an answer with `{mark[:40]}`, which is no token of the tokenizer, so that no model learns to "
                "stop there"
            )
        return Sample(text, ((len(prompt), end),), (number,), self.closing)

    def _continued(self, messages: list[Message], tools: Any, prompt: str, text: str) -> str:
        """Return the prompt for the last message with the answer of `text` behind it, which begins otherwise there.

        Only the prompt may have the system text, as Mistral's, or a thought, which is opened or empty.
        """
        thought = messages[-1].get("reasoning_content") or ""
        if thought and not is_opened(prompt):
            messages = [*messages[:-1], {**messages[-1], "reasoning_content": ""}]
            text = self.render(messages, tools)
            if text.startswith(prompt):
                return text
        mark = _MARK.format("")
        begun = self.render([*messages[:-1], {**messages[-1], "content": mark}], tools).partition(mark)[0]
        question = str(messages[-2].get("content") or "").strip() if len(messages) > 1 else ""
        more = between(prompt, begun, thought)
        if more is None and question:
            more = between(prompt.rpartition(question)[2], begun.rpartition(question)[2], thought)
        if more is None or not text.startswith(begun):
            raise TemplateError("the prompt that it writes for an answer is not how it begins the answer itself")
        return f"{prompt}{more}{text[len(begun) :]}"

    def _end_of_stop(self, text: str, start: int) -> int:
        """Return where the first stop token of the special tokens from `start` on ends, else where the first does."""
        ends = []
        place = start
        while found := self._next_special.match(text, place):
            place = found.end(1)
            if found[1] in self.stops:
                return place
            ends.append(place)
        return ends[0]

    def _with_next_special(self, text: str, sample: Sample) -> tuple[int, int]:
        """Return the place of an answer within a longer text, up to the stop token that comes after it there."""
        start, end = sample.spans[0]
        found = self._next_special.match(text, end) if sample.closing else None
        return start, found.end(1) if found else end


def any_of(texts: Iterable[str]) -> str:
    """Return a pattern of these texts, the longest first; one that nothing fits where there is none."""
    return "|".join(map(re.escape, sorted({*texts} - {""}, key=len, reverse=True))) or "(?!)"


def generation_stops(tokenizer: Any, model: str) -> list[str]:
    """Return the tokens that end generation by the generation_config.json of the folder `model`."""
    file = Path(model, "generation_config.json")
    ids = json.loads(file.read_text("utf-8")).get("eos_token_id") if file.is_file() else None
    found = tokenizer.convert_ids_to_tokens(ids if isinstance(ids, list) else [] if ids is None else [ids])
    return [each for each in found if each]


def _shape(messages: Sequence[Message], last_only: bool) -> Any:
    """Return what decides a conversation's layout; None where its turns do more than say something."""
    shape = [last_only]
    for message in messages:
        if not message.keys() <= {"role", "content", "train"} or not isinstance(content := message["content"], str):
            return None
        if THOUGHT_CLOSED in content or not content.strip():
            return None
        shape += [message["role"], message.get("train", True)]
    return tuple(shape)


def _is_plain(message: Message) -> bool:
    """Tell whether a message is a role and a text alone, in which there is nothing to convert."""
    return message.keys() == {"role", "content"} and isinstance(message["content"], str)


def _says_something(message: Message) -> bool:
    """Tell whether a message is more than a thought, which a template may leave out."""
    return bool(_said(message) or message.get("tool_calls"))


def _said(message: Message) -> str:
    """Return what a message says behind a thought, without the blanks around it, which a template may strip."""
    return str(message.get("content") or "").rpartition(THOUGHT_CLOSED)[2].strip()


def _check_turns(messages: Sequence[Message], text: str, prompt: Callable[[], str]) -> None:
    """Raise TemplateError where a turn is not in the text, or stands before an earlier one.

    The system text may stand in the `prompt` for the last answer alone.
    """
    place = 0
    for message in messages:
        content = _said(message)
        if message["role"] != "system":
            place = _end_of_turn(message, content, text, place)
        elif content not in text and content not in prompt():
            raise TemplateError("it leaves the system text out")


def _end_of_turn(message: Message, content: str, text: str, place: int) -> int:
    """Return where the turn ends that should come after `place`; raises as `_check_turns`."""
    found = text.find(content, place)
    if found < 0 and message["role"] != "tool":  # which may be written as JSON
        what = "moves" if content in text else "leaves out"
        raise TemplateError(f"it {what} the {message['role']}'s turn `{content[:40]}`")
    end = max(place, found + len(content))
    if any(call["function"]["name"] not in text[end:] for call in message.get("tool_calls") or ()):
        raise TemplateError("it writes no tool calls")
    return end


def encode(tokenizer: Any, samples: Sequence[Sample]) -> list[tuple[list[int], list[int]]]:
    """Return token ids and labels of each sample; raises OffsetsError."""
    if not samples:
        return []
    if not tokenizer.is_fast:
        return [_encode_by_beginnings(tokenizer, sample) for sample in samples]
    backend = plain_backend(tokenizer)
    # It adds nothing here, but some take the blanks at a token's ends out of its offsets.
    processor, backend.post_processor = backend.post_processor, None
    encodings = backend.encode_batch([sample.text for sample in samples], add_special_tokens=False)
    backend.post_processor = processor
    return [
        _closed(tokenizer, sample, *_ids_and_labels(backend, encoding, sample))
        for sample, encoding in zip(samples, encodings, strict=True)
    ]


def plain_backend(tokenizer: Any) -> Any:
    """Return the tokenizer that does the work, which neither pads nor cuts, as transformers sets it for each call."""
    backend = tokenizer.backend_tokenizer
    backend.no_padding()
    backend.no_truncation()
    backend.encode_special_tokens = tokenizer.split_special_tokens
    return backend


def _ids_and_labels(backend: Any, encoding: Any, sample: Sample) -> tuple[list[int], list[int]]:
    """Return ids and labels, no token of which holds both the end of a prompt and the beginning of its answer."""
    whole = encoding.ids, _labels(encoding, encoding.ids, sample)
    joined = [start for start, _ in sample.spans if _is_within_token(encoding, start)]
    if not joined:
        return whole
    apart = _encode_in_parts(backend, sample, [0, *joined, len(sample.text)])
    # A tokenizer that puts a blank before each text cannot encode an answer alone.
    texts = [backend.decode(ids, skip_special_tokens=False) for ids, _ in (apart, whole)]
    return apart if texts[0] == texts[1] else whole


def _encode_in_parts(backend: Any, sample: Sample, bounds: list[int]) -> tuple[list[int], list[int]]:
    """Return ids and labels of a text whose parts between `bounds`, which cut none of its spans, are encoded alone."""
    ids, labels = [], []
    for start, end in pairwise(bounds):
        spans = tuple((first - start, last - start) for first, last in sample.spans if start <= first < end)
        encoding = backend.encode(sample.text[start:end], add_special_tokens=False)
        ids += encoding.ids
        labels += _labels(encoding, encoding.ids, Sample(sample.text[start:end], spans, sample.answers))
    return ids, labels


def _is_within_token(encoding: Any, place: int) -> bool:
    """Tell whether a token holds a character and the one before it."""
    token = encoding.char_to_token(place)
    return place > 0 and token is not None and token == encoding.char_to_token(place - 1)


def _labels(encoding: Any, ids: list[int], sample: Sample) -> list[int]:
    """Return the labels: the ids of all tokens that hold a character of the sample's spans."""
    labels = [IGNORED] * len(ids)
    for start, end in sample.spans:
        first = _token_from(encoding, start, len(sample.text))
        last = _token_from(encoding, end, len(sample.text))
        # A token may hold both the end of an answer and what follows.
        if last < len(ids) and encoding.token_to_chars(last)[0] < end:
            last += 1
        labels[first:last] = ids[first:last]
    return labels


def _token_from(encoding: Any, place: int, length: int) -> int:
    """Return the number of the first token at a character, or behind it where no token holds it."""
    for each in range(place, length):
        token = encoding.char_to_token(each)
        if token is not None:
            return int(token)
    return len(encoding.ids)


def _encode_by_beginnings(tokenizer: Any, sample: Sample) -> tuple[list[int], list[int]]:
    """Return ids and labels by a tokenizer that tells no places: by how many tokens each beginning has."""
    ids = tokenizer.encode(sample.text, add_special_tokens=False)
    labels = [IGNORED] * len(ids)
    for span in sample.spans:
        beginnings = [tokenizer.encode(sample.text[:place], add_special_tokens=False) for place in span]
        if any(ids[: len(beginning)] != beginning for beginning in beginnings):
            raise OffsetsError(
                "the tokenizer tells no offsets, and joins tokens where an answer begins or ends; "
                "take `--tokens native`"
            )
        first, last = map(len, beginnings)
        labels[first:last] = ids[first:last]
    return _closed(tokenizer, sample, ids, labels)


def _closed(tokenizer: Any, sample: Sample, ids: list[int], labels: list[int]) -> tuple[list[int], list[int]]:
    """Return ids and labels with the stop token that the template does not write."""
    if not sample.closing:
        return ids, labels
    stop = tokenizer.convert_tokens_to_ids(sample.closing)
    return [*ids, stop], [*labels, stop]
