"""One conversion before its first row is read: what was asked for, what was found, and where it will go."""

import hashlib
import os
import re
import unicodedata
from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import cached_property
from pathlib import Path

import msgspec

from ftbridge.adapters.convert.options import PARTS, ConvertOptions
from ftbridge.adapters.mapping.inference.infer import (
    ALONE,
    MappingOptions,
    TableMapping,
    infer_mapping,
    question_for_all,
)
from ftbridge.adapters.mapping.inference.sidecar import Sidecar, find_sidecar
from ftbridge.adapters.sources.locate import Origin, open_origin
from ftbridge.adapters.sources.repository.layout import digest
from ftbridge.adapters.values import DATE, BadValueError, decode_raw, parse_list
from ftbridge.core.errors import InputError, QuestionError, UsageError
from ftbridge.core.plugins import load_target
from ftbridge.core.records import Conversation, Table
from ftbridge.dataset_info.names import VALID_NAME
from ftbridge.dataset_info.presets import Preset, detect_preset, load_preset
from ftbridge.language import gettext as _
from ftbridge.language import joined


class ConvertPlan(msgspec.Struct, frozen=True, kw_only=True, dict=True):
    """One conversion, with all questions answered before the first row is read; a mapping and a preset for each table.

    `array` says that files are JSON arrays: as asked for, or since some text would else be loaded as a time. `sidecars`
    are what LLaMA-Factory's dataset_info.json beside the sources says of each table. With `dry_run` nothing is written.
    """

    name: str
    dataset_dir: Path
    options: ConvertOptions
    replace: bool
    tables: tuple[Table, ...]
    mappings: tuple[TableMapping, ...]
    presets: tuple[str, ...]
    origins: tuple[Origin, ...]
    array: bool
    sidecars: tuple[Sidecar | None, ...] = ()
    dry_run: bool = False
    xlsx: bool = False

    @cached_property
    def sources(self) -> dict[str, str]:
        """The sha256 of each source's content by name, or of what identifies it where it is no file."""
        return {origin.name: self._digest(origin) for origin in self.origins}

    def _digest(self, origin: Origin) -> str:
        if origin.path:
            return digest(origin.path)
        identity = origin.name, [table.revision for table in self.tables], sorted(self.options.settings.items())
        return hashlib.sha256(repr(identity).encode()).hexdigest()

    def stamps(self) -> list[tuple[int, int]]:
        """Return size in bytes and time of change, in nanoseconds, of each source that is a file."""
        files = (origin.path.stat() for origin in self.origins if origin.path and origin.path.is_file())
        return [(status.st_size, status.st_mtime_ns) for status in files]

    def first_samples(self, table: int) -> Iterator[Conversation]:
        """Return the samples among the first rows of a table."""
        return _first_samples(self.tables[table], self.mappings[table])

    @property
    def parts(self) -> tuple[str, ...]:
        """Return the parts that are made."""
        if self.options.split:
            return tuple(self.options.split.parts)
        of_source = {table.part or PARTS[0] for table in self.tables}
        return tuple(part for part in PARTS if part in of_source)

    @property
    def rearranged(self) -> bool:
        """Tell whether samples are written in other files than in the order of the source."""
        options = self.options
        return bool(options.sample or options.dedup) or len(self.parts) > 1

    @property
    def indexed(self) -> bool:
        """Tell whether the length of each sample has to be kept: then memory grows with their number."""
        return self.rearranged or any({"history", "messages"} & each.columns.keys() for each in self.mappings)

    @property
    def names(self) -> list[str]:
        """Return the names of the parts and of the subsets."""
        return [f"{self.name}-{part}" for part in self.parts] + [
            f"{self.name}-train-{size}" for size in self.options.sample
        ]

    @property
    def rejected_file(self) -> Path:
        """Return where rejected rows go."""
        return self.dataset_dir / f"{self.name}.rejected.jsonl"

    @property
    def rejected_workbook(self) -> Path:
        """Return where rejected rows go as a workbook, where that is asked for with `xlsx`."""
        return self.rejected_file.with_suffix(".xlsx")


class _DescribedTable(msgspec.Struct, frozen=True):
    """A table with the preset that it is, or the entry of a dataset_info.json beside its file (`sidecar`).

    `recognised` says that the preset was found by the table's sheet or columns.
    """

    table: Table
    preset: Preset | None
    sidecar: Sidecar | None
    recognised: bool


def file_name(name: str, target: str) -> str:
    """Return the name of the file of a part or subset for a target."""
    return f"{name}.{load_target(target).suffix}"


def dataset_name(origins: Sequence[Origin], name: str | None) -> str:
    """Return `name`, or one made of the source's; raises UsageError where `name` will not do or one is needed."""
    if name is None:
        if len(origins) > 1:
            shared = _valid_name(os.path.commonprefix([origin.stem for origin in origins]))  # noqa: RUF071 - of letters
            raise QuestionError(
                _("{count} sources make one dataset, which needs a name").format(count=len(origins)),
                {f"`{each}`": ["--name", each] for each in dict.fromkeys((shared, _valid_name(origins[0].stem)))},
            )
        return _valid_name(origins[0].stem)
    if not VALID_NAME.fullmatch(name):
        raise UsageError(
            _(
                "`{name}` is not a valid dataset name; use letters, digits, `_`, `.` and `-`, and no spaces or commas"
            ).format(name=name)
        )
    return name


def _valid_name(stem: str) -> str:
    """Return a name that a dataset may have."""
    return re.sub(r"[^\w.-]+", "-", unicodedata.normalize("NFC", stem)).strip("-._") or "dataset"


def plan_conversion(
    origins: Sequence[Origin],
    name: str,
    folder: Path,
    options: ConvertOptions,
    *,
    replace: bool,
    dry_run: bool = False,
    xlsx: bool = False,
) -> ConvertPlan:
    """Open the sources and settle all that `options` leave open.

    Raises InputError for a source that cannot be used, UsageError for options that do not fit it.
    """
    opened = _open_tables(origins, options)
    if options.split and (own := sorted({table.part for _unused, table in opened if table.part})):
        raise UsageError(
            _("the source has parts of its own ({own}); leave `--split` out, or give one of them").format(
                own=joined(", ", own)
            )
        )
    described = [_describe_table(origin, table, options) for origin, table in opened]
    mappings = _infer_mappings(described, options.mapping)
    tables = tuple(each.sidecar.with_note(each.table) if each.sidecar else each.table for each in described)
    plan = ConvertPlan(
        name=name,
        dataset_dir=folder,
        options=options,
        replace=replace,
        xlsx=xlsx,
        tables=tables,
        mappings=mappings,
        array=options.array or any(map(_has_only_dates, tables, mappings)),
        presets=tuple(each.preset.name if each.preset else "" for each in described),
        origins=tuple(origins),
        sidecars=tuple(each.sidecar for each in described),
        dry_run=dry_run,
    )
    if options.sample and PARTS[0] not in plan.parts:
        raise UsageError(_("`--sample` makes subsets of the training part, and this source has no training part"))
    return plan


def _open_tables(origins: Sequence[Origin], options: ConvertOptions) -> list[tuple[Origin, Table]]:
    """Return the tables of all sources; what one of several asks can be answered for none of the others."""
    found = []
    for origin in origins:
        try:
            found += [(origin, table) for table in open_origin(origin, options.reading, options.settings)]
        except QuestionError as error:
            if len(origins) == 1:
                raise
            raise InputError(_("{reason}\n{alone}").format(reason=error.reason, alone=ALONE)) from error
    return found


def _describe_table(origin: Origin, table: Table, options: ConvertOptions) -> _DescribedTable:
    """Return a table with what says how it is read: its preset, else, unless the user decides, its sidecar."""
    found = preset_for(options, origin, table)
    decided = found or options.mapping.names_columns
    sidecar = None if decided else find_sidecar(origin.path, table)
    return _DescribedTable(table, found, sidecar, not (options.preset or origin.preset))


def _infer_mappings(described: Sequence[_DescribedTable], asked: MappingOptions) -> tuple[TableMapping, ...]:
    """Return how each table is read; what the user must decide is asked with answers that are right for all."""
    try:
        return tuple(
            each.sidecar.infer_mapping(each.table, asked)
            if each.sidecar
            else infer_mapping(each.table, asked, each.preset, recognised=each.recognised)
            for each in described
        )
    except QuestionError as error:
        raise question_for_all(error, [each.table for each in described], asked) from error


def _first_samples(table: Table, read_as: TableMapping) -> Iterator[Conversation]:
    """Yield the conversations of a table's first rows, without those that make none."""
    for row in table.first:
        with suppress(BadValueError, UnicodeEncodeError):
            sample = read_as.mapping.conversation(row)
            msgspec.json.encode(sample)  # which half a surrogate pair fails
            yield sample


def _has_only_dates(table: Table, read_as: TableMapping) -> bool:
    """Tell whether some text is a date in all first samples: from JSON lines, not from an array, it loads as a time."""
    last = [(sample.system, sample.turns[-1]) for sample in _first_samples(table, read_as)]
    texts = [(system, turn.instruction, turn.input, turn.user, turn.output) for system, turn in last]
    return any(all(DATE.fullmatch(str(decode_raw(text))) for text in column) for column in zip(*texts, strict=True))


def preset_for(options: ConvertOptions, origin: Origin, table: Table) -> Preset | None:
    """Return the preset that was asked for, else the one whose sheet or columns the table has; None for none.

    Raises UsageError where no preset has the name that was asked for.
    """
    if asked := options.preset or origin.preset:
        return load_preset(asked)
    detected = detect_preset([table.sheet], table.columns)
    return detected if detected and _has_columns_of(table, detected) else None


def _has_columns_of(table: Table, preset: Preset) -> bool:
    """Tell whether a table has a preset's columns, with lists where its sample has some: other data may share names."""
    if not set(table.columns).issuperset(preset.columns.values()):
        return False
    lists = [column for column, value in preset.sample.items() if isinstance(value, list)]
    return all(isinstance(parse_list(row.values.get(column)), list) for row in table.first[:1] for column in lists)
