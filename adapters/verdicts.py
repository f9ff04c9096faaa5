"""Whether LLaMA-Factory and XTuner would load the registered datasets and keep all of them, and why not."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

import msgspec

from ftbridge.adapters.datasets import ALONE
from ftbridge.adapters.examine import examine
from ftbridge.adapters.job import digest
from ftbridge.core.errors import InputError
from ftbridge.dataset_info import registry
from ftbridge.dataset_info.entries import Entry, interpret


class Answer(msgspec.Struct, frozen=True):
    """Whether a framework would load a dataset and keep all of it; "unknown" where the data is not here."""

    loads: Literal["yes", "no", "unknown"]
    reasons: tuple[str, ...] = ()


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """What `check` says of an entry; `notes` are worth knowing and keep nothing from loading."""

    name: str
    ours: bool
    llamafactory: Answer
    xtuner: Answer
    notes: tuple[str, ...]


def check(dataset_dir: Path, names: Iterable[str] = ()) -> list[Verdict]:
    """Tell of the entries that `names` mean, or of all, whether both frameworks would load them.

    Raises InputError for an unknown name, or where dataset_info.json is damaged.
    """
    known = registry.read(dataset_dir)
    chosen = dict.fromkeys(full for name in names for full in registry.meant(dataset_dir, name, known))
    return [_verdict(dataset_dir, name, known[name]) for name in chosen or known]


def _verdict(dataset_dir: Path, name: str, raw: Any) -> Verdict:
    entry, ours = interpret(name, raw), registry.is_ours(raw)
    notes = [f"LLaMA-Factory {note}" for note in entry.notes]
    if entry.remote:
        found = {key: Answer("unknown", (f"its data is at `{entry.remote}`",)) for key in ("llamafactory", "xtuner")}
    elif ours:
        try:
            found = _own(dataset_dir, entry, raw, notes)
        except InputError as error:  # somebody changed what we wrote
            broken = Answer("no", (str(error),))
            found = {"llamafactory": broken, "xtuner": broken}
    else:
        if isinstance(raw, dict) and "ftbridge" in raw:
            notes.append("it was made by an older version of ftbridge; convert its source again")
        both, special = _problems(dataset_dir, entry, notes)
        found = {"llamafactory": _answer(both), "xtuner": _answer([*both, *special])}
    return Verdict(name=name, ours=ours, notes=tuple(notes), **found)


def _own(dataset_dir: Path, entry: Entry, raw: dict[str, Any], notes: list[str]) -> dict[str, Answer]:
    own = registry.entry_of(dataset_dir, entry.name, raw)
    written = own.options.get("sha256", {})
    paths = {target: dataset_dir / file for target, file in own.files.items()}
    changed = {target for target, path in paths.items() if path.is_file() and digest(path) != written.get(target)}
    notes += [f"`{own.files[target]}` has been changed since ftbridge wrote it" for target in sorted(changed)]
    both: list[str] = [ALONE]
    special: list[str] = []
    if entry.formatting != "xtuner":
        both, special = _problems(dataset_dir, entry, notes, trusted=not changed)
    answers = {"llamafactory": _answer(both), "xtuner": _answer([*both, *special])}
    if "xtuner" in own.files:
        columns = {"messages": "conversation"}
        turns = Entry(name=entry.name, file_name=own.files["xtuner"], formatting="xtuner", columns=columns)
        answers["xtuner"] = _answer(_problems(dataset_dir, turns, [], trusted=not changed)[0])
    return answers


def _answer(problems: list[str]) -> Answer:
    return Answer("no" if problems else "yes", tuple(problems))


def _problems(
    dataset_dir: Path, entry: Entry, notes: list[str], *, trusted: bool = False
) -> tuple[list[str], list[str]]:
    """Return what is wrong for both frameworks, and what for XTuner alone; adds to `notes`."""
    if entry.problems:
        return list(entry.problems), []
    try:
        findings = examine(dataset_dir, entry, trusted=trusted)
    except InputError as error:
        return [str(error)], []
    both = [*findings.columns, *([findings.wrong.line()] if findings.wrong.count else [])]
    special = [findings.special.line()] if findings.special.count else []
    if entry.drawn:
        special.append(f"only LLaMA-Factory draws {entry.drawn}")
    if findings.empty:
        notes.append(f"{findings.empty} questions or answers are empty, and are trained on as they are")
    if findings.unread:
        named = ", ".join(f"`{column}`" for column in findings.unread)
        notes.append(f"the file has {named}, which the entry does not name, so that it is not read")
    return both if findings.records else ["it holds no records"], special
