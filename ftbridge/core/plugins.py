"""Look-up of sources, targets and backends: built-ins and third parties through the same entry points.

A plugin is a module of the entry-point group `ftbridge.sources`, `ftbridge.targets` or `ftbridge.backends`,
imported when it is first used. The protocols below say what each kind's module offers; the shortest
built-in of a kind is the one to copy. The groups `ftbridge.presets` and `ftbridge.families` name folders of YAML
files in packages of third parties: data, for which nothing is imported.
"""

import math
import re
from collections.abc import Callable, Collection, Iterator, Sequence
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, cast

import msgspec

from ftbridge.core.errors import InputError, SetupError, UsageError
from ftbridge.core.files.atomic import read_record, read_text
from ftbridge.core.parsing.json_yaml import closest, load_json
from ftbridge.core.records import Conversation, Reading, Table
from ftbridge.language import gettext as _
from ftbridge.language import to_translate

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint


class Source(Protocol):
    """Reads one file format."""

    def detect(self, path: Path, head: bytes) -> bool:
        """Tell whether this source reads `path`; `head` is its first 4 KiB, unpacked, b"" for a folder."""

    def open_tables(self, path: Path, reading: Reading) -> list[Table]:
        """Open `path`: a table for each sheet or split, at least one.

        Raises InputError with one sentence where it cannot be read, and where `reading` asks for what this format
        does not have.
        """


class Target(Protocol):
    """Writes one training format.

    `entry` holds the keys (formatting, columns, tags) of a file of this format in dataset_info.json, or None
    where LLaMA-Factory does not read the format.
    """

    suffix: str
    entry: dict[str, Any] | None

    def sample(self, conversation: Conversation) -> Any:
        """Return the sample as what msgspec writes as one JSON object; a struct is written faster than a dict.

        None stands for one that the format has no place for, such as tools, or answers that are not to be learned. A
        module may have `with_flags` as well, which changes each written sample once some answer is not learned.
        """


# Yields the JSON objects that a log file has got since the last call, a line each.
LogReader = Callable[[Path], Iterator[dict[str, Any]]]


class Backend(Protocol):
    """Runs one training framework.

    A backend is a module that has the members of REQUIRED; what it leaves out of the others is as it stands here,
    which is what plain transformers and PEFT would answer (`load_backend` puts both together). `plan` is a
    `ftbridge.launchers.backends.plan.TrainPlan`. `name` is the entry point's, and nobody's to compare: whoever wants to
    know how a framework does something asks a member.
    """

    name: str
    # What people call the framework, and the module that is imported to see whether it works.
    title: str
    module: str
    # What trains in the training environment; launchers/scripts/run_backend.py says which functions the file has.
    script: Path
    # Packages that an environment for it cannot be without, as their installers call them, beside torch's and PEFT.
    packages: tuple[str, ...] = ()
    # The target whose file it reads; with none it reads what dataset_info.json says, as LLaMA-Factory does.
    target: str = ""
    # The columns of ready tokens (`--tokens once`) that it trains on as they are, with position_ids where it takes
    # packed samples; none where it wants texts.
    token_columns: tuple[str, ...] = ()
    # Whether it leaves a sample out of which no token is trained, as where the cutoff took the whole answer.
    drops_unlabelled: bool = False
    # What it does to thoughts in answers under a template that has thinking off, after the framework's title.
    thoughts: str = _("may train on them in its own way")

    def render(self, plan: Any) -> dict[str, str]:
        """Return the config files by name; the first is the one that the framework is given.

        Raises UsageError for an option that the framework lacks.
        """

    def arguments(self, plan: Any) -> list[str]:
        """Return the framework's own arguments for the files that `render` gave."""

    def read_log(self, run: Path, new_lines: LogReader, accumulation: int) -> Iterator[dict[str, float]]:
        """Yield what was logged since the last call, in order, from the `new_lines` of the framework's own log files.

        A record has step (the optimizer's), loss and learning_rate, or step and validation_loss. `accumulation` is the
        number of micro batches in a step.
        """

    def checkpoints(self, run: Path, *, best: bool = False) -> list[Path]:
        """Return the readable checkpoints in a run's folder, oldest first.

        With `best`, only that of the lowest validation loss; [] without a validation.
        """

    def checkpoint_step(self, checkpoint: Path, accumulation: int) -> float | None:
        """Return the optimizer step of a checkpoint, None where it has none; by default the number its name ends with.

        `accumulation` is the number of micro batches in a step.
        """
        del accumulation
        number = re.search(r"\d+$", checkpoint.stem)
        return int(number[0]) if number else None

    def can_resume(self, checkpoint: Path, processes: int) -> bool:
        """Tell whether a readable checkpoint has all that so many processes go on with, such as the optimizer's state.

        By default it is a folder of transformers' Trainer, which writes trainer_state.json last. What is pickled in it
        is looked at in any case.
        """
        shards = len([*checkpoint.glob("global_step*/*optim_states.pt")])
        saved = shards == processes or (checkpoint / "optimizer.pt").is_file()
        if not saved or len([*checkpoint.glob("rng_state*.pth")]) != processes:
            return False
        try:
            return bool(load_json(read_record(checkpoint / "trainer_state.json"), dict[str, Any], "damaged"))
        except InputError:
            return False

    def setting_names(self, site_packages: Path) -> Collection[str]:
        """Return the names that `--set` may give, as the framework's own source in `site_packages` has them.

        Nothing is imported there. By default none is known, and the framework itself refuses what it does not know.
        """
        del site_packages
        return ()

    def environment_variables(self, plan: Any) -> dict[str, str]:
        """Return the environment variables that this training needs, beside those of all; none by default."""
        del plan
        return {}

    def steps(self, plan: Any) -> int:
        """Return the optimizer steps of a plan whose `max_steps` says nothing.

        By default, as transformers' Trainer does, each epoch ends with a smaller step where micro batches are left.
        """
        steps_per_epoch = math.ceil(plan.epoch_iterations / plan.spec.gradient_accumulation_steps)
        steps: int = math.ceil(steps_per_epoch * plan.spec.epochs)
        return steps

    def deepspeed_config(self, plan: Any) -> dict[str, Any] | None:
        """Return the content of the DeepSpeed config as the framework is given it, None for a plan without."""
        config: dict[str, Any] | None = plan.deepspeed
        return config

    def truncate_turns(self, turns: Sequence[tuple[int, int]], cutoff_length: int) -> Iterator[tuple[int, int]]:
        """Yield how many tokens of question and answer a cutoff length leaves of each turn.

        `turns` are the tokens of each question and answer; by default what is beyond the cutoff goes.
        """
        room = cutoff_length
        for question, answer in turns:
            question_left = min(question, room)
            answer_left = min(answer, room - question_left)
            yield question_left, answer_left
            room -= question_left + answer_left

    def weight_bytes(self, plan: Any, config: dict[str, Any]) -> int:
        """Return the bytes of a value that is loaded and not quantised, where the plan's dtype has 16 bits.

        `config` is the text model's config.json; by default its dtype is kept, which 4 bytes or 2 have.
        """
        del plan
        return 4 if (config.get("dtype") or config.get("torch_dtype")) == "float32" else 2

    def loads_into_main_memory(self, plan: Any) -> bool:
        """Tell whether each process has all weights in main memory before they go to the GPU, where none is quantised.

        By default transformers puts them there at once.
        """
        del plan
        return False


# What each backend's module has itself; its name comes from the entry point.
NAMES = {"sources": to_translate("source"), "targets": to_translate("target"), "backends": to_translate("backend")}
REQUIRED = ("title", "module", "script", "render", "arguments", "read_log", "checkpoints")


class _BackendModule:
    """A backend's module, and what `Backend` says for it where it says nothing."""

    def __init__(self, name: str, module: Any) -> None:
        self.name, self._module = name, module

    def __getattr__(self, member: str) -> Any:
        if hasattr(self._module, member):
            return getattr(self._module, member)
        default = getattr(Backend, member)
        return partial(default, self) if callable(default) else default


@cache
def _entry_points(kind: str) -> "dict[str, EntryPoint]":
    from importlib.metadata import entry_points

    found: dict[str, EntryPoint] = {}
    for entry in entry_points(group=f"ftbridge.{kind}"):
        other = found.setdefault(entry.name, entry)
        if other.value != entry.value:
            raise SetupError(
                _(
                    "two plugins call themselves `{name}` in ftbridge.{kind}: `{value}` and "
                    "`{entry_value}`; uninstall one of the packages"
                ).format(name=entry.name, kind=kind, value=other.value, entry_value=entry.value)
            )
    return found


class Plugin(msgspec.Struct, frozen=True):
    """A plugin that is there: its kind, its name, and the package that it comes from with its version."""

    kind: str
    name: str
    package: str


class DataFile(msgspec.Struct, frozen=True):
    """A YAML file of a third party's package, which messages call `title`."""

    package: str
    title: str
    name: str
    text: str


def installed_plugins(kind: str) -> list[Plugin]:
    """Return all plugins of a kind that is imported, by name."""
    return [Plugin(kind, name, package_of(_entry_points(kind)[name])) for name in plugin_names(kind)]


def package_of(entry: "EntryPoint") -> str:
    """Return the name and version of the package that has an entry point."""
    return f"{entry.dist.name} {entry.dist.version}" if entry.dist else _("unknown")


def data_files(kind: str) -> list[DataFile]:
    """Return the YAML files that third parties' packages have for `kind`, presets or families, by package and name.

    An entry point's value is a package, or a folder in one with dots, as in `ours.presets`. Raises SetupError where
    it is not there.
    """
    found = []
    for entry in sorted(_entry_points(kind).values(), key=lambda entry: entry.name):
        folder = _package_folder(entry.value)
        if folder is None:
            raise SetupError(
                _(
                    "`{name}` in ftbridge.{kind} is not a folder of {package}: `{value}`; install the "
                    "package again, or uninstall it"
                ).format(name=entry.name, kind=kind, package=package_of(entry), value=entry.value)
            )
        for file in sorted(folder.glob("*.yaml")):
            text = read_text(file, _("file of {package}").format(package=package_of(entry)))
            found.append(
                DataFile(
                    package_of(entry),
                    _("`{file}` of {package}").format(file=file, package=package_of(entry)),
                    file.stem,
                    text,
                )
            )
    return found


def _package_folder(value: str) -> Path | None:
    """Return the folder in a package that a dotted name means, without importing anything."""
    from importlib.util import find_spec

    top, *parts = value.split(".")
    spec = find_spec(top) if top else None
    places = (Path(place, *parts) for place in (spec.submodule_search_locations if spec else None) or ())
    return next((place for place in places if place.is_dir()), None)


def plugin_names(kind: str) -> list[str]:
    """Return the names of all plugins of a kind, sorted."""
    return sorted(_entry_points(kind))


def load_plugin(kind: str, name: str) -> Any:
    """Return the plugin `name` of `kind`, importing it; raises UsageError for an unknown name."""
    if name not in _entry_points(kind):
        hint = closest(name, plugin_names(kind)) if plugin_names(kind) else _("; none is installed")
        raise UsageError(
            _("there is no {kind} `{value}`{hint}").format(kind=_(NAMES.get(kind, kind)), value=name, hint=hint)
        )
    return _entry_points(kind)[name].load()


def load_target(name: str) -> Target:
    """Return the target `name`; raises UsageError for an unknown name."""
    return cast("Target", load_plugin("targets", name))


def load_backend(name: str) -> Backend:
    """Return the backend `name`; raises UsageError for an unknown name, SetupError where its module lacks a member."""
    module = load_plugin("backends", name)
    if missing := [member for member in REQUIRED if not hasattr(module, member)]:
        raise SetupError(
            _("the backend `{name}` ({module_name}) has no `{missing}`; docs/plugins.md says what that is").format(
                name=name, module_name=module.__name__, missing=missing[0]
            )
        )
    return cast("Backend", _BackendModule(name, module))
