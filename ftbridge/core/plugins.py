"""Look-up of sources, targets and backends: built-ins and third parties through the same entry points.

A plugin is a module of the entry-point group `ftbridge.sources`, `ftbridge.targets` or `ftbridge.backends`,
imported when it is first used. The protocols below say what each family's module offers; the shortest
built-in of a family is the one to copy.
"""

from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, cast

from ftbridge.core.errors import SetupError, UsageError
from ftbridge.core.records import Conversation, Reading, Table

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
        """Return the sample as what msgspec writes as one JSON object; a struct is written faster than a dict."""


# Yields the JSON objects that a file has got since the last call, a line each.
Lines = Callable[[Path], Iterator[dict[str, Any]]]


class Backend(Protocol):
    """Runs one training framework; `plan` is a `ftbridge.launchers.backends.plan.TrainPlan`."""

    title: str
    module: str

    def render(self, plan: Any) -> dict[str, str]:
        """Return the config files by name; the first is the one that the framework is given."""

    def arguments(self, plan: Any) -> list[str]:
        """Return the framework's own arguments for the files that `render` gave."""

    def progress(self, run: Path, lines: Lines, accumulation: int) -> Iterator[dict[str, float]]:
        """Yield what was logged since the last call, in order, from what `lines` gives of the framework's own files.

        A record has step (the optimiser's), loss and learning_rate, or step and validation_loss.
        """

    def checkpoints(self, run: Path, *, best: bool = False) -> list[Path]:
        """Return the readable checkpoints in a run's folder, oldest first.

        With `best`, only that of the lowest validation loss; [] without a validation.
        """


@cache
def _entries(family: str) -> "dict[str, EntryPoint]":
    from importlib.metadata import entry_points

    found: dict[str, EntryPoint] = {}
    for entry in entry_points(group=f"ftbridge.{family}"):
        other = found.setdefault(entry.name, entry)
        if other.value != entry.value:
            raise SetupError(
                f"two plugins call themselves `{entry.name}` in ftbridge.{family}: `{other.value}` and "
                f"`{entry.value}`; uninstall one of the packages"
            )
    return found


def plugin_names(family: str) -> list[str]:
    """Return the names of all plugins of a family, sorted."""
    return sorted(_entries(family))


def load_plugin(family: str, name: str) -> Any:
    """Return the plugin `name` of `family`, importing it; raises UsageError for an unknown name."""
    if name not in _entries(family):
        known = ", ".join(plugin_names(family)) or "none is installed"
        raise UsageError(f"there is no {family.rstrip('s')} `{name}`; choose from: {known}")
    return _entries(family)[name].load()


def load_target(name: str) -> Target:
    """Return the target `name`; raises UsageError for an unknown name."""
    return cast("Target", load_plugin("targets", name))


def load_backend(name: str) -> Backend:
    """Return the backend `name`; raises UsageError for an unknown name."""
    return cast("Backend", load_plugin("backends", name))
