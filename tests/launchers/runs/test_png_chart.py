"""Pictures, drawn for real, and what they may replace."""

import math
import os

import pytest

from ftbridge.core.errors import UsageError
from ftbridge.launchers.runs.png_chart import draw_picture, picture_file

from ...conftest import NOTEBOOK  # noqa: TID252

CURVES = {"curves": {"training of one": [(1, 4.0), (2, math.nan), (3, 2.0)], "validation of one": [(2, 3.0)]}}
LENGTHS = {"starts": [0, 50], "width": 50, "counts": {"XTuner": [3, 9]}, "cutoff_length": 60}


def test_a_picture_takes_no_other_files_place(tmp_path):
    (tmp_path / "cat.png").write_bytes(b"a cat")
    (tmp_path / "other.png").write_bytes(b"\x89PNG ... Software\0another ... ftbridge")
    os.mkfifo(tmp_path / "pipe.png")
    none = "no picture of"
    for name, message in (
        ("pipe.png", none),
        ("cat.png", none),
        ("other.png", none),
        ("cat.jpg", "must end with .png"),
    ):
        with pytest.raises(UsageError, match=message):
            picture_file(tmp_path / name)


@pytest.mark.framework
@pytest.mark.parametrize(("kind", "what"), [("curves", CURVES), ("lengths", LENGTHS)])
def test_a_picture_is_drawn_and_drawn_again_in_a_notebook_too(tmp_path, training_python, monkeypatch, kind, what):
    monkeypatch.setenv("MPLBACKEND", NOTEBOOK)
    for _ in range(2):
        path = picture_file(tmp_path / "picture.PNG")
        draw_picture(path, training_python, kind, what)
    assert path.read_bytes().startswith(b"\x89PNG")
