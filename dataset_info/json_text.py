r"""JSON objects as text: entries are put in and taken out, and every other byte stays as it was.

`json.dumps(indent=2)` of all entries would do for LLaMA-Factory's own file. In one of 1,325 lines that is indented by 4
it changes all but the outer braces where this changes one line, and writes `\u95ee` for each 问 of somebody else.
"""

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

BLANKS = re.compile(r"[ \t\r\n]*")


class Span(NamedTuple):
    """Where an entry stands in the text: from the quote of its key to the end of its value."""

    key: int
    value: int
    end: int


def insert_entries(text: str, entries: Mapping[str, Any]) -> str:
    """Return the JSON object `text` with `entries` put in, or in place of those of the same name."""
    for name, value in entries.items():
        spans = _span_by_name(text)
        start = text.index("{") + 1
        before = text[start : next(iter(spans.values())).key] if spans else "\n  "
        dumped = json.dumps(value)
        if "\n" in before:  # laid out as the others are
            dumped = json.dumps(value, indent=before.rpartition("\n")[2]).replace("\n", before)
        if name in spans:
            text = text[: spans[name].value] + dumped + text[spans[name].end :]
        elif spans:
            end = max(span.end for span in spans.values())
            text = f"{text[:end]},{before or ' '}{json.dumps(name)}: {dumped}{text[end:]}"
        else:
            text = f"{text[:start]}{before}{json.dumps(name)}: {dumped}\n{text[start:].lstrip()}"
    return text


def remove_entries(text: str, names: Iterable[str]) -> str:
    """Return the JSON object `text` without `names`, every other byte as it was."""
    for name in names:
        spans = _span_by_name(text)
        order = list(spans)
        at = order.index(name)
        if at + 1 < len(order):
            text = text[: spans[name].key] + text[spans[order[at + 1]].key :]
        else:
            start = spans[order[at - 1]].end if at else spans[name].key
            text = text[:start] + text[spans[name].end :]
    return text


def _span_by_name(text: str) -> dict[str, Span]:
    """Return where each entry stands, in order, by its name; `text` is known to be one JSON object."""
    return dict(entry_spans(text))


def entry_spans(text: str) -> list[tuple[str, Span]]:
    """Return each key, also one that is there twice, and where its entry stands; `text` is known to be an object."""
    decoder = json.JSONDecoder()
    spans = []
    at = _skip_blanks(text, text.index("{") + 1)
    while text[at] != "}":
        key, colon = decoder.raw_decode(text, at)
        value = _skip_blanks(text, _skip_blanks(text, colon) + 1)
        end = decoder.raw_decode(text, value)[1]
        spans.append((key, Span(at, value, end)))
        at = _skip_blanks(text, end)
        at = _skip_blanks(text, at + 1) if text[at] == "," else at
    return spans


def _skip_blanks(text: str, at: int) -> int:
    """Return where the next token begins, from `at` on."""
    match = BLANKS.match(text, at)
    return match.end() if match else at
