"""Draw how many samples have which length and print the PNG as base64, as the last line.

Runs inside the training environment, which has matplotlib: `python draw_lengths.py '{"starts": [0, 50], "width": 50,
"counts": {"XTuner": [3, 9]}, "cutoff_length": 2048, "software": "..."}'`.
"""

import base64
import io
import json
import sys

from matplotlib.figure import Figure


def main() -> None:
    """Draw what the spec says: bars side by side, and a line at the cutoff length where it is near."""
    spec = json.loads(sys.argv[1])
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.subplots()
    bar = spec["width"] / len(spec["counts"])
    for number, (title, counts) in enumerate(spec["counts"].items()):
        lefts = [start + number * bar for start in spec["starts"]]
        axes.bar(lefts, counts, width=0.95 * bar, align="edge", label=title)
    if spec["cutoff_length"] <= 1.5 * (spec["starts"][-1] + spec["width"]):
        axes.axvline(spec["cutoff_length"], color="black", linestyle="--", label=f"cutoff {spec['cutoff_length']}")
    axes.set(xlabel="tokens in a sample", ylabel="samples")
    axes.legend()
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=150, metadata={"Software": spec["software"]})
    sys.stdout.write("\n" + base64.b64encode(picture.getvalue()).decode() + "\n")


if __name__ == "__main__":
    main()
