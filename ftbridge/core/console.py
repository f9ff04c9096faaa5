r"""What is printed: progress and messages to stderr, results to stdout.

Whatever a file, a model or a framework brings in is shown and not obeyed, on a terminal as in a pipe: ESC is `\x1b`.
What is written past this module is escaped by `escape_streams`.
"""

import io
import os
import re
import sys
import time
from codecs import getincrementaldecoder
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache, partial
from typing import TYPE_CHECKING, Any, TextIO, cast

from ftbridge.language import Message, counted_noun, english, joined
from ftbridge.language import gettext as _

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderableType
    from rich.progress import Progress, TaskID
    from rich.segment import Segment

EVERY = 5  # seconds between two lines of progress where there is no terminal
# What turns the direction of text: harmless in a text, and in a name a way to let it seem another.
DIRECTIONS = "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
# Matches one of those, or a control character other than tab and newline.
OBEYED = rf"[\x00-\x08\x0b-\x1f\x7f-\x9f{DIRECTIONS}]"
# Colours and movements of the cursor, and one whose end is still to come.
_SEQUENCE = re.compile(r"\x1b\[[0-?]{0,64}[ -/]{0,9}[@-~]")
_BEGUN_SEQUENCE = re.compile(r"\x1b(\[[0-?]{0,64}[ -/]{0,9})?\Z")
_CURSOR_UP = re.compile(r"(\x1b\[A)+")


def say(message: str = "") -> None:
    """Print a message to stderr; what the terminal cannot show is escaped, never a crash."""
    _write_escaped(sys.stderr, message)


def result(text: str, *, data: bool = False) -> None:
    """Print a result to stdout; one that is `data` may turn the direction of text, as in Arabic and Hebrew."""
    _write_escaped(sys.stdout, text, keep=DIRECTIONS if data else "")


def print_json(value: Any, *, indent: int = 2) -> None:
    """Print a value as JSON to stdout, all in ASCII where the encoding of stdout cannot hold it; NaN is null."""
    import json

    import msgspec

    try:
        text = msgspec.json.format(msgspec.json.encode(value, enc_hook=_plain), indent=indent).decode()
        text.encode(_encoding(sys.stdout))
    except UnicodeEncodeError:
        text = json.dumps(msgspec.to_builtins(value, enc_hook=_plain), indent=indent or None)
    result(re.sub(OBEYED, lambda match: f"\\u{ord(match[0]):04x}", text))


def print_piece(text: str) -> None:
    """Print a part of an answer to stdout at once, without a line's end; a file gets returns and form feeds as text."""
    _write_escaped(sys.stdout, text, end="", keep=DIRECTIONS + ("" if is_terminal(sys.stdout) else "\r\f"))


def show_log(pieces: Iterable[bytes]) -> None:
    """Print a log to stdout as its pieces come, without its colours; progress bars still go back to a line's start."""
    decode = getincrementaldecoder("utf-8")("backslashreplace").decode
    held = ""
    for each in pieces:
        text = held + decode(each)
        begun = _BEGUN_SEQUENCE.search(text)
        held = begun[0] if begun else ""
        _write_escaped(sys.stdout, _SEQUENCE.sub("", text.removesuffix(held)), end="", keep="\r")
    _write_escaped(sys.stdout, held + decode(b"", final=True), end="", keep="\r")


def is_terminal(stream: TextIO | None) -> bool:
    """Tell whether a stream is a terminal; what somebody has put in place of stdout need not be able to say."""
    asked = getattr(stream, "isatty", None)
    return bool(asked and asked())


def escaped(text: str, keep: str = "") -> str:
    """Return `text` with what a terminal would obey, but newline, tab and the characters in `keep`, as escapes."""
    return _obeyed_pattern(keep).sub(lambda match: _escape(match[0]), text)


def printable(text: str, keep: str = "") -> str:
    """Return `text` with all that cannot be seen in a line as escapes, line breaks and odd blanks too."""
    return "".join(letter if letter.isprintable() or letter in keep else _escape(letter) for letter in text)


def first_few(names: Sequence[str], most: int) -> str:
    """Return the first names, `most` of them, and how many more there are."""
    few = joined(", ", names[:most])
    return _("{few} and {count} more").format(few=few, count=len(names) - most) if len(names) > most else few


def counted(number: int, one: str, several: str = "") -> str:
    """Return a number with what it counts: `1 step`, `2,000 steps`; `several` where that is not `one` with an s."""
    text = f"{number:,} {one if number == 1 else several or f'{one}s'}"
    noun = counted_noun(one)
    return text if noun == one else Message(f"{number:,} {noun}", text)


def natural_size(size: float, *, binary: bool = False) -> str:
    """Return a size in the unit that fits it: 12.3 GB, 45.0 MB, 900 bytes; `binary` counts in GiB, as memory is."""
    step, units = (1024, ("GiB", "MiB", "KiB")) if binary else (1000, ("GB", "MB", "kB"))
    for power, unit in zip((3, 2, 1), units, strict=True):
        if size >= step**power:
            return f"{size / step**power:.1f} {unit}"
    return _("{size:.0f} bytes").format(size=size)


def aligned(rows: Sequence[Sequence[str]]) -> str:
    """Return rows of as many cells each as a table whose columns are aligned, wide characters counted as two."""
    from rich.cells import cell_len

    rows = [[escaped(" ".join(cell.splitlines())) for cell in row] for row in rows]
    widths = [max(map(cell_len, column)) for column in zip(*rows, strict=True)]
    lines = (
        "  ".join(cell + " " * (width - cell_len(cell)) for cell, width in zip(row, widths, strict=True))
        for row in rows
    )
    return "\n".join(line.rstrip() for line in lines)


def rich_console(*, stderr: bool = False, width: int | None = None) -> "Console":
    """Return a console of rich for tables and bars: it colours and moves, and what it is given to print does not."""
    from rich.console import Console
    from rich.segment import Segment

    class Shown(Console):
        def render(self, renderable: "RenderableType", options: "ConsoleOptions | None" = None) -> "Iterable[Segment]":
            for text, style, control in super().render(renderable, options):
                # While a bar is shown, rich makes styles of the sequences in what others print; a link is one.
                plain = style.update_link(None) if style and style.link else style
                yield Segment(text if control else escaped(text, DIRECTIONS), plain, control)

    stream = sys.stderr if stderr else sys.stdout
    file = cast("TextIO", _EncodingStream(_unguarded(stream)))
    console = Shown(file=file, width=width, markup=False, emoji=False, highlight=False)
    if console.is_dumb_terminal and not width:  # which rich takes for 80 columns wide, whatever it says
        console.width, console.height = terminal_size()
    return console


def terminal_size() -> tuple[int, int]:
    """Return columns and lines of the terminal, or of the variables COLUMNS and LINES; 80 and 24 where none says."""
    from shutil import get_terminal_size

    return get_terminal_size()


class ProgressBar:
    """A bar of rich on stderr."""

    def __init__(self, progress: "Progress", task: "TaskID") -> None:
        """Show `task` of `progress`."""
        self._progress, self._task = progress, task

    def update(self, completed: float, **fields: str) -> None:
        """Move the bar to what is done, and say other things beside it."""
        self._progress.update(self._task, completed=completed, **fields)  # type: ignore[arg-type]

    @property
    def speed(self) -> float:
        """Return how much is done in a second, 0 where that is not known yet."""
        return self._progress.tasks[0].speed or 0

    def say(self, line: str) -> None:
        """Print a line above the bar."""
        self._progress.console.print(line)


@contextmanager
def progress_bar(
    *columns: str, total: float | None, transient: bool = False, **fields: Any
) -> Iterator[ProgressBar | None]:
    """Yield a bar where stderr is a terminal, else None.

    A column is `bar`, `spinner`, `count`, `bytes`, `percent`, `left` (the time), `elapsed`, or text over `task`, as
    rich formats it; `fields` are what `{task.fields[...]}` shows at first.
    """
    if not is_terminal(sys.stderr):
        yield None
        return
    import rich.progress

    known: dict[str, Callable[[], rich.progress.ProgressColumn]] = {
        "bar": rich.progress.BarColumn,
        "spinner": rich.progress.SpinnerColumn,
        "count": rich.progress.MofNCompleteColumn,
        "bytes": rich.progress.DownloadColumn,
        "percent": rich.progress.TaskProgressColumn,
        "left": partial(rich.progress.TimeRemainingColumn, elapsed_when_finished=True),
        "elapsed": rich.progress.TimeElapsedColumn,
    }
    shown = [known[column]() if column in known else column for column in columns]
    with rich.progress.Progress(*shown, console=rich_console(stderr=True), transient=transient) as bars:
        yield ProgressBar(bars, bars.add_task("", total=total, **fields))


@contextmanager
def progress(*columns: str, total: float, line: Callable[[int], str]) -> Iterator[Callable[[int], None]]:
    """Yield what is to be called with how much is done: it moves a bar, or now and then prints `line` of it."""
    with progress_bar(*columns, total=total) as bar:
        if bar:
            yield bar.update
            return
        is_time = RateLimiter()

        def show(done: int) -> None:
            if is_time():
                say(line(done))

        yield show


class RateLimiter:
    """Tells, each time that it is called, whether it is time for a line of progress: every five seconds."""

    def __init__(self, *, at_once: bool = False) -> None:
        """Begin to count; `at_once` lets the first line come without delay."""
        self._last = 0.0 if at_once else time.monotonic()

    def __call__(self, *, surely: bool = False) -> bool:
        """Tell whether to print; what is `surely` printed counts as a line."""
        now = time.monotonic()
        if now - self._last < EVERY and not surely:
            return False
        self._last = now
        return True


def escape_streams() -> None:
    """Escape, too, what others write to stdout and stderr from now on: click, libraries, Python's own tracebacks."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:  # closed before the start, as by `>&-`: nobody listens
            stream = open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123, SIM115 - it stays open to the end
        if not isinstance(stream, _EscapingStream):
            setattr(sys, name, _EscapingStream(stream))


class _EncodingStream(io.TextIOBase):
    """A stream that takes any text, whatever its encoding, and has no `buffer` to write past it."""

    encoding = errors = ""

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream
        self.encoding, self.errors = _encoding(stream), "backslashreplace"

    def write(self, text: str) -> int:
        _write_encoded(self.stream, text)
        return len(text)

    def flush(self) -> None:
        self.stream.flush()

    def isatty(self) -> bool:
        return is_terminal(self.stream)

    def fileno(self) -> int:
        return self.stream.fileno()

    def writable(self) -> bool:
        return True


class _EscapingStream(_EncodingStream):
    """A stream that escapes; tqdm may move between its bars, which it does in writes of their own."""

    def write(self, text: str) -> int:
        if not _CURSOR_UP.fullmatch(text):
            begin = "\r" if text.startswith("\r") else ""
            end = "\r" if text[1:].endswith("\r") else ""
            text = begin + escaped(text.removeprefix(begin).removesuffix(end)) + end
        return super().write(text)


def _plain(value: Any) -> str:
    """Return what JSON has of a value that is none of its own: the English of a message, else its text."""
    return str(english(value))


def _unguarded(stream: TextIO) -> TextIO:
    return stream.stream if isinstance(stream, _EscapingStream) else stream


def _write_escaped(stream: TextIO, text: str, *, end: str = "\n", keep: str = "") -> None:
    stream = _unguarded(stream)
    if stream is not None:  # as under pythonw, or where a notebook took it away
        _write_encoded(stream, escaped(text, keep) + end)
        stream.flush()


def _write_encoded(stream: TextIO, text: str) -> None:
    encoding = _encoding(stream)
    stream.write(text.encode(encoding, "backslashreplace").decode(encoding))


def _encoding(stream: TextIO) -> str:
    return getattr(stream, "encoding", None) or "utf-8"  # an object with `write` and `flush` has none


@cache
def _obeyed_pattern(keep: str) -> re.Pattern[str]:
    """Return what matches all that is obeyed but the characters in `keep`."""
    return re.compile(f"{OBEYED}(?<![{re.escape(keep)}])" if keep else OBEYED)


def _escape(letter: str) -> str:
    return letter.encode("unicode_escape").decode()
