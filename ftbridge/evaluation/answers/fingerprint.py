"""What tells the files of a model that is asked from those of another one."""

import hashlib
from pathlib import Path

import msgspec

from ftbridge.core.errors import InputError
from ftbridge.core.parsing.json_yaml import read_json
from ftbridge.language import gettext as _
from ftbridge.launchers.runs.written_files import CARD

WEIGHTS = (".safetensors", ".bin", ".json", ".jinja", ".model")
END = 1 << 16  # bytes
NAMING_BASES = ("adapter_config.json", CARD)


def fingerprint(*folders: Path | None) -> str:
    """Return what tells a model's files from others: names, sizes and both ends; all of them would take minutes.

    Of a copy it is the same: where a base lies, which an adapter's files name, does not count.
    """
    found = hashlib.sha256()
    for folder in filter(None, folders):
        if not folder.is_dir():
            raise InputError(
                _("the model's folder `{folder}` is gone; put it back, or train again").format(folder=folder)
            )
        for file in sorted(each for each in folder.iterdir() if each.suffix in WEIGHTS and each.is_file()):
            if file.name in NAMING_BASES:
                found.update(_without_base(file))
                continue
            size = file.stat().st_size
            with file.open("rb") as content:
                found.update(f"{file.name}\0{size}\0".encode() + content.read(END))
                content.seek(max(END, size - END))
                found.update(content.read(END))
    return found.hexdigest()


def _without_base(file: Path) -> bytes:
    """Return the content of an adapter's file without the folder of its base; of a card, nothing: it is compared."""
    if file.name == CARD:
        return b""
    content = {key: value for key, value in read_json(file).items() if key != "base_model_name_or_path"}
    return msgspec.json.encode(content, order="deterministic")
