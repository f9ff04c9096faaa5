"""`ftbridge export` against `xtuner convert pth_to_hf --fp32`: `python benchmarks/export.py [RUNS]`, about two minutes.

Trains a tiny model (4-bit QLoRA, a few steps) in the training environment, then writes the adapter out of its
checkpoint with both, taken in turns; prints the median of RUNS (default: 3) and the ratio of the two.
"""

import contextlib
import statistics
import sys
import tempfile
from pathlib import Path

from measure import Measured, measure_command

import ftbridge
from ftbridge.experiments.demo import base_model
from ftbridge.launchers.environment.venv import default_folder
from ftbridge.launchers.runs import checkpoints

PYTHON = default_folder() / "bin" / "python"
SAMPLE = Path(__file__).parents[1] / "dataset_info" / "samples" / "medqa.xlsx"
# XTuner asks for what a torch without a GPU, and transformers 5, do not have; everything else is its own command.
PTH_TO_HF = """
import os, runpy, torch, transformers.utils
os.environ["TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"] = "1"
if not hasattr(torch.cpu, "is_bf16_supported"):
    torch.cpu.is_bf16_supported = lambda *_, **__: True
transformers.utils.is_safetensors_available = lambda: True
runpy.run_module("xtuner.tools.model_converters.pth_to_hf", run_name="__main__")
"""


def main() -> None:
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    with tempfile.TemporaryDirectory() as name, contextlib.chdir(name):
        ftbridge.convert(SAMPLE)
        base_model(Path("base"), PYTHON, ["What is aspirin for?", "Aspirin relieves pain."], hidden=64, layers=2)
        options = {"lora_rank": 8, "micro_batch_size": 4, "gradient_accumulation_steps": 1, "max_steps": 2}
        run = ftbridge.train(backend="xtuner", model="base", **options)
        checkpoint = checkpoints.last_checkpoint(run)
        assert checkpoint  # noqa: S101 - a run that succeeded has one
        theirs = [str(run.path / "xtuner_config.py"), str(checkpoint), "own", "--fp32"]
        commands = {
            "ftbridge export": [sys.executable, "-m", "ftbridge", "export", run.id],
            "xtuner convert pth_to_hf": [str(PYTHON), "-W", "ignore", "-c", PTH_TO_HF, *theirs],
        }
        found: dict[str, list[Measured]] = {title: [] for title in commands}
        for _ in range(runs):
            for title, command in commands.items():
                found[title].append(measure_command(command, Path(name), checkpoint))
    medians = {title: statistics.median(one.seconds for one in each) for title, each in found.items()}
    for title, each in found.items():
        print(f"{title:<25} {medians[title]:6.2f} s  {max(one.megabytes for one in each):6.0f} MB at most")
    one, other = medians.values()
    print(f"ratio {other / one:.1f} (at least 20 is asked)")


main()
