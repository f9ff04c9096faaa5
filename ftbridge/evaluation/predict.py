"""`ftbridge predict`: a dataset answered by the model of a run, greedily and many samples at a time."""

import hashlib
import json
import os
import re
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, Literal

import msgspec

from ftbridge.adapters.convert.earlier import options_of
from ftbridge.adapters.registered.dataset import Dataset, resolve_dataset
from ftbridge.core.console import counted, progress, say
from ftbridge.core.errors import InputError, InterruptedRun, SetupError, UsageError
from ftbridge.core.files.atomic import sha256, write_atomic, write_json
from ftbridge.core.project import Project
from ftbridge.core.train_spec import Device, Dtype
from ftbridge.dataset_info import registry
from ftbridge.dataset_info.names import CONVERSATIONS
from ftbridge.dataset_info.presets import presets
from ftbridge.dialogue.chat import Thoughts, model_of, source_of, with_thinking, without_thought
from ftbridge.dialogue.generation import Generator, Sampling
from ftbridge.dialogue.placement import Loading, place
from ftbridge.evaluation.answers.folder import (
    FINISHED,
    METRICS,
    RESULT,
    SETTINGS,
    UNFINISHED,
    Prediction,
    Settings,
    finish_predictions,
    hold_folder,
    read_predictions,
    refuse_foreign_metrics,
    settings_in,
)
from ftbridge.evaluation.answers.leakage import Leakage, Leaks, find_leaks
from ftbridge.evaluation.answers.questions import Question, file_of, questions_of
from ftbridge.evaluation.scoring.labels import Metrics, measure, require_scikit_learn
from ftbridge.launchers.environment.own_code import interpreter_for, is_code_trusted
from ftbridge.launchers.environment.venv import any_backend
from ftbridge.launchers.hardware import devices
from ftbridge.launchers.runs.record import find_run
from ftbridge.weights.card import ModelCard
from ftbridge.weights.output_folder import refuse_inside
from ftbridge.weights.source import ModelSource, target_of

WEIGHTS = (".safetensors", ".bin", ".json", ".jinja", ".model")
END = 1 << 16  # bytes


class Predictions(msgspec.Struct, frozen=True, kw_only=True):
    """What `predict` wrote: `file` is predictions.jsonl, `asked` the samples that were answered this time.

    `leakage` comes with the metrics, where a run is known that was trained.
    """

    file: str
    dataset: str
    samples: int
    asked: int
    metrics: Metrics | None = None
    leakage: Leakage | None = None
    result_jsonl: str | None = None


def predict(  # noqa: PLR0913 - the options of the command, all by name
    source: str | os.PathLike[str] | None = None,
    dataset: str | None = None,
    *,
    checkpoint: str | os.PathLike[str] | None = None,
    dataset_dir: str | os.PathLike[str] | None = None,
    out: str | os.PathLike[str] | None = None,
    metrics: bool = False,
    result_jsonl: bool = False,
    max_new_tokens: int = 512,
    thinking: Thoughts = "auto",
    batch_size: int | None = None,
    limit: int | None = None,
    bits: Literal[4, 8] | None = None,
    dtype: Dtype = "auto",
    device: Device = "auto",
    trust_remote_code: bool = False,
    replace: bool = False,
) -> Predictions:
    """Answer `dataset` (default: the test part of what a run was trained on) with the model of a run or a folder.

    Goes on where an earlier call was stopped, and asks nothing that is answered already. A `source` that ends with
    .jsonl is a predictions.jsonl to be measured as it stands. `checkpoint` chooses one of the run's.
    The folder is `out`, by default predictions/DATASET in the run's; `limit` takes the first samples alone;
    `batch_size` None lets their length decide; `thinking` auto is as in the training; `trust_remote_code` runs code
    that comes with the model. Raises InputError where other settings were used there before, unless `replace` says to
    ask anew.
    """
    if source and os.fspath(source).endswith(".jsonl"):
        return _measure_file(Path(source))
    found, gpus = source_of(source, checkpoint), devices.usable_gpus(device)
    data = _dataset_to_answer(found, dataset, dataset_dir)
    samples = questions_of(data)
    questions = samples[:limit]
    labels, labels_from = _known_labels(data)
    if metrics:
        require_scikit_learn(labels, (question.reference for question in questions))
    folder = _output_folder(found, out, data.name)
    card, model, adapter = model_of(found)
    card = with_thinking(card, thinking)
    if out:
        _refuse_what_is_read(
            folder, _folders_read(card, model, adapter), _dataset_folder(found, dataset_dir), found.project
        )
    leaked = _find_leaks(found, card.run, questions, data) if metrics else None
    trust = is_code_trusted(found.run, (model,), trust_remote_code=trust_remote_code)
    loading = Loading(bits=bits, dtype=dtype, trust_remote_code=trust)
    placement = place(gpus, model, adapter, loading)
    settings = Settings(
        dataset=data.name,
        data=sha256(file_of(data)),
        model=_fingerprint(model, adapter),
        prompt=card.chat_template.sha256 if card.chat_template else card.prompt,
        thinking=(card.chat_template.thinking or "none") if card.chat_template else card.thinking,
        stop=card.stop,
        max_new_tokens=max_new_tokens,
        bits=bits,
        dtype=placement.dtype,
        device=placement.device,
        labels=labels,
        labels_from=labels_from,
    )
    if leaked:
        _warn_of_leakage(leaked.among([question.id for question in questions]))
    with hold_folder(folder, settings, replace=replace) as known:
        waiting = [question for question in questions if question.id not in known]
        if waiting:
            python = interpreter_for(
                found.project, any_backend(found.project, card.backend), model, trust_remote_code=trust
            )
            of_all = f"{len(waiting)} of {counted(len(questions), 'sample')}"
            say(f"loading the model, then answering {of_all} of {data.name} ...")
            with Generator(python, card, model, adapter, gpus, loading) as generator:
                _write_answers(generator, waiting, settings, batch_size, folder)
        rows = finish_predictions(folder)
        report, leakage = _write_metrics(folder, rows, settings, leaked) if metrics else (None, None)
        result = _write_result(folder / RESULT, samples, rows) if result_jsonl else None
    return Predictions(
        file=str(folder / FINISHED),
        dataset=data.name,
        samples=len(rows),
        asked=len(waiting),
        metrics=report,
        leakage=leakage,
        result_jsonl=result,
    )


def _output_folder(source: ModelSource, out: str | os.PathLike[str] | None, dataset: str) -> Path:
    return Path(out).expanduser() if out else target_of(source, None, "predictions") / dataset


def _folders_read(card: ModelCard, model: Path, adapter: Path | None) -> dict[str, Path]:
    """Return the folders that a prediction reads, by what they are in a message."""
    folders = {"the model": model}
    if adapter:
        folders["the adapter"] = adapter
    if card.base:
        folders["the base model"] = Path(card.base)
    return folders


def _refuse_what_is_read(out: Path, folders: dict[str, Path], dataset_dir: Path, project: Project) -> None:
    """Raise InputError where answers would lie in what is read, or be the dataset folder or lie in it.

    A project may lie in its dataset folder: then what lies beside the datasets may be written.
    """
    datasets = dataset_dir.resolve()
    if not project.folder.is_relative_to(datasets) or out.resolve() == datasets:
        folders = {**folders, "the dataset folder": datasets}
    refuse_inside(out, folders)


def _warn_of_leakage(leakage: Leakage) -> None:
    if leakage.sentence:
        say(f"warning: {leakage.sentence}")


def _dataset_to_answer(source: ModelSource, name: str | None, dataset_dir: str | os.PathLike[str] | None) -> Dataset:
    project, run = source.project, source.run
    folder = _dataset_folder(source, dataset_dir)
    known = registry.read_entries(folder)
    if name is None:
        if not run:
            raise UsageError("which dataset? A folder was trained on none that is known here: give `--dataset NAME`")
        trained = registry.look_up(folder, run.spec.dataset)[0]
        name = f"{re.sub(r'-train(-[0-9]+)?$', '', trained)}-test"
        if name not in known:
            raise UsageError(
                f"`{run.id}` was trained on `{trained}`, and there is no `{name}` beside it in `{folder}`; name a "
                "dataset with `--dataset NAME`, or convert again with a test part, `--split 8:1:1`"
            )
    elif name not in known and f"{name}-test" in known:
        name = f"{name}-test"
    return resolve_dataset(folder, name, CONVERSATIONS, project.folder / ".ftbridge" / "datasets")


def _dataset_folder(source: ModelSource, dataset_dir: str | os.PathLike[str] | None) -> Path:
    own = source.run.spec.dataset_dir if source.run else source.project.state().dataset_dir or "data"
    return Path(dataset_dir).expanduser().absolute() if dataset_dir else (source.project.folder / own).resolve()


def _known_labels(data: Dataset) -> tuple[tuple[str, ...], str]:
    """Return the labels that the answers are known to be, and who knows: the label map, or the preset."""
    made_with = options_of(data.entry)
    known = presets().get(data.entry.preset)
    if made_with and made_with.mapping.label_map:
        return tuple(dict.fromkeys(made_with.mapping.label_map.values())), "the label map of the conversion"
    if known and known.labels and data.entry.columns.get("output") == known.columns.get("output"):
        return tuple(dict.fromkeys(known.labels.values())), f"the preset {known.name}"
    return (), ""


def _fingerprint(*folders: Path | None) -> str:
    """Return what tells a model's files from others: names, sizes and both ends; all of them would take minutes."""
    found = hashlib.sha256()
    for folder in filter(None, folders):
        if not folder.is_dir():
            raise InputError(f"the model's folder `{folder}` is not there any more; put it back, or train again")
        for file in sorted(each for each in folder.iterdir() if each.suffix in WEIGHTS and each.is_file()):
            size = file.stat().st_size
            with file.open("rb") as content:
                found.update(f"{file.name}\0{size}\0".encode() + content.read(END))
                content.seek(max(END, size - END))
                found.update(content.read(END))
    return found.hexdigest()


def _write_answers(
    generator: Generator, questions: Sequence[Question], settings: Settings, batch_size: int | None, folder: Path
) -> None:
    """Write the answers to `questions` into unfinished.jsonl as they come."""
    card = generator.card
    prompts = [card.prompt_for(question.system, question.turns) for question in questions]
    sampling = Sampling(max_new_tokens=settings.max_new_tokens)
    done = 0

    def progress_line(done: int) -> str:
        return f"answered {done} of {len(questions)}"

    try:
        with (
            (folder / UNFINISHED).open("ab", buffering=0) as file,
            closing(generator.batch(prompts, settings.stop, sampling, batch_size)) as answers,
            progress("answering", "bar", "percent", "left", total=len(questions), line=progress_line) as show,
        ):
            for answer in answers:
                question = questions[answer.number]
                text = answer.prompt or card.prompt.render(question.system, question.turns)
                row = Prediction(question.id, text, answer.text, question.reference, answer.finish)
                line = memoryview(msgspec.json.encode(row) + b"\n")
                while line:  # a disk that gets full takes a part of it
                    line = line[file.write(line) :]
                done += 1
                show(done)
    except KeyboardInterrupt:
        raise InterruptedRun(
            f"stopped; {done} answers of this time are kept in {folder}, and the same command goes on from there"
        ) from None
    except OSError as error:
        raise SetupError(f"cannot write `{folder / UNFINISHED}`: {error.strerror or error}") from error


def _find_leaks(source: ModelSource, trained_by: str, questions: Sequence[Question], data: Dataset) -> Leaks | None:
    """Return which questions were trained on; None where no run is known to have made the model."""
    try:
        run = source.run or (find_run(source.project, trained_by) if trained_by else None)
    except InputError as error:
        return Leaks(dataset="", reason=str(error))
    return find_leaks(source.project, run, questions, data) if run else None


def _write_metrics(
    folder: Path, rows: Sequence[Prediction], settings: Settings | None, leaked: Leaks | None
) -> tuple[Metrics, Leakage | None]:
    labels, origin = (settings.labels, settings.labels_from) if settings else ((), "")
    answer_of = without_thought if settings and settings.has_thoughts else str
    found = measure(
        [(answer_of(row.answer), answer_of(row.reference), row.finish_reason) for row in rows], labels, origin
    )
    leakage = leaked.among([row.id for row in rows]) if leaked else None
    write_json(folder / METRICS, msgspec.to_builtins(found) | ({"leakage": leakage} if leakage else {}))
    return found, leakage


def _measure_file(file: Path) -> Predictions:
    """Measure a predictions.jsonl as it stands."""
    if not (rows := read_predictions(file)):
        raise InputError(f"`{file}` holds no answers")
    refuse_foreign_metrics(file.parent)
    settings = settings_in(file.parent) if (file.parent / SETTINGS).exists() else None
    leaked = _leaks_of_file(file, settings) if settings else None
    metrics, leakage = _write_metrics(file.parent, rows, settings, leaked)
    if leakage:
        _warn_of_leakage(leakage)
    return Predictions(
        file=str(file),
        dataset=settings.dataset if settings else "",
        samples=len(rows),
        asked=0,
        metrics=metrics,
        leakage=leakage,
    )


def _leaks_of_file(file: Path, settings: Settings) -> Leaks | None:
    """Return which questions of a predictions.jsonl in a run's folder were trained on; None for one elsewhere."""
    parents = file.resolve().parents
    folder = parents[2] if len(parents) > 2 else None  # noqa: PLR2004 - RUN/predictions/NAME/
    if not folder or not (folder / "run.json").is_file():
        return None
    source = source_of(folder)
    try:
        data = _dataset_to_answer(source, settings.dataset, None)
    except InputError as error:
        return Leaks(dataset="", reason=str(error))
    if sha256(file_of(data)) != settings.data:
        return Leaks(dataset="", reason=f"`{data.name}` has changed since it was asked")
    return _find_leaks(source, "", questions_of(data), data)


def _write_result(file: Path, questions: Sequence[Question], rows: Sequence[Prediction]) -> str:
    """Write what the tutorial on news classification writes, and return the path.

    It is the messages as OpenAI has them, then the answer's text, a line each. The tutorial keeps only those of its
    last sample; here all follow one another.
    """
    by_id = {question.id: question for question in questions}
    lines: list[Any] = []
    for row in rows:
        question = by_id[row.id]
        lines += [{"role": "system", "content": question.system}] if question.system else []
        for asked, answer in question.turns:
            lines.append({"role": "user", "content": asked})
            lines += [{"role": "assistant", "content": answer}] if answer is not None else []
        lines.append(row.answer)
    write_atomic(file, "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines))
    return str(file)
