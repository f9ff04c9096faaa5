"""Questions with several choices, where the answer only names one of them: `B`, or its number.

So are MMLU and C-Eval: with the choices left out, a model would learn letters.
"""

import re
from collections.abc import Sequence
from typing import Any

from ftbridge.adapters.columns import header
from ftbridge.adapters.values import blank, plain, shown
from ftbridge.core.plugins import Table

HEADERS = ("choices", "options", "candidates", "选项", "候选项")
LETTERS = "ABCDEFGHIJ"
FEWEST = 3  # `q` and `a` by themselves are question and answer
MARK = re.compile(rf"\(?[{LETTERS}]+\)?|[0-9]", re.IGNORECASE)


def choices_of(columns: Sequence[str]) -> list[str]:
    """Return the columns that hold choices: one with all of them, or one each for A, B, C and so on."""
    headers = {header(column): column for column in columns}
    lettered = [headers[letter.lower()] for letter in LETTERS if letter.lower() in headers]
    whole = [headers[name] for name in HEADERS if name in headers][:1]
    return whole or (lettered if len(lettered) >= FEWEST else [])


def question_with(choices: Sequence[str], question: str, answer: str, table: Table) -> str:
    """Return a template that shows the choices with the question; "" where the first answer is more than a mark."""
    mark = shown(_first(table, answer))
    if not MARK.fullmatch(mark):
        return ""
    if len(choices) > 1:
        return "".join((_field(question), *(f" {name}. {_field(name)}" for name in choices)))
    values = _first(table, choices[0])
    if not isinstance(values, (list, dict)):
        return f"{_field(question)} {_field(choices[0])}"
    if isinstance(values, dict):
        loop, name = f"name, text in {_name(choices[0])}.items()", "name"
    else:
        loop = f"text in {_name(choices[0])}"
        name = "loop.index0" if mark.isdecimal() else f"'{LETTERS}'[loop.index0]"
    return f"{_field(question)}{{% for {loop} %}} {{{{ {name} }}}}. {{{{ text }}}}{{% endfor %}}"


def _first(table: Table, column: str) -> Any:
    values = (plain(row.values.get(column)) for row in table.first)
    return next((value for value in values if not blank(value)), "")


def _field(column: str) -> str:
    return f"{{{{ {_name(column)} }}}}"


def _name(column: str) -> str:
    return column if column.isidentifier() else f"row[{column!r}]"
