"""Folders written by `datasets.Dataset.save_to_disk`: state.json, dataset_info.json, data-*.arrow.

Class labels become their names: `1` of `ClassLabel(names=["neg", "pos"])` is `pos`.
"""

from collections.abc import Iterator
from itertools import chain, islice
from pathlib import Path
from typing import Any

import msgspec

from ftbridge.core.errors import InputError, SetupError
from ftbridge.core.plugins import Reading, Rows, Table
from ftbridge.core.records import Row, Where


def detect(path: Path, head: bytes) -> bool:
    """Tell whether `path` is a saved dataset, or a saved dict of splits."""
    del head
    return (path / "state.json").is_file() or (path / "dataset_dict.json").is_file()


def open_tables(path: Path, reading: Reading) -> list[Table]:
    """Open the folder; raises InputError where it is damaged or holds several splits.

    Raises SetupError where pyarrow is not installed.
    """
    if reading.sheets or reading.all_sheets:
        raise InputError(f"`{path}` is a saved dataset and has no sheets; leave `--sheet` out")
    try:
        import pyarrow as pa
    except ImportError as error:
        raise SetupError("saved datasets need pyarrow: pip install 'ftbridge[arrow]'") from error
    if not (path / "state.json").is_file():
        splits = _json(path / "dataset_dict.json").get("splits", [])
        choices = ", ".join(f"`{path / split}`" for split in splits)
        raise InputError(f"`{path}` holds several splits; give the folder of one: {choices}")
    files = [path / str(file.get("filename")) for file in _json(path / "state.json").get("_data_files", [])]
    try:
        with pa.ipc.open_stream(files[0]) as stream:
            columns = tuple(stream.schema.names)
    except (IndexError, OSError, pa.ArrowInvalid) as error:
        raise InputError(f"the saved dataset `{path}` is damaged: {error}") from error
    rows = _rows(path, files, _labels(path))
    first = tuple(islice(rows, 100))
    return [Table(file=path.name, columns=columns, pieces=[Rows(chain(first, rows))], first=first)]


def _rows(path: Path, files: list[Path], labels: dict[str, list[str]]) -> Iterator[Row]:
    import pyarrow as pa

    number = 0
    try:
        for file in files:
            with pa.ipc.open_stream(file) as stream:
                for batch in stream:
                    for values in batch.to_pylist():
                        number += 1
                        for column, names in labels.items():
                            values[column] = _name(values[column], names)
                        yield Row(Where(path.name, number, unit="row"), values)
    except (OSError, pa.ArrowInvalid) as error:
        raise InputError(f"the saved dataset `{path}` is damaged after row {number}: {error}") from error


def _labels(path: Path) -> dict[str, list[str]]:
    """Return the names of the class labels by column."""
    features: dict[str, Any] = _json(path / "dataset_info.json").get("features") or {}
    return {
        column: feature["names"]
        for column, feature in features.items()
        if isinstance(feature, dict) and feature.get("_type") == "ClassLabel" and feature.get("names")
    }


def _name(label: Any, names: list[str]) -> Any:
    return names[label] if isinstance(label, int) and 0 <= label < len(names) else label


def _json(file: Path) -> dict[str, Any]:
    try:
        return msgspec.json.decode(file.read_bytes(), type=dict[str, Any])
    except (OSError, msgspec.DecodeError) as error:
        raise InputError(f"the saved dataset `{file.parent}` is damaged: `{file.name}`: {error}") from error
