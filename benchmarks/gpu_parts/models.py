"""The phase that makes what the others train: data of long samples, and models of random weights."""

import json
import random
import shutil
import subprocess
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from gpu_parts.bench import GB, INDEX, SHAPES, TINY, Bench, Row, Shape, changed_environment, try_measuring

import ftbridge
from ftbridge.core.errors import SetupError
from ftbridge.experiments.demo import base_model
from ftbridge.launchers.hardware import devices
from ftbridge.launchers.process.script import CHILD_ENV

SCRIPT = Path(__file__).with_name("random_model.py")
WORDS = (
    "aspirin",
    "relieves",
    "pain",
    "fever",
    "blood",
    "the",
    "of",
    "taken",
    "with",
    "water",
    "once",
    "never",
    "food",
)
# Words, of a token each at least: questions beyond every cutoff length of ours, and answers that fit, as none is cut.
SAMPLES, QUESTION, ANSWER = 128, 4200, 60


def models_phase(bench: Bench) -> Iterator[Row]:
    """Write data and models into the project, where they are not there yet."""
    if not Path("data").exists():
        _write_samples(bench)
    if not Path("spoken").exists():
        base_model(Path("spoken"), bench.interpreter(), [" ".join(WORDS)], hidden=64, layers=1)
    for model, shape in bench.shapes.items():
        yield try_measuring({"model": model, "shape": f"Qwen2.5-{shape}"}, partial(_make_model, bench, model, shape))


def _make_model(bench: Bench, model: str, shape: str) -> Row:
    """Write a model, or say what is there already."""
    folder, begun = Path(model), time.perf_counter()
    if not (folder / INDEX).exists():
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree("spoken", folder, ignore=shutil.ignore_patterns("*.safetensors*"))
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        (folder / "config.json").write_text(
            json.dumps(config | _config_sizes(SHAPES.get(shape, TINY))), encoding="utf-8"
        )
        _make_weights(bench, folder)
    size = sum(file.stat().st_size for file in folder.glob("*.safetensors"))
    return {"size": round(size / GB, 2), "seconds": round(time.perf_counter() - begun, 1)}


def _make_weights(bench: Bench, folder: Path) -> None:
    argv = [str(bench.interpreter()), str(SCRIPT), str(folder.resolve()), bench.device]
    env = changed_environment(**CHILD_ENV, **devices.device_variables(bench.gpus[:1]))
    done = subprocess.run(argv, env=env, check=False, capture_output=True, text=True)
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [""]
        raise SetupError(f"no weights could be made on {bench.device}: {lines[-1]}")


def _config_sizes(shape: Shape) -> dict[str, object]:
    return {
        "hidden_size": shape.hidden,
        "num_hidden_layers": shape.layers,
        "intermediate_size": shape.intermediate,
        "num_attention_heads": shape.heads,
        "num_key_value_heads": shape.key_values,
        "vocab_size": shape.vocabulary,
        "tie_word_embeddings": shape.tied,
        "layer_types": ["full_attention"] * shape.layers,
        "max_window_layers": shape.layers,
        "max_position_embeddings": 32768,
    }


def _write_samples(bench: Bench) -> None:
    """Write samples with a question that is longer than any cutoff length."""
    drawn = random.Random(0)  # noqa: S311 - words, no secrets
    samples, *lengths = (16, 100, 3) if bench.rehearse else (SAMPLES, QUESTION, ANSWER)
    with Path("talk.jsonl").open("w", encoding="utf-8") as file:
        for number in range(samples):
            question, answer = (" ".join(drawn.choices(WORDS, k=length)) for length in lengths)
            file.write(json.dumps({"instruction": f"{number} {question}?", "output": answer}) + "\n")
    ftbridge.convert("talk.jsonl", name="talk", split="2:1:1")
