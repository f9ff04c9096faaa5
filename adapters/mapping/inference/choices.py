"""Questions with several choices, where the answer only names one of them: `B`, or its number.

So are MMLU and C-Eval: with the choices left out, a model would learn letters.
"""

import re
import unicodedata
from collections.abc import Container, Sequence
from itertools import takewhile
from typing import Any

from ftbridge.adapters.mapping.headers import HEADERS, normalize_header
from ftbridge.adapters.values import decode_raw, is_blank, parse_list, shorten
from ftbridge.core.records import Table
from ftbridge.language import gettext as _

# Headers of columns that hold all choices.
ALL_CHOICES = {
    *("choices", "options", "candidates", "option", "choice", "answer choices", "answer options", "multiple choices"),
    *("选项", "候选项", "备选项", "选择项", "候选答案", "备选答案"),
}
# Headers of columns that say which choice is right, where none is an answer by its header.
ANSWER_KEYS = {
    *("answer key", "answerkey", "answer idx", "answer index", "answer id", "answer letter", "correct option", "cop"),
    *(
        "correct",
        "correct choice",
        "correct index",
        "key",
        "gold",
        "label",
        "target",
        "正确选项",
        "答案序号",
        "答案选项",
    ),
}
# Stems of headers that are no choices: `text a` and `text b` are two texts.
NOT_CHOICES = {
    *("text", "sentence", "title", "query", "question", "premise", "ctx", "context"),
    *("句子", "文本", "问题", "标题"),
}
SERIES = ("abcdefghij", "123456789", "0123456789", "一二三四五六七八九", "甲乙丙丁戊己庚辛")
LETTERS = SERIES[0].upper()
# Columns of letters alone are choices from so many on: `q` and `a` by themselves are question and answer.
FEWEST = 3
MARK = re.compile(
    r"(?:选项?|选择|option |choice |答案:?)?[(\[]?[A-J](?:[,、;/ &和]*[A-J]){0,9}[)\].、。.]?|"
    r"[(\[]?[0-9][)\]]?|[一二三四甲乙丙丁]",
    re.IGNORECASE,
)


def choice_columns(columns: Sequence[str]) -> list[str]:
    """Return the columns that hold choices: one with all of them, or one each for A, B, C and so on."""
    headers = {normalize_header(column): column for column in columns}
    if whole := [column for name, column in headers.items() if name in ALL_CHOICES]:
        return whole[:1]
    answered = not headers.keys().isdisjoint({*HEADERS["output"]} - {"a"})
    found: list[str] = []
    for stem in dict.fromkeys(stem for name in headers for stem in _header_stems(name)):
        fewest = FEWEST if stem == "\0" and not answered else 2
        names = _longest_series(stem, headers)
        if len(names) >= fewest and len(names) > len(found):
            found = [headers[name] for name in names]
    return found


def _longest_series(stem: str, headers: Container[str]) -> list[str]:
    """Return the headers that a stem makes with A, B, C ... or another series, up to the first that is missing."""
    found = ([*takewhile(headers.__contains__, (stem.replace("\0", mark) for mark in series))] for series in SERIES)
    return max(found, key=len)


def _header_stems(name: str) -> list[str]:
    """Return a header with a NUL in place of the mark at its end or start; [] without one, and for texts."""
    stems = []
    if match := re.fullmatch(r"(.{0,20}?)([a-j0-9一二三四五六七八九甲乙丙丁戊己庚辛])", name):
        stems.append(f"{match[1]}\0")
    if match := re.fullmatch(r"([a-j0-9])([ .]?(?:选项|项|option|choice))", name):
        stems.append(f"\0{match[2]}")
    return [stem for stem in stems if stem.replace("\0", "").strip() not in NOT_CHOICES]


def answer_key_column(columns: Sequence[str]) -> str:
    """Return the column that says which choice is right, "" for none."""
    return next((column for column in columns if normalize_header(column) in ANSWER_KEYS), "")


def questions_with_choices(
    choices: Sequence[str], questions: Sequence[str], answer: str, table: Table
) -> dict[str, str]:
    """Return templates of a question with its choices, by how these are counted; {} where no answer is a mark.

    There are several where the answers are numbers that may be counted from 0 or from 1.
    """
    rows = [row.values for row in table.first if not all(is_blank(row.values.get(name)) for name in choices)]
    headers = {normalize_header(name) for name in choices} if len(choices) > 1 else set()
    answers = [_as_mark(row.get(answer)) for row in rows]
    marks = [mark for mark in answers if MARK.fullmatch(mark) or normalize_header(mark) in headers]
    if not marks:
        return {}
    if len(choices) == 1:
        shown_choices = _choices_in_list(choices[0], marks, rows)
    elif headers.issuperset(map(normalize_header, marks)):
        shown_choices = {"": _choices_in_columns(choices, choices, table)}
    else:
        shown_choices = _counted_choices(choices, marks, table)
    question = " ".join(map(_expression, questions))
    if len({*shown_choices.values()}) == 1:  # counted one way or the other, they look alike
        shown_choices = dict([*shown_choices.items()][:1])
    return {counted: question + part for counted, part in shown_choices.items()}


def _counted_choices(choices: Sequence[str], marks: Sequence[str], table: Table) -> dict[str, str]:
    """Return the parts of a template that show choices that have a column each, by how they are counted."""
    starts = _possible_starts(marks, len(choices), normalize_header(choices[0]).strip(".")[-1:])
    return {
        counted: _choices_in_columns(choices, _marks_from(start, len(choices)), table)
        for counted, start in starts.items()
    }


def _marks_from(start: int | None, count: int) -> list[str]:
    """Return the marks of `count` choices: letters, or numbers from `start` on."""
    return [LETTERS[at] if start is None else str(start + at) for at in range(count)]


def _choices_in_columns(choices: Sequence[str], marks: Sequence[str], table: Table) -> str:
    """Return the part of a template that shows choices that have a column each; where it is empty, none."""
    optional = {name for name in choices if any(is_blank(row.values.get(name)) for row in table.first)}
    return "".join(_one_choice(mark, name, name in optional) for mark, name in zip(marks, choices, strict=True))


def _choices_in_list(column: str, marks: Sequence[str], rows: Sequence[dict[str, Any]]) -> dict[str, str]:
    """Return the parts of a template that show the choices in one column, by how they are counted."""
    values = [decode_raw(row.get(column)) for row in rows]
    count = max((len(value) for value in values if isinstance(value, list)), default=0)
    first = next((value for value in values if not is_blank(value)), "")
    counters = {None: f"'{LETTERS}'[loop.index0]", 0: "loop.index0", 1: "loop.index"}
    starts = _possible_starts(marks, count, "")
    return {counted: _loop_over_choices(column, first, counters[start]) for counted, start in starts.items()}


def _possible_starts(marks: Sequence[str], count: int, first: str) -> dict[str, int | None]:
    """Return what `count` choices may be counted from, None for letters, by the remark that tells them apart.

    The marks of answers tell, else `first`, the mark in the first choice's header.
    """
    numbers = {int(digits) for mark in marks if (digits := mark.strip("()[]")).isdecimal()}
    if not numbers:
        return {"": None}
    if 0 in numbers or count in numbers:
        return {"": 0 if 0 in numbers else 1}
    return {"": int(first)} if first and first in "01" else {_(", counted from 0"): 0, _(", counted from 1"): 1}


def _one_choice(mark: str, column: str, optional: bool) -> str:
    text = f" {mark}. {_expression(column)}"
    return f"{{% if {template_reference(column)} %}}{text}{{% endif %}}" if optional else text


def _loop_over_choices(column: str, value: Any, counter: str) -> str:
    """Return the part of a template that shows all choices in `column`, of which `value` is the first."""
    name, mark, text = template_reference(column), counter, "text"
    if isinstance(value, dict) and isinstance(value.get("text"), list):
        if key := _first_key(value, ("label", "labels", "key")):
            mark = f"{name}.{key}[loop.index0]"
        name = f"{name}.text"
    elif isinstance(value, dict):
        return f"{{% for name, text in {name}.items() %}} {{{{ name }}}}. {{{{ text }}}}{{% endfor %}}"
    elif isinstance(value, list) and isinstance(value[0], dict):
        if key := _first_key(value[0], ("label", "key", "id", "letter", "option")):
            mark = f"text.{key}"
        text = f"text.{_first_key(value[0], ('text', 'value', 'content', 'answer'))}"
    elif not isinstance(value, list):
        return f" {_expression(column)}"
    return f"{{% for text in {name} %}} {{{{ {mark} }}}}. {{{{ {text} }}}}{{% endfor %}}"


def _first_key(value: dict[str, Any], keys: Sequence[str]) -> str:
    return next((key for key in keys if key in value), "")


def _as_mark(value: Any) -> str:
    """Return an answer as a mark, several of them together."""
    value = parse_list(value)
    text = ",".join(map(shorten, value)) if isinstance(value, list) else shorten(value)
    return unicodedata.normalize("NFKC", text).strip()


def _expression(column: str) -> str:
    """Return what writes the value of a column in a template."""
    return f"{{{{ {template_reference(column)} }}}}"


def template_reference(column: str) -> str:
    """Return how a template refers to a column."""
    return column if column.isidentifier() else f"row[{column!r}]"
