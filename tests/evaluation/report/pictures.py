"""The pictures of reports in docs; `python -m tests.evaluation.report.pictures` makes them anew.

The run and the sweep that they are of are made up.
Chinese needs a font of it (Debian: fonts-noto-cjk).
"""

import contextlib
import shutil
import tempfile
from pathlib import Path
from typing import NamedTuple

import ftbridge
from tests.builders.evaluations import CHINESE, LABELS, write_news
from tests.builders.sweeps import write_sweep

DOCS = Path(__file__).parents[3] / "docs"


class Picture(NamedTuple):
    """A picture: the report's language and labels, its colours, and the part of it that is shown."""

    language: str
    labels: tuple[str, ...]
    colours: str
    width: int
    height: int
    begin: str  # the element that the picture begins with
    source: str = "news-lora"


PICTURES = {
    "report-en.png": Picture("en", LABELS, "light", 900, 824, "header"),
    "report-zh.png": Picture("zh", CHINESE, "dark", 960, 1080, "figure:has(.heat)"),
    "report-phone.png": Picture("zh", CHINESE, "light", 390, 1240, "header"),
    "sweep-en.png": Picture("en", LABELS, "light", 900, 1000, "figure.learning", "sizes"),
}


def take(folder: Path) -> None:
    """Write all pictures into `folder`."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        for name, picture in PICTURES.items():
            with tempfile.TemporaryDirectory() as project, contextlib.chdir(project):
                write = write_sweep if picture.source == "sizes" else write_news
                write(Path(project), picture.source, labels=picture.labels)
                file = ftbridge.report(picture.source, language=picture.language).html
                viewport = {"width": picture.width, "height": picture.height}
                tab = browser.new_page(viewport=viewport, color_scheme=picture.colours)
                tab.goto(file.as_uri())
                tab.evaluate(
                    "selector => scrollTo({top: document.querySelector(selector).offsetTop - 24, behavior: 'instant'})",
                    picture.begin,
                )
                tab.screenshot(path=folder / name)
                tab.close()
        browser.close()


if __name__ == "__main__":
    take(DOCS)
