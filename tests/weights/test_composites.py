"""Models that see, and mixtures of experts: PEFT's own merge is the judge, and what chat loads."""

import json
import subprocess
from pathlib import Path

import pytest

import ftbridge
from ftbridge.launchers.process.script import SCRIPTS
from ftbridge.weights.card import load_card

pytestmark = pytest.mark.framework
SCRIPT = Path(__file__).with_name("composites.py")
ALWAYS = ["qwen3_5-text", "gemma3-whole", "glm4_moe"]
RARE = ["qwen3_5-whole", "gemma4-whole", "qwen3_moe", "qwen2_moe", "mixtral", "down_proj"]


def run(python, verb, folder, *cases):
    done = subprocess.run([python, SCRIPT, verb, folder, *cases], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.mark.parametrize("cases", [ALWAYS, pytest.param(RARE, marks=pytest.mark.matrix)])
def test_composite_model_merges_as_peft_merges_it(training_python, tmp_path, monkeypatch, cases):
    monkeypatch.chdir(tmp_path)
    settings = "".join(f"  {name}: {{python: {training_python}}}\n" for name in ("xtuner", "llamafactory"))
    (tmp_path / "ftbridge.yaml").write_text(f"backends:\n{settings}")
    run(training_python, "make", "made", *cases)
    for case in cases:
        merged = ftbridge.merge(f"made/{case}/adapter", model=f"made/{case}/base", out=f"made/{case}/merged")
        if case in {"gemma4-whole", "glm4_moe", "mixtral"}:  # which have no family here
            assert load_card(merged).family == ""
    run(training_python, "judge", "made", *cases)


def test_chat_loads_the_model_within_which_the_adapter_was_trained(training_python, tmp_path):
    cases = ("qwen3_5-text", "qwen3_5-whole")
    run(training_python, "make", tmp_path, *cases)
    code = "import json, sys, generate; print('\\n', generate.model_class(json.loads(sys.argv[1]), {}).__name__)"
    named = []
    for case in cases:
        spec = json.dumps({"model": str(tmp_path / case / "base"), "adapters": [str(tmp_path / case / "adapter")]})
        argv = [training_python, "-c", code, spec]
        done = subprocess.run(argv, capture_output=True, text=True, check=True, cwd=SCRIPTS)
        named.append(done.stdout.split()[-1])
    assert named == ["AutoModelForCausalLM", "AutoModelForImageTextToText"]
