"""Curves in one picture: as text for a terminal, or as a PNG."""

import base64
import math
import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from ftbridge.core.errors import UsageError
from ftbridge.core.files import write_atomic
from ftbridge.launchers.environment import ask

Points = Sequence[tuple[float, float]]
_OURS = "ftbridge runs plot"
_MARKS = "*o+x#@%&=~"


def text(curves: Mapping[str, Points], width: int = 72, height: int = 18) -> str:
    """Return the curves in a grid of `width` times `height` characters, with the range of both axes and a legend.

    Values that are no finite numbers are left out; where curves meet, the last one shows.
    """
    finite = {name: [(x, y) for x, y in points if math.isfinite(y)] for name, points in curves.items()}
    everything = [point for points in finite.values() for point in points]
    if not everything:
        return "there is nothing to draw yet"
    (left, right), (low, high) = ((min(values), max(values)) for values in zip(*everything, strict=True))
    grid = [[" "] * width for _ in range(height)]
    legend = []
    for number, (name, points) in enumerate(finite.items()):
        mark = _MARKS[number % len(_MARKS)]
        legend.append(f"{'':<9} {mark} {name}")
        for x, y in points:
            column = round((x - left) / ((right - left) or 1) * (width - 1))
            grid[round((high - y) / ((high - low) or 1) * (height - 1))][column] = mark
    labels = [f"{high:9.4g}", *[" " * 9] * (height - 2), f"{low:9.4g}"]
    rows = [f"{label} |{''.join(row)}".rstrip() for label, row in zip(labels, grid, strict=True)]
    steps = f"{'':<11}{left:<{width // 2}g}{right:>{width - width // 2}g}  step"
    return "\n".join([*rows, f"{'':<10}+{'-' * width}", steps, *legend])


def picture_file(png: str | os.PathLike[str]) -> Path:
    """Return where a picture goes; raises UsageError where it is no .png, or something else stands there."""
    path = Path(png).expanduser()
    if path.suffix.lower() != ".png":
        raise UsageError(f"`--png {path}` must end with .png")
    if path.is_dir() or (path.exists() and _OURS.encode() not in path.read_bytes()[:1000]):
        raise UsageError(f"`{path}` is there already and no picture of `{_OURS}`; name another file with `--png FILE`")
    return path


def draw(path: Path, python: Path, curves: Mapping[str, Points]) -> None:
    """Write the curves as a picture, by the matplotlib of the training environment."""
    spec = {"curves": {name: list(points) for name, points in curves.items()}, "software": _OURS}
    write_atomic(path, base64.b64decode(ask(python, "draw_curves", spec, stderr=subprocess.PIPE)))
