"""Model families: the prompt that a model was trained on, its template on each backend, and how it is detected.

detect.py names the family of a model folder without importing a framework; `Family.cell` gives what a backend
needs, and `ChatPrompt.segments` the very tokens it trains, so that chat asks as training did. The facts
themselves, with their reasons, stand in families.yaml.
"""

import re
from functools import cache
from importlib.resources import files
from typing import Literal

import msgspec
from msgspec.structs import replace

from ftbridge.core.errors import InputError, SetupError, UsageError
from ftbridge.core.parsing.json_yaml import closest, load_yaml, parse
from ftbridge.core.plugins import data_files
from ftbridge.language import gettext as _
from ftbridge.language import joined
from ftbridge.templates.prompt import ChatPrompt

# A text in a prompt that looks like a special token.
TOKEN_LIKE = re.compile(r"<\|[^<>|]+\|>")


class Cell(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What one backend needs for a family.

    `name` is the backend's own template, or "" where it is given the prompt instead.
    """

    prompt: ChatPrompt
    name: str = ""
    enable_thinking: bool | None = None


class Match(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a model of a family is detected, the strongest sign first; the head of families.yaml explains the keys."""

    model_type: tuple[str, ...] = ()
    tokens: tuple[str, ...] = ()
    no_tokens: tuple[str, ...] = ()
    vocab_size: int | None = None
    template: tuple[str, ...] = ()
    no_template: tuple[str, ...] = ()
    renders: bool = False
    folder: str
    no_folder: str = ""

    def __post_init__(self) -> None:
        for pattern in (self.folder, self.no_folder):
            try:
                re.compile(pattern)
            except re.error as error:
                raise ValueError(
                    _("`{pattern}` is not a pattern: {error}").format(pattern=pattern, error=error)
                ) from error


class Family(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A model family. `stop` are the tokens that end an answer; `reason` says why it has its `status`.

    `package` is the third party's that brings it, "" for ftbridge's own.
    """

    name: str = ""
    package: str = ""
    title: str
    match: Match
    backends: dict[str, Cell | None]
    stop: tuple[str, ...]
    thinking: Literal["off", "none"]
    status: Literal["trained", "rendered", "unsupported"]
    reason: str

    def cell(self, backend: str) -> Cell:
        """Return what `backend` needs; raises UsageError for an empty cell, naming a backend that has one.

        One that no cell is named after has no template of its own, and takes the prompt of the first that is there.
        """
        having = {name: cell for name, cell in self.backends.items() if cell}
        if backend not in self.backends:
            return Cell(prompt=next(iter(having.values())).prompt)
        if backend not in having:
            others = joined(_(" or "), (_("`--backend {name}`").format(name=name) for name in having))
            raise UsageError(
                _("`{backend}` has no template for {title}; use {others}").format(
                    backend=backend, title=self.title, others=others
                )
            )
        return having[backend]


class _FamiliesFile(msgspec.Struct, frozen=True):
    families: dict[str, Family]
    prompts: dict[str, ChatPrompt] = {}


@cache
def load_families() -> dict[str, Family]:
    """Return all families by name, in the order of families.yaml; those of third parties' packages come after.

    Raises SetupError for two of one name, InputError for a file that holds no families.
    """
    text = files("ftbridge.templates").joinpath("families.yaml").read_text(encoding="utf-8")
    found = _parse_families(text, "families.yaml")
    for more in data_files("families"):
        for name, family in _parse_families(more.text, more.title).items():
            if name in found:
                other = found[name].package or "ftbridge"
                raise SetupError(
                    _("{title} and {other} both have a family `{name}`; uninstall one of the packages").format(
                        title=more.title, other=other, name=name
                    )
                )
            if not any(family.backends.values()):
                raise InputError(
                    _("{title} has no prompt for the family `{name}`; give a cell in `backends`").format(
                        title=more.title, name=name
                    )
                )
            found[name] = replace(family, package=more.package)
    return found


def _parse_families(text: str, what: str) -> dict[str, Family]:
    table = parse(_FamiliesFile, load_yaml(text, what), what)
    return {name: replace(family, name=name, package="") for name, family in table.families.items()}


def get_family(name: str) -> Family:
    """Return the family called `name`, in any case, or whose template has that name on a backend.

    A template of several families counts where they have the same prompts (`qwen`). Raises UsageError for
    any other name.
    """
    wanted = name.strip().lower()
    if wanted in load_families():
        return load_families()[wanted]
    having = [
        family
        for family in load_families().values()
        if any(cell and cell.name.lower() == wanted for cell in family.backends.values())
    ]
    if having and all(_prompts_by_backend(family) == _prompts_by_backend(having[0]) for family in having):
        return having[0]
    if having:
        several = joined(", ", (family.name for family in having))
        raise UsageError(
            _("`{name}` is the template of several families; choose one of: {several}").format(
                name=name, several=several
            )
        )
    raise UsageError(
        _("there is no model family `{name}`{hint}").format(name=name, hint=closest(wanted, load_families()))
    )


def _prompts_by_backend(family: Family) -> dict[str, ChatPrompt | None]:
    return {backend: cell.prompt if cell else None for backend, cell in family.backends.items()}
