"""Where the tensors of a model or an adapter lie, read from the headers alone; no pickle is loaded."""

from pathlib import Path

from ftbridge.core.console import counted
from ftbridge.core.errors import InputError
from ftbridge.core.parsing.safetensors_header import INDEXES, weight_map
from ftbridge.language import gettext as _
from ftbridge.weights.tensors import safetensors
from ftbridge.weights.tensors.tensor import Tensor
from ftbridge.weights.tensors.torch_file import Stored, TorchFile

_REMEDY = _("copy or download the model again")


def model_tensors(folder: Path) -> dict[str, Tensor]:
    """Return the tensors of a model folder by name, of safetensors files where there are any, else of .bin files.

    Raises InputError where there are none, or where a file is missing or cut short.
    """
    named = weight_map(folder, INDEXES)
    files = sorted({folder / name for name in named.values()}) or _weight_files(folder)
    if not files:
        raise InputError(
            _("`{folder}` holds no weights (model*.safetensors or pytorch_model*.bin)").format(folder=folder)
        )
    found = {name: tensor for file in files for name, tensor in file_tensors(file).items()}
    if missing := sorted(named.keys() - found):
        raise InputError(
            _("the index in `{folder}` names {tensors} in no file, e.g. `{missing}`; {remedy}").format(
                folder=folder,
                tensors=counted(len(missing), "tensor that is", "tensors that are"),
                missing=missing[0],
                remedy=_REMEDY,
            )
        )
    return found


def has_weights(folder: Path) -> bool:
    """Tell whether the folder has files of weights, whole or not."""
    return bool(_weight_files(folder))


def adapter_tensors(folder: Path) -> dict[str, Tensor]:
    """Return the tensors of a PEFT adapter's folder; raises InputError where they are missing or not whole."""
    for name in ("adapter_model.safetensors", "adapter_model.bin"):
        if (folder / name).is_file():
            return file_tensors(folder / name)
    raise InputError(_("`{folder}` holds no adapter_model.safetensors; export the adapter again").format(folder=folder))


def file_tensors(file: Path) -> dict[str, Tensor]:
    """Return the tensors of one file by name, in the order in which they lie there."""
    if not file.is_file():
        raise InputError(_("the weights in `{file}`: the file is missing; {remedy}").format(file=file, remedy=_REMEDY))
    if file.suffix == ".safetensors":
        found = safetensors.read(file)
    else:  # what `torch.save` wrote of a dict of tensors
        checkpoint = TorchFile(file)
        stored = {str(name): value for name, value in checkpoint.content.items() if isinstance(value, Stored)}
        found = {name: checkpoint.tensor(value, name) for name, value in stored.items()}
    return dict(sorted(found.items(), key=lambda item: item[1].place.start))


def _weight_files(folder: Path) -> list[Path]:
    return sorted(folder.glob("model*.safetensors")) or sorted(folder.glob("pytorch_model*.bin"))
