"""Questions with several choices, where the answer only names one of them: `B`, or its number.

So are MMLU and C-Eval: with the choices left out, a model would learn letters.
"""

import re
import unicodedata
from collections.abc import Sequence
from itertools import takewhile
from typing import Any

from ftbridge.adapters.mapping.headers import HEADERS, normalize_header
from ftbridge.adapters.values import blank, listed, plain, shown
from ftbridge.core.records import Table

WHOLE = {
    *("choices", "options", "candidates", "option", "choice", "answer choices", "answer options", "multiple choices"),
    *("选项", "候选项", "备选项", "选择项", "候选答案", "备选答案"),
}
# Columns that say which choice is right, where none is an answer by its header.
KEYS = {
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
# Stems of columns that are no choices.
TEXTS = {"text", "sentence", "title", "query", "question", "premise", "ctx", "context", "句子", "文本", "问题", "标题"}
SERIES = ("abcdefghij", "123456789", "0123456789", "一二三四五六七八九", "甲乙丙丁戊己庚辛")
LETTERS = SERIES[0].upper()
FEWEST = 3  # `q` and `a` by themselves are question and answer
MARK = re.compile(
    r"(?:选项?|选择|option |choice |答案:?)?[(\[]?[A-J](?:[,、;/ &和]*[A-J]){0,9}[)\].、。.]?|"
    r"[(\[]?[0-9][)\]]?|[一二三四甲乙丙丁]",
    re.IGNORECASE,
)


def choices_of(columns: Sequence[str]) -> list[str]:
    """Return the columns that hold choices: one with all of them, or one each for A, B, C and so on."""
    headers = {normalize_header(column): column for column in columns}
    if whole := next((headers[name] for name in headers if name in WHOLE), ""):
        return [whole]
    found: list[str] = []
    stems = dict.fromkeys(stem for name in headers for stem in _stems(name))
    for stem in (each for each in stems if each.replace("\0", "").strip() not in TEXTS):
        answers = headers.keys() & set(HEADERS["output"]) - {"a"}
        for series in SERIES:
            names = [*takewhile(headers.__contains__, (stem.replace("\0", mark) for mark in series))]
            if len(names) >= (2 if stem != "\0" or answers else FEWEST) and len(names) > len(found):
                found = [headers[name] for name in names]
    return found


def _stems(name: str) -> list[str]:
    """Return what is left of a header without the mark at its start or its end, which is a NUL then."""
    ends = re.fullmatch(r"(.{0,20}?)([a-j0-9一二三四五六七八九甲乙丙丁戊己庚辛])", name)
    starts = re.fullmatch(r"([a-j0-9])([ .]?(?:选项|项|option|choice))", name)
    return [*([f"{ends[1]}\0"] if ends else []), *([f"\0{starts[2]}"] if starts else [])]


def key_of(columns: Sequence[str]) -> str:
    """Return the column that says which choice is right, "" for none."""
    return next((column for column in columns if normalize_header(column) in KEYS), "")


def questions_with(choices: Sequence[str], questions: Sequence[str], answer: str, table: Table) -> dict[str, str]:
    """Return templates that show the choices with the question, by how they are counted; {} where no answer is a mark.

    There are several where the answers are numbers that may be counted from 0 or from 1.
    """
    rows = [row.values for row in table.first if not all(blank(row.values.get(name)) for name in choices)]
    named = {normalize_header(name) for name in choices} if len(choices) > 1 else set()
    marks = [mark for row in rows if MARK.fullmatch(mark := _mark(row.get(answer))) or normalize_header(mark) in named]
    if not marks:
        return {}
    asked = " ".join(map(_field, questions))
    if len(choices) > 1:
        own = normalize_header(choices[0]).strip(".")[-1:]
        by_header = all(normalize_header(mark) in named for mark in marks)
        shown_as = {
            counted: asked + _one_each(choices, [*choices] if by_header else _called(start, len(choices)), table)
            for counted, start in _starts(marks, len(choices), own).items()
        }
    else:
        [column] = choices
        count = max((len(_list(row.get(column))) for row in rows), default=0)
        loops = {None: f"'{LETTERS}'[loop.index0]", 0: "loop.index0", 1: "loop.index"}
        shown_as = {
            counted: asked + _loop(column, _first(rows, column), loops[start])
            for counted, start in _starts(marks, count, "").items()
        }
    return dict(list(shown_as.items())[:1]) if len({*shown_as.values()}) == 1 else shown_as


def _called(start: int | None, count: int) -> list[str]:
    """Return what so many choices are called: letters, or numbers from `start` on."""
    return [LETTERS[at] if start is None else str(start + at) for at in range(count)]


def _one_each(choices: Sequence[str], called: Sequence[str], table: Table) -> str:
    """Return the part of a template that shows choices that have a column each; where it is empty, none."""
    optional = {name for name in choices if any(blank(row.values.get(name)) for row in table.first)}
    return "".join(_choice(mark, name, name in optional) for mark, name in zip(called, choices, strict=True))


def _starts(marks: Sequence[str], count: int, own: str) -> dict[str, int | None]:
    """Return what the choices are counted from, None for letters: as the answers tell, else as the headers do."""
    numbers = {int(digits) for mark in marks if (digits := mark.strip("()[]")).isdecimal()}
    if not numbers:
        return {"": None}
    if 0 in numbers or count in numbers:
        return {"": 0 if 0 in numbers else 1}
    return {"": int(own)} if own and own in "01" else {", counted from 0": 0, ", counted from 1": 1}


def _choice(mark: str, column: str, optional: bool) -> str:
    text = f" {mark}. {_field(column)}"
    return f"{{% if {reference(column)} %}}{text}{{% endif %}}" if optional else text


def _loop(column: str, value: Any, mark: str) -> str:
    """Return the part of a template that shows all choices in `column`, of which `value` is the first."""
    name, each = reference(column), ""
    if isinstance(value, dict) and isinstance(value.get("text"), list):
        marks = _key(value, ("label", "labels", "key"))
        name, mark, each = f"{name}.text", f"{name}.{marks}[loop.index0]" if marks else mark, "text"
    elif isinstance(value, dict):
        return f"{{% for name, text in {name}.items() %}} {{{{ name }}}}. {{{{ text }}}}{{% endfor %}}"
    elif isinstance(value, list) and isinstance(value[0], dict):
        own = _key(value[0], ("label", "key", "id", "letter", "option"))
        mark, each = f"text.{own}" if own else mark, f"text.{_key(value[0], ('text', 'value', 'content', 'answer'))}"
    elif isinstance(value, list):
        each = "text"
    else:
        return f" {_field(column)}"
    return f"{{% for text in {name} %}} {{{{ {mark} }}}}. {{{{ {each} }}}}{{% endfor %}}"


def _key(value: dict[str, Any], keys: Sequence[str]) -> str:
    return next((key for key in keys if key in value), "")


def _first(rows: Sequence[dict[str, Any]], column: str) -> Any:
    return next((value for row in rows if not blank(value := plain(row.get(column)))), "")


def _list(value: Any) -> Sequence[Any]:
    value = plain(value)
    return value if isinstance(value, list) else ()


def _mark(value: Any) -> str:
    """Return an answer as a mark, several of them together."""
    value = listed(value)
    text = ",".join(map(shown, value)) if isinstance(value, list) else shown(value)
    return unicodedata.normalize("NFKC", text).strip()


def _field(column: str) -> str:
    return f"{{{{ {reference(column)} }}}}"


def reference(column: str) -> str:
    """Return how a template refers to a column."""
    return column if column.isidentifier() else f"row[{column!r}]"
