"""The folder of a model on this machine, which is downloaded where it is a hub's."""

from collections.abc import Callable
from contextlib import suppress
from itertools import islice
from pathlib import Path

from ftbridge.core.console import OBEYED, say
from ftbridge.core.errors import InputError, SetupError
from ftbridge.core.files.owner import is_writable, refuse_unreadable
from ftbridge.core.parsing.json_yaml import nearest
from ftbridge.language import gettext as _
from ftbridge.language import joined
from ftbridge.launchers.environment.model_cache import (
    cache_folders,
    cached_model,
    is_hub_name,
    offline_variable,
    split_hub_name,
)
from ftbridge.launchers.process.script import run_script

TOKENIZER = ("tokenizer.json", "tokenizer.model", "tokenizer_config.json")
LOOKED_AT = 1000  # folders in a folder
_TITLES = {"hf": _("Hugging Face"), "ms": _("ModelScope")}


def local_model(model: str, python: Callable[[], Path], folder: Path, *, weights: bool = True) -> Path:
    """Return the folder of `model`, downloading it where it is a hub's; `weights` may be left out.

    `model` is a folder (relative to `folder`), `owner/name` or `hf://owner/name` (Hugging Face), or
    `ms://owner/name` (ModelScope). `python` returns the interpreter that downloads, where one is needed. Raises
    InputError where there is no such model, or the folder has nothing of one.
    """
    path = folder / Path(model).expanduser()
    refuse_unreadable(path)
    if path.is_dir():
        if not _has_parts(path):
            raise InputError(
                _(
                    "`{model}` is not a model folder: a model folder has a config.json, a tokenizer "
                    "(tokenizer.json or tokenizer.model) and weights (*.safetensors){what_it_is}"
                ).format(model=model, what_it_is=_what_it_is(path))
            )
        return path.resolve()
    if path.exists() or not is_hub_name(model):
        if hint := _near_folder(model, path):
            raise InputError(_("there is no model folder `{model}`{hint}").format(model=model, hint=hint))
        raise InputError(
            _(
                "there is no model folder `{model}`; give a folder, or a hub's name such as "
                "`Qwen/Qwen2.5-7B-Instruct`, `hf://owner/name` or `ms://owner/name`"
            ).format(model=model)
        )
    named, name = split_hub_name(model)
    offline, cached = offline_variable(), cached_model(model, weights=weights)
    # Into a cache that cannot be written nothing is downloaded, and what it has is not fetched again.
    if cached and (offline or not is_writable(cached)):
        return cached
    if offline:
        places = joined(", ", (f"`{place}`" for place in cache_folders(named)))
        raise InputError(
            _("`{name}` is in no cache here ({places}), and {variable} forbids a download: unset it, set HF_HOME or "
              "MODELSCOPE_CACHE to the cache that has it, or give the model's folder").format(
                name=name, places=places, variable=offline
            )
        )  # fmt: skip
    return _download(named or "hf", name, python(), cached, weights=weights)


def _near_folder(model: str, path: Path) -> str:
    """Return `; did you mean ...?` for the model folder beside `path` that is called nearly so, else ""."""
    with suppress(OSError):
        beside = [each.name for each in path.parent.iterdir() if each.is_dir() and _has_parts(each)]
        return nearest(model, [str(Path(model).with_name(name)) for name in beside])
    return ""


def _download(hub: str, name: str, python: Path, cached: Path | None, *, weights: bool) -> Path:
    """Return the folder that a model is downloaded to, or, where the hub does not serve it, the `cached` one."""
    title = _TITLES[hub]
    say(_("getting {name} from {title} (kept for the next time) ...").format(name=name, title=title))
    try:
        spec = {"hub": hub, "name": name, "weights": weights, "obeyed": OBEYED}
        return Path(run_script(python, "download", spec))
    except SetupError as error:
        if cached:
            say(
                _("note: {hub} did not serve `{name}` (its message is above); using the copy in {cached}").format(
                    hub=title, name=name, cached=cached
                )
            )
            return cached
        other = _("behind a mirror, set HF_ENDPOINT; or try `ms://") if hub == "hf" else _("or try `hf://")
        raise InputError(
            _(
                "could not get `{name}` from {title}; its message is above. Check the name and the network "
                "({other}{name}`)"
            ).format(name=name, title=title, other=other)
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
        return _("; it is a folder of datasets, which `--dataset-dir` takes")
    if (folder / "run.json").is_file():
        return _("; it is a run, whose model `ftbridge merge` makes")
    if (folder / "adapter_config.json").is_file():
        return _("; it is an adapter, and `--model` takes the base that it was trained on")
    with suppress(OSError):
        inner = sorted(path for path in islice(folder.iterdir(), LOOKED_AT) if path.is_dir() and _has_parts(path))
        if inner:
            return _("; `{inner}` is one").format(inner=inner[0])
    return ""
