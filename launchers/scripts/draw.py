"""Draw a picture and print {"png": base64, "missing": characters that no font here has}, as the last line.

Runs inside the training environment, which has matplotlib: `python draw.py SPEC` with SPEC as JSON, `software`, `title`
and one of

    {"kind": "curves", "runs": {"RUN": {"training": [[1, 2.5], [2, null]], "smoothed": [...], "validation": []}}}, null
    being no number
    {"kind": "lengths", "starts": [0, 50], "width": 50, "counts": {"XTuner": [3, 9]}, "cutoff_length": 2048}
"""

import base64
import io
import json
import math
import re
import sys
from typing import Any

from matplotlib import font_manager, rcParams
from matplotlib.figure import Figure
from matplotlib.ft2font import FT2Font
from matplotlib.ticker import MaxNLocator

MOST_MARKED = 100  # points that are marked one by one
# Names of files of fonts for Chinese, Japanese and Korean; those for running text come first.
CJK = re.compile(r"cjk|han|wqy|msyh|simhei|simsun|pingfang|heiti|fallback|uming|ukai|unifont|hei|song", re.IGNORECASE)
LESS = re.compile(r"bold|black|light|thin|serif|mono", re.IGNORECASE)


def draw_curves(axes: Any, spec: dict[str, Any]) -> None:
    """Draw each run in a colour: what was logged pale, smoothed above it, and the validation dashed."""
    for number, (run, curves) in enumerate(spec["runs"].items()):
        styles = {
            "training": ("-", 0.35, f"training of {run}"),
            "smoothed": ("-", 1, f"training of {run}, smoothed"),
            "validation": ("--", 1, f"validation of {run}"),
        }
        for kind, (style, alpha, label) in styles.items():
            if points := curves[kind]:
                steps, values = zip(*((x, math.nan if y is None else y) for x, y in points), strict=True)
                marker = "." if kind != "smoothed" and len(points) <= MOST_MARKED else ""
                axes.plot(steps, values, style, color=f"C{number}", alpha=alpha, marker=marker, label=label)
    axes.set(xlabel="step", ylabel="loss")
    axes.ticklabel_format(axis="y", useOffset=False)  # a loss that hardly changes is read as it is
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(visible=True, alpha=0.3)


def draw_lengths(axes: Any, spec: dict[str, Any]) -> None:
    """Draw bars side by side, and a line at the cutoff length; the legend alone has it where it is far away."""
    bar = spec["width"] / len(spec["counts"])
    for number, (title, counts) in enumerate(spec["counts"].items()):
        lefts = [start + number * bar for start in spec["starts"]]
        axes.bar(lefts, counts, width=0.95 * bar, align="edge", label=title)
    cutoff, end = spec["cutoff_length"], spec["starts"][-1] + spec["width"]
    label = f"cutoff length {cutoff:,}"
    if cutoff <= 1.5 * end:
        axes.axvline(cutoff, color="black", linestyle="--", label=label)
    else:
        axes.plot([], [], "k--", label=f"{label}, further right: nothing is truncated")
    axes.set(xlabel="tokens in a sample", ylabel="samples", ylim=(0, None))
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MaxNLocator(integer=True))


def add_fonts(text: str) -> str:
    """Let matplotlib fall back on installed fonts that have the characters of `text`; return those that none has."""
    wanted = {ord(letter) for letter in text if letter >= " "}
    wanted -= FT2Font(font_manager.findfont("DejaVu Sans")).get_charmap().keys()
    families = ["DejaVu Sans"]
    # matplotlib's own list is of the day on which it was first imported.
    for path in sorted(
        font_manager.findSystemFonts(), key=lambda path: (not CJK.search(path), bool(LESS.search(path)))
    ):
        if not wanted:
            break
        font = FT2Font(path)
        if found := wanted & font.get_charmap().keys():
            font_manager.fontManager.addfont(path)
            families.append(font.family_name)
            wanted -= found
    rcParams["font.family"] = families
    return "".join(dict.fromkeys(letter for letter in text if ord(letter) in wanted))


def main() -> None:
    """Draw what the spec says."""
    given = json.dumps(json.loads(sys.argv[1]), ensure_ascii=False)
    missing = add_fonts(given)
    if missing:
        given = re.sub(f"[{re.escape(missing)}]+", "…", given)
    spec = json.loads(given)
    figure = Figure(figsize=(9, 5), layout="constrained")
    axes = figure.subplots()
    {"curves": draw_curves, "lengths": draw_lengths}[spec["kind"]](axes, spec)
    axes.set_title(spec["title"], parse_math=False)
    for text in axes.legend().get_texts():
        text.set_parse_math(False)  # a name with dollars is no formula
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=150, metadata={"Software": spec["software"]})
    answer = {"png": base64.b64encode(picture.getvalue()).decode(), "missing": missing}
    sys.stdout.write("\n" + json.dumps(answer) + "\n")


if __name__ == "__main__":
    main()
