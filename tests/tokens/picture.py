"""The picture of docs/tokens.md: one sample as three models' chat templates write it; `python -m tests.tokens.picture`.

It is drawn into docs/tokens.svg, and stands as text in docs/tokens.md. The templates are of our own writing, in the
shape of the published ones; test_picture.py compares what is drawn with what a training learns by them.
"""

import re
import textwrap
from html import escape
from itertools import zip_longest
from pathlib import Path
from typing import NamedTuple

from ftbridge.templates.render_chat_template import environment
from tests.builders.chat_templates import DEFAULT_SYSTEM, Message, assistant, user

DOCS = Path(__file__).parents[2] / "docs"
SVG, PAGE = DOCS / "tokens.svg", DOCS / "tokens.md"
BEGIN, END = "<!-- begin: made by `python -m tests.tokens.picture` -->\n", "<!-- end -->"
TURN = [user("What is aspirin for?"), assistant("It relieves pain.")]
SYSTEM = {"role": "system", "content": "Be brief."}
ROWS: dict[str, list[Message]] = {
    "the data has no system prompt": TURN,
    f"the data has the system prompt “{SYSTEM['content']}”": [SYSTEM, *TURN],
}
NEWLINE = "↵"


class Piece(NamedTuple):
    """A part of a line: a token of the template in `< >`, or what stands between."""

    text: str
    is_learned: bool


class Model(NamedTuple):
    """A model's chat template, the tokens that it names, and how many letters a line of it has in the picture."""

    template: str
    bos: str
    stop: str
    width: int


LLAMA3 = (
    "{{ bos_token }}{% for m in messages %}<|start_header_id|>{{ m.role }}<|end_header_id|>\n\n"
    "{{ m.content | trim }}<|eot_id|>{% endfor %}"
    "{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}"
)
GEMMA3 = (
    "{{ bos_token }}{% for m in messages if m.role != 'system' %}"
    "<start_of_turn>{{ 'model' if m.role == 'assistant' else 'user' }}\n"
    "{% if loop.first and messages[0].role == 'system' %}{{ messages[0].content }}\n\n{% endif %}"
    "{{ m.content | trim }}<end_of_turn>\n{% endfor %}{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}"
)
QWEN = DEFAULT_SYSTEM.replace(
    "You are a parrot.", "You are Qwen, created by Alibaba Cloud. You are a helpful assistant."
)
MODELS = {
    "Qwen 2.5": Model(QWEN, "", "<|im_end|>", 33),
    "Llama 3": Model(LLAMA3, "<|begin_of_text|>", "<|eot_id|>", 46),
    "Gemma 3": Model(GEMMA3, "<bos>", "<end_of_turn>", 34),
}
LETTER, LINE, GAP = 7.2, 18, 24  # of a letter across, of a line down, and between panels, in the picture's unit
STYLE = """
text { font: 12px ui-monospace, Menlo, Consolas, monospace; fill: #1f2328; white-space: pre }
.title { font: bold 13px system-ui, sans-serif } .note { font: 13px system-ui, sans-serif }
.page { fill: #ffffff } .panel { fill: #f6f8fa; stroke: #d1d9e0 }
.token { fill: #0550ae } .mark { fill: #aceebb } .line { stroke: #116329; stroke-width: 2 }
@media (prefers-color-scheme: dark) {
  text { fill: #f0f6fc } .page { fill: #0d1117 } .panel { fill: #151b23; stroke: #3d444d }
  .token { fill: #79c0ff } .mark { fill: #1b4721 } .line { stroke: #57d377 }
}
"""


def lines(model: Model, messages: list[Message]) -> list[list[Piece]]:
    """Return the lines of a conversation as the template writes it; one without ↵ at its end goes on in the next."""
    text = environment().from_string(model.template).render(messages=messages, bos_token=model.bos)
    answer = messages[-1]["content"] + model.stop
    learned = range(text.rindex(answer), text.rindex(answer) + len(answer))
    drawn, place = [], 0
    text = text.replace("\n", NEWLINE + "\n")
    for line in re.sub(r"(?<=>)(<\|start_header_id\|>)", r"\n\1", text).splitlines():
        for part in _wrapped(line, model.width):
            pieces = []
            for piece in re.findall(r"<[^>]*>|[^<]+", part):
                pieces.append(Piece(piece, place in learned))
                place += len(piece)
            drawn.append(pieces)
    return drawn


def _wrapped(line: str, width: int) -> list[str]:
    """Return a line in parts of at most `width` letters, each but the first with the blank that it was cut at."""
    first, *rest = textwrap.wrap(line, width, break_long_words=False)
    return [first, *(f" {part}" for part in rest)]


def as_text() -> str:
    """Return what the picture shows, for a page."""
    blocks = []
    for title, messages in ROWS.items():
        columns = [[name, *map(_marked, lines(model, messages))] for name, model in MODELS.items()]
        widths = [model.width + 2 for model in MODELS.values()]
        rows = ["".join(map(str.ljust, row, widths)).rstrip() for row in zip_longest(*columns, fillvalue="")]
        blocks.append("\n".join([f"{title}:\n", *rows]))
    return BEGIN + "```text\n" + "\n\n".join(blocks) + "\n```\n" + END


def _marked(line: list[Piece]) -> str:
    """Return a line with what is learned in brackets."""
    return "".join(f"⟦{piece.text}⟧" if piece.is_learned else piece.text for piece in line).replace("⟧⟦", "")


def as_svg() -> str:
    """Return the picture."""
    drawn, top = (
        [_text(GAP, 30, "One question and its answer, as each model's chat template writes them", "title")],
        36.0,
    )
    for title, messages in ROWS.items():
        columns = {name: lines(model, messages) for name, model in MODELS.items()}
        height = (max(map(len, columns.values())) + 2) * LINE
        drawn.append(_text(GAP, top + LINE, title, "note"))
        left = float(GAP)
        for name, column in columns.items():
            width = MODELS[name].width * LETTER + GAP
            drawn += [
                f'<rect class="panel" x="{left:g}" y="{top + 1.5 * LINE:g}" width="{width:g}" height="{height:g}"/>',
                _text(left + GAP / 2, top + 2.8 * LINE, name, "title"),
                *_conversation(left + GAP / 2, top + 4 * LINE, column),
            ]
            left += width + GAP / 2
        top += height + 2 * LINE
    drawn += [
        *_piece(GAP, top + LINE, Piece("learned", is_learned=True), "note"),
        _text(GAP + 70, top + LINE, "the answer, and the stop token after it; all else is only read", "note"),
        _text(GAP, top + 2.2 * LINE, f"What stands in < > is one token. {NEWLINE} is a line break.", "note"),
    ]
    return _page(left + GAP / 2, top + 3 * LINE, drawn)


def _page(width: float, height: float, drawn: list[str]) -> str:
    label = "One sample as the chat templates of Qwen 2.5, Llama 3 and Gemma 3 write it, with what is learned marked"
    size = f'width="{width:g}" height="{height:g}"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {size} viewBox="0 0 {width:g} {height:g}" role="img">'
    page = f'<rect class="page" {size}/>'
    return "\n".join([head, f"<title>{label}</title>", f"<style>{STYLE}</style>", page, *drawn, "</svg>\n"])


def _conversation(left: float, top: float, column: list[list[Piece]]) -> list[str]:
    drawn = ['<g class="conversation">']
    for number, line in enumerate(column):
        place = left
        for piece in line:
            drawn += _piece(place, top + number * LINE, piece, "token" if piece.text.startswith("<") else "words")
            place += len(piece.text) * LETTER
    return [*drawn, "</g>"]


def _piece(left: float, base: float, piece: Piece, kind: str) -> list[str]:
    """Return what draws a piece: its text; one that is learned is marked, and underlined for who sees no green."""
    width = len(piece.text) * LETTER
    text = _text(left, base, piece.text, f"{kind} learned" if piece.is_learned else kind, width)
    if not piece.is_learned:
        return [text]
    mark = f'<rect class="mark" x="{left:g}" y="{base - 13:g}" width="{width:g}" height="{LINE}"/>'
    line = f'<path class="line" d="M{left:g} {base + 4:g}h{width:g}"/>'
    return [mark, text, line]


def _text(left: float, base: float, text: str, kind: str, width: float = 0) -> str:
    """Return a text of a class, of a given width whichever font the reader has."""
    fitted = f' textLength="{width:g}" lengthAdjust="spacingAndGlyphs"' if width else ""
    return f'<text class="{kind}" x="{left:g}" y="{base:g}"{fitted}>{escape(text, quote=False)}</text>'


def main() -> None:
    """Write the picture, and its text into the page."""
    SVG.write_text(as_svg(), "utf-8")
    before, _, rest = PAGE.read_text("utf-8").partition(BEGIN)
    PAGE.write_text(before + as_text() + rest.partition(END)[2], "utf-8")


if __name__ == "__main__":
    main()
