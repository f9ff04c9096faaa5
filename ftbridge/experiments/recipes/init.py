"""`ftbridge recipe init`: a commented recipe for one's own data, with the options that matter for what it is for."""

import json
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

import msgspec

from ftbridge.adapters.sources.locate import origins
from ftbridge.core.errors import UsageError, shell_words
from ftbridge.core.files.atomic import write_atomic
from ftbridge.core.project import Project
from ftbridge.core.train_spec import TrainSpec, defaults
from ftbridge.dataset_info.presets import load_preset, presets
from ftbridge.experiments.recipes.recipe import ENDINGS, parse_recipe
from ftbridge.language import gettext as _
from ftbridge.language import joined
from ftbridge.launchers.environment.venv import any_backend

Purpose = Literal["classify", "answer", "role-play", "extract", "sizes"]
PURPOSES: dict[Purpose, str] = {
    "classify": _("sort texts into classes"),
    "answer": _("answer questions"),
    "role-play": _("play a role"),
    "extract": _("find names and other entities in texts"),
    "sizes": _("see how much data is enough"),
}
MODEL = "Qwen/Qwen2.5-1.5B-Instruct"
# What a preset is for where its labels do not say it.
_PURPOSES_OF_PRESETS: dict[str, Purpose] = {
    "fudan-news": "classify",
    "msra-ner": "extract",
    "huanhuan": "role-play",
    "self-cognition": "role-play",
}
_TASKS = {"classify": "classification", "answer": "generation", "role-play": "generation", "extract": "extraction"}
_WIDTH = 100  # of a comment


class _Line(NamedTuple):
    """An option in a section, what it does, and whether it only stands there as a comment."""

    name: str
    value: Any
    comment: str
    off: bool = False


def purpose_of_preset(name: str) -> Purpose:
    """Return what a preset is for; raises UsageError for an unknown one."""
    known = load_preset(name)
    return _PURPOSES_OF_PRESETS.get(name, "classify" if known.labels else "answer")


def is_preset(data: str) -> bool:
    """Tell whether a word names a preset rather than a file."""
    return data in presets() and not Path(data).exists()


def write_recipe(
    *,
    data: str = "",
    preset: str = "",
    model: str = "",
    purpose: Purpose | None = None,
    out: str | os.PathLike[str] | None = None,
) -> Path:
    """Write a commented recipe for `data` (a source of `convert`), a `preset`, or data that is read as a preset.

    The default of `model` and `purpose` is what goes with the preset; `out` is the file, by default of the data's name.
    Raises UsageError where there is no data, or a file is there already.
    """
    if not (data or preset):
        raise UsageError(_("which data? Give `--data FILE`, or `--preset NAME` for a well-known one"))
    purpose = purpose or (purpose_of_preset(preset) if preset else "answer")
    if purpose not in get_args(Purpose):
        raise UsageError(
            _("`--for` takes {purposes}; got `{purpose}`").format(
                purposes=joined(", ", (f"`{each}`" for each in PURPOSES)), purpose=purpose
            )
        )
    model = model or (load_preset(preset).model if preset else MODEL)
    stem = re.sub(r"[^\w-]+", "-", preset or Path(data.rpartition(":")[2]).stem).strip("-") or "recipe"
    file = Path(out).expanduser() if out else Path(f"{stem}.yaml")
    if file.suffix not in ENDINGS:
        raise UsageError(_("a recipe is a YAML file: let `{file}` end with `.yaml`").format(file=file))
    if os.path.lexists(file):
        raise UsageError(_("`{file}` exists already; name another with `--out FILE`").format(file=file))
    if data:
        origins([data])
    if data and "://" not in data and not Path(data).expanduser().is_absolute():
        data = os.path.relpath(data, file.absolute().parent)
    text = recipe_text(data, preset, model, purpose, file)
    parse_recipe(stem, text, f"`{file}`")
    write_atomic(file, text)
    return file


def recipe_text(data: str, preset: str, model: str, purpose: Purpose, file: Path) -> str:
    """Return the YAML of a recipe."""
    title = f"{load_preset(preset).title if preset else Path(data).name}: {PURPOSES[purpose]}"
    sections = {
        "convert": _conversion(data, preset, purpose),
        "train": [_of_training(name, value) for name, value in _training(model, purpose).items()],
        **({"sweep": _SIZES} if purpose == "sizes" else {"export": _EXPORT}),
        "evaluate": _evaluation(purpose),
        "report": _REPORT,
    }
    lines = [
        _("# `{value} --dry-run` says what it does, `--demo` tries it.").format(
            value=shell_words(["ftbridge", "recipe", "run", file.name])
        ),
        _("# `ftbridge convert --help`, `train --help` and so on have all options: write `-` as `_` here."),
        "title: " + _yaml(title),
    ]
    for section, options in sections.items():
        lines += ["", f"{section}:", *(line for each in options for line in _written(each))]
    return "\n".join([*lines, ""])


def _written(option: _Line) -> Iterator[str]:
    from textwrap import wrap

    yield from (f"  # {line}" for line in wrap(option.comment, _WIDTH))
    yield f"  {'# ' if option.off else ''}{option.name}: {_yaml(option.value)}"


def _yaml(value: Any) -> str:
    """Return a value in one line; JSON is YAML, and a plain word needs no quotes."""
    if isinstance(value, float):
        return f"{value:.10f}".rstrip("0")
    if isinstance(value, str) and re.fullmatch(r"[A-Za-z][\w./-]*(:[\w./-]+)?", value) and value not in _NO_TEXTS:
        return value
    return json.dumps(value, ensure_ascii=False)


_NO_TEXTS = {"true", "false", "yes", "no", "on", "off", "null", "True", "False", "Yes", "No", "On", "Off", "y", "n"}


def _conversion(data: str, preset: str, purpose: Purpose) -> Sequence[_Line]:
    source = data or f"preset:{preset}"
    lines = [
        _Line("sources", source, _("Files, folders, hf://owner/name, ms://owner/name, or preset:NAME; or a list."))
    ]
    if data and preset:
        lines.append(_Line("preset", preset, _("Read it as this well-known dataset. Default: recognised.")))
    if not data and (settings := load_preset(preset).settings):
        meaning = joined("; ", (f"{key}: {text}" for key, text in settings.items()))
        lines.append(
            _Line(
                "set",
                {"name": _("Assistant"), "author": _("our team")},
                _("Settings of the preset. {meaning}.").format(meaning=meaning),
            )
        )
    on_hub = "://" in data or bool(not data and preset and load_preset(preset).hub)
    lines.append(
        _Line(
            "split",
            "8:1:1",
            _(
                "Parts to make: training, validation and test; 7:3 leaves the validation out. "
                "Default: the data's own parts"
            )
            + (_(", and then this stays a comment.") if on_hub else "."),
            off=on_hub,
        )
    )
    if purpose == "classify":
        lines.append(
            _Line(
                "stratify", "output", _("Every part gets its share of each answer. Default: split at random."), on_hub
            )
        )
    if not preset:
        lines += [
            _Line(
                "map", {"instruction": "A", "output": "B"}, _("Columns. Default: recognised by the headers."), off=True
            ),
            _Line("system", _SYSTEMS[purpose], _("System prompt of samples that have none. Default: none."), off=True),
        ]
    return lines


_SYSTEMS: dict[Purpose, str] = {
    "classify": "Answer with the class alone.",
    "answer": "You answer questions briefly and correctly.",
    "role-play": "You are ..., and speak as she does.",
    "extract": "List the names in the text, one a line.",
    "sizes": "Answer with the class alone.",
}


def _training(model: str, purpose: Purpose) -> dict[str, Any]:
    """Return the options of a training that matter."""
    return {
        "backend": any_backend(Project.find()),
        "model": model,
        "method": "qlora" if purpose == "answer" else "lora",
        "lora_rank": 8,
        "lora_alpha": 32,
        "learning_rate": 1e-4,
        "epochs": 3,
        "micro_batch_size": 4,
        "gradient_accumulation_steps": 4,
        "cutoff_length": 1024,
        "seed": 42,
    }


def _of_training(name: str, value: Any) -> _Line:
    """Return an option of `train` with the description that its help has, and its default."""
    field = next(each for each in msgspec.structs.fields(TrainSpec) if each.name == name)
    meta = msgspec.inspect.type_info(field.type)
    default = defaults().get(name)
    comment = _description(meta)
    return _Line(
        name,
        value,
        comment
        if default is None
        else _("{comment} Default: {default}.").format(comment=comment, default=_yaml(default)),
    )


def _description(kind: Any) -> str:
    extra = getattr(kind, "extra_json_schema", None) or {}
    return str(extra.get("description", ""))


_EXPORT = [
    _Line("merge", True, _("Merge the adapter into the base as well, as other programs need it. Default: false."))
]
_SIZES = [
    _Line("grid", {"sample": [100, 500, 1000, 2000]}, _("Options, and values to try; sample counts those trained on.")),
    _Line(
        "seeds", [1, 2, 3], _("Train each point with each of these seeds, which tells chance from gain. Default: one.")
    ),
]
_REPORT = [
    _Line("language", "auto", _("Language of the page: en, zh, or the locale's (auto, the default).")),
    _Line("xlsx", True, _("Write the tables as a workbook as well. Default: false.")),
]


def _evaluation(purpose: Purpose) -> Sequence[_Line]:
    lines = [_Line("before", True, _("Ask the base model as well, and compare. Default: false."))]
    if purpose in _TASKS:
        lines.insert(0, _Line("task", _TASKS[purpose], _("How answers are judged. Default: by the data (auto).")))
    if purpose in {"classify", "sizes"}:
        comment = _("What is simpler, to compare with; bert=BASE trains an encoder. Default: these two.")
        lines.append(_Line("baseline", ["most-frequent", "tfidf"], comment))
    long = {"answer": 512, "role-play": 256}.get(purpose, 64)
    return [*lines, _Line("max_new_tokens", long, _("Longest answer, in tokens. Default: 512."))]
