"""Draw a picture and print the PNG as base64, as the last line.

Runs inside the training environment, which has matplotlib: `python draw.py SPEC` with SPEC as JSON, `software`
and one of

    {"kind": "curves", "curves": {"training of RUN": [[1, 2.5], [2, null]]}}, null being no number
    {"kind": "lengths", "starts": [0, 50], "width": 50, "counts": {"XTuner": [3, 9]}, "cutoff_length": 2048}
"""

import base64
import io
import json
import math
import sys
from typing import Any

from matplotlib.figure import Figure

MOST_MARKED = 100  # points that are marked one by one


def draw_curves(axes: Any, spec: dict[str, Any]) -> None:
    """Draw a line per curve, with marks where they are few."""
    for name, points in spec["curves"].items():
        values = [math.nan if y is None else y for _, y in points]
        style = "--" if name.startswith("validation") else "-"
        axes.plot([x for x, _ in points], values, style, marker="." if len(points) <= MOST_MARKED else "", label=name)
    axes.set(xlabel="step", ylabel="loss")
    axes.grid(visible=True, alpha=0.3)


def draw_lengths(axes: Any, spec: dict[str, Any]) -> None:
    """Draw bars side by side, and a line at the cutoff length where it is near."""
    bar = spec["width"] / len(spec["counts"])
    for number, (title, counts) in enumerate(spec["counts"].items()):
        lefts = [start + number * bar for start in spec["starts"]]
        axes.bar(lefts, counts, width=0.95 * bar, align="edge", label=title)
    if spec["cutoff_length"] <= 1.5 * (spec["starts"][-1] + spec["width"]):
        axes.axvline(spec["cutoff_length"], color="black", linestyle="--", label=f"cutoff {spec['cutoff_length']}")
    axes.set(xlabel="tokens in a sample", ylabel="samples")


def main() -> None:
    """Draw what the spec says."""
    spec = json.loads(sys.argv[1])
    figure = Figure(figsize=(9, 5), layout="constrained")
    axes = figure.subplots()
    {"curves": draw_curves, "lengths": draw_lengths}[spec["kind"]](axes, spec)
    axes.legend()
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=150, metadata={"Software": spec["software"]})
    sys.stdout.write("\n" + base64.b64encode(picture.getvalue()).decode() + "\n")


if __name__ == "__main__":
    main()
