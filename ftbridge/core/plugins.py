"""Look-up of sources, targets and backends: built-ins and third parties through the same entry points.

A plugin is a module of the entry-point group `ftbridge.sources`, `ftbridge.targets` or `ftbridge.backends`,
imported when it is first used. The protocols below say what each family's module offers; the shortest
built-in of a family is the one to copy.
"""

from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, cast

import msgspec

from ftbridge.core.errors import SetupError, UsageError
from ftbridge.core.records import Conversation, Row

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint


class Table(msgspec.Struct, frozen=True):
    """An opened source: its columns in order, its rows, and what to know about the reading.

    `lettered` says that columns have letters, as in a sheet; `sheet` is the sheet's name, or "".
    """

    columns: tuple[str, ...]
    rows: Iterable[Row]
    sheet: str = ""
    lettered: bool = False


class Source(Protocol):
    """Reads one file format."""

    def detect(self, path: Path, head: bytes) -> bool:
        """Tell whether this source reads `path`; `head` is its first 4 KiB, empty for a folder."""

    def open_table(self, path: Path, sheet: str | None) -> Table:
        """Open `path`; raises InputError with one sentence where it cannot be read."""


class Target(Protocol):
    """Writes one training format."""

    suffix: str

    def encode(self, conversation: Conversation) -> bytes:
        """Return the sample as one JSON object, without a newline."""


class Backend(Protocol):
    """Runs one training framework; `plan` is a `ftbridge.launchers.plan.Plan`."""

    title: str
    module: str

    def render(self, plan: Any) -> dict[str, str]:
        """Return the config files by name; the first is the one that the framework is given."""

    def arguments(self, plan: Any) -> list[str]:
        """Return the framework's own arguments for the files that `render` gave."""

    def progress(self, run: Path, accumulation: int) -> list[dict[str, float]]:
        """Return step (the optimiser's), loss and learning_rate of each logged step so far, in order."""

    def checkpoints(self, run: Path) -> list[Path]:
        """Return the readable checkpoints in a run's folder, oldest first."""


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


def names(family: str) -> list[str]:
    """Return the names of all plugins of a family, sorted."""
    return sorted(_entries(family))


def load(family: str, name: str) -> Any:
    """Return the plugin `name` of `family`, importing it; raises UsageError for an unknown name."""
    if name not in _entries(family):
        known = ", ".join(names(family)) or "none is installed"
        raise UsageError(f"there is no {family.rstrip('s')} `{name}`; choose from: {known}")
    return _entries(family)[name].load()


def backend(name: str) -> Backend:
    """Return the backend `name`; raises UsageError for an unknown name."""
    return cast("Backend", load("backends", name))
