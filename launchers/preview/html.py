"""A preview as a notebook shows it: the text of samples, what is learned of it in colour, and the histogram."""

from base64 import b64encode
from contextlib import suppress
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from ftbridge.core.console import counted
from ftbridge.core.console.notebook import html_of
from ftbridge.language import gettext as _

if TYPE_CHECKING:
    from ftbridge.launchers.preview.preview import EncodedSample, Preview

_TEXT = "white-space: pre-wrap; border-left: 3px solid silver; padding-left: 0.5em; text-align: left"
_LEARNED = "color: green; text-decoration: underline"


def preview_html(preview: "Preview") -> str:
    """Return a preview as HTML, with all text of the data escaped."""
    parts = [f"<b>{escape(f'{preview.dataset}, {preview.model}')}</b> ({escape(preview.family)})"]
    for number in range(max((len(view.samples) for view in preview.views.values()), default=0)):
        parts.append(_("sample {number} of {samples}").format(number=number + 1, samples=preview.samples))
        shown: dict[str, list[str]] = {}
        for view in preview.views.values():
            shown.setdefault(_sample_html(view.samples[number]), []).append(view.title)
        parts += [f"{escape(', '.join(titles))}: {text}" for text, titles in shown.items()]
        if preview.differences and preview.differences[number]:
            parts.append(escape(preview.differences[number]))
    parts += [escape(_("warning: {warning}").format(warning=warning)) for warning in preview.warnings]
    figures = ("samples", "tokens", "answer_tokens", "shortest", "median", "p95", "longest", "over")
    parts += [
        f"{escape(title)}{html_of({name: getattr(each, name) for name in figures})}"
        for title, each in preview.stats.items()
    ]
    if preview.png:
        with suppress(OSError):  # it may be gone since
            png = b64encode(Path(preview.png).read_bytes()).decode()
            parts.append(f'<img src="data:image/png;base64,{png}" style="max-width: 45em">')
    return "".join(f"<div>{part}</div>" for part in parts)


def _sample_html(sample: "EncodedSample") -> str:
    """Return the length of a sample, and its text with what is learned underlined in green."""
    learned = sum(label >= 0 for label in sample.labels)
    length = _("{tokens}, {learned} learned").format(tokens=counted(len(sample.ids), "token"), learned=learned)
    text = "".join(
        f'<span style="{_LEARNED}">{escape(each.text)}</span>' if each.trained else escape(each.text)
        for each in sample.text
    )
    return f'{escape(length)}<div style="{_TEXT}">{text}</div>'
