"""A conversation at the keyboard: what is typed, the commands, and the answers on the screen."""

import locale
import os
import re
import select
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from ftbridge.core.console import DIRECTIONS, counted, escaped, print_piece, result, rich_console, say
from ftbridge.core.errors import InputError, SetupError
from ftbridge.dialogue.chat import ChatSession, save_conversations

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderResult
    from rich.table import Table

Begin = Callable[[ChatSession], Iterator[str]]
HELP = """\
/reset        forgets what was said
/retry        asks the last question again
/system TEXT  sets the system prompt
/save FILE    writes what was said for `ftbridge convert`
/help         shows this
/exit         or Ctrl-D ends; Ctrl-C ends an answer
Several lines: paste them, or put them between \"\"\" and \"\"\"."""
BLOCK = '"""'
NARROW = 80  # columns of a terminal in which two answers do not stand side by side
_COMMAND = re.compile(r"/([a-z]+)(?:\s+(.*))?", re.DOTALL | re.IGNORECASE)
# Why an answer ended, where the user should know.
_ENDS = {
    "length": "cut after {0}; `--max-new-tokens` allows more",
    "full": "cut, for the conversation fills what the model takes; /reset begins a new one",
    "interrupted": "ended by Ctrl-C",
}


def converse(talks: Sequence[ChatSession], *, name: str = "", stream: bool = True) -> None:
    """Answer what is typed until the user ends it; `name` stands before each answer.

    Raises FrameworkError where the model dies.
    """
    _speak_utf8()
    say(HELP)
    while True:
        try:
            result("")
            if not _obey_or_answer(read_question(), talks, name, stream):
                return
        except EOFError:
            result("")
            return
        except KeyboardInterrupt:
            say("\nCtrl-D or /exit ends the conversation")
        except (InputError, SetupError) as error:
            say(f"error: {error}")


def read_question() -> str:
    """Return the next question; raises EOFError at Ctrl-D, KeyboardInterrupt at Ctrl-C.

    A text pasted with many lines is one question: readline takes it so from terminals that mark a paste; from others,
    the lines come faster than anybody types.
    """
    text = input("> ")
    while _is_input_waiting() or (
        text.startswith(BLOCK) and not (len(text) >= 2 * len(BLOCK) and text.endswith(BLOCK))
    ):
        text += "\n" + input("... " if text.startswith(BLOCK) else "")
    if text.startswith(BLOCK):
        text = text.removeprefix(BLOCK).removesuffix(BLOCK).strip("\n")
    # Bytes that are no UTF-8 come as surrogates, which no tokenizer takes.
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def show(talks: Sequence[ChatSession], begin: Begin, *, name: str = "", stream: bool = True) -> None:
    """Print what each conversation answers, as it comes or, without `stream`, when it is whole.

    Two stand side by side in a terminal that is wide enough, else one below the other.
    """
    console = rich_console()
    is_wide = console.is_terminal and console.width >= NARROW and console.encoding.startswith("utf")
    if len(talks) > 1 and is_wide:
        _show_side_by_side(console, talks, begin, stream)
    else:
        _show_one_by_one(talks, begin, name, stream)
    for talk in talks:
        if talk.finish in _ENDS:
            who = f"{talk.title}: " if len(talks) > 1 else ""
            say(f"({who}{_ENDS[talk.finish].format(counted(talk.sampling.max_new_tokens, 'token'))})")


def _show_one_by_one(talks: Sequence[ChatSession], begin: Begin, name: str, stream: bool) -> None:
    for talk in talks:
        if len(talks) > 1:
            result(f"[{talk.title}]")
        print_piece(f"{name}: " if name else "")
        for text in begin(talk) if stream else ["".join(begin(talk))]:
            print_piece(text)
        result("")


def _obey_or_answer(text: str, talks: Sequence[ChatSession], name: str, stream: bool) -> bool:
    """Carry out a command, or answer; return whether the conversation goes on."""
    command = _COMMAND.fullmatch(text.rstrip())
    if not command:
        if text.strip():
            _show_until_ctrl_c(talks, lambda talk: talk.say(text.strip()), name, stream)
        return True
    word, value = command[1].lower(), (command[2] or "").strip()
    if word == "retry":
        if not talks[0].sampling.temperature:
            say("at temperature 0 the answer is always the same; `--temperature 0.7` gives others")
        _show_until_ctrl_c(talks, ChatSession.retry, name, stream)
    elif word == "save":
        say(f"wrote {save_conversations(talks, value)}")
    elif word in _SETTINGS:
        _SETTINGS[word](talks, value)
    elif word != "exit":
        raise InputError(f"there is no command `/{word}`; to ask this, begin with a space; /help lists what is there")
    return word != "exit"


def _reset_talks(talks: Sequence[ChatSession], _: str) -> None:
    for talk in talks:
        talk.reset()
    say("a new conversation")


def _set_system(talks: Sequence[ChatSession], text: str) -> None:
    if text:
        for talk in talks:
            talk.system = "" if text == '""' else text
    say(f"the system prompt is: {talks[0].system}" if talks[0].system else "there is no system prompt")


_SETTINGS: dict[str, Callable[[Sequence[ChatSession], str], None]] = {
    "help": lambda _talks, _text: say(HELP),
    "reset": _reset_talks,
    "system": _set_system,
}


def _show_until_ctrl_c(talks: Sequence[ChatSession], begin: Begin, name: str, stream: bool) -> None:
    def attended(talk: ChatSession) -> Iterator[str]:
        with _interrupt_on_ctrl_c(talk):
            yield from begin(talk)

    show(talks, attended, name=name, stream=stream)


@contextmanager
def _interrupt_on_ctrl_c(talk: ChatSession) -> Iterator[None]:
    """Let Ctrl-C end the answer; a second one no longer waits for the model, should it not listen."""
    usual = signal.getsignal(signal.SIGINT)

    def interrupt(*_: object) -> None:
        signal.signal(signal.SIGINT, usual)
        talk.interrupt()

    signal.signal(signal.SIGINT, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, usual)


class _LastLines:
    """The end of a table that may be higher than the terminal, which can redraw only what it shows."""

    def __init__(self, table: "Table") -> None:
        self.table = table

    def __rich_console__(self, console: "Console", options: "ConsoleOptions") -> "RenderResult":
        from rich.segment import Segment

        for line in console.render_lines(self.table, options)[2 - console.height :]:
            yield from line
            yield Segment.line()


def _show_side_by_side(console: "Console", talks: Sequence[ChatSession], begin: Begin, stream: bool) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.live import Live
    from rich.table import Table
    from rich.text import Text

    answers = [Text() for _ in talks]
    table = Table(box=SIMPLE_HEAD, expand=True)
    for talk in talks:
        table.add_column(talk.title, ratio=1, overflow="fold")
    table.add_row(*answers)
    with Live(_LastLines(table), console=console, transient=True, auto_refresh=False) as live:
        for talk, answer in zip(talks, answers, strict=True):
            for text in begin(talk):
                answer.append(escaped(text, DIRECTIONS))
                if stream:
                    live.refresh()
    console.print(table)


def _is_input_waiting() -> bool:
    return bool(select.select([sys.stdin], [], [], 0)[0])


def _speak_utf8() -> None:
    """Load readline, which edits the line, with a UTF-8 locale.

    In the C locale, which many containers and servers have, it would take a Chinese letter for three, and a
    backspace would leave two of them.
    """
    with suppress(locale.Error):
        locale.setlocale(locale.LC_CTYPE, "")
    if not locale.nl_langinfo(locale.CODESET).upper().startswith(("UTF", "GB", "BIG5")):
        os.environ["LC_ALL"] = "C.UTF-8"  # readline asks the environment
    with suppress(ImportError):  # a Python built without it reads lines all the same
        import readline  # noqa: F401
