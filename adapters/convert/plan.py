"""One conversion before its first row is read: what was asked for, what was found, and where it will go."""

import hashlib
import os
import re
import unicodedata
from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import Literal

import msgspec

from ftbridge.adapters.convert.rejects import parse_max_rejected
from ftbridge.adapters.convert.samples.encode import Dedup
from ftbridge.adapters.convert.split import PARTS, parse_split
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
from ftbridge.core.records import Conversation, Reading, Table
from ftbridge.dataset_info.names import CONVERSATIONS
from ftbridge.dataset_info.presets import Preset, preset, preset_of

OnError = Literal["stop", "skip"]
TO = (CONVERSATIONS, "alpaca")


class ConvertOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What decides the content of a dataset besides its sources; kept in its entry.

    `seed` is None where the order stays the source's; `sample` are the sizes of nested subsets; `settings` are for
    presets that make their rows.
    """

    reading: Reading = Reading()
    wish: MappingOptions = MappingOptions()
    preset: str = ""
    settings: dict[str, str] = {}
    split: str | None = None
    seed: int | None = 42
    sample: tuple[int, ...] = ()
    dedup: Dedup | None = None
    limit: int | None = None
    to: tuple[str, ...] = TO
    array: bool = False
    on_error: OnError = "stop"
    max_rejected: str = ""

    @property
    def tolerated(self) -> str:
        """How many rows may be rejected, as `--max-rejected` says it."""
        return self.max_rejected or ("0" if self.on_error == "stop" else "100%")

    def __post_init__(self) -> None:
        """Refuse what no source can make right; raises UsageError."""
        choices = {
            "--on-error": (self.on_error, ("stop", "skip")),
            "--dedup": (self.dedup, (None, "exact", "normalized")),
        }
        for option, (value, known) in choices.items():
            if value not in known:
                raise UsageError(
                    f"`{option}` takes {' or '.join(f'`{each}`' for each in known if each)}; got `{value}`"
                )
        for name in self.to:
            load_target(name)
        if self.split is not None:
            parse_split(self.split)
        if self.max_rejected:
            parse_max_rejected(self.max_rejected)
        if self.seed is not None and self.seed < 0:
            raise UsageError(f"`--seed` takes a number from 0 on; got {self.seed}")
        if self.limit is not None and self.limit < 1:
            raise UsageError(f"`--limit` takes a number from 1 on; got {self.limit}")


class ConvertPlan(msgspec.Struct, frozen=True, kw_only=True, dict=True):
    """One conversion, with all questions answered before the first row is read; a choice for each table.

    `array` says that files are JSON arrays: as asked for, or since some text would else be loaded as a time. `sidecars`
    are what LLaMA-Factory's dataset_info.json beside the sources says of each table. With `dry_run` nothing is written.
    """

    name: str
    dataset_dir: Path
    options: ConvertOptions
    replace: bool
    tables: tuple[Table, ...]
    choices: tuple[TableMapping, ...]
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
        told = origin.name, [table.revision for table in self.tables], sorted(self.options.settings.items())
        return hashlib.sha256(repr(told).encode()).hexdigest()

    def stamps(self) -> list[tuple[int, int]]:
        """Return size and time of change of each source that is a file."""
        found = (origin.path.stat() for origin in self.origins if origin.path and origin.path.is_file())
        return [(each.st_size, each.st_mtime_ns) for each in found]

    def first_samples(self, table: int) -> Iterator[Conversation]:
        """Return the samples among the first rows of a table."""
        return _samples(self.tables[table], self.choices[table])

    @property
    def parts(self) -> tuple[str, ...]:
        """Return the parts that are made."""
        if self.options.split:
            return tuple(parse_split(self.options.split))
        own = {table.part or PARTS[0] for table in self.tables}
        return tuple(part for part in PARTS if part in own)

    @property
    def rearranged(self) -> bool:
        """Tell whether samples are written in other files than in the order of the source."""
        options = self.options
        return bool(options.sample or options.dedup) or len(self.parts) > 1

    @property
    def indexed(self) -> bool:
        """Tell whether something has to be known of each sample: then memory grows with their number."""
        return self.rearranged or any({"history", "messages"} & choice.columns.keys() for choice in self.choices)

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
        """Return where they go as a workbook, where that is asked for with `xlsx`."""
        return self.rejected_file.with_suffix(".xlsx")


def dataset_name(origins: Sequence[Origin], name: str | None) -> str:
    """Return `name`, or one made of the source's; raises UsageError where `name` will not do or one is needed."""
    if name is None:
        if len(origins) > 1:
            shared = _as_name(os.path.commonprefix([origin.stem for origin in origins]))  # noqa: RUF071 - of letters
            raise QuestionError(
                f"{len(origins)} sources make one dataset, which needs a name",
                {f"`{each}`": ["--name", each] for each in dict.fromkeys((shared, _as_name(origins[0].stem)))},
            )
        return _as_name(origins[0].stem)
    if not re.fullmatch(r"\w[\w.-]*", name):
        raise UsageError(f"`{name}` is no dataset name; use letters, digits, `_`, `.` and `-`, and no spaces or commas")
    return name


def _as_name(stem: str) -> str:
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
    opened = _opened(origins, options)
    if options.split and (own := sorted({table.part for _, table in opened if table.part})):
        raise UsageError(
            f"the source has parts of its own ({', '.join(own)}); leave `--split` out, or give one of them"
        )
    presets = [preset_for(options, origin, table) for origin, table in opened]
    said = [
        None if preset or options.wish.names_columns else find_sidecar(origin.path, table)
        for (origin, table), preset in zip(opened, presets, strict=True)
    ]
    try:
        choices = tuple(
            each.infer_mapping(table, options.wish) if each else infer_mapping(table, options.wish, preset)
            for (_, table), preset, each in zip(opened, presets, said, strict=True)
        )
    except QuestionError as error:
        raise question_for_all(error, [table for _, table in opened], options.wish) from error
    tables = tuple(each.with_note(table) if each else table for (_, table), each in zip(opened, said, strict=True))
    job = ConvertPlan(
        name=name,
        dataset_dir=folder,
        options=options,
        replace=replace,
        xlsx=xlsx,
        tables=tables,
        choices=choices,
        array=options.array or any(map(_dated, tables, choices)),
        presets=tuple(each.name if each else "" for each in presets),
        origins=tuple(origins),
        sidecars=tuple(said),
        dry_run=dry_run,
    )
    if options.sample and PARTS[0] not in job.parts:
        raise UsageError("`--sample` takes from the training part, and the source has none")
    return job


def _opened(origins: Sequence[Origin], options: ConvertOptions) -> list[tuple[Origin, Table]]:
    """Return the tables of all sources; what one of several asks can be answered for none of the others."""
    found = []
    for origin in origins:
        try:
            found += [(origin, table) for table in open_origin(origin, options.reading, options.settings)]
        except QuestionError as error:
            if len(origins) == 1:
                raise
            raise InputError(f"{error.reason}\n{ALONE}") from error
    return found


def _samples(table: Table, choice: TableMapping) -> Iterator[Conversation]:
    for row in table.first:
        with suppress(BadValueError, UnicodeEncodeError):
            sample = choice.mapping.conversation(row)
            msgspec.json.encode(sample)  # which half a surrogate pair fails
            yield sample


def _dated(table: Table, choice: TableMapping) -> bool:
    """Tell whether some text is a date in all first samples: from JSON lines, not from an array, it loads as a time."""
    last = [(sample.system, sample.turns[-1]) for sample in _samples(table, choice)]
    texts = [(system, turn.instruction, turn.input, turn.user, turn.output) for system, turn in last]
    return any(all(DATE.fullmatch(str(decode_raw(text))) for text in column) for column in zip(*texts, strict=True))


def preset_for(options: ConvertOptions, origin: Origin, table: Table) -> Preset | None:
    """Return the preset that was asked for, else the one that the table is told to be."""
    if asked := options.preset or origin.preset:
        return preset(asked)
    told = preset_of([table.sheet], table.columns)
    return told if told and set(table.columns).issuperset(told.columns.values()) and _alike(table, told) else None


def _alike(table: Table, told: Preset) -> bool:
    """Tell whether lists stand where the preset's sample has lists: columns of the same names may hold other things."""
    lists = [column for column, value in told.sample.items() if isinstance(value, list)]
    return all(isinstance(parse_list(row.values.get(column)), list) for row in table.first[:1] for column in lists)
