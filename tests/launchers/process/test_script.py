"""Scripts that the interpreter of a training environment runs."""

import subprocess
import sys
from pathlib import Path

import pytest

from ftbridge.core.errors import SetupError
from ftbridge.launchers.process import script
from ftbridge.launchers.process.script import run_script, start_script

HERE = Path(sys.executable)


@pytest.fixture
def helper(tmp_path, monkeypatch):
    """Return a function that makes `code` the helper `own`."""

    def make(code):
        monkeypatch.setattr(script, "SCRIPTS", tmp_path)
        (tmp_path / "own.py").write_text(code)

    return make


def test_a_helper_answers_in_its_last_line(helper):
    helper("import os, sys; print('noise'); print(sys.argv[1], os.environ['PYTHONUTF8'])")
    assert run_script(HERE, "own", {"名": 1}) == '{"名":1} 1'


@pytest.mark.parametrize(("sees", "seen"), [({}, ""), ({"sees_gpus": True}, "0,1")])
def test_a_helper_sees_gpus_only_where_it_wants_them(helper, monkeypatch, sees, seen):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    helper("import os; print([os.environ['CUDA_VISIBLE_DEVICES']])")
    assert run_script(HERE, "own", {}, **sees) == f"[{seen!r}]"


def test_a_helper_that_fails_is_quoted(helper):
    helper("import sys; print('the reason', file=sys.stderr); sys.exit(9)")
    with pytest.raises(SetupError, match=r"could not run own \(exit status 9\)\nthe reason$"):
        run_script(HERE, "own", {}, stderr=subprocess.PIPE)


def test_children_let_deepspeed_be_imported_without_a_toolkit():
    assert script.CHILD_ENV["DS_IGNORE_CUDA_DETECTION"] == "1"


def test_a_script_that_is_asked_line_by_line_gets_arguments_and_environment(helper):
    helper(
        "import json, os, sys\nprint(json.dumps({'given': [sys.argv[1], os.environ['OWN'], os.environ['PYTHONUTF8']]}))"
    )
    with start_script(HERE, "own", "plan", environment={"OWN": "own"}) as child:
        assert child.receive() == {"given": ["plan", "own", "1"]}
