"""`ftbridge completion`: a script that the shell reads, and that completes."""

import os
import shutil
import subprocess
import sys

import pytest
from click.testing import CliRunner

from ftbridge.cli import cli


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_script_is_valid_for_its_shell(shell):
    done = CliRunner().invoke(cli, ["completion", shell])
    assert (done.exit_code, done.stderr) == (0, "")
    assert f"_FTBRIDGE_COMPLETE={shell}_complete" in done.stdout
    if shutil.which(shell):
        subprocess.run([shell, "-n"], input=done.stdout, text=True, check=True)


@pytest.mark.parametrize("arguments", [[], ["tcsh"], ["bash", "zsh"]])
def test_wrong_arguments_are_wrong_usage(arguments):
    assert CliRunner().invoke(cli, ["completion", *arguments]).exit_code == 2


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("bash"), reason="bash is not here")
def test_bash_completes_words_with_the_script(tmp_path):
    """Bash asks the program itself, which is found by its name."""
    program = tmp_path / "ftbridge"
    program.write_text(f"#!{sys.executable}\nfrom ftbridge.cli import main\n\nmain()\n")
    program.chmod(0o755)
    (tmp_path / "runs" / "20260101-xtuner-faq").mkdir(parents=True)
    (tmp_path / "runs" / "20260101-xtuner-faq" / "run.json").write_text("{}")
    script = """
eval "$(ftbridge completion bash)"
COMP_WORDS=(ftbridge runs show 2026) COMP_CWORD=3
_ftbridge_completion ftbridge
echo "${COMPREPLY[@]}"
COMP_WORDS=(ftbridge train --backend x) COMP_CWORD=3
COMPREPLY=()
_ftbridge_completion ftbridge
echo "${COMPREPLY[@]}"
"""
    env = {**os.environ, "PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run(["bash", "-c", script], cwd=tmp_path, env=env, capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("20260101-xtuner-faq\nxtuner\n", "")
