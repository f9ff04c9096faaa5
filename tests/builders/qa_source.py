"""A source of somebody else: questions and answers on lines that begin with `Q:` and `A:`.

Q: Why?
A: So.
"""

from ftbridge.core.errors import InputError
from ftbridge.core.records import Row, Rows, Table, Where, first_rows


def detect(path, head):
    """Tell whether the content begins with a question."""
    del path
    return head.startswith(b"Q: ")


def open_tables(path, reading):
    """Open the file; raises InputError where it is not in UTF-8 or does not begin with a question."""
    reading.refuse_sheets(path, "questions and answers")
    try:
        lines = path.read_text("utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise InputError(f"`{path}` is not in UTF-8; save it as UTF-8") from error
    if not lines:
        raise InputError(f"`{path}` is empty")
    columns = ("question", "answer")
    return [
        Table(
            file=path.name,
            columns=columns,
            pieces=[Rows(_rows(path.name, lines))],
            first=first_rows(_rows(path.name, lines)),
        )
    ]


def _rows(file, lines):
    for number in range(0, len(lines), 2):
        question, answer, *_ = [*lines[number : number + 2], ""]
        where = Where(file, number + 1)
        if question.startswith("Q: ") and answer.startswith("A: "):
            yield Row(where, {"question": question[3:], "answer": answer[3:]})
        else:
            yield Row(where, {}, error="is no question with its answer")
