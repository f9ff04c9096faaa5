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

from ftbridge.core.console import DIRECTIONS, aligned, escaped, print_piece, result, rich_console, say
from ftbridge.core.errors import InputError, SetupError
from ftbridge.dialogue.chat import ChatSession, save_conversations
from ftbridge.language import gettext as _
from ftbridge.language import joined

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderResult
    from rich.table import Table

Begin = Callable[[ChatSession], Iterator[str]]
COMMANDS = {
    "/reset": _("begin a new conversation (also /clear, RESET)"),
    "/retry": _("ask the last question again"),
    "/system TEXT": _('set the system prompt; "" for none'),
    "/save FILE": _("write the conversation for `ftbridge convert`"),
    "/help": _("show this list"),
    "/exit": _("end (also /quit, EXIT, Ctrl-D)"),
    "Ctrl-C": _("end an answer"),
    '"""': _("begin and end a question of several lines"),
}
# Words of other programs: `xtuner chat` has RESET and EXIT, `llamafactory-cli chat` clear and exit.
OTHER_COMMANDS = {"clear": "reset", "new": "reset", "quit": "exit", "bye": "exit", "q": "exit", "h": "help"}
WORDS = {
    "RESET": "/reset",
    "clear": "/reset",
    "EXIT": "/exit",
    "exit": "/exit",
    "quit": "/exit",
    "exit()": "/exit",
    "quit()": "/exit",
    "退出": "/exit",
    "help": "/help",
}
SHOWN = 200  # letters of a system prompt at the start; /system shows all
BLOCK = '"""'
NARROW = 80  # columns of a terminal in which two answers do not stand side by side
_COMMAND = re.compile(r"/([a-z]+)(?:\s+(.*))?", re.DOTALL | re.IGNORECASE)


def converse(talks: Sequence[ChatSession], *, name: str = "", stream: bool = True) -> None:
    """Answer what is typed until the user ends it; `name` stands before each answer.

    Raises FrameworkError where the model dies.
    """
    _speak_utf8()
    say(_heading(talks[-1]))
    say("\n" + _help())
    while True:
        try:
            result("")
            if not _obey_or_answer(read_question(), talks, name, stream):
                return
        except EOFError:
            result("")
            return
        except KeyboardInterrupt:
            say("\n" + _("Ctrl-D or /exit ends the conversation"))
        except (InputError, SetupError) as error:
            say(_("error: {error}").format(error=error))


def _heading(talk: ChatSession) -> str:
    """Return who answers: run, model and system prompt."""
    system = talk.system if len(talk.system) <= SHOWN else f"{talk.system[:SHOWN]}..."
    rows = [(_("run"), talk.run or _("none")), (_("model"), talk.model), (_("system prompt"), system or _("none"))]
    return aligned(rows)


def _help() -> str:
    return aligned([*COMMANDS.items()])


def read_question() -> str:
    """Return the next question; raises EOFError at Ctrl-D, KeyboardInterrupt at Ctrl-C.

    A text pasted with many lines is one question: readline takes it so from terminals that mark a paste; from others,
    the lines come faster than anybody types. What was typed before the prompt, while the model answered, is a question
    a line; so is a line that begins with a slash.
    """
    typed_ahead = _is_input_waiting()
    text = input("> ")
    while _is_open_block(text) or (not typed_ahead and not text.startswith("/") and _is_input_waiting()):
        text += "\n" + input("... " if text.startswith(BLOCK) else "")
    if text.startswith(BLOCK):
        text = text.removeprefix(BLOCK).removesuffix(BLOCK).strip("\n")
    # Bytes that are no UTF-8 come as surrogates, which no tokenizer takes.
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def _is_open_block(text: str) -> bool:
    return text.startswith(BLOCK) and not (len(text) >= 2 * len(BLOCK) and text.endswith(BLOCK))


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
        if end := _why_it_ended(talk):
            say(_("({end})").format(end=joined(": ", (_(talk.title), end)) if len(talks) > 1 else end))


def _why_it_ended(talk: ChatSession) -> str:
    """Return why the last answer ended, where the user should know, else ""."""
    if talk.finish == "length":
        return _("cut off at --max-new-tokens: {count}").format(count=talk.sampling.max_new_tokens)
    if talk.finish == "full":
        return _("cut off: the conversation fills the model's context; /reset begins a new one")
    return _("ended by Ctrl-C") if talk.finish == "interrupted" else ""


def _show_one_by_one(talks: Sequence[ChatSession], begin: Begin, name: str, stream: bool) -> None:
    for talk in talks:
        if len(talks) > 1:
            result(f"[{_(talk.title)}]")
        print_piece(f"{name}: " if name else "")
        for text in begin(talk) if stream else ["".join(begin(talk))]:
            print_piece(text)
        result("")


def _obey_or_answer(text: str, talks: Sequence[ChatSession], name: str, stream: bool) -> bool:
    """Carry out a command, or answer; return whether the conversation goes on."""
    command = _COMMAND.fullmatch(WORDS.get(text, text).rstrip())
    if not command:
        if text.strip():
            _show_until_ctrl_c(talks, lambda talk: talk.say(text.strip()), name, stream)
        return True
    word, value = command[1].lower(), (command[2] or "").strip()
    word = OTHER_COMMANDS.get(word, word)
    if word == "retry":
        if all(talk.repeats for talk in talks):
            say(_("at temperature 0 the answer is always the same; `--temperature 0.7` varies it"))
        _show_until_ctrl_c(talks, ChatSession.retry, name, stream)
    elif word == "save":
        say(_("wrote {file}").format(file=save_conversations(talks, value)))
    elif word in _SETTINGS:
        _SETTINGS[word](talks, value)
    elif word != "exit":
        reason = _("there is no command `/{word}`; /help lists all. To ask the model this, begin with a space")
        raise InputError(reason.format(word=word))
    return word != "exit"


def _reset_talks(talks: Sequence[ChatSession], _text: str) -> None:
    for talk in talks:
        talk.reset()
    say(_("new conversation"))


def _set_system(talks: Sequence[ChatSession], text: str) -> None:
    if text:
        for talk in talks:
            talk.system = "" if text == '""' else text
    system = talks[0].system
    say(_("system prompt: {text}").format(text=system) if system else _("no system prompt"))


_SETTINGS: dict[str, Callable[[Sequence[ChatSession], str], None]] = {
    "help": lambda _talks, _text: say(_help()),
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
        table.add_column(_(talk.title), ratio=1, overflow="fold")
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
