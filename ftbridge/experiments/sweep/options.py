"""What a sweep varies, as values: a grid, a list of points, or a seeded random choice."""

import inspect
import itertools
import math
import random
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from ftbridge.adapters.convert.options import text_or_file
from ftbridge.core.errors import InputError, UsageError
from ftbridge.core.files.atomic import read_text
from ftbridge.core.parsing.json_yaml import closest, load_yaml_lines, parse
from ftbridge.core.plugins import load_backend
from ftbridge.core.records import ReadingOptions
from ftbridge.core.train_spec import TrainSpec
from ftbridge.evaluation.sweep.record import shown_value, title_of
from ftbridge.language import gettext as _
from ftbridge.language import joined

Section = Literal["convert", "train"]
Values = dict[str, Any]
_SECTIONS: tuple[Section, ...] = ("convert", "train")
# Options that do not change what is learned, or that the sweep decides.
_DECIDED = {"convert": "name dataset_dir replace dry_run callback xlsx", "train": "dataset_dir"}
ALL = "all"  # in place of a number of samples
_OF_TEXT = {"true": True, "on": True, "false": False, "off": False}


class Span(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Numbers from `low` to `high` to draw from, evenly or by their logarithms (`log`); `whole` ones alone."""

    low: float
    high: float
    log: bool = False
    whole: bool = False

    def __post_init__(self) -> None:
        if not self.low < self.high or (self.log and self.low <= 0):
            raise ValueError(_("`low` must be less than `high`, and above 0 where `log` is true"))

    def draw(self, source: random.Random) -> float:
        """Return a number of the span."""
        if self.log:
            drawn = math.exp(source.uniform(math.log(self.low), math.log(self.high)))
        else:
            drawn = source.uniform(self.low, self.high)
        return round(drawn) if self.whole else float(f"{drawn:.3g}")


class RandomChoice(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`number` points that are drawn with `seed`: each option from its list, or from its span."""

    number: Annotated[int, Meta(ge=1, le=100_000)]
    choose: dict[str, list[Any] | Span]
    seed: int = 0


class SweepOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is varied: all combinations of a `grid`, the `points` of a list, or a `random` choice; one of the three.

    The keys are options of `convert` and `train`: `lora_rank`, or with their command before them where both have one of
    that name: `train.seed`. `seeds` repeats each point with each of these as `train.seed`; `metric` is the figure by
    which the best is told.
    """

    grid: dict[str, list[Any]] = {}
    points: list[Values] = []
    random: RandomChoice | None = None
    seeds: list[Annotated[int, Meta(ge=0, lt=2**32)]] = []
    metric: str = ""


class SweepFile(SweepOptions, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A sweep's YAML: what is varied, and the options that all points have in common, by their commands."""

    name: str = ""
    convert: Values = {}
    train: Values = {}
    evaluate: Values = {}


class Setting(msgspec.Struct, frozen=True, kw_only=True):
    """The options that one point has for itself: those of `convert` and of `train`, and how both are `shown`."""

    shown: Values
    convert: Values
    train: Values


def load_sweep_file(file: Path) -> SweepFile:
    """Return the sweep that a YAML file asks for; raises InputError, with the line, for what it cannot ask for."""
    values, lines = load_yaml_lines(read_text(file, _("sweep")), f"`{file}`")
    places = {
        key: _("`{file}`, line {line}: `{key}`").format(file=file, line=line, key=key) for key, line in lines.items()
    }
    for key in values:
        if key not in SweepFile.__struct_fields__ and key in _names("train") | _names("convert"):
            raise InputError(
                _("{place} is an option; put it under `train`, `convert`, `grid` or in a point").format(
                    place=places[key]
                )
            )
    return parse(SweepFile, values, f"`{file}`", places)


def parse_grid(texts: Sequence[str]) -> dict[str, list[Any]]:
    """Return the grid of texts such as `lora_rank=8,16`; raises UsageError for what is none."""
    grid: dict[str, list[Any]] = {}
    for text in texts:
        key, equals, listed = text.partition("=")
        values = [each.strip() for each in listed.split(",")]
        if not (key.strip() and equals and all(values)):
            raise UsageError(
                _("`--grid` takes an option and its values, as in `lora_rank=8,16`; got `{text}`").format(text=text)
            )
        if key.strip() in grid:
            raise UsageError(_("`--grid` names `{key}` twice; give its values in one list").format(key=key.strip()))
        grid[key.strip()] = values
    return grid


def parse_seeds(text: str) -> list[int]:
    """Return the seeds in `1,2,3`, [] for ""; raises UsageError for anything else."""
    seeds = [each.strip() for each in text.split(",")] if text else []
    if not all(each.isdecimal() and int(each) < 1 << 32 for each in seeds):
        raise UsageError(_("`--seeds` takes whole numbers, as in `1,2,3`; got `{text}`").format(text=text))
    return [int(each) for each in seeds]


def settings_of(options: SweepOptions) -> list[Setting]:
    """Return the settings that are asked for, without their seeds, in order.

    Raises UsageError for none, for two of the same, and for keys that are no options of `convert` or `train`.
    """
    kinds = [name for name in ("grid", "points", "random") if getattr(options, name)]
    if len(kinds) > 1:
        raise UsageError(
            _("a sweep has one of `grid`, `points` and `random`; this one has {kinds}").format(
                kinds=joined(_(" and "), kinds)
            )
        )
    if len(set(options.seeds)) < len(options.seeds):
        raise UsageError(
            _("the seed {first_double} is given twice; give each once").format(
                first_double=_first_double(options.seeds)
            )
        )
    found = [_setting(values) for values in _combinations(options)]
    if not found:
        raise UsageError(_("there is nothing to vary: give options with their values, as in `--grid lora_rank=8,16`"))
    if options.seeds and any("seed" in each.train for each in found):
        raise UsageError(_("the seed of the training is given twice, as `seeds` and as `train.seed`; leave one out"))
    for at, each in enumerate(found):
        if (first := found.index(each)) < at:
            raise UsageError(
                _("the points {first} and {at} are the same ({options}); leave one out").format(
                    first=first + 1, at=at + 1, options=title_of(each.shown) or _("all as by default")
                )
            )
    return found


def number_of_points(options: SweepOptions) -> int:
    """Return how many trainings are asked for, without making a list of them."""
    grid = math.prod(len(values) for values in options.grid.values()) if options.grid else 0
    drawn = options.random.number if options.random else 0
    return (grid or len(options.points) or drawn) * max(1, len(options.seeds))


def _combinations(options: SweepOptions) -> Iterator[Values]:
    choices = options.grid or (options.random.choose if options.random else {})
    for key, values in choices.items():
        if not values:
            raise UsageError(_("there is no value for `{key}`; give one or several, or leave it out").format(key=key))
    if options.random:
        yield from _drawn(options.random)
    elif options.grid:
        yield from (dict(zip(options.grid, each, strict=True)) for each in itertools.product(*options.grid.values()))
    else:
        yield from options.points


def _drawn(choice: RandomChoice) -> Iterator[Values]:
    """Yield different points; raises UsageError where there are not so many."""
    source = random.Random(choice.seed)  # noqa: S311 - not for secrets
    seen: set[str] = set()
    for _unused in range(100 * choice.number):
        point = {
            key: values.draw(source) if isinstance(values, Span) else source.choice(values)
            for key, values in choice.choose.items()
        }
        if repr(point) not in seen:
            seen.add(repr(point))
            yield point
        if len(seen) == choice.number:
            return
    raise UsageError(
        _("`random` asks for {number:,} points, and only {count:,} different ones were found; ask for fewer").format(
            number=choice.number, count=len(seen)
        )
    )


def _setting(values: Values) -> Setting:
    """Return the options of a point, each of its own type."""
    by_section: dict[Section, Values] = {"convert": {}, "train": {}}
    shown = {}
    for key, value in values.items():
        section, name = section_of(key)
        if name in by_section[section]:
            raise UsageError(
                _("a point has `{name}` twice, with and without `{section}.`; leave one out").format(
                    name=name, section=section
                )
            )
        by_section[section][name] = shown[key] = _typed(section, name, value)
    return Setting(shown=shown, **by_section)


def section_of(key: str) -> tuple[Section, str]:
    """Return the command and the name of an option; raises UsageError, with the closest one, for what is none."""
    section, dot, name = key.rpartition(".")
    known = [each for each in _SECTIONS if name in _names(each) and (not dot or each == section)]
    if len(known) > 1:
        raise UsageError(
            _("both `convert` and `train` have an option `{key}`: write `convert.{key}` or `train.{key}`").format(
                key=key
            )
        )
    if not known:
        raise UsageError(_why_no_option(key, section, name))
    return known[0], name


def _why_no_option(key: str, section: str, name: str) -> str:
    """Return why an option cannot be varied."""
    if section in {"evaluate", "export"} or (not section and name in _evaluation_names() - _decided()):
        return _("`{key}` is an option of `{section}`: a sweep varies those of `convert` and `train`").format(
            key=key, section=section or "evaluate"
        )
    if name in _decided():
        return _("`{key}` cannot be varied: a sweep sets it").format(key=key)
    if section and section not in _SECTIONS:
        return _("there is no command `{section}` whose options can be varied{hint}").format(
            section=section, hint=closest(section, _SECTIONS)
        )
    names = [each for known in _SECTIONS if section in {"", known} for each in _names(known)]
    return _("there is no option `{key}`{hint}").format(key=key, hint=closest(name, names))


@cache
def _names(section: Section) -> frozenset[str]:
    """Return the options of a command that can be varied."""
    names: frozenset[str] = frozenset(TrainSpec.__struct_fields__)
    if section == "convert":
        names = _keywords("ftbridge.adapters.convert.pipeline", "convert") | {*ReadingOptions.__annotations__}
    return names - {*_DECIDED[section].split()}


def _decided() -> set[str]:
    return {name for names in _DECIDED.values() for name in names.split()}


@cache
def _evaluation_names() -> frozenset[str]:
    from ftbridge.evaluation.answers.asking import AnswerOptions

    return _keywords("ftbridge.evaluation.evaluate", "evaluate") | {*AnswerOptions.__annotations__}


def _keywords(module: str, function: str) -> frozenset[str]:
    parameters = inspect.signature(getattr(__import__(module, fromlist=[function]), function)).parameters.values()
    return frozenset(each.name for each in parameters if each.kind is inspect.Parameter.KEYWORD_ONLY)


@cache
def _train_types() -> dict[str, Any]:
    return {field.name: field.type for field in msgspec.structs.fields(TrainSpec)}


def _typed(section: Section, name: str, value: Any) -> Any:
    """Return a value of an option, which may have come as text, as what it is; raises UsageError where it is none."""
    if name == "sample":
        if value == ALL or (str(value).isdecimal() and int(value) > 0):
            return value if value == ALL else int(value)
        raise UsageError(
            _("`sample` takes numbers of samples, or `{all}`; got `{shown_value}`").format(
                all=ALL, shown_value=shown_value(value)
            )
        )
    if section == "train":
        return _typed_of_training(name, value)
    if name in {"instruction", "input", "output", "system"} and value is not None:
        return text_or_file(str(value))
    return _OF_TEXT.get(value, int(value) if value.isdecimal() else value) if isinstance(value, str) else value


def _typed_of_training(name: str, value: Any) -> Any:
    if isinstance(value, str):
        value = value.split("+") if name in {"lora_targets", "track"} else _OF_TEXT.get(value, value)
    try:
        if name == "backend":
            load_backend(str(value))
        return msgspec.to_builtins(msgspec.convert(value, _train_types()[name], strict=False))
    except msgspec.ValidationError as error:
        try:
            parse(TrainSpec, {"backend": "", "model": "", "dataset": "", name: value}, "", {name: f"`{name}`"})
        except InputError as told:
            raise UsageError(str(told)) from error
        raise UsageError(
            _("`{name}` cannot be `{shown_value}`").format(name=name, shown_value=shown_value(value))
        ) from error


def _first_double(values: Sequence[int]) -> int:
    return next(each for each in values if values.count(each) > 1)


def varied_and_constant(settings: Sequence[Setting]) -> tuple[tuple[str, ...], Mapping[str, Any]]:
    """Return the options that differ between settings, and those with one value in all of them."""
    names = dict.fromkeys(name for each in settings for name in each.shown)
    varied = tuple(
        name
        for name in names
        if any(each.shown.get(name, ...) != settings[0].shown.get(name, ...) for each in settings)
    )
    return varied, {name: value for name, value in settings[0].shown.items() if name not in varied}
