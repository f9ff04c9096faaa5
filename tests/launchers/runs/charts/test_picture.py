"""Pictures, drawn for real, and what they may replace."""

import math
import os

import pytest

from ftbridge.core.errors import UsageError
from ftbridge.launchers.runs.charts.picture import draw_picture, picture, picture_file

from ....conftest import NOTEBOOK  # noqa: TID252

TRAINING = [(1, 4.0), (2, math.nan), (3, 2.0)]
ONE = {"training": TRAINING, "smoothed": TRAINING, "validation": [(2, 3.0)]}
CURVES = {"title": "客服, $base$", "runs": {"one": ONE}}
LENGTHS = {"title": "faq, base", "starts": [0, 50], "width": 50, "counts": {"XTuner": [3, 9]}, "cutoff_length": 60}


def test_a_picture_takes_no_other_files_place(tmp_path):
    (tmp_path / "cat.png").write_bytes(b"a cat")
    (tmp_path / "other.png").write_bytes(b"\x89PNG ... Software\0another ... ftbridge")
    os.mkfifo(tmp_path / "pipe.png")
    none = "not a picture of"
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


@pytest.mark.framework
def test_characters_that_no_font_has_are_named_with_what_to_install(training_python, capsys):
    private = "\U0010fffd"  # for private use
    image = picture(training_python, "curves", {**CURVES, "title": f"客服-{private}-v2"})
    assert image.startswith(b"\x89PNG")
    said = capsys.readouterr().err
    assert f"no installed font has {private}, which" in said
    assert "apt install fonts-noto-cjk" in said
