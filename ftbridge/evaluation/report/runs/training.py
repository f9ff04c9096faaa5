"""What was trained on what: the data, the losses, where it ran, and the commands that repeat it."""

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from ftbridge.adapters.convert.earlier import options_of
from ftbridge.adapters.convert.options import ConvertOptions
from ftbridge.core.console import natural_size
from ftbridge.core.errors import FtbridgeError, InputError, shell_words
from ftbridge.core.files.atomic import json_lines, read_text
from ftbridge.core.parsing.json_yaml import load_json
from ftbridge.core.plugins import load_backend
from ftbridge.core.project import Project
from ftbridge.core.records import DatasetEntry
from ftbridge.core.train_spec import TrainSpec, defaults
from ftbridge.dataset_info import registry
from ftbridge.evaluation.record import Evaluation
from ftbridge.evaluation.report.charts import LossChart, Table, loss_chart
from ftbridge.evaluation.report.words import NOTHING, PERCENT, Words
from ftbridge.language import gettext as _
from ftbridge.launchers.hardware import host, nvidia
from ftbridge.launchers.process.identity import this_machine
from ftbridge.launchers.runs.record import Run
from ftbridge.launchers.runs.summary import summarise_run
from ftbridge.launchers.runs.training_log import curve_points, read_curve
from ftbridge.tokens.ready import RECORD, TOKENS, Counts

RUNS = "run status framework base_model dataset samples steps loss validation_loss time"  # columns of their table
# Options of `convert`, by where they are kept.
READING = "all_sheets header_row fill_merged as_shown encoding delimiter quote"
MAPPING = "map role label_map system instruction input output stratify strip max_characters"
SELECTION = "preset settings split seed sample dedup limit to array on_error max_rejected"
RISEN = 1.05  # times the lowest validation loss; what is less is noise
MOST_REASONS, MOST_REJECTED = 5, 100_000  # of rejected rows: reasons that are shown, rows that are read


class Trained(NamedTuple):
    """A training as a report tells it; `losses` is None where none was logged, `commands` repeat it.

    `details` are settings for specialists, `losses_told` says what to see in the losses.
    """

    run: Run
    settings: Table
    details: Table
    data: Table
    rejected: Table | None
    losses: LossChart | None
    losses_told: str
    environment: Table
    commands: tuple[str, ...]


class _TokensRecord(msgspec.Struct, frozen=True):
    """What is read of the record beside ready tokens."""

    counts: Counts


def trained(project: Project, run: Run, evaluations: list[Evaluation], words: Words) -> Trained:
    """Return what is known of a run's training."""
    folder = (project.folder / run.spec.dataset_dir).resolve()
    entries, changed = _entries(folder, run)
    curve = read_curve(run)
    losses = {words(name): points for name in ("loss", "validation_loss") if (points := curve_points(curve, name))}
    return Trained(
        run,
        _facts("settings", _settings(run, words), words),
        _facts("details", _details(run, words), words),
        _facts("data", _data(project, run, entries, words), words),
        _rejected(folder, entries, words),
        loss_chart(losses),
        _losses_told(curve_points(curve, "validation_loss"), words),
        _facts("environment", _environment(run, words), words),
        (*(words("converted_anew", dataset=name) for name in changed), *_commands(run, entries, evaluations)),
    )


def runs_table(runs: tuple[Run, ...], words: Words) -> Table:
    """Return the runs, a row each."""
    rows = []
    for run in runs:
        found = summarise_run(run)
        rows.append(
            (
                run.id,
                words(f"status_{found.status}"),
                _backend_title(run),
                Path(run.spec.model).name,
                run.spec.dataset_text,
                run.samples,
                found.steps,
                found.loss,
                found.validation_loss,
                words.duration(found.seconds),
            )
        )
    names = (
        "run",
        "status",
        "framework",
        "base_model",
        "dataset",
        "samples",
        "steps",
        "loss",
        "validation_loss",
        "time",
    )
    return Table("runs", words("runs"), tuple(map(words, names)), tuple(rows))


def _facts(key: str, rows: Iterator[tuple[str, Any]], words: Words) -> Table:
    return Table(key, words(key), (words("what"), words("value")), tuple(rows))


def _entries(folder: Path, run: Run) -> tuple[list[DatasetEntry], list[str]]:
    """Return the entries of the datasets that are as they were trained on, and the names of those that are not.

    Those that are gone, or not ours, are neither.
    """
    known, found, changed = set(run.datasets.values()), list[DatasetEntry](), list[str]()
    for each in run.spec.datasets:
        with suppress(FtbridgeError):
            name, entry = registry.find_converted(folder, each.name)
            if known & {*entry.options.sha256.values()}:
                found.append(entry)
            else:
                changed.append(name)
    return found, changed


def _settings(run: Run, words: Words) -> Iterator[tuple[str, Any]]:
    spec, found = run.spec, summarise_run(run)
    yield words("run"), run.id
    yield words("status"), words(f"status_{found.status}")
    yield words("base_model"), spec.model
    if run.parameters:
        yield words("trained_parameters"), _trained_share(run, words)
    yield words("epochs"), f"{spec.epochs:g}" if spec.max_steps is None else NOTHING
    yield words("time"), words.duration(found.seconds)


def _details(run: Run, words: Words) -> Iterator[tuple[str, Any]]:
    spec, found = run.spec, summarise_run(run)
    yield words("framework"), _backend_title(run)
    yield words("method"), _method(spec, words)
    yield words("steps"), f"{found.step:,} / {found.steps:,}"
    yield words("learning_rate"), f"{spec.learning_rate:g}"
    yield words("batch"), str(spec.micro_batch_size * spec.gradient_accumulation_steps * max(1, len(_gpu_ids(run))))
    if found.loss is not None:
        yield words("last_loss"), f"{found.loss:.4f}"
    if found.lowest_validation_loss is not None:
        yield words("lowest_validation_loss"), f"{found.lowest_validation_loss:.4f}"


def _trained_share(run: Run, words: Words) -> str:
    trained, parameters = run.trained_parameters, run.parameters
    share = f"{100 * trained / parameters:.2f}{PERCENT}"
    return words("trained_share", trained=f"{trained:,}", parameters=f"{parameters:,}", share=share)


def _losses_told(validation: Sequence[tuple[float, float]], words: Words) -> str:
    """Return whether the validation loss tells of learning by heart."""
    points = [point for point in validation if math.isfinite(point[1])]
    if len(points) < 2:  # noqa: PLR2004
        return words("losses_unvalidated")
    step, lowest = min(points, key=lambda point: point[1])
    values = {"step": f"{step:,.0f}", "lowest": f"{lowest:.4f}", "last": f"{points[-1][1]:.4f}"}
    return words("losses_rose" if points[-1][1] > RISEN * lowest else "losses_fell", **values)


def _method(spec: TrainSpec, words: Words) -> str:
    if spec.method == "full":
        return words("method_full")
    return words(f"method_{spec.method}", rank=spec.lora_rank, alpha=spec.lora_alpha, bits=spec.quantization_bits)


def _data(project: Project, run: Run, entries: list[DatasetEntry], words: Words) -> Iterator[tuple[str, Any]]:
    yield words("dataset"), run.spec.dataset_text
    yield words("training_samples"), run.samples
    if entries:
        sources = (Path(name).name for entry in entries for name in entry.sources)
        yield words("sources"), words("list_separator").join(dict.fromkeys(sources))
        for name in ("read", "written", "rejected", "duplicates", "left_out", "empty"):
            if number := sum(entry.options.counts.get(name, 0) for entry in entries):
                yield words(f"rows_{name}"), number
    if counts := _token_counts(project, run):
        yield words("tokens"), counts.tokens
        yield words("answer_tokens"), counts.answer_tokens
        if counts.samples:
            yield words("mean_tokens"), round(counts.tokens / counts.samples)
        yield words("longest_tokens"), counts.longest
        cut = counts.cut_turns + counts.cut_question
        yield words("cut_samples"), cut
        if counts.left_out:
            yield words("left_out_samples"), counts.left_out
    yield words("cutoff_length"), run.spec.cutoff_length


def _token_counts(project: Project, run: Run) -> Counts | None:
    """Return what was counted when the training tokens were made, None where they are gone."""
    if run.tokens:
        file = project.folder / TOKENS / run.tokens[0] / RECORD
        with suppress(InputError):
            return load_json(
                read_text(file, _("record of the tokens")), _TokensRecord, _("`{file}` is damaged").format(file=file)
            ).counts
    return None


def _rejected(folder: Path, entries: list[DatasetEntry], words: Words) -> Table | None:
    """Return why rows were rejected, the commonest reasons first."""
    reasons: Counter[str] = Counter()
    for name in (name for entry in entries for name in entry.options.rejected):
        if name.endswith(".jsonl"):
            lines = islice(json_lines(folder / name), MOST_REJECTED)
            reasons.update(f"{line.get('column') or ''}: {line.get('reason') or ''}".strip(": ") for line in lines)
    if not reasons:
        return None
    header = words("reason"), words("rows")
    return Table("rejected", words("rejected_reasons"), header, tuple(reasons.most_common(MOST_REASONS)))


def _environment(run: Run, words: Words) -> Iterator[tuple[str, Any]]:
    yield words("machine"), run.machine.name.partition(" ")[0] or NOTHING
    yield from _hardware(run, words)
    yield words("begun"), words.time(run.attempts[0].started)
    yield from run.versions.items()
    if run.base:
        yield words("fingerprint"), run.base.short
    for name, digest in run.datasets.items():
        yield words("sha256_of", name=name), digest[:16]


def _hardware(run: Run, words: Words) -> Iterator[tuple[str, Any]]:
    """Yield what a run was shown, and what that is, where this is the machine that it ran on."""
    ids = _gpu_ids(run)
    if "CUDA_VISIBLE_DEVICES" in run.launch.env:
        yield words("trained_on"), words("gpus", number=len(ids)) if ids else words("cpu")
    if run.machine.name and run.machine.name == this_machine().name:
        yield words("processor"), words("cores", name=host.processor()[0], number=host.cores())
        known = {gpu.uuid: gpu for gpu in nvidia.gpus()} if ids else {}
        yield from ((words("gpu"), _gpu_in_words(known[each], words)) for each in ids if each in known)


def _gpu_ids(run: Run) -> list[str]:
    return [each for each in run.launch.env.get("CUDA_VISIBLE_DEVICES", "").split(",") if each]


def _gpu_in_words(gpu: nvidia.Gpu, words: Words) -> str:
    memory = natural_size(gpu.memory << 20, binary=True) if gpu.memory else NOTHING
    return words("gpu_details", name=gpu.name, memory=memory, driver=gpu.driver)


def _commands(run: Run, entries: list[DatasetEntry], evaluations: list[Evaluation]) -> Iterator[str]:
    """Yield the commands that do it again, as they are typed."""
    for entry in entries:
        if options := options_of(entry):
            yield shell_words(["ftbridge", "convert", *entry.sources, *_convert_options(entry, options)])
    yield shell_words(["ftbridge", "train", *_train_options(run.spec)])
    for each in evaluations:
        yield shell_words(["ftbridge", *_evaluate_options(each)])


def _convert_options(entry: DatasetEntry, options: ConvertOptions) -> Iterator[str]:
    plain = ConvertOptions()
    yield from ("--name", entry.options.dataset)
    for sheet in options.reading.sheets:
        yield from ("--sheet", sheet)
    yield from _given(options.reading, plain.reading, READING)
    yield from _given(options.mapping, plain.mapping, MAPPING)
    yield from _given(options, plain, SELECTION)


def _train_options(spec: TrainSpec) -> Iterator[str]:
    plain = defaults()
    for name in TrainSpec.__struct_fields__:
        value = getattr(spec, name)
        if name not in plain or value != plain[name]:
            yield from _option(name, value)


def _evaluate_options(evaluation: Evaluation) -> Iterator[str]:
    model = evaluation.model
    yield from ("evaluate", model.run or model.folder, "--dataset", evaluation.dataset)
    if model.checkpoint:
        yield from ("--checkpoint", model.checkpoint)
    if evaluation.before:
        yield "--before"
    for each in evaluation.prompts:
        yield from ("--prompt", each.prompt)
    yield from ("--task", evaluation.scores.task)
    yield from ("--max-new-tokens", str(evaluation.max_new_tokens))
    if evaluation.limit:
        yield from ("--limit", str(evaluation.limit))
    if evaluation.engine.name == "endpoint":
        yield from ("--endpoint", evaluation.engine.address)


def _given(chosen: msgspec.Struct, plain: msgspec.Struct, names: str) -> Iterator[str]:
    """Yield the options whose values are not the defaults."""
    for name in names.split():
        value = getattr(chosen, name)
        if value != getattr(plain, name):
            yield from _option("set" if name == "settings" else name, value)


def _option(name: str, value: Any) -> Iterator[str]:
    option = f"--{name.replace('_', '-')}"
    if value is None or value is False:
        yield f"--no-{option[2:]}" if value is False else f"{option}=none"
    elif value is True:
        yield option
    elif isinstance(value, Mapping):
        for key, each in value.items():
            yield from (option, f"{key}={each}")
    elif isinstance(value, tuple):
        yield from (option, ",".join(map(str, value)))
    else:
        yield from (option, f"{value:g}" if isinstance(value, float) else str(value))


def _backend_title(run: Run) -> str:
    with suppress(FtbridgeError, ImportError):  # of a package that is not here
        return load_backend(run.spec.backend).title
    return run.spec.backend
