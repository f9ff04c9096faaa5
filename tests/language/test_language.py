"""Which language messages are in, and what of them stays English."""

import os
import pickle
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from ftbridge.core.files.atomic import write_json
from ftbridge.core.parsing.json_yaml import read_json
from ftbridge.language import Message, english, joined


def test_a_message_carries_its_english_through_format() -> None:
    inner = Message("行", "row")
    message = Message("{n} {what}，完成", "{n} {what} done").format(n=3, what=inner)
    assert message == "3 行，完成"
    assert english(message) == "3 row done"
    assert english("as it is") == "as it is"


def test_a_message_keeps_its_english_in_a_sum_and_in_another_process() -> None:
    message = "错误：" + Message("停止", "stopped") + "。"
    assert (message, english(message)) == ("错误：停止。", "错误：stopped。")
    assert english(pickle.loads(pickle.dumps(message))) == english(message)
    assert english(ValueError(Message("空", "is empty"))) == "is empty"
    assert english(joined(", ", ["a", "b"])) == "a, b"


def test_blanks_beside_a_value_are_those_of_chinese() -> None:
    def shown(template: str, **values: object) -> str:
        return str(Message(template, template).format(**values))

    column = Message("列 `a`", "column `a`")
    assert shown("正在用{name}问{n:,}题", name="`base`", n=2000) == "正在用 `base` 问 2,000 题"
    assert shown("{field} 取自 {column}", field=Message("问题", "question"), column=column) == "问题取自列 `a`"
    assert shown("标签 {label} 有 {n} 行", label="内科", n=2) == "标签 内科 有 2 行"
    assert shown("写成 `{{{key}: {value}}}`", key="a", value="值") == "写成 `{a: 值}`"


def test_records_hold_english(tmp_path: Path) -> None:
    assert msgspec.json.encode({"a": [Message("空", "is empty")]}, enc_hook=english) == b'{"a":["is empty"]}'
    with pytest.raises(TypeError):
        msgspec.json.encode(Message("空", "is empty"))
    write_json(tmp_path / "a.json", {"why": Message("空", "is empty")})
    assert read_json(tmp_path / "a.json") == {"why": "is empty"}


def test_language_is_that_of_the_variable_or_of_the_locale() -> None:
    def language(**variables: str) -> str:
        bare = {k: v for k, v in os.environ.items() if k not in {"FTBRIDGE_LANG", "LANGUAGE", "LC_ALL", "LC_MESSAGES"}}
        argv = [sys.executable, "-c", "from ftbridge.language import language; print(language())"]
        return subprocess.check_output(argv, env=bare | variables, text=True).strip()

    assert language(LANG="zh_CN.UTF-8") == language(LANG="C", FTBRIDGE_LANG="zh-CN") == "zh"
    assert language(LANG="C") == language(LANG="zh_CN.UTF-8", FTBRIDGE_LANG="en") == "en"
    assert language(LANG="zh_TW.UTF-8") == "zh"


def test_what_is_counted_has_a_measure_word_in_chinese() -> None:
    code = "from ftbridge.core.console import counted; m = counted(2000, 'row'); print(m); print(m.english)"
    env = {**os.environ, "FTBRIDGE_LANG": "zh"}
    shown = subprocess.check_output([sys.executable, "-c", code], env=env, text=True, encoding="utf-8")
    assert shown == "2,000 行\n2,000 rows\n"


def test_json_is_english_where_messages_are_chinese(tmp_path: Path) -> None:
    (tmp_path / "bad.csv").write_text("question,answer\na,\nb,c\n", encoding="utf-8")
    env = {**os.environ, "FTBRIDGE_LANG": "zh"}
    argv = [sys.executable, "-m", "ftbridge", "convert", "bad.csv", "--on-error", "skip"]
    done = subprocess.run(
        [*argv, "--json"], check=False, cwd=tmp_path, env=env, capture_output=True, text=True, encoding="utf-8"
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.isascii()
    for file in (tmp_path / "data").rglob("*.json*"):
        # What was wrong with a row is written for whoever fixes it.
        assert file.read_text(encoding="utf-8").isascii() != ("rejected" in file.name), file


def test_the_text_of_an_error_keeps_its_english() -> None:
    assert english(str(ValueError(Message("空", "is empty")))) == "is empty"
    assert english(Path("a")) == Path("a")


def test_messages_are_joined_with_the_punctuation_of_the_language() -> None:
    code = "from ftbridge.language import joined; m = joined('; ', ['a', 'b']); print(m); print(m.english)"
    assert chinese("-c", code) == "a；b\na; b\n"


def test_a_place_is_in_both_languages() -> None:
    code = """
from ftbridge.core.records import Where
from ftbridge.language import english
place = Where("a.json", 2, unit="train element")
print(place)
print(english(place))
"""
    assert chinese("-c", code) == "a.json train 的第 2 个元素\na.json train element 2\n"


def chinese(*arguments: str, folder: Path | None = None) -> str:
    """Return what a program that shall succeed prints, in Chinese."""
    done = subprocess.run(
        [sys.executable, *arguments],
        check=False,
        cwd=folder,
        env={**os.environ, "FTBRIDGE_LANG": "zh"},
        capture_output=True,
        text=True,
        encoding="utf-8",
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_remarks_on_samples_are_in_chinese_and_recorded_in_english(tmp_path: Path) -> None:
    function = {"name": "f", "description": "d", "parameters": {"type": "object", "properties": {}}}
    call = {"type": "function", "function": {"name": "f", "arguments": "{}"}}
    asked, answer = {"role": "user", "content": "q"}, {"role": "assistant", "content": "d"}
    samples: list[dict[str, object]] = [
        {"messages": [asked, {"role": "assistant", "content": "<think>hm</think>a"}]},
        {
            "messages": [
                asked,
                {"role": "assistant", "content": "", "tool_calls": [call]},
                {"role": "tool", "content": "7"},
                {"role": "assistant", "content": "b"},
            ],
            "tools": [{"type": "function", "function": function}],
        },
        {"messages": [asked, {"role": "assistant", "content": "c", "train": False}, asked, answer]},
    ]
    (tmp_path / "chat.jsonl").write_bytes(b"\n".join(map(msgspec.json.encode, samples)))
    shown = chinese("-m", "ftbridge", "convert", "chat.jsonl", folder=tmp_path)
    assert "这种格式不能包含工具（第一处：chat.jsonl 第 2 行）" in shown
    assert "不能包含不计算 loss 的回答（第一处：chat.jsonl 第 3 行）" in shown
    entry = read_json(tmp_path / "data" / "dataset_info.json")["chat-train"]["ftbridge"]["options"]
    assert all(note.isascii() for note in entry["notes"])
    assert len(entry["notes"]) == 4
    assert entry["no_place_for"]["alpaca"] == ["tools", "answers that are not learned"]
    assert "不计算 loss 的回答" in chinese("-m", "ftbridge", "datasets", "show", "chat-train", folder=tmp_path)
