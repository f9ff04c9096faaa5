"""The file of a registered dataset that a backend trains on.

What ftbridge did not convert is examined before it is trained on, and converted for XTuner when it is first
used, into `.ftbridge/datasets`; its file and its entry in dataset_info.json stay as they are.
"""

import hashlib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from ftbridge import __version__
from ftbridge.adapters.registered import entry_reader
from ftbridge.adapters.registered.validate import Findings, validate
from ftbridge.adapters.sources.repository.layout import digest
from ftbridge.adapters.targets.sample_file import ARRAY, LINES
from ftbridge.adapters.targets.text_only import describe_not_held
from ftbridge.core.console import counted, say
from ftbridge.core.errors import InputError, shell_words
from ftbridge.core.files.atomic import scratch_file
from ftbridge.core.plugins import load_target
from ftbridge.core.records import DatasetEntry, EntryOptions
from ftbridge.dataset_info import registry
from ftbridge.dataset_info.entries import Entry, data_files, interpret_entry, target_entry
from ftbridge.dataset_info.names import CONVERSATIONS, MESSAGES, is_ours
from ftbridge.language import gettext as _
from ftbridge.language import joined, ngettext, to_translate

_XTUNER_ONLY = _("was converted for XTuner alone; convert its source again with `--to alpaca`")
_MESSAGES_ONLY = _("has no file that LLaMA-Factory reads by itself; train on it with `--tokens once`")
_MOST_NAMED = 3  # datasets in the name of a folder
_TOGETHER = 2  # seconds between the last lines of a conversion's files
ENTRY_CHANGED = _("its entry in {file} has been changed since ftbridge wrote it").format(file=registry.FILE)


class DatasetPart(msgspec.Struct, frozen=True):
    """One of several datasets that are trained on together: `samples` of the `total` that it has."""

    name: str
    samples: int
    total: int

    @property
    def text(self) -> str:
        """Return the name, with the number of samples where not all are taken, as `--dataset` takes it."""
        return self.name if self.samples == self.total else f"{self.name}#{self.samples}"


def title_of(name: str, parts: Sequence[DatasetPart]) -> str:
    """Return what a dataset is called in messages: its name, or those of the `parts` that it is mixed of."""
    return ", ".join(part.text for part in parts) or name


def file_stem(name: str, parts: Sequence[DatasetPart]) -> str:
    """Return what a file or folder made for a dataset is called; of many `parts` the first is named."""
    names = [part.text.replace("#", "-") for part in parts] or [name]
    return "+".join(names) if len(names) <= _MOST_NAMED else f"{names[0]}+{len(names) - 1}"


class Dataset(msgspec.Struct, frozen=True):
    """A dataset that a backend can train on: its full name, its folder, and its entry.

    Of one from `record_hashes`, `sha256` maps what the backend reads, the entry by which it does so as well, to the
    sha256 of its content, and `edited` says what somebody has changed since ftbridge wrote it, "" for nothing. One from
    mixture.py has `parts`.
    """

    name: str
    folder: Path
    entry: DatasetEntry
    sha256: dict[str, str] = {}
    edited: str = ""
    parts: tuple[DatasetPart, ...] = ()

    @property
    def title(self) -> str:
        """Return what the dataset is called in messages."""
        return title_of(self.name, self.parts)


def resolve_dataset(dataset_dir: Path, name: str, target: str, cache: Path) -> Dataset:
    """Return the dataset `name` with a file of `target`, converted into the folder `cache` where it must be.

    With "" for a target it is what its entry in dataset_info.json says, as LLaMA-Factory reads it. Raises InputError
    where there is no such dataset, where its file is missing, or where some of its records would be lost.
    """
    full, raw = registry.look_up(dataset_dir, name)
    if is_ours(raw) and (own := _converted_dataset(dataset_dir, full, raw, target)):
        return own
    entry = interpret_entry(full, raw)
    if is_ours(raw) and target == MESSAGES and raw.get("formatting") == CONVERSATIONS:
        entry = target_entry(CONVERSATIONS, full, entry.file_name)
    _refuse_unreadable(dataset_dir, entry, target)
    if target:
        return Dataset(full, cache, _convert_into_cache(dataset_dir, entry, target, cache))
    return Dataset(full, dataset_dir, _entry_of_findings(dataset_dir, entry, _validate_or_refuse(dataset_dir, entry)))


def files_read_by(target: str, data: Dataset) -> tuple[Entry, list[Path]]:
    """Return a dataset's entry and its files, those of `target` or else its own; raises InputError for none."""
    if own := data.entry.files.get(target):
        entry = target_entry(target, data.name, own)
    else:
        entry = interpret_entry(data.name, registry.look_up(data.folder, data.name)[1])
    return entry, data_files(data.folder, entry)


def record_hashes(data: Dataset, target: str) -> Dataset:
    """Return what `resolve_dataset` gave with the sha256 of what is read now; samples are counted anew where edited.

    Raises InputError where an edited record would be lost.
    """
    own, entry_sha256 = data.entry, dict[str, str]()
    entry_edited = False
    if file := own.files.get(target):
        entry = target_entry(target, data.name, file)
    else:
        raw = registry.look_up(data.folder, data.name)[1]
        entry, entry_edited = interpret_entry(data.name, raw), bool(own.files) and registry.is_entry_edited(raw, own)
        if entry_edited:
            _refuse_unreadable(data.folder, entry, "")
        entry_sha256 = {f"{registry.FILE}: {data.name}": registry.entry_digest(raw)}
    file_sha256 = digest(data.folder / entry.file_name)
    data = msgspec.structs.replace(data, sha256={entry.file_name: file_sha256, **entry_sha256})
    file_edited = registry.sha256_as_written(own).get(entry.file_name) not in {"", file_sha256}
    unread = _edited_besides(data, entry.file_name) if target == MESSAGES else []
    if not own.files or not (file_edited or entry_edited):
        return msgspec.structs.replace(data, edited=joined("; ", unread))
    findings = _validate_or_refuse(
        data.folder,
        entry,
        whole=target == MESSAGES,
        reader="training" if file else "LLaMA-Factory",
        edited=file_edited,
    )
    samples = entry.samples or findings.records
    several = own.several_systems and findings.several_systems
    own = msgspec.structs.replace(
        own,
        samples=samples,
        system=own.system if several else findings.system,
        several_systems=findings.several_systems,
    )
    edits = []
    if entry_edited:
        edits.append(ENTRY_CHANGED)
    if file_edited:
        edits.append(describe_edit(data.folder, data.entry, entry.file_name, samples))
    return msgspec.structs.replace(data, entry=own, edited=joined("; ", [*edits, *unread]))


def _edited_besides(data: Dataset, read: str) -> list[str]:
    """Return what to say of files of ours that were changed after the one that is `read`, where that was written."""
    written, found = registry.sha256_as_written(data.entry), []
    since = (data.folder / read).stat().st_mtime
    for name in data.entry.files.values():
        file = data.folder / name
        # What nobody touched since the conversion, which writes all at once, is not read again: it may be large.
        touched = name != read and file.is_file() and file.stat().st_mtime > since + _TOGETHER
        if touched and written[name] not in {"", digest(file)}:
            found.append(
                _("`{name}` has been changed since ftbridge wrote it, and is not read for `--tokens once`").format(
                    name=name
                )
            )
    return found


def why_unread(own: DatasetEntry) -> str:
    """Return why LLaMA-Factory cannot read a dataset of ours by itself that has no file for it."""
    tried = MESSAGES in own.files and (own.options.not_held or CONVERSATIONS not in own.files)
    return _MESSAGES_ONLY if tried else _XTUNER_ONLY


def samples_in(own: DatasetEntry, file: str) -> int:
    """Return how many samples were written to a file of ours: those that its format can hold."""
    target = next((each for each, name in own.files.items() if name == file), "")
    return own.samples - own.options.not_held.get(target, 0)


def describe_edit(dataset_dir: Path, own: DatasetEntry, file: str, samples: int | None = None) -> str:
    """Return what to say of a file of ours that was changed, and holds so many samples now, where that is known."""
    known = file in own.files.values()
    said = (
        _("`{file}` has been changed since ftbridge wrote it") if known else _("`{file}` was not written by ftbridge")
    )
    said = said.format(file=file)
    if samples is not None:
        said += _(": it holds {samples}, and {converted} converted").format(
            samples=counted(samples, "sample"), converted=counted(own.samples, "was", "were")
        )
    others = [f"`{name}`" for name in own.files.values() if name != file and (dataset_dir / name).is_file()]
    return (
        _("{said}; an edit there does not reach {others}").format(said=said, others=joined(_(" and "), others))
        if others
        else said
    )


def whole_entry(dataset_dir: Path, name: str, raw: Any) -> tuple[Entry, list[str]]:
    """Return the entry of a file that has all samples of a dataset, and what to say of files that have not."""
    entry = interpret_entry(name, raw)
    if not is_ours(raw):
        return entry, []
    try:
        own = registry.parse_entry(dataset_dir, name, raw)
    except InputError:  # somebody changed what we wrote, and `check` says it
        return entry, []
    file = own.files.get(MESSAGES)
    if own.options.not_held and file and (dataset_dir / file).is_file():
        entry = target_entry(MESSAGES, name, file)
    return entry, describe_missing(own)


def describe_missing(own: DatasetEntry) -> list[str]:
    """Return, a sentence for each target, how many samples of a dataset of ours are not in its file, and why."""
    options = own.options
    return [
        describe_not_held(
            count, target, joined(_(" and "), map(_, options.no_place_for.get(target, [to_translate("them")])))
        )
        for target, count in options.not_held.items()
    ]


def _refuse_unreadable(dataset_dir: Path, entry: Entry, target: str) -> None:
    """Raise InputError where an entry cannot be read as it is, whatever its records hold."""
    place = _("the dataset `{name}` in `{file}`").format(name=entry.name, file=dataset_dir / registry.FILE)
    if entry.remote:
        how = _("convert that first, as in `ftbridge convert hf://owner/name`")
        raise InputError(
            _("{place} is not here, but at `{remote}`; {how}").format(place=place, remote=entry.remote, how=how)
        )
    problems = list(entry.problems)
    if entry.drawn and (target or entry.samples is None):
        problems.append(
            _("only LLaMA-Factory applies {drawn}; `ftbridge convert --sample` does it for both").format(
                drawn=entry.drawn
            )
        )
    if problems:
        raise InputError(
            _("{place} cannot be trained on: {problems}").format(place=place, problems=joined("; ", problems))
        )
    try:
        data_files(dataset_dir, entry)
    except InputError as error:
        raise InputError(_("{place} cannot be trained on: {error}").format(place=place, error=error)) from error


def _converted_dataset(dataset_dir: Path, name: str, raw: dict[str, Any], target: str) -> Dataset | None:
    """Return a dataset of ours, None where it has no file of the target; raises InputError where that is missing."""
    own = registry.parse_entry(dataset_dir, name, raw)
    formatting = raw.get("formatting")
    if not target and formatting in {CONVERSATIONS, MESSAGES}:
        raise InputError(_("the dataset `{name}` {why_unread}").format(name=name, why_unread=why_unread(own)))
    file = own.files.get(target) if target else str(raw.get("file_name"))
    if not file and formatting == MESSAGES:
        raise InputError(
            _("the dataset `{name}` has no file for {target}; train on it with `--tokens once`").format(
                name=name, target=target
            )
        )
    if not file:
        return None
    own = msgspec.structs.replace(own, samples=samples_in(own, file))
    if not (dataset_dir / file).is_file():
        raise InputError(
            _("the dataset `{name}` lacks its file `{file}`; convert it again").format(
                name=name, file=dataset_dir / file
            )
        )
    return Dataset(name, dataset_dir, own)


def _validate_or_refuse(
    dataset_dir: Path,
    entry: Entry,
    *,
    target: str = "",
    whole: bool = False,
    reader: str = "either framework",
    edited: bool = False,
) -> Findings:
    """Return what reading an entry's records has shown, as `whole` conversations where these are wanted.

    Raises InputError where LLaMA-Factory would lose some, and, with a `target` to convert them for, where that would.
    `reader` is what the file is for, and `edited` says that it was changed since ftbridge wrote it.
    """
    findings = validate(dataset_dir, entry, whole=whole)
    place = _("the dataset `{name}` in `{file}`").format(name=entry.name, file=dataset_dir / registry.FILE)
    if findings.columns or not findings.records:
        reasons = joined("; ", findings.columns) or _("it holds no records")
        raise InputError(_("{place} cannot be trained on: {reasons}").format(place=place, reasons=reasons))
    unfit = [(findings.unfit, reader)]
    if target:
        unfit.append((findings.unfit_for_xtuner, _("the format `{target}`").format(target=target)))
    for tally, whom in unfit:
        if tally.count:
            why = ""
            remedy = _("convert the file without them: `ftbridge convert {value} --name NAME --on-error skip`").format(
                value=shell_words([str(dataset_dir / entry.file_name)])
            )
            if edited:
                remedy = _("convert its source again with `--replace`")
                why = _("; `{file_name}` has been changed since ftbridge wrote it").format(file_name=entry.file_name)
            raise InputError(
                ngettext(
                    "{count:,} of {records} of {place} is not fit for {whom}{why}\n\n{table}\n\nFix it, or {remedy}",
                    "{count:,} of {records} of {place} are not fit for {whom}{why}\n\n{table}\n\nFix them, or {remedy}",
                    findings.records,
                ).format(
                    count=tally.count,
                    records=counted(findings.records, "record"),
                    place=place,
                    whom=whom,
                    why=why,
                    table=tally.table(),
                    remedy=remedy,
                )
            )
    return findings


def _entry_of_findings(dataset_dir: Path, entry: Entry, findings: Findings) -> DatasetEntry:
    """Return what our own entry would say of a dataset that somebody else made, which has no files of ours."""
    return DatasetEntry(
        version=__version__,
        files={},
        samples=entry.samples or findings.records,
        sources={Path(entry.file_name).name: digest(dataset_dir / entry.file_name)},
        columns=entry.columns,
        system=findings.system,
        several_systems=findings.several_systems,
    )


def _convert_into_cache(dataset_dir: Path, entry: Entry, target: str, cache: Path) -> DatasetEntry:
    """Return the entry of the converted dataset, which is made anew when its file or its entry changes."""
    content = digest(dataset_dir / entry.file_name)
    decides = (content, entry.formatting, entry.columns, entry.tags, target, __version__)
    key = hashlib.sha256(msgspec.json.encode(decides)).hexdigest()[:16]
    name = f"{re.sub(r'[^A-Za-z0-9_.-]+', '-', entry.name).lstrip('.-')}-{key}"
    known = registry.converted_entries(cache, [name]).get(name)
    if known and all(
        (cache / file).is_file() and digest(cache / file) == sha256
        for file, sha256 in registry.sha256_as_written(known).items()
    ):
        return known
    say(
        _("`{name}` has no file for {target} yet: converting it into {cache}").format(
            name=entry.name, target=target, cache=cache
        )
    )
    whole = target == MESSAGES
    findings = _validate_or_refuse(dataset_dir, entry, target=target, whole=whole)
    read = entry_reader.read_whole_conversation if whole else entry_reader.read_conversation
    file = f"{name}.{load_target(target).suffix}"
    sample = load_target(target).sample
    # In JSON lines, but not in an array, texts that are all dates would be loaded as times.
    head, between, tail = ARRAY if findings.dates and not whole else LINES
    with scratch_file(cache / file) as out:
        before = head
        for each in data_files(dataset_dir, entry):
            for row in entry_reader.read_rows(each):
                out.write(before + msgspec.json.encode(sample(read(entry, row))))
                before = between
        out.write(tail)
        out.flush()
        made = msgspec.structs.replace(
            _entry_of_findings(dataset_dir, entry, findings),
            files={target: file},
            options=EntryOptions(sha256={target: digest(Path(out.name))}),
        )
        registry.register(cache, {name: made}, replace=True, files={file: out})
    return made
