"""Tiny encoders with random weights."""

import subprocess
from pathlib import Path

import pytest

BUILDER = Path(__file__).parents[2] / "builders" / "encoders.py"


@pytest.fixture(scope="session")
def make_encoder(training_python, tmp_path_factory):
    """Return a function that makes an encoder of a class, which knows some words, in a folder of its own."""

    def make(kind, words):
        folder = tmp_path_factory.mktemp("encoders") / f"{kind} 编码"
        subprocess.run([training_python, BUILDER, kind, folder, *words], check=True, capture_output=True)
        return folder

    return make
