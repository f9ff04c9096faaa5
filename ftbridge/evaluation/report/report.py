"""`ftbridge report`: what was gained, for somebody who was not there, in a file that opens anywhere."""

import base64
import hashlib
import os
import re
from collections.abc import Iterator, Sequence
from functools import cache, partial
from importlib import resources
from pathlib import Path
from typing import Literal, NamedTuple

import jinja2
import msgspec
from markupsafe import Markup, escape

from ftbridge import __version__
from ftbridge.core.console import say
from ftbridge.core.errors import UsageError
from ftbridge.core.files.atomic import opened_record, write_atomic
from ftbridge.core.project import Project
from ftbridge.evaluation.report.charts import Number, Value
from ftbridge.evaluation.report.runs import sources as found_sources
from ftbridge.evaluation.report.runs.answers import Answer, Asked, Stretch, marked
from ftbridge.evaluation.report.runs.contents import Contents, contents_of
from ftbridge.evaluation.report.runs.sheets import sheets as sheets_of
from ftbridge.evaluation.report.runs.sources import Found
from ftbridge.evaluation.report.sweeps.contents import SweepContents
from ftbridge.evaluation.report.sweeps.contents import contents_of as contents_of_sweep
from ftbridge.evaluation.report.sweeps.table import sheets as sheets_of_sweep
from ftbridge.evaluation.report.words import NOTHING, Language, Words, language_of, shown
from ftbridge.evaluation.report.workbook import Sheet, is_own_workbook, write_workbook
from ftbridge.evaluation.sweep.record import FILE as SWEEP
from ftbridge.evaluation.sweep.record import FOLDER as SWEEPS
from ftbridge.evaluation.sweep.record import Sweep, find_sweep
from ftbridge.evaluation.sweep.results import results_of
from ftbridge.language import gettext as _
from ftbridge.language import joined

MARK = "ftbridge report"  # in the head of a page and of a model card, by which they are known as ours
MOST_BYTES = 2_000_000
# How many characters of a text are shown: the most with which the page is no larger than it may be.
LETTERS = (2000, 1000, 600, 400, 250, 160, 100, 60, 40, 24)
BYTES_BESIDE = 40  # of markup beside a text
_MARKDOWN = re.compile(r"([\\`*_\[\]<>|#~&])")


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """The files that were written: the page, and where they were asked for a workbook and a model card's figures."""

    html: Path
    xlsx: Path | None = None
    markdown: Path | None = None


class Cut(NamedTuple):
    """How texts are cut for display."""

    letters: int
    words: Words

    def __call__(self, text: str) -> str:
        """Return a text as it is shown, with what was cut counted."""
        more = len(text) - self.letters
        return text if more <= 0 else text[: self.letters] + self.words("more_letters", number=f"{more:,}")


def report(
    *sources: str | os.PathLike[str],
    out: str | os.PathLike[str] | None = None,
    language: Literal["auto", "en", "zh"] = "auto",
    xlsx: str | os.PathLike[str] | bool = False,
    markdown: str | os.PathLike[str] | bool = False,
) -> Report:
    """Write the report on runs (default: the last that succeeded), folders and evaluation.json files as one HTML file.

    A sweep, by its name, its folder or its sweep.json, has a report of its own. The page lies in the folder of a run or
    of a sweep, or in the project's where there are several runs, unless `out` names it. `xlsx` writes the same tables
    as a workbook, `markdown` the figures for a model card: True puts them beside the page. `language` is en or zh, or
    auto for the locale's. Raises InputError where there is nothing like that or it is damaged, UsageError where a file
    is there that no report has written, or a sweep is named together with something else.
    """
    words = Words(language_of(language))
    found = _sweep(sources) or found_sources.find(sources)
    page = Path(out).expanduser() if out else _default_place(found)
    files = {"--out": page, "--xlsx": _beside(page, xlsx, ".xlsx"), "--markdown": _beside(page, markdown, ".md")}
    named = [file.absolute() for file in files.values() if file]
    if len(set(named)) < len(named):
        raise UsageError(
            _("two of {files} name the same file; give each another name").format(
                files=joined(", ", (f"`{option}`" for option in files))
            )
        )
    for option, file in files.items():
        if file:
            _refuse_foreign_file(option, file)
    contents, sheets = _contents(found, words)
    write_atomic(page, render_page(contents, words))
    if files["--xlsx"]:
        write_workbook(files["--xlsx"], sheets)
    if files["--markdown"]:
        write_atomic(files["--markdown"], render_model_card(contents, words))
    return Report(html=page, xlsx=files["--xlsx"], markdown=files["--markdown"])


def _sweep(sources: Sequence[str | os.PathLike[str]]) -> Sweep | None:
    """Return the sweep that is meant, None where none is; raises UsageError for one among other sources."""
    project = Project.find()
    named = [each for each in sources if _is_sweep(project, each)]
    if named and len(sources) > 1:
        raise UsageError(
            _("the sweep `{named}` has a report of its own; name it alone").format(named=os.fspath(named[0]))
        )
    return find_sweep(project, named[0]) if named else None


def _is_sweep(project: Project, source: str | os.PathLike[str]) -> bool:
    path = Path(source).expanduser()
    return path.name == SWEEP or any((place / SWEEP).is_file() for place in (path, project.folder / SWEEPS / path))


def _contents(found: Found | Sweep, words: Words) -> tuple[Contents | SweepContents, Iterator[Sheet]]:
    """Return what is told on the page, and the same as sheets."""
    if isinstance(found, Sweep):
        of_sweep = contents_of_sweep(found, results_of(found), words)
        return of_sweep, sheets_of_sweep(of_sweep, words)
    contents = contents_of(found, words)
    return contents, sheets_of(contents, words)


def _default_place(found: Found | Sweep) -> Path:
    if isinstance(found, Sweep):
        return found.path / "report.html"
    folder = found.runs[0].path if len(found.runs) == 1 else found.project.folder
    return folder / "report.html"


def _beside(page: Path, wanted: str | os.PathLike[str] | bool, ending: str) -> Path | None:
    if isinstance(wanted, bool):
        return page.with_suffix(ending) if wanted else None
    return Path(wanted).expanduser()


def _refuse_foreign_file(option: str, file: Path) -> None:
    """Raise UsageError where something stands in a report's place that is none."""
    if os.path.lexists(file) and not (is_own_workbook(file) if option == "--xlsx" else _is_own_text(file)):
        raise UsageError(
            _("`{file}` exists already and is not a report of ftbridge; name another with `{option} FILE`").format(
                file=file, option=option
            )
        )


def _is_own_text(file: Path) -> bool:
    try:
        with opened_record(file) as opened:
            return MARK.encode() in opened.read(500)
    except OSError:
        return False


def render_page(contents: Contents | SweepContents, words: Words) -> bytes:
    """Return the page: with texts as long as its size allows."""
    environment = _html_environment(words.language)
    css, js = (Markup(environment.get_template(name).render()) for name in ("report.css.j2", "report.js"))  # noqa: S704 - ours
    hashes = {"css": _csp_hash(css), "js": _csp_hash(js)}
    template = environment.get_template(f"{_kind(contents)}.html.j2")
    page = b""
    for letters in LETTERS if any(_texts(contents)) else LETTERS[:1]:
        cut = Cut(letters, words)
        if letters > LETTERS[-1] and _least_bytes(contents, cut) > MOST_BYTES:
            continue
        cutting = {"letters": letters, "cut": cut, "compared": partial(_compared, cut)}
        values = {"contents": contents, "css": css, "js": js, "hashes": hashes, **cutting}
        page = template.render(values).encode("utf-8", "backslashreplace")
        if len(page) <= MOST_BYTES:
            return page
    say(_("note: the page has {count:,} bytes, though all texts are cut; it may open slowly").format(count=len(page)))
    return page


def _least_bytes(contents: Contents | SweepContents, cut: Cut) -> int:
    """Return how many bytes all answers take at least, so that no page is made in vain."""
    return sum(BYTES_BESIDE + len(escape(cut(text)).encode("utf-8", "backslashreplace")) for text in _texts(contents))


def _texts(contents: Contents | SweepContents) -> Iterator[str]:
    """Yield the texts that are cut where the page is too large: all prompts and answers."""
    results = () if isinstance(contents, SweepContents) else contents.results
    shown = (each for result in results for each in (result.prompts, result.answers) if each)
    return (text for each in shown for text in each.texts)


def _kind(contents: Contents | SweepContents) -> str:
    return "sweep" if isinstance(contents, SweepContents) else "runs"


@cache
def _html_environment(language: Language) -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(_template),
        undefined=jinja2.StrictUndefined,
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals |= {"words": Words(language), "version": __version__}
    environment.filters |= {"shown": _shown, "code": _with_code, "flags": _flags}
    return environment


def _template(name: str) -> str:
    return resources.files("ftbridge.templates").joinpath("report", name).read_text(encoding="utf-8")


def _csp_hash(text: str) -> str:
    """Return the sha256 by which a browser knows the only style, and the only script, that it is to obey."""
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _shown(text: str) -> str | Markup:
    """Return a text without what a page would obey; markup of ours stays."""
    return text if isinstance(text, Markup) else shown(text)


def _with_code(text: str) -> Markup:
    """Return a sentence, escaped, with what stands in backticks as code."""
    pieces = str(escape(text)).split("`")
    even = len(pieces) % 2
    marked_up = (f"<code>{each}</code>" if at % 2 and even else each for at, each in enumerate(pieces))
    return Markup(("" if even else "`").join(marked_up))  # noqa: S704 - escaped above


def _flags(asked: Asked) -> str:
    """Return by what a row is filtered: right or wrong, changed, gained or lost."""
    first, *others = asked.answers
    right = bool(first and first.right)
    before = others[-1] if others else None
    change = "" if not before or before.right == right else "g" if right else "l"
    return ("r" if right else "w") + ("c" if asked.changed else "") + change


def _compared(cut: Cut, asked: Asked) -> Iterator[tuple[Answer | None, str, list[Stretch]]]:
    """Yield the answers to a question from the last to the first, in stretches that differ between two of them."""
    texts = [cut(answer.text) if answer else "" for answer in asked.answers]
    plain = [[Stretch(text, False)] if text else [] for text in texts]
    if len(texts) == 2 and all(asked.answers):  # noqa: PLR2004
        before, after = marked(texts[1], texts[0])
        plain = [each if text else [] for text, each in zip(texts, (after, before), strict=True)]
    for at in reversed(range(len(texts))):
        yield asked.answers[at], "del" if at else "ins", plain[at]


class _Ready(str):
    """Markdown that is escaped already."""

    __slots__ = ()


def render_model_card(contents: Contents | SweepContents, words: Words) -> str:
    """Return the figures as Markdown, for a model card."""
    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(_template),
        undefined=jinja2.StrictUndefined,
        autoescape=False,  # noqa: S701 - this is no markup of the web; `finalize` escapes
        finalize=_markdown,
        trim_blocks=True,
    )
    environment.globals["words"] = words

    def cells(row: tuple[Value, ...]) -> _Ready:
        return _Ready(" | ".join(_markdown(_cell_text(cell, words)) for cell in row))

    environment.filters |= {"cells": cells, "join_cells": cells}
    return environment.get_template(f"{_kind(contents)}.md.j2").render(contents=contents)


def _cell_text(cell: Value, words: Words) -> str:
    if isinstance(cell, Number):
        interval = f" ({words.interval(cell.name, cell.figure, 'interval_short')})" if cell.has_interval else ""
        return words.number(cell.name, cell.figure.value) + interval
    if isinstance(cell, float):
        return f"{cell:.4f}"
    return NOTHING if cell is None else f"{cell:,}" if isinstance(cell, int) else cell


def _markdown(text: object) -> str:
    """Return a text in one line, with all that Markdown would obey as it is."""
    if isinstance(text, _Ready):
        return text
    return _MARKDOWN.sub(r"\\\1", " ".join(shown(str(text)).split()))
