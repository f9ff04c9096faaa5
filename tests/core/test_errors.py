"""Errors: one family, an exit code each, and a builtin parent where there is a fitting one."""

import pytest

from ftbridge.core import errors
from ftbridge.core.errors import FtbridgeError

CODES = {
    "UsageError": (2, ValueError),
    "InputError": (3, ValueError),
    "SetupError": (4, RuntimeError),
    "FrameworkError": (5, RuntimeError),
    "InterruptedRun": (130, Exception),
}


@pytest.mark.parametrize("name", CODES)
def test_an_error_has_its_exit_code_and_its_parent(name):
    kind = getattr(errors, name)
    code, parent = CODES[name]
    assert kind.exit_code == code
    assert issubclass(kind, FtbridgeError)
    assert issubclass(kind, parent)
    assert str(kind("what, where, what next")) == "what, where, what next"


def test_every_error_is_in_the_table():
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, FtbridgeError)]
    assert {kind.__name__ for kind in kinds} == {"FtbridgeError", "QuestionError", *CODES}
    assert len({kind.exit_code for kind in kinds}) == len(kinds) - 1  # a question is one of usage
    assert FtbridgeError.exit_code == 70
    assert issubclass(errors.QuestionError, errors.UsageError)
