"""What `ftbridge datasets list` says of each entry of dataset_info.json."""

from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec

from ftbridge.core.console.notebook import ShownAsTable
from ftbridge.core.errors import InputError
from ftbridge.dataset_info import registry
from ftbridge.dataset_info.entries import interpret_entry
from ftbridge.dataset_info.names import is_ours
from ftbridge.language import gettext as _


class DatasetSummary(ShownAsTable, msgspec.Struct, frozen=True, kw_only=True):
    """An entry in a line: `made` is when the file that LLaMA-Factory reads was last written, in local time.

    `samples` is None where ftbridge did not make the dataset, and so has not counted them; `source` is then its
    file, or its place on a hub.
    """

    name: str
    ours: bool
    samples: int | None
    formats: tuple[str, ...]
    source: str
    preset: str
    made: str


def summaries(dataset_dir: Path) -> list[DatasetSummary]:
    """Return a summary of every entry, in the file's order; raises InputError where that is damaged."""
    return [_summary(dataset_dir, name, raw) for name, raw in registry.read_entries(dataset_dir).items()]


def _summary(dataset_dir: Path, name: str, raw: Any) -> DatasetSummary:
    entry = interpret_entry(name, raw)
    samples, preset, source = None, "", entry.remote or entry.file_name
    formats: tuple[str, ...] = (entry.formatting,)
    if is_ours(raw):
        try:
            own = registry.parse_entry(dataset_dir, name, raw)
        except InputError:
            source = _("damaged; `ftbridge datasets check` says how")
        else:
            samples, formats, preset = own.samples, tuple(sorted(own.files)), own.preset
            source = ", ".join(own.sources)
    file = dataset_dir / entry.file_name
    made = ""
    if file.is_file():
        made = datetime.fromtimestamp(file.stat().st_mtime).astimezone().strftime("%Y-%m-%d %H:%M")
    return DatasetSummary(
        name=name,
        ours=is_ours(raw),
        samples=samples,
        formats=formats,
        source=source,
        preset=preset,
        made=made,
    )
