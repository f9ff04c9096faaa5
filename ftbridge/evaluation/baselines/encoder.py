"""The baseline by an encoder, such as BERT, that is fine-tuned with a layer on top that tells the classes apart."""

import signal
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec

from ftbridge.core.console import progress
from ftbridge.core.errors import FrameworkError, InputError
from ftbridge.core.process.json_lines import ChildEndedError, JsonLinesChild
from ftbridge.core.train_spec import Device
from ftbridge.evaluation.baselines.classifiers import chunks
from ftbridge.evaluation.baselines.training_texts import Labelled
from ftbridge.language import gettext as _
from ftbridge.language import joined
from ftbridge.launchers.hardware import devices
from ftbridge.launchers.hardware.nvidia import freest_first
from ftbridge.launchers.process.script import start_script

_WEIGHTS = ("model.safetensors", "model.safetensors.index.json")
_TOKENIZERS = ("tokenizer.json", "vocab.txt", "vocab.json", "*.model")
_MEMORY = _("take a smaller encoder, or `--device cpu` if it was on a GPU")


def encoder(
    folder: Path,
    train: Iterable[Labelled],
    questions: Iterable[str],
    *,
    python: Path,
    device: Device = "auto",
    seed: int = 0,
    epochs: int = 3,
    learning_rate: float = 5e-5,
) -> Iterator[str]:
    """Yield, for each question, the label by the encoder in `folder` once it is fine-tuned on `train`.

    It learns, in a process of the interpreter `python`, for 3 epochs at a learning rate of 5e-5, 16 texts at a time, of
    each up to 512 tokens or what the model takes; the `seed` decides its order. Memory does not depend on the number of
    questions. Raises InputError where the folder holds no encoder that can be used, SetupError where there is no such
    device, FrameworkError where the process dies.
    """
    require_encoder(folder)
    gpus = freest_first(devices.usable_gpus(device))[:1]
    spec = {
        "model": str(folder.absolute()),
        "device": "cuda" if gpus else "cpu",
        "seed": seed,
        "epochs": epochs,
        "learning_rate": learning_rate,
    }
    environment = {**devices.device_variables(gpus), "HF_HUB_OFFLINE": "1"}
    argument = msgspec.json.encode(spec).decode()
    with start_script(python, "fine_tune_encoder", argument, environment=environment) as child:
        for sample in train:
            _send(child, {"text": _whole(sample.text), "label": _whole(sample.label)})
        _send(child, {"fit": True})
        first = _receive(child)
        if "error" in first:
            raise _unfit_error(folder, first["error"])
        _show_progress(child, first["steps"])
        for chunk in chunks(questions):
            _send(child, {"questions": [_whole(text) for text in chunk]})
            yield from _receive(child)["labels"]


def require_encoder(folder: Path) -> None:
    """Raise InputError where `folder` lacks what an encoder's folder has: config, safetensors and tokenizer."""
    reason = ""
    if not (folder / "config.json").is_file():
        reason = _("it is not a model folder, as it has no `config.json`")
    elif not any((folder / name).is_file() for name in _WEIGHTS):
        reason = _("it has no weights in `model.safetensors`, and those in other files may run code as they are loaded")
    elif not any(file for name in _TOKENIZERS for file in folder.glob(name)):
        reason = _("it has no tokenizer; put the files of the model's tokenizer into it")
    if reason:
        raise _unfit_error(folder, reason)


def _unfit_error(folder: Path, reason: str) -> InputError:
    return InputError(_("`--baseline bert={folder}` cannot be used: {reason}").format(folder=folder, reason=reason))


def _show_progress(child: JsonLinesChild, steps: int) -> None:
    """Show the training as it goes, until it is done."""
    with progress(
        _("fine-tuning the encoder"),
        "bar",
        "percent",
        "time",
        total=steps,
        line=lambda done: _("fine-tuning the encoder: step {done} of {steps}").format(done=done, steps=steps),
    ) as show:
        for step in range(1, steps + 1):
            _receive(child)
            show(step)


def _whole(text: str) -> str:
    """Return a text without halves of characters, which no line of JSON takes."""
    return text.encode(errors="replace").decode()


def _send(child: JsonLinesChild, record: Mapping[str, Any]) -> None:
    with suppress(BrokenPipeError):  # a dead child is told by `_receive`
        child.send(record)


def _receive(child: JsonLinesChild) -> dict[str, Any]:
    """Return the next record of the child; raises FrameworkError where it died."""
    try:
        return child.receive()
    except ChildEndedError as ended:
        if ended.status == -signal.SIGKILL:
            why = _("its process was killed, as happens where memory runs out; {memory}").format(memory=_MEMORY)
        else:
            last = _("its last messages:\n{messages}").format(messages=ended.messages)
            why = joined("; ", (_MEMORY, last)) if "out of memory" in ended.messages else last
        raise FrameworkError(_("the encoder could not be fine-tuned: {why}").format(why=why)) from ended
