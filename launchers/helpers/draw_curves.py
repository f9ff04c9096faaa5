"""Draw loss curves and print the PNG as base64, as the last line.

Runs inside the training environment, which has matplotlib: `python draw_curves.py '{"curves": {"training of RUN":
[[1, 2.5], [2, null]]}, "software": "..."}'`; null is no number.
"""

import base64
import io
import json
import math
import sys

from matplotlib.figure import Figure

FEW = 100  # points that are marked one by one


def main() -> None:
    """Draw what the spec says: a line per curve, with marks where they are few."""
    spec = json.loads(sys.argv[1])
    figure = Figure(figsize=(9, 5), layout="constrained")
    axes = figure.subplots()
    for name, points in spec["curves"].items():
        values = [math.nan if y is None else y for _, y in points]
        style = "--" if name.startswith("validation") else "-"
        axes.plot([x for x, _ in points], values, style, marker="." if len(points) <= FEW else "", label=name)
    axes.set(xlabel="step", ylabel="loss")
    axes.grid(visible=True, alpha=0.3)
    axes.legend()
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=150, metadata={"Software": spec["software"]})
    sys.stdout.write("\n" + base64.b64encode(picture.getvalue()).decode() + "\n")


if __name__ == "__main__":
    main()
