"""Fixtures that all tests share; what is costly to train is trained once a session."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, settings

import ftbridge
from ftbridge.core.train_spec import TrainSpec
from ftbridge.experiments.demo import base_model
from ftbridge.launchers.environment import venv
from ftbridge.launchers.environment.venv import default_folder
from ftbridge.launchers.hardware import nvidia
from ftbridge.launchers.runs.record import Run

from .builders import public_datasets
from .builders.public_datasets import PublicData

ROOT = Path(__file__).parents[1]
SHARED = ROOT.parent / "shared" / "data"
SECRET = "hf_a-secret-that-must-not-be-written"  # noqa: S105 - made up
# In the background of a script Ctrl-C is ignored, by all that is started there as well; tests press it.
signal.signal(signal.SIGINT, signal.default_int_handler)
os.environ["FTBRIDGE_LANG"] = "en"  # what messages are looked for in, whatever the locale here
os.environ.setdefault("OMP_NUM_THREADS", "1")  # the models are tiny, and threads that wait for each other cost more
# How long an example takes is the machine's affair; the first drawing of text also builds a table of all characters.
settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")
# Of `make quick`: a tenth of the examples that `make test` tries, where a test does not say how many.
settings.register_profile("quick", settings.get_profile("any machine"), max_examples=10)
# What ipykernel leaves in MPLBACKEND for all that a cell starts; the training environment does not have it.
NOTEBOOK = "module://matplotlib_inline.backend_inline"
# Enough to see that a training moves; the demo is where a model really learns.
SMALL = {
    "model": "base",
    "device": "cpu",
    "lora_rank": 8,
    "micro_batch_size": 4,
    "gradient_accumulation_steps": 1,
    "epochs": 1,
    "save_steps": 3,
    "learning_rate": 1e-3,
}


@pytest.fixture(autouse=True)
def asked_anew() -> None:
    """Forget what nvidia-smi said to another test, and what was said of an environment."""
    venv._check_against_lock.cache_clear()
    nvidia._answers.clear()
    nvidia._say_once.cache_clear()


@pytest.fixture(scope="session", params=["a few rows", "real"])
def public_data(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> PublicData:
    """Return public datasets: a few rows of our own, and the real files, which are not part of the project."""
    if request.param == "a few rows":
        return public_datasets.write(tmp_path_factory.mktemp("public"))
    if not SHARED.is_dir():
        pytest.skip("the real data is not here")
    return public_datasets.real(SHARED)


@pytest.fixture(scope="session")
def training_python() -> Path:
    """Return the interpreter of the training environment."""
    python = default_folder() / "bin" / "python"
    if not python.exists():
        pytest.fail("the training environment is missing: run `ftbridge setup`")
    return python


@pytest.fixture(scope="session")
def browser():
    """Return a headless Chromium."""
    from playwright.sync_api import sync_playwright

    chromium = shutil.which("chromium")
    if not chromium:
        pytest.skip("there is no `chromium` here (Debian: apt-get install chromium)")
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield started
        started.close()


@pytest.fixture
def gpu_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a test import what benchmarks/gpu.py is made of."""
    monkeypatch.syspath_prepend(ROOT / "benchmarks")


@pytest.fixture
def run_ftbridge(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Return a function that runs the command line in a process of its own, in `tmp_path` or `cwd`."""

    def run(*arguments: str, cwd: Path = tmp_path, **env: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "ftbridge", *arguments],
            cwd=cwd,
            env={**os.environ, **env},
            capture_output=True,
            text=True,
            check=False,
        )

    return run


@pytest.fixture
def give_away(monkeypatch: pytest.MonkeyPatch) -> Callable[[Path], Path]:
    """Return a function that makes a file, or a link, somebody else's, and returns it."""

    def give(path: Path) -> Path:
        nobody = 65534
        if os.geteuid():  # who cannot give a file away becomes somebody else
            monkeypatch.setattr(os, "geteuid", lambda: nobody)
        else:
            os.chown(path, nobody, -1, follow_symlinks=False)
        return path

    return give


@pytest.fixture(scope="session")
def project(tmp_path_factory: pytest.TempPathFactory, training_python: Path) -> Path:
    """Return a project with the sample converted 7:3 and a tiny base model; its path has what paths may have."""
    folder = tmp_path_factory.mktemp("项目 it's {{ 7 }}")
    sample = ROOT / "dataset_info" / "samples" / "medqa.xlsx"
    with contextlib.chdir(folder):
        ftbridge.convert(sample, split="7:3")
        texts = ["What is aspirin for?", "Aspirin relieves pain."]
        plain_spoken(base_model(folder / "base", training_python, texts, hidden=64, layers=2))
    return folder


def plain_spoken(model: Path) -> None:
    """Let a model of random weights never end an answer, and say letters of ASCII alone, each token some.

    A token whose output weights are zeros is never the likeliest. So how long its answers are, and how many pieces
    they come in, does not hang on which of two tokens a processor's rounding prefers.
    """
    known = json.loads((model / "tokenizer.json").read_text(encoding="utf-8"))
    silent = [token["id"] for token in known["added_tokens"]]
    silent += [number for token, number in known["model"]["vocab"].items() if not token.isascii()]
    with (model / "model.safetensors").open("r+b") as file:
        size = int.from_bytes(file.read(8), "little")
        place = json.loads(file.read(size))["lm_head.weight"]
        begin, end = place["data_offsets"]
        width = (end - begin) // place["shape"][0]
        for number in silent:
            file.seek(8 + size + begin + number * width)
            file.write(bytes(width))


@pytest.fixture
def in_project(project: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stand in the shared project."""
    monkeypatch.chdir(project)
    return project


@pytest.fixture(scope="session")
def trained(project: Path) -> Iterator[Callable[..., Run]]:
    """Return a function that trains a combination of options, once a session each."""
    done: dict[bytes, Run] = {}

    def train(**options: object) -> Run:
        asked = {**SMALL, "dataset": "medqa", **options}
        key = msgspec.json.encode(msgspec.convert(asked, TrainSpec))  # a default that is named is the same training
        if key not in done:
            with contextlib.chdir(project), pytest.MonkeyPatch.context() as patch:
                patch.setenv("HF_TOKEN", SECRET)
                patch.setenv("WANDB_API_KEY", SECRET)
                done[key] = ftbridge.train(**asked)
        return done[key]

    return train
