"""`ftbridge merge`: base and adapter into one model folder, in the base's own dtype."""

import os
import subprocess
from pathlib import Path

from ftbridge.core.console import say
from ftbridge.core.errors import InputError
from ftbridge.core.files import safetensors_header
from ftbridge.launchers.environment import ask, interpreter
from ftbridge.weights.export import copy_files, export
from ftbridge.weights.folders import fresh_folder
from ftbridge.weights.sources import Source, card_of, made, resolve, target_of


def merge(
    source: str | os.PathLike[str] | None = None,
    *,
    model: str | None = None,
    out: str | os.PathLike[str] | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
) -> Path:
    """Merge the adapter of a run (default: the last that succeeded) or of a folder; returns the model folder.

    Exports first where that is not done. `model` names another base, `out` the folder (default: `merged` in the
    run's), `checkpoint` which of the run's (see `export`). Raises InputError where there is nothing whole to merge,
    SetupError where the merge fails.
    """
    found = resolve(source, checkpoint)
    card = card_of(found, model)
    adapter = adapter_of(found, model)
    target = target_of(found, out, "merged")
    with fresh_folder(target) as folder:
        if (adapter / "adapter_config.json").is_file():
            say(f"merging {adapter} into {card.base} ...")
            spec = {
                "base": card.base,
                "adapter": str(adapter),
                "out": str(folder),
                "trust_remote_code": card.trust_remote_code,
            }
            ask(interpreter(found.project, card.backend), "merge_adapter", spec, stderr=subprocess.PIPE)
        else:  # full fine-tuning: there is nothing to merge
            copy_files(adapter, folder, ("*",), overwrite=True)
        files = list(folder.glob("*.safetensors"))
        if not files or any(safetensors_header(file) is None for file in files):
            raise InputError(f"merging `{adapter}` into `{card.base}` left no readable model")
        card.save(folder)
    return target


def adapter_of(source: Source, model: str | None = None) -> Path:
    """Return the folder with the PEFT adapter, or the whole model, of a source, exporting it where needed."""
    if source.run:
        ready = made(source, card_of(source, model), "adapter")
        return ready or export(source.folder, model=model, checkpoint=source.checkpoint)
    if (source.folder / "adapter_config.json").is_file() or (source.folder / "config.json").is_file():
        return source.folder
    raise InputError(f"`{source.folder}` is neither a run nor an adapter; write one with `ftbridge export`")
