"""The folder of a model on this machine, which is downloaded where it is a hub's."""

import re
from collections.abc import Callable
from pathlib import Path

from ftbridge.core.console import OBEYED, say
from ftbridge.core.errors import InputError, SetupError
from ftbridge.launchers.process.script import run_script

_HUB_NAME = re.compile(r"(?:(?P<hub>hf|ms)://)?(?P<name>[\w.-]+/[\w.-]+)")


def local_model(model: str, python: Callable[[], Path], folder: Path, *, weights: bool = True) -> Path:
    """Return the folder of `model`, downloading it where it is a hub's; `weights` may be left out.

    `model` is a folder (relative to `folder`), `owner/name` or `hf://owner/name` (Hugging Face), or
    `ms://owner/name` (ModelScope). `python` returns the interpreter that downloads, where one is needed. Raises
    InputError where there is no such model.
    """
    path = folder / Path(model).expanduser()
    if path.is_dir():
        return path.resolve()
    match = _HUB_NAME.fullmatch(model)
    if path.exists() or not match or model.startswith((".", "/", "~")):
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
