"""One family of errors, with an exit code each.

A message says what went wrong, where, with which value, and what to do next. Whoever runs a command sees
the message alone, never a traceback; a traceback is a fault of ours and ends with 70.
"""

import shlex
from collections.abc import Mapping, Sequence

from ftbridge.language import english, joined
from ftbridge.language import gettext as _


def shell_words(words: Sequence[str]) -> str:
    """Return words as they are typed in a shell, those with single quotes in double ones where that is possible."""
    return " ".join(f'"{word}"' if "'" in word and not {*'"$`\\!'} & {*word} else shlex.quote(word) for word in words)


class FtbridgeError(Exception):
    """Whatever a user can cause or mend; `exit_code` is what the command ends with."""

    exit_code = 70

    @property
    def english(self) -> str:
        """Return the message in English, for records and logs."""
        return str(english(self.args[0])) if self.args else ""


class UsageError(FtbridgeError, ValueError):
    """Options that do not fit together, or name something that is not there."""

    exit_code = 2


class QuestionError(UsageError):
    """Something that only the user can decide: `answers` maps what may be meant to the options that say so.

    A terminal is asked; elsewhere the commands to type are shown.
    """

    def __init__(self, reason: str, answers: Mapping[str, Sequence[str]]) -> None:
        lines = [_("  {meaning}: {options}").format(meaning=m, options=shell_words(answers[m])) for m in answers]
        super().__init__(joined("\n", [reason, *lines]))
        self.reason, self.answers = reason, answers


class InputError(FtbridgeError, ValueError):
    """A file, a row, a dataset or a model that cannot be used as it is."""

    exit_code = 3


class SetupError(FtbridgeError, RuntimeError):
    """The machine or the training environment lacks something."""

    exit_code = 4


class FrameworkError(FtbridgeError, RuntimeError):
    """A framework's own process failed, or did not write what it should have written."""

    exit_code = 5


class InterruptedRun(FtbridgeError):  # noqa: N818 - not an error: the user asked for it
    """The user stopped what was running."""

    exit_code = 130
