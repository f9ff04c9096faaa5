"""The records that the parts of ftbridge hand to each other: values, never changed once made.

Those of which there are millions are kept from the garbage collector: they never refer to themselves.
"""

from typing import Any

import msgspec
from msgspec.structs import replace


class Where(msgspec.Struct, frozen=True, gc=False):
    """Where a row comes from; prints as `medqa.xlsx DrugQA!D17`, or `faq.jsonl line 3`.

    `row` counts from 1 as the reader's own program shows it: the row of a sheet, the line of a JSON lines
    file, the element of a JSON array.
    """

    file: str
    row: int
    sheet: str = ""
    unit: str = "line"

    def __str__(self) -> str:
        return f"{self.file} {self.cell('')}"

    def cell(self, letter: str) -> str:
        """Return the address without the file: `DrugQA!D17` for a sheet, `line 3` elsewhere."""
        return f"{self.sheet}!{letter}{self.row}" if self.sheet else f"{self.unit} {self.row}"


# Text as it stands in JSON, quotes and all, just as msgspec would write it: copied, it need not be decoded.
Text = str | msgspec.Raw


class Row(msgspec.Struct, frozen=True, gc=False):
    r"""What a source yields: values by column name, or the `error` that keeps the row from being read.

    A value may be a `msgspec.Raw`: JSON just as msgspec would write it (no `\u` and no `\/` in it).
    """

    where: Where
    values: dict[str, Any]
    error: str = ""


def moved(record: Any, base: int) -> Any:
    """Return `record`, which has a `where`, with its row counted on from `base`."""
    return replace(record, where=replace(record.where, row=record.where.row + base)) if base else record


def as_json(text: Text) -> bytes:
    """Return `text` as a JSON string."""
    return bytes(text) if isinstance(text, msgspec.Raw) else msgspec.json.encode(text)


class Turn(msgspec.Struct, frozen=True, gc=False):
    """One question and its answer; an empty `instruction` or `input` is "", never null."""

    instruction: Text
    input: Text
    output: Text

    @property
    def user(self) -> Text:
        """All that the user says: instruction and input, joined by a newline when both are there."""
        instruction, extra = self.instruction, self.input
        if not extra or not instruction:
            return instruction or extra
        if isinstance(instruction, str) and isinstance(extra, str):
            return f"{instruction}\n{extra}"
        return msgspec.Raw(as_json(instruction)[:-1] + b"\\n" + as_json(extra)[1:])


class Conversation(msgspec.Struct, frozen=True, gc=False):
    """One training sample; `label` is its class, for a stratified split."""

    system: Text
    turns: tuple[Turn, ...]
    source: Where
    label: str = ""


class DatasetEntry(msgspec.Struct, frozen=True, kw_only=True):
    """What the registry keeps of one part of a dataset, under the key `ftbridge` of its entry.

    `files` maps a target to its file's name, relative to the dataset folder, `sources` maps a source's name to
    the sha256 of its content, `columns` maps a field (instruction, input, output, system, history) to the
    column it was read from, and `options` holds what else decided the content. `system` is the system prompt that
    all samples share, or, where they have `several_systems`, the one of those that brought none.
    """

    version: str
    files: dict[str, str]
    samples: int
    sources: dict[str, str]
    columns: dict[str, str]
    options: dict[str, Any]
    preset: str = ""
    system: str = ""
    several_systems: bool = False


class Launch(msgspec.Struct, frozen=True):
    """What will run, as a value: `env` holds only what we add, `files` what is written before it starts."""

    argv: tuple[str, ...]
    env: dict[str, str]
    cwd: str
    files: dict[str, str]
