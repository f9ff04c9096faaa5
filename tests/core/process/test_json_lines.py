"""A child that speaks JSON lines: what it says comes through, and how it fails is told with its last words."""

import os
import signal
import sys
import threading

import pytest

from ftbridge.core.process.json_lines import ChildEndedError, JsonLinesChild

ECHO = "import sys\nfor line in sys.stdin: print(line, end='', flush=True)"


def start(code):
    return JsonLinesChild([sys.executable, "-c", code], os.environ)


def failure(code):
    """Return how a child is said to have ended that gives no answer."""
    with start(code) as child, pytest.raises(ChildEndedError) as raised:
        child.receive()
    return raised.value


def test_a_child_is_asked_and_answers_line_by_line():
    with start(ECHO) as child:
        for record in ({"药": "阿司匹林\n\u2028"}, {"n": [1, None, 2.5]}, {}):
            child.send(record)
            assert child.receive() == record


@pytest.mark.parametrize("value", ["NaN", "Infinity", "1" + "0" * 30, r'"\ud83d"'])
def test_an_answer_may_hold_what_json_can_write_and_structs_refuse(value):
    line = f'{{"n": {value}}}'
    with start(f"print({line!r})") as child:
        assert list(child.receive()) == ["n"]


@pytest.mark.parametrize("end", ["sys.exit(7)", "os.kill(os.getpid(), 9)"])
def test_a_child_that_dies_in_the_middle_of_an_answer_is_told_with_its_status_and_last_lines(end):
    write = "print('{\"text\": \"half', end='', flush=True)"
    ended = failure(f"import os, sys\nfor n in range(20): print(n, file=sys.stderr, flush=True)\n{write}\n{end}")
    assert ended.status == (7 if "exit" in end else -signal.SIGKILL)
    assert ended.messages == "\n".join(f"  {n}" for n in range(5, 20))


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("a warning", "a warning"),
        ("[1]", "[1]"),
        ("5", "5"),
        ("", ""),
        ("[" * 100_000, "[" * 200),
        ("\\udcff", "\ufffd"),
    ],
)
def test_a_child_that_writes_no_json_object_is_ended_and_quoted(line, shown):
    code = "import sys, time\nsys.stdout.reconfigure(errors='surrogateescape')\nprint('before', file=sys.stderr)\n"
    ended = failure(f"{code}print('{line}', flush=True)\ntime.sleep(300)")
    assert ended.messages == f"  before\n  it wrote `{shown}`, which is not a JSON object"


def test_the_last_words_of_a_child_that_has_closed_its_stdout_are_waited_for():
    code = "import os, sys, time\nos.close(1)\ntime.sleep(1)\nprint('the reason', file=sys.stderr)\nos._exit(3)"
    ended = failure(code)
    assert (ended.status, ended.messages) == (3, "  the reason")


def test_a_child_that_never_answers_is_ended_by_close_and_who_waits_is_told():
    ended = []

    def wait(child):
        try:
            child.receive()
        except (ChildEndedError, ValueError) as error:  # ValueError: closed before it could read the messages
            ended.append(error)

    with start("import signal, time\nsignal.signal(15, signal.SIG_IGN)\ntime.sleep(300)") as child:
        thread = threading.Thread(target=wait, args=[child])
        thread.start()
        assert not child.is_closed
    thread.join(60)
    assert ended
    assert child.is_closed
    assert child.process.returncode is not None


def test_a_child_that_has_ended_cannot_be_asked():
    with start("pass") as child:
        child.process.wait()
        with pytest.raises(BrokenPipeError):
            child.send({})


def test_what_cannot_be_started_is_told():
    with (
        JsonLinesChild(["./absent"], os.environ) as child,
        pytest.raises(ChildEndedError, match="No such file") as raised,
    ):
        child.receive()
    assert raised.value.status == 127


def test_a_signal_handler_that_sends_while_a_long_line_is_on_its_way_does_not_cut_it(tmp_path):
    # The child reads only once the handler has sent, so that the pipe is full before.
    wait = f"import os, time\nwhile not os.path.exists({str(tmp_path / 'sent')!r}): time.sleep(0.01)\n"

    def interrupt(*_):
        child.send({"interrupt": 1})
        (tmp_path / "sent").touch()

    usual = signal.signal(signal.SIGALRM, interrupt)
    try:
        with start(wait + ECHO) as child:
            signal.setitimer(signal.ITIMER_REAL, 0.3)
            child.send({"long": "x" * 1_000_000})
            found = [child.receive(), child.receive()]
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, usual)
    assert sorted(map(list, found)) == [["interrupt"], ["long"]]


def test_a_child_does_not_hear_of_ctrl_c():
    with start("import os\nprint('{\"group\": %d}' % os.getpgrp())") as child:
        assert child.receive()["group"] == child.process.pid != os.getpgrp()


def test_a_child_inherits_the_descriptors_that_it_is_given():
    read, write = os.pipe()
    try:
        child = JsonLinesChild(
            [sys.executable, "-c", f"import os\nos.write({write}, b'here')\nprint('{{}}')"],
            os.environ,
            pass_fds=[write],
        )
        with child:
            assert child.receive() == {}
        assert os.read(read, 10) == b"here"
    finally:
        os.close(read)
        os.close(write)
