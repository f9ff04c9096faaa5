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
from contextlib import contextmanager, suppress
from functools import cache, partial
from typing import TYPE_CHECKING, Any, TextIO, cast

from ftbridge.core.console.notebook import is_of_notebook
from ftbridge.language import Message, counted_noun, english, joined
from ftbridge.language import gettext as _

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderableType
    from rich.progress import Progress, Task, TaskID
    from rich.segment import Segment

EVERY = 5  # seconds between two lines of progress where there is no terminal
GAP = 2  # columns between those of a table
NARROW = 100  # columns of a terminal on which a bar takes what is left of a line
ECHOED = 8  # columns beside a bar: the terminal shows ^C there for Ctrl-C, and in a full line it would begin the next
# What turns the direction of text: harmless in a text, and in a name a way to let it seem another.
DIRECTIONS = "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
# Matches one of those, or a control character other than tab and newline.
OBEYED = rf"[\x00-\x08\x0b-\x1f\x7f-\x9f{DIRECTIONS}]"
# Colours and movements of the cursor, and one whose end is still to come.
_SEQUENCE = re.compile(r"\x1b\[[0-?]{0,64}[ -/]{0,9}[@-~]")
_BEGUN_SEQUENCE = re.compile(r"\x1b(\[[0-?]{0,64}[ -/]{0,9})?\Z")
# Matches 1,000  -0.5  2e-05  90/90  1:02:03  12.3 MB  7 %  0.912 (0.880 to 0.940)
_NUMBER = re.compile(
    r"[-+]?\d[\d,]*(\.\d+)?(e[-+]?\d+)?(/\d+|(:\d\d){1,2}| ?%| (bytes|[kMG]B|[KMG]iB))?( \([-\d.,]+ to [-\d.,]+\))?"
)
_CURSOR_UP = re.compile(r"(\x1b\[A)+")


def say(message: str = "") -> None:
    """Print a message to stderr, wrapped on a terminal; what that cannot show is escaped, never a crash."""
    _write_escaped(sys.stderr, _wrapped(message, sys.stderr))


def result(text: str, *, data: bool = False, wrap: bool = False) -> None:
    """Print a result to stdout; one that is `data` may turn the direction of text, as in Arabic and Hebrew.

    A terminal may `wrap` what is nothing to be copied or read by a program.
    """
    _write_escaped(sys.stdout, _wrapped(text, sys.stdout) if wrap else text, keep=DIRECTIONS if data else "")


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
    """Tell whether a stream is a terminal with somebody before it, which the one of a notebook's `!` is not.

    What somebody has put in place of stdout need not be able to say.
    """
    asked = getattr(stream, "isatty", None)
    return bool(asked and asked()) and not is_of_notebook()


def escaped(text: str, keep: str = "") -> str:
    """Return `text` with what a terminal would obey, but newline, tab and the characters in `keep`, as escapes."""
    return _obeyed_pattern(keep).sub(lambda match: _escape(match[0]), text)


def printable(text: str, keep: str = "") -> str:
    """Return `text` with all that cannot be seen in a line as escapes, line breaks and odd blanks too."""
    return "".join(letter if letter.isprintable() or letter in keep else _escape(letter) for letter in text)


def first_few(names: Sequence[str], most: int) -> str:
    """Return the first names, `most` of them, and how many more there are."""
    few = joined(", ", names[:most])
    return _("{few} and {count:,} more").format(few=few, count=len(names) - most) if len(names) > most else few


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


def format_duration(seconds: float) -> str:
    """Return a duration as 0:07, 12:34 or 1:02:03."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def natural_duration(seconds: float) -> str:
    """Return a duration in words, to two units: 45 s, 2 min 15 s, 3 h 20 min, 2 d 5 h."""
    units = (_("{n} d"), 86400), (_("{n} h"), 3600), (_("{n} min"), 60), (_("{n} s"), 1)
    left = round(seconds)
    parts = []
    for text, size in units:
        count, left = divmod(left, size)
        parts.append(text.format(n=count) if count else "")
    first = next((place for place, part in enumerate(parts) if part), len(parts) - 1)
    return joined(" ", [part for part in parts[first : first + 2] if part]) or _("{n} s").format(n=0)


def aligned(rows: Sequence[Sequence[str]]) -> str:
    """Return rows of as many cells each as a table: columns aligned, numbers to the right, wide characters as two."""
    from rich.cells import cell_len

    columns = []
    for column in zip(*rows, strict=True):
        cells = [cell_text(cell) for cell in column]
        width, to_the_right = max(map(cell_len, cells)), are_numbers(cells)
        blanks = (" " * (width - cell_len(cell)) for cell in cells)
        columns.append([gap + cell if to_the_right else cell + gap for cell, gap in zip(cells, blanks, strict=True)])
    return "\n".join((" " * GAP).join(row).rstrip() for row in zip(*columns, strict=True))


def padded(text: str, width: int) -> str:
    """Return a text with blanks up to `width` columns of a terminal, wide characters counted as two."""
    from rich.cells import cell_len

    return text + " " * (width - cell_len(text))


def cell_text(text: str) -> str:
    """Return a text as a cell of a table shows it: in one line, with what a terminal would obey as escapes."""
    return escaped(" ".join(text.splitlines()))


def are_numbers(column: Sequence[str]) -> bool:
    """Tell whether a column has nothing but numbers, sizes and durations under its title."""
    cells = [cell for cell in column[1:] if cell]
    return bool(cells) and all(map(_NUMBER.fullmatch, cells))


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

    fallback = 80, 24
    with suppress(OSError):  # where stdout goes into a pipe, which is all that `shutil` asks
        fallback = os.get_terminal_size(2)
    return get_terminal_size(fallback)


class Pace:
    """How long work takes that is done bit by bit: told by its mean since it began, and by a guess until then."""

    def __init__(self, total: float | None, *, seconds_each: float = 0, delay: float = 0) -> None:
        """Expect `total` bits, of `seconds_each` after a `delay` in seconds; 0 where nothing is known of that."""
        self._total, self._seconds_each, self._delay = total, seconds_each, delay
        self._begun = time.monotonic()
        self._first = self._last = (0.0, 0.0)  # bits that were done, and when that was seen
        self._bit = 0.0  # that were done between the last two times
        self._is_going = False

    def observe(self, done: float) -> None:
        """Take note of how much is done; what is done at the first time is no part of the pace."""
        now = time.monotonic()
        if not self._is_going:
            self._first = self._last = done, now
            self._is_going = True
        elif done > self._last[0]:
            self._bit = done - self._last[0]
            self._last = done, now

    def forget(self) -> None:
        """Tell from now on only how long it has taken."""
        self._total = None

    @property
    def elapsed(self) -> float:
        """Return the seconds since this was made."""
        return time.monotonic() - self._begun

    @property
    def left(self) -> float | None:
        """Return the seconds that are left, None where nothing tells yet; they go down between two bits, too."""
        if self._total is None:
            return None
        (begin, began), (done, at), now = self._first, self._last, time.monotonic()
        if done == begin:
            waited = now - began if self._is_going else max(0.0, self.elapsed - self._delay)
            coming = 0 if self._is_going else max(0.0, self._delay - self.elapsed)
            guess = coming + (self._total - begin) * self._seconds_each - waited
            return max(0.0, guess) if self._seconds_each else None
        # It is taken to go on as before, as far as it went the last time; one that takes longer slows the mean down.
        each = max((at - began) / (done - begin), 1e-9)
        reached = min(self._total, done + min((now - at) / each, self._bit))
        return (self._total - reached) * (now - began) / (reached - begin)

    def __str__(self) -> str:
        """Return the time it has taken, and the time that is left: `0:12, 1:03 left`."""
        elapsed, left = format_duration(self.elapsed), self.left
        if left is None:
            return elapsed
        return _("{elapsed}, {left} left").format(elapsed=elapsed, left=format_duration(left))


class ProgressBar:
    """A bar of rich on stderr."""

    def __init__(self, progress: "Progress", task: "TaskID", pace: Pace) -> None:
        """Show `task` of `progress`, and `pace`."""
        self._progress, self._task, self._pace = progress, task, pace

    def update(self, completed: float, **fields: str) -> None:
        """Move the bar to what is done, and say other things beside it."""
        self._pace.observe(completed)
        self._progress.update(self._task, completed=completed, **fields)  # type: ignore[arg-type]

    @property
    def speed(self) -> float:
        """Return how much is done in a second, 0 where that is not known yet."""
        return self._progress.tasks[0].speed or 0

    def say(self, line: str) -> None:
        """Print a line above the bar."""
        from rich.console import Group
        from rich.text import Text

        from ftbridge.core.console.wrapping import wrap_lines

        console = self._progress.console
        shown = Text(wrap_lines(line, console.width), no_wrap=True, overflow="ignore")
        console.print(Group(shown), crop=False)  # a bare text would lose how it is wrapped


@contextmanager
def progress_bar(
    *columns: str,
    total: float | None,
    completed: float = 0,
    transient: bool = False,
    pace: Pace | None = None,
    **fields: Any,
) -> Iterator[ProgressBar | None]:
    """Yield a bar where stderr is a terminal that can move its cursor, else None.

    A column is `bar`, `spinner`, `count`, `bytes`, `percent`, `time` (passed and left, by `pace`), `elapsed`, or text
    over `task`, as rich formats it; `fields` are what `{task.fields[...]}` shows at first.
    """
    console = rich_console(stderr=True) if is_terminal(sys.stderr) else None
    if console is None or console.is_dumb_terminal:
        yield None
        return
    import rich.progress
    from rich.constrain import Constrain
    from rich.table import Column
    from rich.text import Text

    shown_on = console
    if pace is None:
        pace = Pace(total)

    class Bars(rich.progress.Progress):
        def get_renderables(self) -> "Iterable[RenderableType]":
            for each in super().get_renderables():
                yield Constrain(each, max(1, shown_on.width - ECHOED))

    class TimeColumn(rich.progress.ProgressColumn):
        def render(self, task: "Task") -> Text:
            return Text(format_duration(task.finished_time or 0) if task.finished else str(pace))

    known: dict[str, Callable[[], rich.progress.ProgressColumn]] = {
        # Of forty columns, less where the terminal has not so many.
        "bar": partial(rich.progress.BarColumn, None if console.width < NARROW else 40),
        "spinner": rich.progress.SpinnerColumn,
        "count": rich.progress.MofNCompleteColumn,
        "bytes": rich.progress.DownloadColumn,
        "percent": rich.progress.TaskProgressColumn,
        "time": partial(TimeColumn, Column(no_wrap=True)),
        "elapsed": rich.progress.TimeElapsedColumn,
    }
    shown = [known[column]() if column in known else column for column in columns]
    with Bars(*shown, console=console, transient=transient) as bars:
        task = bars.add_task("", total=total, completed=completed, **fields)  # type: ignore[arg-type]
        yield ProgressBar(bars, task, pace)


@contextmanager
def progress(*columns: str, total: float, line: Callable[[int], str]) -> Iterator[Callable[[int], None]]:
    """Yield what is to be called with how much is done: it moves a bar, or now and then prints `line` of it.

    At its end, unless by an error, all of it counts as done.
    """
    with progress_bar(*columns, total=total) as bar:
        if bar:
            yield bar.update
            bar.update(total)
            return
        is_time, printed = RateLimiter(), 0

        def show(done: int) -> None:
            nonlocal printed
            if is_time():
                say(line(done))
                printed = done

        yield show
        if 0 < printed < total:
            say(line(int(total)))


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


def _wrapped(text: str, stream: TextIO) -> str:
    if not is_terminal(stream):
        return text
    from ftbridge.core.console.wrapping import wrap_lines  # `--help` does not wait for its patterns

    return wrap_lines(escaped(text), terminal_size()[0])


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
