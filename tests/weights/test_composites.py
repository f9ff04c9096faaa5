"""Models that see, and mixtures of experts: PEFT's own merge is the judge, and what chat loads."""

import subprocess
from pathlib import Path

import pytest

import ftbridge
from ftbridge.weights.sources import load_card

pytestmark = pytest.mark.framework
SCRIPT = Path(__file__).with_name("composites.py")
ALWAYS = ["qwen3_5-text", "gemma3-whole", "glm4_moe"]
RARE = ["qwen3_5-whole", "gemma4-whole", "qwen3_moe", "qwen2_moe", "mixtral", "down_proj"]


def run(python, verb, folder, *cases):
    done = subprocess.run([python, SCRIPT, verb, folder, *cases], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.mark.parametrize("cases", [ALWAYS, pytest.param(RARE, marks=pytest.mark.matrix)])
def test_equal_to_pefts_own_merge(training_python, tmp_path, monkeypatch, cases):
    monkeypatch.chdir(tmp_path)
    settings = "".join(f"  {name}: {{python: {training_python}}}\n" for name in ("xtuner", "llamafactory"))
    (tmp_path / "ftbridge.yaml").write_text(f"backends:\n{settings}")
    run(training_python, "make", "made", *cases)
    for case in cases:
        merged = ftbridge.merge(f"made/{case}/adapter", model=f"made/{case}/base", out=f"made/{case}/merged")
        assert bool(load_card(merged).family) is ("moe" not in case and case not in {"mixtral", "down_proj"})
    run(training_python, "judge", "made", *cases)
