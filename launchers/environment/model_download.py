"""The folder of a model on this machine, which is downloaded where it is a hub's."""

import re
from collections.abc import Callable
from contextlib import suppress
from itertools import islice
from pathlib import Path

from ftbridge.core.console import OBEYED, say
from ftbridge.core.errors import InputError, SetupError
from ftbridge.launchers.process.script import run_script

TOKENIZER = ("tokenizer.json", "tokenizer.model", "tokenizer_config.json")
LOOKED_AT = 1000  # folders in a folder
_HUB_NAME = re.compile(r"(?:(?P<hub>hf|ms)://)?(?P<name>[\w.-]+/[\w.-]+)")


def is_hub_name(model: str) -> bool:
    """Tell whether a text is `owner/name`, also with `hf://` or `ms://` before it, and no path."""
    return bool(_HUB_NAME.fullmatch(model)) and not model.startswith((".", "/", "~"))


def local_model(model: str, python: Callable[[], Path], folder: Path, *, weights: bool = True) -> Path:
    """Return the folder of `model`, downloading it where it is a hub's; `weights` may be left out.

    `model` is a folder (relative to `folder`), `owner/name` or `hf://owner/name` (Hugging Face), or
    `ms://owner/name` (ModelScope). `python` returns the interpreter that downloads, where one is needed. Raises
    InputError where there is no such model, or the folder has nothing of one.
    """
    path = folder / Path(model).expanduser()
    if path.is_dir():
        if not _has_parts(path):
            raise InputError(
                f"`{model}` is no model folder: one has a config.json, a tokenizer (tokenizer.json or tokenizer.model) "
                f"and weights (*.safetensors){_what_it_is(path)}"
            )
        return path.resolve()
    match = _HUB_NAME.fullmatch(model)
    if path.exists() or not match or not is_hub_name(model):
        raise InputError(
            f"there is no model folder `{model}`; give a folder, or a hub's name such as "
            "`Qwen/Qwen2.5-7B-Instruct`, `hf://owner/name` or `ms://owner/name`"
        )
    hub, name = match["hub"] or "hf", match["name"]
    title = {"hf": "Hugging Face", "ms": "ModelScope"}[hub]
    downloader = python()
    say(f"getting {name} from {title} (kept for the next time) ...")
    try:
        spec = {"hub": hub, "name": name, "weights": weights, "obeyed": OBEYED}
        return Path(run_script(downloader, "download", spec))
    except SetupError as error:
        other = "behind a mirror, set HF_ENDPOINT; or try `ms://" if hub == "hf" else "or try `hf://"
        raise InputError(
            f"could not get `{name}` from {title}; its message stands above. Check the name and the network "
            f"({other}{name}`)"
        ) from error


def _has_parts(folder: Path) -> bool:
    """Tell whether a folder has anything that makes a model: what else it lacks is told where that is needed."""
    if (folder / "config.json").is_file():
        return True
    is_adapter = (folder / "adapter_config.json").is_file()  # which often has its base's tokenizer
    return not is_adapter and any((folder / name).is_file() for name in TOKENIZER)


def _what_it_is(folder: Path) -> str:
    """Return, for a message, what a folder is that is no model, or where one is; "" where that cannot be told."""
    if (folder / "dataset_info.json").is_file():
        return "; it is a folder of datasets, which `--dataset-dir` takes"
    if (folder / "run.json").is_file():
        return "; it is a run, whose model `ftbridge merge` makes"
    if (folder / "adapter_config.json").is_file():
        return "; it is an adapter, and `--model` takes the base that it was trained on"
    with suppress(OSError):
        inner = sorted(path for path in islice(folder.iterdir(), LOOKED_AT) if path.is_dir() and _has_parts(path))
        if inner:
            return f"; `{inner[0]}` is one"
    return ""
