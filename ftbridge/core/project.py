"""The project's folder, its settings, and what the last commands left behind."""

from pathlib import Path
from typing import Any

import msgspec

from ftbridge.core.errors import InputError
from ftbridge.core.files.atomic import locked, read_text, write_atomic, write_json
from ftbridge.core.files.owner import SAFE_FOLDERS, foreign_owner
from ftbridge.core.parsing.json_yaml import PathText, closest, load_json, load_yaml_lines, parse
from ftbridge.core.plugins import plugin_names
from ftbridge.core.train_spec import TrainSpec
from ftbridge.language import gettext as _

SETTINGS = "ftbridge.yaml"


class BackendSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The interpreters of one backend in ftbridge.yaml: the Python that has it, and one with transformers 4."""

    python: str = ""
    python_transformers4: str = ""


class EngineSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The interpreter of what answers, and does not train: the Python that has vLLM."""

    python: str = ""


# What stands beside the backends in ftbridge.yaml, as it has an interpreter of its own.
ENGINES = ("vllm",)


class Settings(msgspec.Struct, frozen=True):
    """The content of ftbridge.yaml: defaults for the options of `train`, and interpreters by backend.

    `places` says of each key where it stands, for messages: "`ftbridge.yaml`, line 2: `lora_rank`".
    """

    train: dict[str, Any] = {}
    backends: dict[str, BackendSettings] = {}
    places: dict[str, str] = {}


class State(msgspec.Struct, frozen=True):
    """The last conversion's dataset, in .ftbridge/state.json, so that `train` needs no `--dataset`.

    `sources` are what it was made of, by their whole paths, so that a sweep can make it in another way.
    """

    dataset: str = ""
    dataset_dir: PathText = ""
    preset: str = ""
    sources: tuple[str, ...] = ()


class Project(msgspec.Struct, frozen=True):
    """A folder with its settings: the nearest parent with an ftbridge.yaml, else the current folder."""

    folder: Path
    settings: Settings

    @classmethod
    def find(cls, start: Path | None = None, config: Path | None = None) -> "Project":
        """Return the project around `start` (default: the current folder), with `config` as its settings.

        Raises InputError where the settings cannot be read, name an unknown key or backend, or are somebody else's:
        `config` is taken whoever owns it.
        """
        start = (start or Path.cwd()).resolve()
        folder = next((at for at in (start, *start.parents) if (at / SETTINGS).is_file()), start)
        own = folder / SETTINGS
        if own.is_file() and (owner := foreign_owner(own)):
            if not config:
                raise InputError(_refusal(own, owner, start))
            if not (config.exists() and own.samefile(config)):
                folder = start
        if config or own.is_file():
            return cls(folder, _read_settings(config or own))
        return cls(folder, Settings())

    @property
    def runs(self) -> Path:
        """Return the folder that holds a folder per run."""
        return self.folder / "runs"

    def state(self) -> State:
        """Return the last conversion's dataset; empty where there was none."""
        file = self.folder / ".ftbridge" / "state.json"
        if not file.is_file():
            return State()
        refusal = _("`{file}` is damaged; delete it and convert again").format(file=file)
        return load_json(read_text(file, _("last conversion's state")), State, refusal)

    def remember(self, state: State) -> None:
        """Write `state`, the last conversion's dataset, to .ftbridge/state.json."""
        file = self.folder / ".ftbridge" / "state.json"
        with locked(file):
            write_json(file, state)

    def write_settings(self, chosen: dict[str, Any], *notes: str) -> Path | None:
        """Write ftbridge.yaml with `chosen` under comments, where there is none; returns its path if it was written."""
        import yaml

        file = self.folder / SETTINGS
        with locked(self.folder / ".ftbridge" / SETTINGS):
            if file.exists():
                return None
            lines = _("Defaults of `ftbridge train` in this folder; options on the command line win."), *notes
            head = "".join(f"# {line}\n" for line in lines)
            write_atomic(file, head + yaml.safe_dump(chosen, allow_unicode=True, sort_keys=False))
        return file


def _read_settings(file: Path) -> Settings:
    """Return the Settings in a YAML file; raises InputError where it names an option or a backend that is not there."""
    values, lines = load_yaml_lines(read_text(file, _("settings file")), f"`{file}`")
    line_of = {key: _("`{file}`, line {line}").format(file=file, line=line) for key, line in lines.items()}
    places = {key: f"{line}: `{key}`" for key, line in line_of.items()}
    backends = values.pop("backends", None) or {}
    for key in values:
        if key not in TrainSpec.__struct_fields__:
            parse(TrainSpec, {key: None}, line_of.get(key, f"`{file}`"))
    if isinstance(backends, dict):
        _check_backends(backends, places)
    return parse(Settings, {"train": values, "backends": backends, "places": places}, f"`{file}`", places)


def _check_backends(backends: dict[Any, Any], places: dict[str, str]) -> None:
    for name, own in backends.items():
        place = places.get("backends", "`backends`")
        if name not in (known := [*plugin_names("backends"), *ENGINES]):
            raise InputError(
                _("{place}: there is no backend `{name}`{hint}").format(
                    place=place, name=name, hint=closest(str(name), known)
                )
            )
        if not isinstance(own, dict):
            raise InputError(
                _("{place}: `{name}` is followed by a line such as `python: PATH`; got `{own}`").format(
                    place=place, name=name, own=own
                )
            )
        parse(EngineSettings if name in ENGINES else BackendSettings, own, f"{place}: `{name}`")


def _refusal(file: Path, owner: str, start: Path) -> str:
    other = (
        _("work in another folder")
        if file.parent == start
        else _("put an {settings} of your own into `{start}`").format(settings=SETTINGS, start=start)
    )
    return _(
        "`{file}` belongs to `{owner}`, not to you, and its `backends` decide which programs "
        "run. If you trust who writes it, set the environment variable "
        "{safe_folders}={parent}; else {other}"
    ).format(file=file, owner=owner, safe_folders=SAFE_FOLDERS, parent=file.parent, other=other)
