"""Where a model is loaded: on which GPUs, with which numbers, and whether it has room there."""

import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
from msgspec.structs import replace

from ftbridge.core.console import natural_size
from ftbridge.core.errors import InputError
from ftbridge.core.parsing.json_yaml import read_json
from ftbridge.core.parsing.safetensors_header import safetensors_header
from ftbridge.language import gettext as _
from ftbridge.launchers.hardware.nvidia import Gpu, freest_first
from ftbridge.launchers.scripts.lora_targets import EXPERTS

ROOM = 1.2  # times the weights: an answer needs some beside them
_MIB = 1024**2
# How safetensors and torch call what a model may be loaded in, and the bytes of a value.
_NAMES = {"F64": "float64", "F32": "float32", "BF16": "bfloat16", "F16": "float16"}
_WIDTHS: dict[str, float] = {"float64": 8, "float32": 4, "bfloat16": 2, "float16": 2}
# bitsandbytes quantises the matrices of the numbered layers, and no others: transformers 5 stacks those of all experts
# into one tensor, which stays as it is.
_IN_LAYER = re.compile(r"\.\d+\.")
_QUANTISED: dict[int, float] = {4: 0.52, 8: 1.0}  # bytes of a value by bits, with the maximum of each block


class Loading(msgspec.Struct, frozen=True, kw_only=True):
    """How a model is loaded.

    `bits` 4 or 8 quantises it with bitsandbytes, `offload_folder` takes what fits into neither GPU nor main memory,
    `dtype` is float32, bfloat16, float16, or auto for the model's own; on GPUs without bfloat16 that is float16.
    `trust_remote_code` runs Python code that comes with it.
    """

    bits: int | None = None
    offload_folder: str | None = None
    dtype: str = "auto"
    trust_remote_code: bool = False


class Placement(msgspec.Struct, frozen=True):
    """Where and how a model is loaded: `gpus` are those that its process sees, none for the CPU.

    `dtype` is auto only where the files do not say what they hold; `compute_dtype` is that of layers in 4 bits; `size`
    is that of the loaded weights in bytes; `note` is what the user should know before.
    """

    gpus: tuple[Gpu, ...]
    dtype: str
    compute_dtype: str
    size: int
    note: str = ""

    @property
    def device(self) -> str:
        """Return cuda or cpu."""
        return "cuda" if self.gpus else "cpu"

    def gpus_after_loading(self, gpus: Sequence[Gpu]) -> list[Gpu]:
        """Return the GPUs as they will be once this model is loaded."""
        share = self.size // _MIB // max(1, len(self.gpus))
        return [
            gpu if gpu.free is None or gpu not in self.gpus else replace(gpu, free=max(0, gpu.free - share))
            for gpu in gpus
        ]


def place(gpus: Sequence[Gpu], model: Path, adapter: Path | Sequence[Path] | None, loading: Loading) -> Placement:
    """Decide where `model`, with an `adapter` or several on it, is loaded; `gpus` are what it may use.

    Where it fits into the freest GPU it gets that alone, else all, the freest first, and main memory takes the rest.
    Of MIG slices a process can use one. Where the free memory is not told it gets all, for torch will know it.
    """
    if loading.offload_folder:
        _refuse_foreign_files(Path(loading.offload_folder))
    config = read_json(model / "config.json") if (model / "config.json").is_file() else {}
    is_quantised, is_auto = bool(config.get("quantization_config")), loading.dtype == "auto"
    dtype = _stored_dtype(model, config) if is_auto else loading.dtype
    size = _loaded_size(model, None if is_quantised else loading.bits, "" if is_quantised else dtype)
    adapters = [adapter] if isinstance(adapter, Path) else adapter or []
    size += sum(file.stat().st_size for folder in adapters for file in folder.glob("adapter_model.*"))
    shown = _choose_gpus(gpus, size)
    # A processor without instructions for bfloat16 takes four times as long for a prompt with it.
    compute = "float32" if not shown else "bfloat16" if all(gpu.bfloat16 for gpu in shown) else "float16"
    return Placement(
        gpus=shown,
        dtype="float16" if is_auto and (dtype, compute) == ("bfloat16", "float16") else dtype,
        compute_dtype=compute if is_auto else dtype,
        size=size,
        note="" if is_quantised or loading.bits else _note_on_room(shown, size),
    )


def _refuse_foreign_files(folder: Path) -> None:
    """Raise InputError where the weights would be written among other things, whose names they may have."""
    paths = sorted(folder.iterdir()) if folder.is_dir() else [folder] if folder.exists() else []
    for path in paths:
        # transformers writes NAME.weight.safetensors, and accelerate NAME.weight.dat and an index.
        is_weight = path.suffix == ".dat" or (path.suffix == ".safetensors" and "." in path.stem)
        is_index = path.name == "index.json" and any(folder.glob("*.dat"))
        if path == folder or not path.is_file() or not (is_weight or is_index):
            raise InputError(
                _(
                    "`{path}` was not put there by `--offload-folder`, and could be overwritten; give a new "
                    "or an empty folder"
                ).format(path=path)
            )


def free_memory(gpus: Sequence[Gpu]) -> int:
    """Return the bytes that are free on all `gpus` together, 0 where one of them does not tell."""
    free = [gpu.free for gpu in gpus if gpu.free is not None]
    return sum(free) * _MIB if len(free) == len(gpus) else 0


def _stored_dtype(model: Path, config: dict[str, Any]) -> str:
    """Return what transformers loads the model in unless it is told, "auto" where that is not to be seen."""
    dtype = config.get("dtype") or config.get("torch_dtype")
    if isinstance(dtype, str):
        return dtype
    headers = (safetensors_header(file) or {} for file in sorted(model.glob("model*.safetensors")))
    kinds = (tensor["dtype"] for header in headers for tensor in header.values())
    return next((_NAMES[kind] for kind in kinds if kind in _NAMES), "auto")


def _loaded_size(model: Path, bits: int | None, dtype: str) -> int:
    """Return the bytes of the weights once they are loaded, with neither `bits` nor `dtype` as they are stored."""
    size = 0.0
    for file in list(model.glob("model*.safetensors")) or model.glob("pytorch_model*.bin"):
        if header := safetensors_header(file):
            size += sum(_tensor_size(name, tensor, bits, dtype) for name, tensor in header.items())
        else:  # a .bin, nearly always of 16 bits a value
            size += file.stat().st_size * (bits or 16) / 16
    return round(size)


def _tensor_size(name: str, tensor: dict[str, Any], bits: int | None, dtype: str) -> float:
    begin, end = tensor["data_offsets"]
    width = _WIDTHS.get(dtype)
    if bits and len(tensor["shape"]) == 2 and _IN_LAYER.search(name) and not EXPERTS.search(name):  # noqa: PLR2004
        width = _QUANTISED[bits]
    return float(math.prod(tensor["shape"]) * width if width else end - begin)


def _choose_gpus(gpus: Sequence[Gpu], size: int) -> tuple[Gpu, ...]:
    if not gpus:
        return ()
    first, *others = freest_first(gpus)
    fits = first.free is not None and size * ROOM <= first.free * _MIB
    return (first,) if fits or first.is_slice else (first, *(gpu for gpu in others if not gpu.is_slice))


def _note_on_room(shown: Sequence[Gpu], size: int) -> str:
    """Return what to tell of a model that may be too big for its GPUs."""
    free, needed = free_memory(shown), size * ROOM
    if not free or needed <= free:
        return ""
    where = _("the GPU") if len(shown) == 1 else _("the {count} GPUs").format(count=len(shown))
    return _(
        "the model takes about {needed}, and {free} are free on {where}: what does not fit "
        "there goes into main memory, and answers come slowly; `--bits 4` helps"
    ).format(needed=natural_size(needed, binary=True), free=natural_size(free, binary=True), where=where)
