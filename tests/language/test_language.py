"""Which language messages are in, and what of them stays English."""

import os
import subprocess
import sys

from ftbridge.language import Message, english


def test_a_message_carries_its_english_through_format() -> None:
    inner = Message("行", "row")
    message = Message("{n} {what}，完成", "{n} {what} done").format(n=3, what=inner)
    assert message == "3 行，完成"
    assert english(message) == "3 row done"
    assert english("as it is") == "as it is"


def test_language_is_that_of_the_variable_or_of_the_locale() -> None:
    def language(**variables: str) -> str:
        bare = {k: v for k, v in os.environ.items() if k not in {"FTBRIDGE_LANG", "LANGUAGE", "LC_ALL", "LC_MESSAGES"}}
        argv = [sys.executable, "-c", "from ftbridge.language import language; print(language())"]
        return subprocess.check_output(argv, env=bare | variables, text=True).strip()

    assert language(LANG="zh_CN.UTF-8") == language(LANG="C", FTBRIDGE_LANG="zh-CN") == "zh"
    assert language(LANG="C") == language(LANG="zh_CN.UTF-8", FTBRIDGE_LANG="en") == "en"
    assert language(LANG="zh_TW.UTF-8") == "zh"
