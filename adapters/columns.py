"""Columns by their names: what their headers say in English and Chinese, and which one the user means."""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence

from ftbridge.adapters.values import shown
from ftbridge.core.console import some
from ftbridge.core.errors import InputError, UsageError
from ftbridge.core.plugins import Table
from ftbridge.core.strict import closest

# Headers that are recognised, as `header` writes them; the order of the fields is the order in which they are shown.
HEADERS = {
    "system": ("system", "system prompt", "系统", "系统提示", "系统提示词", "系统消息"),
    "instruction": (
        *("instruction", "question", "prompt", "query", "q", "ask", "problem", "user question"),
        *("问题", "提问", "问", "问句", "指令", "提示词", "用户问题", "题目"),
    ),
    "input": ("input", "inputs", "context", "输入", "上下文", "补充输入"),
    "output": (
        *("output", "answer", "response", "reply", "a", "completion", "solution", "targets"),
        *("correct answer", "best answer", "reference answer"),
        *("答案", "回答", "答", "答句", "回复", "输出", "答复", "参考答案", "标准答案", "正确答案", "标准回答"),
    ),
    "history": ("history", "历史", "历史对话", "对话历史"),
}
# Headers of texts and what is said about them, the better ones first; they count where no better header is there.
TEXT_AND_LABEL = {
    "instruction": (
        (
            *("text", "sentence", "content", "review", "comment", "tweet", "tweet text", "document", "article"),
            *("passage", "dialogue", "文本", "内容", "评论", "句子", "正文", "评价", "文章", "新闻", "原文"),
        ),
    ),
    "output": (
        ("label text", "text label", "label name", "标签名", "标签名称", "类别名称"),
        (
            *("label", "class", "category", "sentiment", "intent", "topic", "target", "summary"),
            *("标签", "类别", "分类", "情感", "意图", "主题", "摘要", "译文"),
        ),
    ),
}
# Headers in traditional characters are read as those in simplified ones.
SIMPLIFIED = str.maketrans(
    "問題詞戶統輸補復覆參標準確歷對話內評論價聞籤簽稱類別圖譯",
    "问题词户统输补复复参标准确历对话内评论价闻签签称类别图译",
)
# Columns that must be empty, and what they hold.
REFUSED = {
    "tools": ("tools", "functions"),
    "images, sound or video": ("image", "images", "video", "videos", "audio", "audios"),
}
# How many columns a message names.
SHOWN = 30


def recognise(columns: Iterable[str]) -> dict[str, list[str]]:
    """Return the columns that fit each field, by their headers alone."""
    headers = {column: header(column) for column in columns}
    found: dict[str, list[str]] = {}
    for field, best in HEADERS.items():
        tiers = (best, *TEXT_AND_LABEL.get(field, ()))
        fitting = ([column for column in headers if headers[column] in tier] for tier in tiers)
        if names := next(filter(None, fitting), None):
            found[field] = names
    if any(headers[column] not in HEADERS["instruction"] for column in found.get("instruction", ())):
        found["instruction"] += found.get("input", [])  # a text and an input: either may be the question
    return found


def fits(columns: Iterable[str]) -> bool:
    """Tell whether a question and an answer are recognised in `columns`."""
    found = recognise(columns)
    return "output" in found and bool({"instruction", "input"} & found.keys())


def refused(columns: Iterable[str]) -> dict[str, str]:
    """Return the columns that must be empty, with what they hold."""
    columns = list(columns)
    return {column: what for what, headers in REFUSED.items() for column in columns if header(column) in headers}


def header(column: str) -> str:
    """Return a header in lower case, simplified characters and the usual width, `_` as a blank.

    A colon at its end is left out, and the letter that the source gave to one that occurs twice: `Answer [D]`. Between
    Chinese characters blanks mean nothing: many a sheet spreads `问　题` over its column.
    """
    plain = unicodedata.normalize("NFKC", re.sub(r" \[[A-Z]+\]$", "", column)).lower().translate(SIMPLIFIED)
    spaced = " ".join(re.split(r"[\s_-]+", plain)).strip(" :*")
    return re.sub("(?<=[一-鿿]) (?=[一-鿿])", "", spaced)


def find_column(table: Table, wanted: str) -> str:
    """Return the column that `wanted` means: a header, a letter, or an index from 1; raises UsageError.

    A number is always an index; a header that is a number stands in quotes, `"2"`. Raises QuestionError where a place
    is meant and the table may have no headers.
    """
    is_index = re.fullmatch("[0-9]+", wanted) is not None
    if not is_index and wanted in table.columns:
        return wanted
    if re.fullmatch('"[0-9]+"', wanted) and wanted[1:-1] in table.columns:
        return wanted[1:-1]
    index = letter_index(wanted) if table.lettered and re.fullmatch("[A-Za-z]{1,3}", wanted) else 0
    if is_index and len(wanted) <= len(str(len(table.columns))):
        index = int(wanted)
    if 1 <= index <= len(table.columns):
        if table.unsure:
            raise table.unsure
        return table.columns[index - 1]
    hint = f"; the header `{wanted}` goes in quotes: `{quoted(wanted)}`" if wanted in table.columns else ""
    hint = hint or ("" if index or is_index else near(wanted, table.columns))
    raise UsageError(f"there is no column `{wanted}`{hint}\n{listing(table)}")


def quoted(column: str) -> str:
    """Return what names a column in an option: its header, in quotes where that is a number."""
    return f'"{column}"' if re.fullmatch("[0-9]+", column) else column


def near(wanted: str, choices: Iterable[str]) -> str:
    """Return `; did you mean ...?` where a choice is close, else ""."""
    hint = closest(wanted, choices)
    return hint if hint.startswith("; did") else ""


def listing(table: Table) -> str:
    """Return the columns with their letters or numbers, for a message."""
    marked = [f"{letter(at) if table.lettered else at} `{shown(name)}`" for at, name in enumerate(table.columns, 1)]
    return f"columns of {f'{table.file} {table.sheet}'.strip()}: {some(marked, SHOWN)}"


def letter(index: int) -> str:
    """Return the letters of a sheet's column, counted from 1: 27 is `AA`."""
    letters = ""
    while index:
        index, rest = divmod(index - 1, 26)
        letters = chr(65 + rest) + letters
    return letters


def letter_index(letters: str) -> int:
    """Return the number of a sheet's column: `AA` is 27."""
    index = 0
    for char in letters.upper():
        index = index * 26 + ord(char) - 64
    return index


def unique_headers(cells: Sequence[str]) -> tuple[str, ...]:
    """Return `marked_headers`, each of them once; raises InputError where another column is called just that."""
    marked = marked_headers(cells)
    if double := [name for name, times in Counter(marked).items() if times > 1]:
        raise InputError(f"several columns have the header `{shown(double[0])}`; give them different ones")
    return marked


def marked_headers(cells: Sequence[str]) -> tuple[str, ...]:
    """Return the headers in `cells` without the empty ones at the end.

    One that is missing or occurs twice gets the letter of its column: `[C]`, `Answer [D]`.
    """
    names = [cell.strip() for cell in cells]
    while names and not names[-1]:
        names.pop()
    return marked(names)


def marked(names: Sequence[str]) -> tuple[str, ...]:
    """Return the names of columns, with the letter of its column behind one that is missing or occurs twice."""
    count = Counter(names)
    return tuple(
        name if name and count[name] == 1 else f"{name} [{letter(at)}]".strip() for at, name in enumerate(names, 1)
    )
