"""Which column is the question, which the answer: as asked for, or by headers in English and Chinese."""

import re
from collections import Counter
from collections.abc import Iterable, Sequence

from ftbridge.adapters.values import shown
from ftbridge.core.errors import InputError, UsageError
from ftbridge.core.plugins import Table
from ftbridge.core.strict import closest

# Headers that are recognised, in lower case; the order of the fields is the order in which they are shown.
HEADERS = {
    "system": ("system", "system prompt", "system_prompt", "系统", "系统提示", "系统提示词", "系统消息"),
    "instruction": (
        *("instruction", "question", "prompt", "query", "q"),
        *("问题", "提问", "问", "指令", "用户问题", "题目"),
    ),
    "input": ("input", "context", "输入", "上下文", "补充输入"),
    "output": (
        *("output", "answer", "response", "reply", "a"),
        *("答案", "回答", "答", "回复", "输出", "答复", "参考答案"),
    ),
    "history": ("history", "历史", "历史对话", "对话历史"),
}
SHAPES = {
    "conversation": "XTuner conversations",
    "conversations": "ShareGPT conversations",
    "messages": "OpenAI messages",
}


def recognise(columns: Iterable[str]) -> dict[str, list[str]]:
    """Return the columns that fit each field, by their headers alone."""
    found: dict[str, list[str]] = {}
    for column in columns:
        # A header that occurs twice was given its letter by the source: `Answer [D]`.
        header = re.sub(r" \[[A-Z]+\]$", "", column).strip().lower()
        for field, headers in HEADERS.items():
            if header in headers:
                found.setdefault(field, []).append(column)
    return found


def fits(columns: Iterable[str]) -> bool:
    """Tell whether a question and an answer are recognised in `columns`."""
    found = recognise(columns)
    return "output" in found and bool({"instruction", "input"} & found.keys())


def choose(table: Table, chosen: dict[str, str] | None) -> dict[str, str]:
    """Return the column of each field: as `chosen`, else by headers.

    Raises UsageError for a field or a column that is not there, InputError where headers do not say enough.
    """
    if chosen:
        columns = {_field(field): find_column(table, wanted) for field, wanted in chosen.items()}
    else:
        found = recognise(table.columns)
        double = {field: names for field, names in found.items() if len(names) > 1}
        if double or not fits(table.columns):
            raise InputError(_unclear(table, double))
        columns = {field: names[0] for field, names in found.items()}
    if "instruction" not in columns and "input" in columns:
        columns["instruction"] = columns.pop("input")
    if missing := {"instruction", "output"} - columns.keys():
        raise UsageError(f"`--map` names no {' and no '.join(sorted(missing))}; add `--map {min(missing)}=COLUMN`")
    return {field: columns[field] for field in HEADERS if field in columns}


def find_column(table: Table, wanted: str) -> str:
    """Return the column that `wanted` means: a header, a letter, or an index from 1; raises UsageError."""
    if wanted in table.columns:
        return wanted
    index = _letter_index(wanted) if table.lettered and re.fullmatch("[A-Za-z]{1,3}", wanted) else 0
    if re.fullmatch("[0-9]{1,5}", wanted):
        index = int(wanted)
    if 1 <= index <= len(table.columns):
        return table.columns[index - 1]
    hint = closest(wanted, table.columns) if not index else ""
    hint = hint if hint.startswith("; did") else ""
    raise UsageError(f"there is no column `{wanted}`{hint}\n{listing(table)}")


def listing(table: Table) -> str:
    """Return the columns with their letters or numbers, for a message."""
    marks = [letter(at) if table.lettered else str(at) for at in range(1, len(table.columns) + 1)]
    shown_columns = [f"{mark} `{shown(name)}`" for mark, name in zip(marks[:30], table.columns, strict=False)]
    more = f" and {len(marks) - 30} more" if len(marks) > 30 else ""  # noqa: PLR2004 - the 30 of above
    return f"columns: {', '.join(shown_columns)}{more}"


def letter(index: int) -> str:
    """Return the letters of a sheet's column, counted from 1: 27 is `AA`."""
    letters = ""
    while index:
        index, rest = divmod(index - 1, 26)
        letters = chr(65 + rest) + letters
    return letters


def unique_headers(cells: Sequence[str]) -> tuple[str, ...]:
    """Return the headers in `cells` without the empty ones at the end, each of them once.

    One that is missing or occurs twice gets the letter of its column: `[C]`, `Answer [D]`. Raises InputError
    where another column is called just that.
    """
    names = [cell.strip() for cell in cells]
    while names and not names[-1]:
        names.pop()
    count = Counter(names)
    marked = [
        name if name and count[name] == 1 else f"{name} [{letter(at)}]".strip() for at, name in enumerate(names, 1)
    ]
    if double := [name for name, times in Counter(marked).items() if times > 1]:
        raise InputError(f"several columns have the header `{shown(double[0])}`; give them different ones")
    return tuple(marked)


def _letter_index(letters: str) -> int:
    index = 0
    for char in letters.upper():
        index = index * 26 + ord(char) - 64
    return index


def _field(field: str) -> str:
    if field not in HEADERS:
        raise UsageError(f"`--map` knows no field `{field}`{closest(field, HEADERS)}")
    return field


def _unclear(table: Table, double: dict[str, list[str]]) -> str:
    shape = next((SHAPES[column] for column in table.columns if column in SHAPES), "")
    if shape and not double:
        return f"this holds {shape}, which cannot be read yet; give columns of questions and answers"
    reason = "no column is recognised as question and answer"
    if double:
        field, names = next(iter(double.items()))
        reason = f"{' and '.join(f'`{name}`' for name in names)} both fit {field}"
    return f"{reason}; say which to take: `--map instruction=COLUMN --map output=COLUMN`\n{listing(table)}"
