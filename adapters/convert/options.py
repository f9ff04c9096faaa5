"""What a conversion is asked for, as values: text of the command line or of Python is parsed here, once."""

import re
import unicodedata
from collections.abc import Sequence
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal

import msgspec

from ftbridge.adapters.mapping.inference.infer import MappingOptions
from ftbridge.core.errors import UsageError
from ftbridge.core.files.atomic import read_text
from ftbridge.core.parsing.json_yaml import validation_reason
from ftbridge.core.plugins import load_target
from ftbridge.core.records import Reading
from ftbridge.dataset_info.names import CONVERSATIONS, MESSAGES
from ftbridge.language import gettext as _
from ftbridge.language import joined

Dedup = Literal["exact", "normalized"]
OnError = Literal["stop", "skip"]
PARTS = ("train", "validation", "test")
TO = (CONVERSATIONS, "alpaca", MESSAGES)
SHARES = re.compile("[0-9]{1,9}(:[0-9]{1,9}){1,2}")
COUNTS = re.compile("(train|validation|test)=[0-9]{1,9}(,(train|validation|test)=[0-9]{1,9})*")
MAX_REJECTED = re.compile(r"(\d{1,9})|(\d{1,3}(?:\.\d{1,6})?)%")


class Split(msgspec.Struct, frozen=True):
    """The parts that a dataset is split into, in the order of `PARTS`; prints as `7:3` or `test=200`.

    `parts` maps each to its share of the whole with `shares` (of train and test, or of all three), else to its number
    of samples; that of train may be None, for the rest. Raises UsageError for what cannot be printed so.
    """

    parts: dict[str, int | None]
    shares: bool = False

    def __post_init__(self) -> None:
        """Refuse what `parse_split` never makes; raises UsageError."""
        if not self.parts or _split_parts(str(self)) != ([*self.parts.items()], self.shares):
            raise _not_a_split(str(self))

    def __str__(self) -> str:
        if self.shares:
            return ":".join(map(str, self.parts.values()))
        return ",".join(f"{part}={number}" for part, number in self.parts.items() if number is not None)


class MaxRejected(msgspec.Struct, frozen=True):
    """How many rows may be rejected: `rows` of them, or `percent` of all; prints as `20` or `1.5%`.

    Raises UsageError for what cannot be printed so.
    """

    rows: int = 0
    percent: Decimal | None = None

    def __post_init__(self) -> None:
        """Refuse what `parse_max_rejected` never makes; raises UsageError."""
        if not MAX_REJECTED.fullmatch(str(self)):
            raise _not_a_maximum(str(self))

    def __str__(self) -> str:
        return str(self.rows) if self.percent is None else f"{self.percent:f}%"

    def allowed(self, rows: int) -> int:
        """Return how many of so many rows may be rejected."""
        return self.rows if self.percent is None else int(rows * Fraction(self.percent) / 100)


class ConvertOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What decides the content of a dataset besides its sources; kept in its entry, as `options_as_json` has it.

    `seed` is None where the order stays the source's; `sample` are the sizes of nested subsets; `settings` are for
    presets that make their rows.
    """

    reading: Reading = Reading()
    mapping: MappingOptions = MappingOptions()
    preset: str = ""
    settings: dict[str, str] = {}
    split: Split | None = None
    seed: int | None = 42
    sample: tuple[int, ...] = ()
    dedup: Dedup | None = None
    limit: int | None = None
    to: tuple[str, ...] = TO
    array: bool = False
    on_error: OnError = "stop"
    max_rejected: MaxRejected | None = None

    @property
    def rejects_allowed(self) -> MaxRejected:
        """Return how many rows may be rejected, as `max_rejected` or else `on_error` says it."""
        return self.max_rejected or MaxRejected(percent=None if self.on_error == "stop" else Decimal(100))

    def __post_init__(self) -> None:
        """Refuse what no source can make right; raises UsageError."""
        choices = {
            "--on-error": (self.on_error, ("stop", "skip")),
            "--dedup": (self.dedup, (None, "exact", "normalized")),
        }
        for option, (value, known) in choices.items():
            if value not in known:
                raise UsageError(
                    _("`{option}` takes {known}; got `{value}`").format(
                        option=option, known=joined(_(" or "), (f"`{each}`" for each in known if each)), value=value
                    )
                )
        for name in self.to:
            load_target(name)
        # What has another type is refused by `checked`.
        if isinstance(self.seed, int) and self.seed < 0:
            raise UsageError(_("`--seed` must be a whole number of at least 0; got {seed}").format(seed=self.seed))
        if isinstance(self.limit, int) and self.limit < 1:
            raise UsageError(_("`--limit` must be a whole number of at least 1; got {limit}").format(limit=self.limit))

    def checked(self) -> "ConvertOptions":
        """Return the same; raises UsageError for a value of another type, or one that could not be kept as JSON."""
        try:
            return msgspec.json.decode(msgspec.json.encode(self), type=ConvertOptions)
        except UnicodeEncodeError as error:
            text = ascii(error.object)
            raise UsageError(
                _("the option {text} is not in UTF-8; does the terminal send another encoding?").format(text=text)
            ) from error
        except msgspec.ValidationError as error:
            raise UsageError(
                _("an option of `convert` has the wrong type: {validation_reason}").format(
                    validation_reason=validation_reason(str(error))
                )
            ) from error


def options_as_json(options: ConvertOptions) -> dict[str, Any]:
    """Return options as they stand in an entry of dataset_info.json: `split` and `max_rejected` are text there."""
    values: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(options))
    texts = {"split": options.split and str(options.split), "max_rejected": str(options.max_rejected or "")}
    return values | texts


def options_from_json(values: dict[str, Any]) -> ConvertOptions:
    """Return the options that `options_as_json` has made `values` of.

    Raises msgspec.ValidationError or UsageError for what this version does not know, UnicodeError for half a character.
    """
    parsed = dict(values)
    if isinstance(split := values.get("split"), str):
        parsed["split"] = parse_split(split)
    if isinstance(maximum := values.get("max_rejected"), str):
        parsed["max_rejected"] = parse_max_rejected(maximum) if maximum else None
    return msgspec.convert(parsed, ConvertOptions)


def keywords_of(options: ConvertOptions) -> dict[str, Any]:
    """Return the options as the keyword arguments of `convert`."""
    mapping = msgspec.structs.asdict(options.mapping)
    del mapping["tags"]  # of a dataset_info.json beside the source, which says it again
    reading = msgspec.structs.asdict(options.reading)
    del reading["exact"]
    of_text = {"split": options.split and str(options.split), "max_rejected": str(options.max_rejected or "")}
    shuffled = {"shuffle": False} if options.seed is None else {"seed": options.seed}
    own = {name: getattr(options, name) for name in ("preset", "sample", "dedup", "limit", "to", "array", "on_error")}
    return {**mapping, **own, **of_text, **shuffled, "set": options.settings, "sheet": reading.pop("sheets"), **reading}


def text_or_file(value: str) -> str:
    """Return a text as given, or that of the file behind `@`, without the line break that editors put last."""
    return read_text(Path(value[1:]), _("template")).removesuffix("\n") if value.startswith("@") else value


def parse_split(split: str | Split) -> Split:
    """Return the split into shares (`7:3`, `8:1:1`) or numbers of samples (`test=200`, `train=1000,test=200`).

    Raises UsageError for anything else.
    """
    if isinstance(split, Split):
        return split
    text = unicodedata.normalize("NFKC", str(split)).strip()  # a Chinese keyboard writes `7：3`
    parts, shares = _split_parts(text)
    if not parts:
        raise _not_a_split(str(split))
    return Split(dict(parts), shares)


def _split_parts(text: str) -> tuple[list[tuple[str, int | None]], bool]:
    """Return the parts that a text names with their numbers, and whether these are shares; no part where it is wrong.

    Without shares there is always a training part: what the others leave, where the text does not name it.
    """
    shares = bool(SHARES.fullmatch(text))
    if not shares and not COUNTS.fullmatch(text):
        return [], False
    numbers = [int(number) for number in re.findall("[0-9]+", text)]
    if not all(numbers):
        return [], False
    if shares:
        names = PARTS if len(numbers) == len(PARTS) else (PARTS[0], PARTS[-1])
        return [*zip(names, numbers, strict=True)], True
    named = re.findall("train|validation|test", text)
    counts = dict(zip(named, numbers, strict=True))
    if len(named) > len(counts) or counts.keys() == {PARTS[0]}:  # a part twice, or no other
        return [], False
    return [(part, counts.get(part)) for part in PARTS if part in counts or part == PARTS[0]], False


def parse_sample(sizes: str | int | Sequence[int]) -> tuple[int, ...]:
    """Return the sizes in `100,500,1000`, ascending, () for none; raises UsageError for anything else."""
    text = str(sizes) if isinstance(sizes, str | int) else ",".join(map(str, sizes))
    if not text:
        return ()
    text = unicodedata.normalize("NFKC", text)
    if not re.fullmatch(r"[1-9][0-9]{0,8}(,[1-9][0-9]{0,8})*", text.strip()):
        raise UsageError(_("`--sample` takes numbers of samples, as in `100,500,1000`; got `{text}`").format(text=text))
    return tuple(sorted({int(number) for number in text.split(",")}))


def parse_max_rejected(maximum: str | int | MaxRejected) -> MaxRejected:
    """Return how many rows may be rejected, from `20` or `1.5%`; raises UsageError for anything else."""
    if isinstance(maximum, MaxRejected):
        return maximum
    match = MAX_REJECTED.fullmatch(str(maximum).strip())
    if not match:
        raise _not_a_maximum(str(maximum))
    return MaxRejected(rows=int(match[1])) if match[1] else MaxRejected(percent=Decimal(match[2]))


def _not_a_split(given: str) -> UsageError:
    return UsageError(
        _(
            "`--split` takes shares, as in `7:3` (training and test) or `8:1:1` (training, "
            "validation, test), or numbers of samples, as in `test=200` or `train=1000,test=200`; "
            "got `{given}`"
        ).format(given=given)
    )


def _not_a_maximum(given: str) -> UsageError:
    return UsageError(
        _("`--max-rejected` takes a number of rows or a share, as in `20` or `1%`; got `{given}`").format(given=given)
    )
