"""Lines of a help: as wide as the terminal at most, in English and in Chinese."""

import os
import subprocess
import sys

import pytest

from ftbridge.cli.help_text import columns, wrap


@pytest.mark.parametrize(
    ("text", "width", "lines"),
    [
        ("one two three", 8, ["one two", "three"]),
        ("a line\nthat goes on", 80, ["a line that goes on"]),
        ("训练一个模型，然后合并", 10, ["训练一个模", "型，然后合", "并"]),
        ("微调（LoRA）的模型。", 9, ["微调", "（LoRA）", "的模型。"]),
        ("用 XTuner 训练", 9, ["用 XTuner", "训练"]),
        ("多少。 [默认值：训练时的值]", 20, ["多少。", "[默认值：训练时的值]"]),
        ("How many. [default: as train's]", 26, ["How many.", "[default: as train's]"]),
        ("abcdefgh", 5, ["abcde", "fgh"]),
        ("", 5, [""]),
    ],
)
def test_a_line_ends_between_words_and_chinese_characters(text, width, lines):
    assert wrap(text, width) == lines


@pytest.mark.parametrize("command", ["", "train", "convert", "runs"])
@pytest.mark.parametrize("width", [60, 80, 120])
def test_a_chinese_help_fits_its_terminal(command, width):
    env = {**os.environ, "FTBRIDGE_LANG": "zh", "COLUMNS": str(width)}
    argv = [sys.executable, "-m", "ftbridge", *command.split(), "--help"]
    text = subprocess.check_output(argv, env=env, text=True, encoding="utf-8")
    assert text.startswith("用法：")
    assert "\n示例：\n" in text
    assert max(map(columns, text.splitlines())) <= width


def test_what_a_user_mistypes_is_answered_in_chinese(run_ftbridge):
    done = run_ftbridge("train", "--nosuch", FTBRIDGE_LANG="zh")
    assert done.returncode == 2
    assert "没有选项 `--nosuch`" in done.stderr
    assert "查看全部选项" in done.stderr


def test_a_stream_that_cannot_show_chinese_gets_english(run_ftbridge):
    done = run_ftbridge("train", "--nosuch", FTBRIDGE_LANG="zh", PYTHONIOENCODING="ascii")
    assert "there is no option `--nosuch`" in done.stderr
