"""What is typed and what is shown, in a real terminal; the model answers only in the tests marked so."""

from types import SimpleNamespace

import msgspec
import pytest
from rich.cells import cell_len

from ftbridge.core.errors import InputError
from ftbridge.dialogue import terminal
from ftbridge.dialogue.chat import ChatSession
from ftbridge.dialogue.generation import Sampling

from ..builders import keyboard  # noqa: TID252

READ = """
from ftbridge.dialogue.terminal import _speak_utf8, read_question
_speak_utf8()
while True:
    try:
        print(f"<{read_question()!a}>")
    except EOFError:
        break
"""
SHOW = """
from types import SimpleNamespace as Talk
from ftbridge.dialogue.terminal import show
answers = {"before": ["不", "知道", "\\x1b[31m"], "after": ["阿司匹林可以", "止痛。\\n"]}
talks = [Talk(title=title, finish="stop") for title in answers]
show(talks, lambda talk: iter(answers[talk.title]))
"""


@pytest.mark.slow
@pytest.mark.parametrize("language", [{}, {"LC_ALL": "C"}, {"LC_ALL": "POSIX"}, {"LANG": "C.UTF-8"}])
def test_chinese_is_edited_letter_by_letter(language):
    left, backspace = "\x1b[D", "\x7f"
    with keyboard.terminal("-c", READ, **language) as person:
        person.wait("> ")
        person.type(f"药品{backspace}物吗{left}{left}{backspace}\n")
        person.wait(f"<{'物吗'!a}>")
        person.wait("> ")
        person.type("\x04")
        assert person.end() == 0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("typed", "question"),
    [
        ("\x1b[200~one\n\ntwo\x1b[201~\n", "one\n\ntwo"),
        ("one\n\ntwo\n", "one\n\ntwo"),
        ('"""\none\n  two"""\n', "one\n  two"),
        ('"""one"""\n', "one"),
        ('"""x\udcffy"""\n', "x\ufffdy"),
    ],
    ids=["a marked paste", "a paste", "a block", "a block on one line", "a byte that is no UTF-8"],
)
def test_pasted_or_continued_lines_are_one_question(typed, question):
    with keyboard.terminal("-c", READ) as person:
        person.wait("> ")
        person.type(typed)
        person.wait(f"<{question!a}>")
        person.wait("> ")
        person.type("\x04")
        assert person.end() == 0


AHEAD = """
import time
from ftbridge.dialogue.terminal import _speak_utf8, read_question
_speak_utf8()
print("answering", flush=True)
time.sleep(1.5)
while True:
    print(f"<{read_question()!a}>")
"""


def test_each_line_typed_while_an_answer_streams_is_a_question_of_its_own():
    with keyboard.terminal("-c", AHEAD) as person:
        person.wait("answering")
        person.type("one\ntwo\n/save c.jsonl\n/reset\n")
        for question in ("one", "two", "/save c.jsonl", "/reset"):
            person.wait(f"<{question!a}>")


def test_a_line_that_begins_with_a_slash_ends_at_its_enter():
    with keyboard.terminal("-c", READ) as person:
        person.wait("> ")
        person.type("/save c.jsonl\n/reset\n")
        person.wait(f"<{'/save c.jsonl'!a}>")
        person.wait(f"<{'/reset'!a}>")


def test_quoted_block_is_typed_line_by_line_as_one_question():
    with keyboard.terminal("-c", READ) as person:
        person.wait("> ")
        person.type('"""一\n')
        person.wait("... ")
        person.type('二"""\n')
        person.wait(f"<{chr(0x4E00) + chr(10) + chr(0x4E8C)!a}>")


def test_answers_in_a_wide_terminal_stand_side_by_side():
    with keyboard.terminal("-c", SHOW, columns=100) as person:
        person.wait("止痛")  # while it is written
        last = person.wait("止痛").rpartition("before")[2]
    assert "知道\\x1b[31m" in last
    assert "不知道" in last.splitlines()[-1]
    assert last.splitlines()[-1].endswith("阿司匹林可以止痛")


def test_answers_in_a_narrow_terminal_stand_one_below_the_other():
    with keyboard.terminal("-c", SHOW, columns=60) as person:
        shown = person.wait("止痛")
    assert "[before]\r\n不知道\\x1b[31m\r\n[after]\r\n阿司匹林可以" in shown


def test_answers_in_a_dumb_terminal_keep_to_its_columns():
    with keyboard.terminal("-c", SHOW, columns=60, TERM="dumb") as person:
        assert person.end() == 0
    assert "[before]\r\n" in person.shown.decode()
    with keyboard.terminal("-c", SHOW, columns=60, TERM="dumb", LC_ALL="C.UTF-8", FTBRIDGE_LANG="zh") as person:
        assert person.end() == 0
    assert "[微调前]\r\n" in person.shown.decode()
    with keyboard.terminal("-c", SHOW, columns=90, TERM="dumb") as person:
        assert person.end() == 0
    assert max(map(cell_len, person.shown.decode().split("\r\n"))) == 90


def test_an_answer_that_was_cut_names_the_option_that_did_it(capsys):
    cut = SimpleNamespace(title="after", finish="length", sampling=Sampling(max_new_tokens=40))
    terminal.show([cut], lambda _: iter(["x"]))
    assert capsys.readouterr().err == "(cut off at --max-new-tokens: 40)\n"


@pytest.fixture
def talk():
    """Return a conversation with something in it; its model is never asked."""
    talk = ChatSession(
        SimpleNamespace(card=SimpleNamespace(family="qwen2.5", thinking="none", chat_template=None, stop=())),
        "be kind",
        Sampling(),
    )
    talk.turns = [("药?", "好"), ("cut", "")]
    return talk


def obey(text, *talks):
    return terminal._obey_or_answer(text, talks, "", stream=True)


def test_slash_commands_change_the_conversation_and_say_so(talk, capsys):
    assert obey("/system  说中文 ", talk)
    assert talk.system == "说中文"
    assert obey('/system ""', talk)
    assert talk.system == ""
    assert obey("/system", talk)
    assert obey("/reset", talk)
    assert talk.turns == []
    assert not obey("/exit", talk)
    assert obey("  ", talk)
    said = capsys.readouterr().err
    assert said == "system prompt: 说中文\n" + "no system prompt\n" * 2 + "new conversation\n"


def test_an_unknown_command_is_not_asked(talk):
    with pytest.raises(InputError, match=r"no command `/rest`; /help lists all. .* begin with a space"):
        obey("/rest", talk)
    with pytest.raises(InputError, match="no question yet"):
        obey("/retry", ChatSession(talk._generator, "", Sampling(temperature=1.0)))


def test_help_lists_all_that_can_be_typed_in_a_narrow_terminal(talk, capsys):
    assert obey("/help", talk)
    assert obey("/HELP ", talk)
    said = capsys.readouterr().err.splitlines()
    assert said[: len(said) // 2] == said[len(said) // 2 :]
    assert max(map(len, said)) <= 60
    for command in (*terminal._SETTINGS, "retry", "save", "exit"):
        assert [line for line in said if line.startswith(f"/{command} ")]


@pytest.mark.parametrize("typed", ["/exit", "/quit", "/bye", "exit", "quit", "EXIT", "退出"])
def test_a_conversation_ends_by_any_usual_word(typed, talk):
    assert not obey(typed, talk)


@pytest.mark.parametrize("typed", ["/reset", "/clear", "/new", "clear", "RESET"])
def test_a_conversation_begins_anew_by_any_usual_word(typed, talk):
    assert obey(typed, talk)
    assert talk.turns == []


@pytest.mark.parametrize("typed", [" exit", "Exit the house", "reset"])
def test_what_is_no_usual_word_is_asked(typed, talk, monkeypatch):
    monkeypatch.setattr(talk, "say", lambda question: iter([question]))
    assert obey(typed, talk)


def test_retry_says_that_nothing_will_change_only_where_that_is_so(talk, monkeypatch, capsys):
    monkeypatch.setattr(talk._generator, "ask", lambda *_, **__: (piece for piece in ["好"]), raising=False)
    talk._generator.finish = "stop"
    assert list(talk.say("药?")) == ["好"]
    assert obey("/retry", talk)
    assert "the answer is always the same" in capsys.readouterr().err
    talk.system = "be brief"
    assert obey("/retry", talk)
    assert not capsys.readouterr().err
    assert obey("/retry", talk)  # asked with this system prompt by now
    assert "the answer is always the same" in capsys.readouterr().err
    talk.finish = "interrupted"
    assert not talk.repeats


def test_the_start_shows_run_model_and_system_prompt(talk):
    talk.run, talk.model = "20250131-142500-xtuner-medqa-train", "Qwen/Qwen2.5-0.5B"
    assert terminal._heading(talk).splitlines() == [
        "run            20250131-142500-xtuner-medqa-train",
        "model          Qwen/Qwen2.5-0.5B",
        "system prompt  be kind",
    ]


def test_a_conversation_is_saved_once(talk, tmp_path, capsys):
    assert obey(f"/save {tmp_path}/my talk", talk, talk)
    lines = (tmp_path / "my talk.jsonl").read_text(encoding="utf-8").splitlines()
    assert [msgspec.json.decode(line)["messages"] for line in lines] == 2 * [
        [
            {"role": "system", "content": "be kind"},
            {"role": "user", "content": "药?"},
            {"role": "assistant", "content": "好"},
        ]
    ]
    with pytest.raises(InputError, match="exists already"):
        obey(f"/save {tmp_path}/my talk.jsonl", talk)
    with pytest.raises(InputError, match="name a file"):
        obey("/save", talk)
    with pytest.raises(InputError, match=r"`c.jsonl\\n/reset` is not a valid name for a file"):
        obey("/save c.jsonl\n/reset", talk)
    talk.reset()
    with pytest.raises(InputError, match="nothing was said"):
        obey("/save x", talk)


@pytest.mark.framework
def test_ctrl_c_ends_the_answer_and_not_the_conversation(in_project):
    arguments = ["chat", "base", "--max-new-tokens", "2000", "--device", "cpu", "--bot-name", "Bot"]
    with keyboard.terminal("-m", "ftbridge", *arguments, LC_ALL="C") as person:
        person.wait("> ")
        person.type("药品\x7f")
        person.wait("药")
        person.press("\x03", "Ctrl-D or /exit ends")
        person.wait("> ")
        person.type("你好\n")
        person.wait("Bot: ")
        person.more()
        person.type("\x03")
        person.wait("(ended by Ctrl-C)")
        person.wait("> ")
        person.type("/retry\n")
        person.wait("Bot: ")
        person.more()
        person.type("\x03")
        person.wait("(ended by Ctrl-C)")
        person.wait("> ")
        person.type("\x04")
        assert person.end() == 0
