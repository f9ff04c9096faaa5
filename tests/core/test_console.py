"""Words: results to stdout, the rest to stderr, and nothing that a terminal cannot show."""

import io
import json
import re
import sys
import unicodedata
from pathlib import Path

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from ftbridge.core import console
from ftbridge.core.console import (
    DIRECTIONS,
    aligned,
    escaped,
    first_few,
    natural_size,
    print_json,
    print_piece,
    result,
    rich_console,
    say,
    show_log,
)

from ..builders import keyboard  # noqa: TID252
from ..builders.keyboard import show_on_terminal  # noqa: TID252

# What writes a clipboard, colours, a one-letter CSI, a bell, a backspace, and two that turn the direction.
HOSTILE = "\x1b]52;c;aGk=\x07\x1b[31m\x9b1m\x7f\b\r\u202ex\u2066"
SHOWN = r"\x1b]52;c;aGk=\x07\x1b[31m\x9b1m\x7f\x08\r\u202ex\u2066"
# Letters that are obeyed are rare in what hypothesis draws by itself.
texts = st.text(st.one_of(st.characters(), st.sampled_from(HOSTILE + "\n\t")))


def test_messages_go_to_stderr_and_results_to_stdout(capsys):
    say("药: a message")
    say()
    result("a result")
    assert capsys.readouterr() == ("a result\n", "药: a message\n\n")


def test_text_outside_the_terminals_encoding_is_escaped(monkeypatch):
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stderr", io.TextIOWrapper(raw, encoding="ascii"))
    say("药 \udcff ok")
    assert raw.getvalue() == b"\\u836f \\udcff ok\n"


@pytest.mark.parametrize("terminal", [True, False])
def test_control_characters_are_escaped_on_a_terminal_and_in_a_pipe(terminal, monkeypatch, capsys):
    for stream in (sys.stdout, sys.stderr):
        monkeypatch.setattr(stream, "isatty", lambda: terminal)
    say(f"药\u3000{HOSTILE}\n\t")
    result(f"药\u3000{HOSTILE}\n\t")
    result(HOSTILE, data=True)
    shown, data = f"药\u3000{SHOWN}\n\t\n", SHOWN.replace(r"\u202e", "\u202e").replace(r"\u2066", "\u2066")
    assert capsys.readouterr() == (f"{shown}{data}\n", shown)


def test_answer_in_a_file_keeps_carriage_returns_and_form_feeds(monkeypatch, capsys):
    text = "one\r\ntwo\fthree \u202eabc\u202c"
    for terminal in (False, True):
        monkeypatch.setattr(sys.stdout, "isatty", lambda: terminal)  # noqa: B023 - looked at within the loop
        for letter in f"{text}\x1b[2J\x85":
            print_piece(letter)
    assert capsys.readouterr().out == (
        f"{text}\\x1b[2J\\x85" + f"{text}\\x1b[2J\\x85".replace("\r", "\\r").replace("\f", "\\x0c")
    )


@given(texts, texts)
def test_escaping_leaves_no_control_character_and_changes_nothing_else(one, two):
    letters = [
        letter.encode("unicode_escape").decode()
        if letter in DIRECTIONS or (unicodedata.category(letter) == "Cc" and letter not in "\n\t")
        else letter
        for letter in one
    ]
    assert escaped(one) == "".join(letters)
    assert escaped(escaped(one)) == escaped(one)
    assert escaped(one + two) == escaped(one) + escaped(two)


@given(st.lists(texts), st.data())
def test_log_shown_in_any_pieces_gives_the_same_output(lines, data):
    written = "\n".join(lines).encode("utf-8", "surrogatepass")
    ends = sorted(data.draw(st.lists(st.integers(0, len(written)))))
    pieces = [written[begin:end] for begin, end in zip([0, *ends], [*ends, len(written)], strict=True)]
    outputs = []
    for each in (pieces, [written]):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, "stdout", io.StringIO())
            show_log(each)
            outputs.append(sys.stdout.getvalue())
    assert outputs[0] == outputs[1]
    assert escaped(outputs[0], "\r") == outputs[0]


def test_a_log_loses_its_colours_and_keeps_its_bars(capsys):
    show_log(
        [
            b"\x1b[1;3",
            b"2mok\x1b[0m \xe8\x8d",
            b"\xaf\r 50%\r100%\x1b[A\n",
            b"\x1b]52;c;aGk=\x07 \x9b\xc2\x9b1m",
            b"\x1b",
        ]
    )
    assert capsys.readouterr().out == "ok 药\r 50%\r100%\n\\x1b]52;c;aGk=\\x07 \\x9b\\x9b1m\\x1b"


@pytest.mark.parametrize(
    ("number", "words", "said"),
    [
        (0, ["step"], "0 steps"),
        (1, ["step"], "1 step"),
        (2000, ["step"], "2,000 steps"),
        (1, ["process", "processes"], "1 process"),
        (2, ["tensor is", "tensors are"], "2 tensors are"),
    ],
)
def test_one_of_a_thing_has_no_plural(number, words, said):
    assert console.counted(number, *words) == said


def test_a_table_of_rich_keeps_its_colours_and_shows_what_it_is_given(monkeypatch, capsys):
    from rich.table import Table
    from rich.text import Text

    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm-256color")
    table = Table("h\x1b[31m", box=None, pad_edge=False)
    table.add_row(Text("a\x1b]52;c;aGk=\x07\x9b", style="green"))
    table.add_row(":smile: [b] and more, as wide as that")
    rich_console(width=60).print(table)
    said = capsys.readouterr().out
    assert "\x1b[32ma\\x1b]52;c;aGk=" in said
    for ours in ("\x1b[32m", "\x1b[1m", "\x1b[0m"):
        said = said.replace(ours, "")
    assert escaped(said) == said
    assert "h\\x1b[31m" in said
    assert ":smile: [b]" in said


@pytest.mark.parametrize("kind", ["dumb", "xterm"])
def test_a_table_of_rich_is_as_wide_as_the_terminal_of_any_kind(kind):
    code = "from ftbridge.core.console import rich_console; rich_console().print('x' * 100)"
    with keyboard.terminal("-c", code, columns=60, TERM=kind) as there:
        assert there.end() == 0
        assert max(map(len, there.shown.decode().split("\r\n"))) == 60


def test_a_bar_of_rich_obeys_no_link_that_another_prints(monkeypatch, capsys):
    from rich.progress import Progress

    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm-256color")
    with Progress(console=rich_console(stderr=True)):
        sys.stderr.write("\x1b]8;;http://x/\x1b]52;c;aGk=\x07\x1b\\\\here\x1b]8;;\x1b\\\\\n")
        say(HOSTILE)
    said = capsys.readouterr().err
    assert "here" in said
    assert SHOWN in said
    assert "\x1b]" not in said


def test_guarded_console_escapes_what_libraries_print(capsys):
    console.escape_streams()
    console.escape_streams()  # once more changes nothing
    click.echo(HOSTILE, color=True)  # or click takes colours out where there is no terminal
    print(HOSTILE, file=sys.stderr)  # noqa: T201
    sys.excepthook(ValueError, ValueError(HOSTILE), None)
    say(HOSTILE)
    assert capsys.readouterr() == (f"{SHOWN}\n", f"{SHOWN}\nValueError: {SHOWN}\n{SHOWN}\n")
    assert not hasattr(sys.stdout, "buffer")


def test_bars_of_tqdm_move_and_what_they_say_is_shown(capsys):
    from tqdm import tqdm

    console.escape_streams()

    with tqdm(total=2, desc="a\x1b]52;c;aGk=\x07\r", ascii=True, mininterval=0) as outer:
        with tqdm(total=1, desc="b", ascii=True) as inner:
            inner.update()
        outer.update()
    said = capsys.readouterr().err
    assert "\ra\\x1b]52;c;aGk=\\x07\\r:   0%" in said
    assert "\x1b[A" in said
    said = said.replace("\x1b[A", "")
    assert escaped(said, "\r") == said


def test_closed_or_missing_stream_takes_output_without_an_error(monkeypatch):
    monkeypatch.setattr(sys, "stdout", None)
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    console.escape_streams()
    result("nobody listens")
    sys.stdout.stream.close()
    click.echo(HOSTILE, err=True, color=True)
    assert sys.stderr.stream.getvalue() == f"{SHOWN}\n"


def test_json_on_an_ascii_terminal_reads_back(monkeypatch):
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding="ascii"))
    print_json({"药": ["é💊\udcff", Path("a")]})
    assert json.loads(raw.getvalue()) == {"药": ["é💊\udcff", "a"]}


@given(texts)
def test_json_holds_nothing_that_is_obeyed_and_is_read_as_it_was(text):
    text = text.encode("utf-8", "replace").decode()  # half a pair becomes ?
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "stdout", io.StringIO())
        print_json({text: [text]})
        said = sys.stdout.getvalue()
    assert escaped(said) == said
    assert json.loads(said) == {text: [text]}


def test_stream_without_an_encoding_gets_the_text_unescaped(monkeypatch):
    plain = io.StringIO()
    monkeypatch.setattr(sys, "stdout", plain)
    result("药")
    assert plain.getvalue() == "药\n"


def test_columns_are_aligned_whatever_the_script():
    assert aligned([("name", "count"), ("问答", "3"), ("faq", "12")]) == "name  count\n问答      3\nfaq      12"
    assert aligned([("two\nlines", "x"), ("y", "z")]) == "two lines  x\ny          z"
    assert aligned([("\x1b[31m", "x"), ("y", "z")]) == "\\x1b[31m  x\ny         z"


@pytest.mark.parametrize("number", ["7", "-0.5", "1,234", "2e-05", "90/90", "1:02:03", "12.3 MB", "7 %"])
def test_a_column_of_numbers_is_aligned_to_the_right(number):
    assert aligned([("a longer title", "x"), (number, "y"), ("", "z")]).splitlines()[1] == f"{number:>14}  y"
    assert aligned([("a longer title", "x"), (number, "y"), ("and a text", "z")]).splitlines()[1][0] == number[0]


@pytest.mark.parametrize("text", ["20260102-030405", "2026-01-02", "2.8.0", "iter_4", "1 of 2", "7B"])
def test_a_column_of_texts_with_digits_is_aligned_to_the_left(text):
    assert aligned([("a longer title", "x"), (text, "y")]).splitlines()[1].startswith(text)


def test_names_beyond_the_limit_are_counted():
    assert [first_few(["a", "b", "c"], most) for most in (2, 3)] == ["a, b and 1 more", "a, b, c"]


def test_size_is_printed_in_the_unit_that_fits():
    sizes = [0, 60, 999, 1000, 1_234_567, 5e9, 2e12]
    assert list(map(natural_size, sizes)) == [
        "0 bytes", "60 bytes", "999 bytes", "1.0 kB", "1.2 MB", "5.0 GB", "2000.0 GB",
    ]  # fmt: skip
    assert [natural_size(size, binary=True) for size in (1023, 1024, 3 << 19, 5 << 29)] == [
        "1023 bytes", "1.0 KiB", "1.5 MiB", "2.5 GiB",
    ]  # fmt: skip


@pytest.fixture
def clock(monkeypatch):
    """Return a clock that stands still until it is set."""
    hands = {"now": 1000.0}
    monkeypatch.setattr(console.time, "monotonic", lambda: hands["now"])
    return hands


def test_progress_is_a_line_every_five_seconds_where_there_is_no_terminal(capsys, clock):
    with console.progress("work", "bar", total=9, line=lambda done: f"{done} of 9") as show:
        for now, done in ((1000, 1), (1004, 2), (1006, 3), (1010, 4), (1011, 5)):
            clock["now"] = now
            show(done)
    assert capsys.readouterr().err.splitlines() == ["3 of 9", "5 of 9", "9 of 9"]


def test_progress_is_a_bar_on_a_terminal_and_ends_full(monkeypatch):
    screen = show_on_terminal(monkeypatch)
    with console.progress("work", "bar", "count", total=9, line=str) as show:
        show(7)
    assert "work" in screen.getvalue()
    assert "9/9" in screen.getvalue()


def test_progress_that_failed_is_not_full(monkeypatch):
    screen = show_on_terminal(monkeypatch)
    with pytest.raises(ZeroDivisionError), console.progress("work", "count", total=9, line=str) as show:
        show(7 / 0)
    assert "9/9" not in screen.getvalue()


def test_progress_is_plain_lines_on_a_terminal_that_cannot_move_its_cursor(clock, monkeypatch):
    screen = show_on_terminal(monkeypatch)
    monkeypatch.setenv("TERM", "dumb")
    with console.progress("work", "bar", total=9, line=lambda done: f"{done} of 9") as show:
        clock["now"] += 6
        show(9)
    assert screen.getvalue() == "9 of 9\n"


def test_time_left_is_known_from_the_first_step_and_goes_down_within_each(clock):
    pace = console.Pace(10)
    assert pace.left is None
    clock["now"] += 30  # the model is loaded
    pace.observe(0)
    assert (pace.left, str(pace)) == (None, "0:30")
    clock["now"] += 40
    pace.observe(1)
    assert (pace.left, str(pace)) == (360, "1:10, 6:00 left")
    clock["now"] += 39
    assert pace.left == pytest.approx(321)
    clock["now"] += 1
    assert pace.left == pytest.approx(320)
    clock["now"] += 20  # this step is slower than the last one
    assert pace.left == pytest.approx(8 * 50)
    pace.observe(2)
    assert pace.left == pytest.approx(8 * 50)


def test_time_left_is_that_of_what_is_left_where_work_goes_on_from_before(clock):
    pace = console.Pace(100)
    pace.observe(90)
    clock["now"] += 5
    pace.observe(91)
    assert pace.left == pytest.approx(45)
    clock["now"] += 45
    pace.observe(100)
    assert pace.left == 0


def test_time_left_is_as_expected_until_the_first_step(clock):
    pace = console.Pace(10, seconds_each=40, delay=30)
    assert pace.left == 430
    clock["now"] += 20
    assert pace.left == 410
    clock["now"] += 60  # loading takes longer
    assert pace.left == 350
    pace.observe(0)
    assert pace.left == 400
    clock["now"] += 900
    assert pace.left == 0


def test_a_bar_shows_the_time_that_is_left(clock, monkeypatch):
    screen = show_on_terminal(monkeypatch)
    with console.progress_bar("work", "time", total=10) as bar:
        clock["now"] += 10
        bar.update(0)
        clock["now"] += 40
        bar.update(1)
        bar._progress.refresh()
    assert "0:50, 6:00 left" in screen.getvalue()


@pytest.mark.parametrize("columns", [40, 80, 120])
def test_a_bar_leaves_room_for_what_the_terminal_shows_of_ctrl_c(columns, monkeypatch):
    screen = show_on_terminal(monkeypatch)
    monkeypatch.setenv("COLUMNS", str(columns))
    with console.progress_bar("work", "bar", "count", total=9) as bar:
        bar.update(4)
    lines = re.split(r"[\r\n]+", re.sub(r"\x1b\[[?\d;]*[A-Za-z]", "", screen.getvalue()))
    assert "work" in screen.getvalue()
    assert max(map(cell_len, lines)) <= columns - len("^C^C")


def test_a_line_above_a_bar_is_wrapped_outside_of_backticks(monkeypatch):
    screen = show_on_terminal(monkeypatch)
    monkeypatch.setenv("COLUMNS", "30")
    with console.progress_bar("work", total=9) as bar:
        bar.say("to go on run `ftbridge train --resume 20261130-015955`, or not")
    assert "to go on run\n`ftbridge train --resume 20261130-015955`,\nor not\n" in screen.getvalue()


@pytest.mark.parametrize("terminal", [True, False])
def test_messages_are_wrapped_on_a_terminal_alone_and_results_where_that_is_asked_for(terminal, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "20")
    for stream in (sys.stdout, sys.stderr):
        monkeypatch.setattr(stream, "isatty", lambda: terminal)
    text = "more than twenty columns"
    wrapped = text.replace("twenty ", "twenty\n") if terminal else text
    say(text)
    result(text)
    result(text, wrap=True)
    assert capsys.readouterr() == (f"{text}\n{wrapped}\n", f"{wrapped}\n")


@pytest.mark.parametrize(("seconds", "text"), [(7, "0:07"), (754.4, "12:34"), (3723, "1:02:03")])
def test_a_duration_reads_as_a_clock(seconds, text):
    assert console.format_duration(seconds) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (45.2, "45 s"),
        (60, "1 min"),
        (135, "2 min 15 s"),
        (12059, "3 h 20 min"),
        (191000, "2 d 5 h"),
        (3605, "1 h"),
    ],
)
def test_a_duration_is_told_in_its_two_largest_units(seconds, text):
    assert console.natural_duration(seconds) == text
