"""A folder of data files, or a local dataset in Hugging Face's layout: each file is read by its own source.

`layout` tells which files are data, and which split they are of; no script that lies beside them is run.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath

import msgspec

from ftbridge.adapters.sources import split_names
from ftbridge.adapters.sources.columnar.class_labels import Labels, put_label_names
from ftbridge.adapters.sources.repository import layout
from ftbridge.adapters.sources.repository.layout import files_below, left_out_notes, other_files_message
from ftbridge.core.errors import InputError
from ftbridge.core.records import Piece, Reading, Row, Table
from ftbridge.language import gettext as _
from ftbridge.language import joined


def detect(path: Path, head: bytes) -> bool:
    """Tell whether `path` is a folder; `arrow` comes first, and takes those that `datasets` saved."""
    del head
    return path.is_dir()


def open_tables(path: Path, reading: Reading) -> list[Table]:
    """Open all data files below `path`, a table for each, or for each of its sheets, with the part it is of.

    Raises InputError where there are none, or where they are of several datasets.
    """
    names = list(files_below(path))
    card, notes = layout.read_dataset_card(path)
    configs = layout.configs(names, card)
    if not configs:
        raise InputError(
            _("`{path}` holds no data that can be read{other_files_message}").format(
                path=path, other_files_message=other_files_message(names)
            )
        )
    config = layout.choose_name(configs, "", card.default())
    if config is None:
        known = joined(", ", (f"`{name}` ({next(iter(those.values()))[0]} ...)" for name, those in configs.items()))
        raise InputError(
            _("`{path}` holds several datasets: {known}; give the folder or the files of one of them").format(
                path=path, known=known
            )
        )
    splits = configs[config]
    files = split_names.parts_of_splits(splits, lambda split: str(path / splits[split][0]))
    return open_files(path, files, card.labels(config), reading, (*notes, *left_out_notes(names, configs)))


def open_files(
    root: Path, files: Iterable[tuple[str, list[str]]], labels: Labels, reading: Reading, notes: tuple[str, ...] = ()
) -> list[Table]:
    """Open files below `root`, given by part; their columns of class labels get names, the first table the notes.

    Raises InputError where a file cannot be read.
    """
    from ftbridge.adapters.sources.detection import open_path

    files = list(files)
    count = Counter(PurePosixPath(name).name for _unused, names in files for name in names)
    found = []
    for part, names in files:
        for name in names:
            # Of two files with the same name, messages give the folders as well.
            file = name if count[PurePosixPath(name).name] > 1 else PurePosixPath(name).name
            for table in open_path(root / name, reading):
                found.append(_renamed_table(table, part, file, labels, notes))
                notes = ()
    return found


class RenamedPiece(msgspec.Struct, frozen=True):
    """A piece whose rows get the names of their class labels, and another file name."""

    piece: Piece
    file: str
    labels: Labels

    def rows(self) -> Iterator[Row]:
        """Yield the rows."""
        return (_renamed_row(row, self.file, self.labels) for row in self.piece.rows())


def _renamed_table(table: Table, part: str, file: str, labels: Labels, notes: tuple[str, ...]) -> Table:
    labels = {column: names for column, names in labels.items() if column in table.columns}
    table = msgspec.structs.replace(table, part=part, notes=(*notes, *table.notes))
    if not labels and file == table.file:
        return table
    return msgspec.structs.replace(
        table,
        file=file,
        pieces=(RenamedPiece(piece, file, labels) for piece in table.pieces),
        first=tuple(_renamed_row(row, file, labels) for row in table.first),
    )


def _renamed_row(row: Row, file: str, labels: Labels) -> Row:
    values = dict(row.values)
    error = row.error or put_label_names(values, labels)
    return Row(msgspec.structs.replace(row.where, file=file), values, error)
