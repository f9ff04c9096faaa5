"""`ftbridge merge`: base and adapter into one model folder, in the base's own dtype.

The base is never loaded: its headers say where each tensor lies, a script in the training environment computes what
the adapter changes, piece by piece, and what it does not touch is copied meanwhile. So memory does not grow with the
model.
"""

import hashlib
import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal, TypedDict, Unpack

import msgspec

from ftbridge import __version__
from ftbridge.core.console import counted, say
from ftbridge.core.errors import InputError, UsageError
from ftbridge.core.files.atomic import sha256_of_files, write_atomic, write_json
from ftbridge.core.parsing.json_yaml import read_json
from ftbridge.core.parsing.safetensors_header import safetensors_header
from ftbridge.core.train_spec import Device
from ftbridge.language import gettext as _
from ftbridge.language import joined
from ftbridge.launchers.environment.venv import any_backend, interpreter
from ftbridge.launchers.hardware import devices, nvidia
from ftbridge.launchers.hardware.nvidia import Gpu
from ftbridge.launchers.runs.fingerprint import fingerprint
from ftbridge.launchers.runs.written_files import CARD, unknown_files
from ftbridge.weights.card import WEIGHTS, ModelCard, card_of, existing_output, load_card, say_changes
from ftbridge.weights.export import write_export
from ftbridge.weights.merging.plan import MergePlan
from ftbridge.weights.merging.stream import stream
from ftbridge.weights.model_files import chat_template
from ftbridge.weights.model_files.config import write_files
from ftbridge.weights.model_files.tokenizer import copy_files, refuse_other_vocabulary
from ftbridge.weights.output_folder import fresh_folder, refuse_foreign, refuse_overlap
from ftbridge.weights.source import ModelSource, is_whole_model, resolve, say_unfinished, target_of
from ftbridge.weights.tensors.safetensors import SHARD

SMALLEST_SHARD = 10**6  # bytes, below which a model falls into one file for each tensor
_UNITS = {"K": 10**3, "M": 10**6, "G": 10**9}
# As safetensors calls them.
_DTYPES = {"float32": "F32", "bfloat16": "BF16", "float16": "F16"}


class MergeOptions(TypedDict, total=False):
    """How to merge: more `adapters`, each with its weight, after the source's own.

    `onto` merges onto the 4-bit values that a QLoRA run trained on; `shard_size` is in bytes; `check` is called
    with card, adapter and new folder before that takes its place, `checkpoint` says which of the run's (see `export`).
    `device` auto is the CPU, which is about as quick as the disk.
    """

    checkpoint: str | os.PathLike[str] | None
    adapters: Sequence[tuple[str | os.PathLike[str], float]]
    onto: Literal["nf4", "fp4"] | None
    shard_size: int
    device: Device
    check: Callable[[ModelCard, Path, Path], None] | None


def parse_size(text: str) -> int:
    """Return the bytes of a size such as `5GB` or `500MB`; raises ValueError for less than 1MB, or anything else."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMG])B?", text.strip().upper())
    if not found:
        raise ValueError(_("`{text}` is not a size with a unit, such as 5GB or 500MB").format(text=text))
    size = int(float(found[1]) * _UNITS[found[2]])
    if size < SMALLEST_SHARD:
        raise ValueError(_("`{text}` is too small: 1MB at least, usually 2GB to 5GB").format(text=text))
    return size


def merge(
    source: str | os.PathLike[str] | None = None,
    *,
    model: str | None = None,
    out: str | os.PathLike[str] | None = None,
    **how: Unpack[MergeOptions],
) -> Path:
    """Merge the adapter of a run (default: the last that succeeded) or of a folder; returns the model folder.

    Exports first where that is not done. `model` names another base, `out` the folder (default: `merged` in the
    run's). Raises InputError where there is nothing whole to merge, or where the base has other weights than in the
    training and `model` does not name it, SetupError where the disk is too small.
    """
    if how.get("check") and (how.get("onto") or how.get("adapters")):
        raise UsageError(
            _(
                "`--verify-answers` compares with the base and one adapter as they are: leave out "
                "`--onto` and `--adapter`"
            )
        )
    gpus = nvidia.freest_first(devices.usable_gpus("cuda"))[:1] if how.get("device") == "cuda" else []
    found = resolve(source, how.get("checkpoint"))
    card = card_of(found, model)
    _refuse_whole_model(found)
    target = target_of(found, out, "merged")
    more = [(Path(path).expanduser(), weight) for path, weight in how.get("adapters", ())]
    own = [target_of(found, None, "adapter")] if found.run else []
    refuse_overlap(target, found, Path(card.base), [*own, *(path for path, _weight in more)])
    refuse_foreign(target, "merged")
    say_unfinished(found)
    say_changes(card, refuse=not model and _is_adapter(found))
    _say_changes_for([path for path, _weight in more], card, refuse=not model)
    adapter = adapter_of(found, model)
    made_of = _made_of(card, [(adapter, 1.0), *more], how)
    if not how.get("check") and _is_up_to_date(target, card, made_of):
        return target
    with fresh_folder(target, "merged") as folder:
        if (adapter / "adapter_config.json").is_file():
            wanted = [(adapter, 1.0), *more]
            say(
                _("merging {paths} into {base} ...").format(
                    paths=joined(", ", (str(path) for path, _weight in wanted)), base=card.base
                )
            )
            config = merge_weights(
                interpreter(found.project, any_backend(found.project, card.backend)),
                Path(card.base),
                wanted,
                folder,
                shard_size=how.get("shard_size", SHARD),
                gpus=gpus,
                rounding=_rounding_to_4_bits(found, how.get("onto")),
            )
            write_files(folder, Path(card.base), adapter, config, card.stop)
            chat_template.write(folder, card)
        else:  # full fine-tuning: there is nothing to merge
            copy_files(adapter, folder, ("*",), overwrite=True)
        _refuse_unreadable(
            folder,
            _("merging `{adapter}` into `{base}` left no readable model").format(adapter=adapter, base=card.base),
        )
        card.save(folder)
        write_json(folder / CARD, {**read_json(folder / CARD), "made_of": made_of})
        if check := how.get("check"):
            check(card, adapter, folder)
    return target


def _refuse_unreadable(folder: Path, refusal: str) -> None:
    """Raise InputError, with this message, where a folder does not hold whole files of weights."""
    files = list(folder.glob("*.safetensors"))
    if not files or any(safetensors_header(file) is None for file in files):
        raise InputError(refusal)


def _say_changes_for(adapters: Sequence[Path], card: ModelCard, *, refuse: bool) -> None:
    """Say, or refuse, that the card's base is not that of another of the `adapters`."""
    for path in adapters:
        if other := load_card(path):
            say_changes(msgspec.structs.replace(other, base=card.base), refuse=refuse)


def _made_of(card: ModelCard, adapters: Sequence[tuple[Path, float]], how: MergeOptions) -> str:
    """Return a hash of all that decides a merged model: base, adapters and options."""
    hashes = []
    for folder, weight in adapters:
        files = {file.name: file for file in sorted(folder.iterdir()) if file.suffix in {*WEIGHTS, ".json"}}
        hashes.append((weight, sha256_of_files(files)))
    options = {"onto": how.get("onto"), "shard_size": how.get("shard_size", SHARD)}
    decisive = [__version__, fingerprint(Path(card.base)), hashes, options]
    return hashlib.sha256(msgspec.json.encode(decisive)).hexdigest()


def _is_up_to_date(folder: Path, card: ModelCard, made_of: str) -> bool:
    """Tell whether a folder holds, unchanged, what a merge would write, which is then said."""
    if not (folder / CARD).is_file() or load_card(folder) != card:
        return False
    record = read_json(folder / CARD)
    files = record.get("files", {})
    is_whole = all((folder / name).is_file() for name in files) and not any(unknown_files(folder, files))
    if found := record.get("made_of") == made_of and is_whole:
        say(_("`{folder}` is up to date; remove it to merge again").format(folder=folder))
    return found


def adapter_of(source: ModelSource, model: str | None = None) -> Path:
    """Return the folder with the PEFT adapter, or the whole model, of a source, exporting it where needed."""
    if source.run:
        card = card_of(source, model)
        return existing_output(source, card, "adapter") or write_export(
            source, card, target_of(source, None, "adapter")
        )
    if (source.folder / "adapter_config.json").is_file() or (source.folder / "config.json").is_file():
        return source.folder
    raise InputError(
        _("`{folder}` is neither a run nor an adapter; write one with `ftbridge export`").format(folder=source.folder)
    )


def _refuse_whole_model(source: ModelSource) -> None:
    """Raise InputError for a folder with a model that no full fine-tuning of ours has left there."""
    folder = source.folder
    if source.run or not is_whole_model(folder):
        return
    if not (folder / CARD).is_file() or read_json(folder / CARD).get("kind") == "merged":
        raise InputError(
            _("`{folder}` holds no adapter; there is nothing to merge. Give a run, or an adapter's folder").format(
                folder=folder
            )
        )


def _is_adapter(source: ModelSource) -> bool:
    """Tell whether a base is needed; what full fine-tuning leaves is a model by itself."""
    return source.run.spec.method != "full" if source.run else (source.folder / "adapter_config.json").is_file()


def merge_weights(
    python: Path,
    base: Path,
    adapters: Sequence[tuple[Path, float]],
    folder: Path,
    *,
    shard_size: int = SHARD,
    gpus: Sequence[Gpu] = (),
    rounding: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Write the weights of `base` with `adapters` into `folder`; returns what its config.json must hold.

    `gpus` is the GPU that computes, none for the CPU; `rounding` says how linear layers are rounded to 4 bits before
    anything is added (see `launchers/scripts/merge_adapter.py`). Raises InputError where base and adapters do not fit,
    or where nothing changes, SetupError where the GPU fails.
    """
    for path, _weight in adapters:
        refuse_other_vocabulary(path, base)
    merged = MergePlan(base, adapters)
    if not merged.changes:
        raise InputError(_("the adapter is empty: it holds no tensors to merge; export or copy it again"))
    copies, computed = merged.lay_out(folder, shard_size)
    plan = folder.with_name("plan.json")
    device = "cuda" if gpus else "cpu"
    write_atomic(plan, msgspec.json.encode({"device": device, "rounding": rounding, "tensors": computed}))
    unchanged = stream(python, plan, copies, merged.total, gpus)
    first = _("e.g. `{unchanged}`").format(unchanged=unchanged[0]) if unchanged else ""
    if len(unchanged) == len(computed):
        raise InputError(
            _(
                "the merge changes nothing: all that the adapter touches ({tensors}) stays as it is "
                "in the base, {first}; the adapter is empty, or its changes are too small for the "
                "base's dtype"
            ).format(tensors=counted(len(unchanged), "tensor"), first=first)
        )
    if unchanged:
        of_all = _("{count} of {tensors}").format(count=len(unchanged), tensors=counted(len(computed), "tensor"))
        say(_("note: {tensors} that the adapter touches stay as they are, {first}").format(tensors=of_all, first=first))
    return merged.config


def _rounding_to_4_bits(source: ModelSource, onto: str | None) -> dict[str, Any] | None:
    """Return how the 4-bit values are made: as the run's training made them, where the source is a run."""
    if not onto:
        return None
    spec = source.run.spec if source.run else None
    if spec and (spec.method != "qlora" or spec.quantization_bits != 4):  # noqa: PLR2004
        raise UsageError(
            _("the run did not train on 4-bit values, which `--onto {onto}` would make; leave it out").format(onto=onto)
        )
    if spec and spec.quantization_type != onto:
        raise UsageError(
            _("the run trained on {quantization_type}, not {onto}: `--onto {quantization_type}`").format(
                quantization_type=spec.quantization_type, onto=onto
            )
        )
    dtype = _DTYPES[_loaded_dtype(source.folder) if spec else "bfloat16"]
    return {"type": onto, "double": spec.double_quantization if spec else True, "dtype": dtype}


def _loaded_dtype(run: Path) -> str:
    """Return the dtype in which a run's model was loaded, from its launch.json."""
    launch = run / "launch.json"
    return str(read_json(launch).get("dtype", "bfloat16")) if launch.is_file() else "bfloat16"
