"""What is to be asked of a model, planned before anything is loaded, and asked: the answers go into a folder."""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, closing
from itertools import islice
from pathlib import Path
from typing import Literal, TypedDict, cast

import msgspec
from msgspec.structs import replace

from ftbridge.adapters.convert.earlier import options_of
from ftbridge.adapters.registered.dataset import Dataset, resolve_dataset
from ftbridge.adapters.registered.mixture import DATASETS
from ftbridge.adapters.registered.questions import QuestionFile, questions_dataset
from ftbridge.core.console import counted, progress, say
from ftbridge.core.errors import (
    FrameworkError,
    FtbridgeError,
    InputError,
    InterruptedRun,
    SetupError,
    UsageError,
    shell_words,
)
from ftbridge.core.files.atomic import sha256
from ftbridge.core.project import Project
from ftbridge.core.train_spec import Device, Dtype, dataset_choices
from ftbridge.dataset_info import registry
from ftbridge.dataset_info.names import CONVERSATIONS
from ftbridge.dataset_info.presets import presets
from ftbridge.dialogue.chat import Thoughts, model_of, with_thinking
from ftbridge.dialogue.generation import ADAPTER, EngineName, Sampling
from ftbridge.dialogue.placement import Loading, place
from ftbridge.evaluation.answers.engines.endpoint import Endpoint
from ftbridge.evaluation.answers.engines.engine import Engine, choose_engine, open_engine
from ftbridge.evaluation.answers.fingerprint import fingerprint
from ftbridge.evaluation.answers.folder import (
    FINISHED,
    UNFINISHED,
    Prediction,
    Settings,
    check_folder,
    copy_answers,
    finish_predictions,
    hold_folder,
)
from ftbridge.evaluation.answers.prompts import PromptAnswer, prompts_in, save_prompts
from ftbridge.evaluation.answers.questions import Question, file_of, questions_of
from ftbridge.evaluation.record import FILE, Leakage, test_part
from ftbridge.language import gettext as _
from ftbridge.launchers.environment.own_code import is_code_trusted
from ftbridge.launchers.hardware import devices
from ftbridge.weights.card import WEIGHTS, ModelCard, Prompt
from ftbridge.weights.output_folder import refuse_inside
from ftbridge.weights.source import ModelSource, target_of

# Those of a base that are loaded at a time; each takes memory beside it, and a sweep may have a hundred.
MOST_ADAPTERS = 8


class AnswerOptions(TypedDict, total=False):
    """The options of AskOptions, as they are given."""

    max_new_tokens: int
    thinking: Thoughts
    batch_size: int | None
    limit: int | None
    bits: Literal[4, 8] | None
    dtype: Dtype
    device: Device
    trust_remote_code: bool
    replace: bool
    engine: Literal["auto", "transformers", "vllm"]


class AskOptions(msgspec.Struct, frozen=True, kw_only=True):
    """How a dataset is answered.

    `limit` takes the first samples alone; `batch_size` None lets their length decide; `thinking` auto is as in the
    training; `trust_remote_code` runs code that comes with the model; `replace` asks anew what is answered; `bits`,
    `dtype` and `device` are those of `chat`. `engine` computes the answers, auto is vLLM where ftbridge.yaml names a
    Python that has it.
    """

    max_new_tokens: int = 512
    thinking: Thoughts = "auto"
    batch_size: int | None = None
    limit: int | None = None
    bits: Literal[4, 8] | None = None
    dtype: Dtype = "auto"
    device: Device = "auto"
    trust_remote_code: bool = False
    replace: bool = False
    engine: Literal["auto", "transformers", "vllm"] = "auto"


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """A dataset to be answered by a model, with `adapter` on it where there is one; the answers go into `folder`.

    `prompts` are asked after it, each by itself, with the system prompt of the training. `card`
    and `model` are None where a server answers. `leakage` tells how many of the questions were trained on, where that
    was looked for.
    """

    source: ModelSource
    data: Dataset
    folder: Path
    card: ModelCard | None = None
    model: Path | None = None
    adapter: Path | None = None
    loading: Loading = Loading()
    settings: Settings
    options: AskOptions
    is_before: bool = False
    prompts: tuple[str, ...] = ()
    leakage: Leakage | None = None

    @property
    def adapter_name(self) -> str | None:
        """Return the name of what answers, as `Engine.batch` takes it: None for a base alone."""
        if self.model is None:
            return ADAPTER
        return str(self.adapter) if self.adapter else None

    @property
    def evaluation_folder(self) -> Path:
        """Return where an evaluation of the answers lies: in the run's folder where they do, too, else beside them."""
        if not (self.source.run and self.folder.resolve().is_relative_to(self.source.folder.resolve())):
            return self.folder
        return place_in_run(self.source, "evaluations", self.settings.engine) / self.data.name

    def questions(self) -> Iterator[Question]:
        """Yield the questions that are to be asked, from the first."""
        return islice(questions_of(self.data), self.options.limit)


def plan(
    source: ModelSource,
    dataset: str | QuestionFile,
    options: AskOptions,
    *,
    base: str | None = None,
    dataset_dir: str | os.PathLike[str] | None = None,
    out: str | os.PathLike[str] | None = None,
    under: Path | None = None,
    before: bool = False,
) -> Plan:
    """Return what is to be asked; with `before` the base answers, by the same prompts; `base` is that of an adapter.

    The questions of a file are asked with the system prompt of the training. The answers go into `out`, or into a
    folder of the dataset's name under `under`, or in the run's. Raises InputError and UsageError where there is no such
    dataset or model, or `out` has another use.
    """
    data = dataset_to_answer(source, dataset, dataset_dir) if isinstance(dataset, str) else None
    card, model, adapter = model_of(source, before or _has_both(source), base)
    card = with_thinking(card, options.thinking)
    if not data:
        file = cast("QuestionFile", dataset)
        data = questions_dataset(file, card.system, source.project.folder / DATASETS)
    if before:
        model, adapter = Path(card.base), None
    trust = is_code_trusted(source.run, (model,), trust_remote_code=options.trust_remote_code)
    loading = Loading(bits=options.bits, dtype=options.dtype, trust_remote_code=trust)
    engine = choose_engine(source.project, [adapter] if adapter else [], loading, options.engine)
    if not (out or under):
        base_of = replace(source, checkpoint=None) if before else source  # whatever the checkpoint, it is the same base
        under = place_in_run(base_of, "predictions-before" if before else "predictions", engine)
    folder = Path(out).expanduser() if out else cast("Path", under) / data.name
    if out:
        _refuse_what_is_read(
            folder, _folders_read(card, model, adapter), dataset_folder(source, dataset_dir), source.project
        )
    placement = place(devices.usable_gpus(options.device), model, [adapter] if adapter else [], loading)
    labels, labels_from = known_labels(data)
    settings = Settings(
        dataset=data.name,
        data=sha256(file_of(data)),
        model=fingerprint(model, adapter),
        prompt=card.chat_template.sha256 if card.chat_template else card.prompt,
        thinking=(card.chat_template.thinking or "none") if card.chat_template else card.thinking,
        stop=card.stop,
        max_new_tokens=options.max_new_tokens,
        bits=options.bits,
        dtype=placement.dtype,
        device=placement.device,
        labels=labels,
        labels_from=labels_from,
        engine=engine,
    )
    return Plan(
        source=source,
        data=data,
        folder=folder,
        card=card,
        model=model,
        adapter=adapter,
        loading=loading,
        settings=settings,
        options=options,
        is_before=before,
    )


def plan_for_server(
    server: Endpoint,
    source: ModelSource,
    dataset: str,
    options: AskOptions,
    *,
    dataset_dir: str | os.PathLike[str] | None = None,
    under: Path | None = None,
) -> Plan:
    """Return what is to be asked of a server; the answers go under `under`, or into the run that it is said to serve.

    Raises as `plan` does.
    """
    data = dataset_to_answer(source, dataset, dataset_dir)
    labels, labels_from = known_labels(data)
    settings = Settings(
        dataset=data.name,
        data=sha256(file_of(data)),
        model=f"{server.model} at {server.address}",
        prompt="",
        thinking="",
        stop=(),
        max_new_tokens=options.max_new_tokens,
        bits=None,
        dtype="",
        device="",
        labels=labels,
        labels_from=labels_from,
        engine="endpoint",
    )
    folder = (under or place_in_run(source, "predictions", "endpoint")) / data.name
    return Plan(source=source, data=data, folder=folder, settings=settings, options=options)


class Answered(msgspec.Struct, frozen=True):
    """How many `samples` have an answer now, and how many of them were `asked` this time."""

    samples: int
    asked: int


def ask(plans: Sequence[Plan], server: Endpoint | None = None) -> list[Answered]:
    """Answer what is not answered yet, and return what came of each plan.

    A base is loaded once for every MOST_ADAPTERS adapters; asked before the training of several runs, it answers once
    for all. The `server`, in whose `with` block this is called, answers in place of the models. A folder with answers
    of other settings is refused before anything is asked. Where a model cannot be loaded, or dies, the others are asked
    all the same, and then its InputError or FrameworkError is raised.
    """
    for each in plans:
        check_folder(each.folder, each.settings, replace=each.options.replace)
    answered: dict[Path, tuple[Plan, Answered]] = {}
    failures = [failure for group in _groups(plans) for failure in _ask_group(group, answered, server)]
    if len(plans) > 1:
        for planned, failure in failures:
            say(
                _("warning: `{adapter}` was not asked: {reason}").format(
                    adapter=planned.adapter or planned.model, reason=str(failure).partition(chr(10))[0]
                )
            )
    if failures:
        raise failures[0][1]
    return [answered[each.folder][1] for each in plans]


def _groups(plans: Sequence[Plan]) -> Iterable[list[Plan]]:
    """Return the plans by what is loaded for them; in each group those come first that were answered before."""
    groups: dict[tuple[object, ...], list[Plan]] = {}
    adapters: dict[tuple[object, ...], list[Path]] = {}
    for each in sorted(plans, key=lambda planned: not (planned.folder / FINISHED).exists()):
        base = (each.model, each.loading, each.settings.engine, each.options.device)
        known = adapters.setdefault(base, [])
        if each.adapter and each.adapter not in known:
            known.append(each.adapter)
        part = known.index(each.adapter) // MOST_ADAPTERS if each.adapter else 0
        groups.setdefault((*base, part), []).append(each)
    return groups.values()


def _ask_group(
    group: Sequence[Plan], answered: dict[Path, tuple[Plan, Answered]], server: Endpoint | None
) -> list[tuple[Plan, FtbridgeError]]:
    """Answer the plans of a group with one engine, where that fails with one for each; return which failed, and why."""
    try:
        _ask_together(group, answered, server)
    except (InputError, FrameworkError) as error:
        if len(group) == 1:
            return [(group[0], error)]
    left = [each for each in group if each.folder not in answered]
    return [failure for each in left for failure in _ask_group([each], answered, server)]


def _ask_together(group: Sequence[Plan], answered: dict[Path, tuple[Plan, Answered]], server: Endpoint | None) -> None:
    with ExitStack() as stack:
        opened: list[Engine] = [server] if server else []
        for each in group:
            if each.folder not in answered:
                same = next((plan for plan, _ in answered.values() if _is_same_base(plan, each)), None)
                answered[each.folder] = each, _ask_one(each, group, opened, stack, same)


def _is_same_base(one: Plan, other: Plan) -> bool:
    """Tell whether two plans ask the same of one base, for runs that began with it."""
    return one.is_before and other.is_before and one.settings == other.settings


def _ask_one(
    planned: Plan, group: Sequence[Plan], opened: list[Engine], stack: ExitStack, same: Plan | None
) -> Answered:
    """Answer what a plan of a group needs: as the `same` base has answered, else by what is `opened`.

    An engine is opened for the group where it is needed.
    """
    replace_all = planned.options.replace
    if replace_all:  # what was made of other answers must not stand beside half of the new ones
        (planned.evaluation_folder / FILE).unlink(missing_ok=True)
    with hold_folder(planned.folder, planned.settings, replace=replace_all) as known:
        waiting = {question.id: question for question in planned.questions() if question.id not in known}
        if waiting and same:
            for copied in copy_answers(same.folder, planned.folder, waiting):
                del waiting[copied]

        def engine() -> Engine:
            if not opened:
                opened.append(stack.enter_context(_open(group)))
            return opened[0]

        if waiting:
            answering = engine()
            text = (
                _("asking {questions} of {name} of the model before its training ...")
                if planned.is_before
                else _("asking {questions} of {name} ...")
            )
            say(text.format(questions=counted(len(waiting), "question"), name=planned.data.name))
            _write_answers(answering, [*waiting.values()], planned)
        if planned.prompts:
            _ask_prompts(engine, planned, same)
        return Answered(finish_predictions(planned.folder), len(waiting))


def _open(group: Sequence[Plan]) -> Engine:
    first, *_unused = group
    card, model = cast("ModelCard", first.card), cast("Path", first.model)
    adapters = {str(each.adapter): each.adapter for each in group if each.adapter}
    say(_("loading the model ..."))
    gpus = devices.usable_gpus(first.options.device)
    return open_engine(first.settings.engine, first.source.project, card, model, adapters, gpus, first.loading)


def _write_answers(engine: Engine, questions: Sequence[Question], planned: Plan) -> None:
    """Write the answers to `questions` into unfinished.jsonl as they come."""
    card, own, folder = planned.card, planned.settings, planned.folder
    prompts = [engine.prompt_for(question.system, question.turns, card) for question in questions]
    sampling = Sampling(max_new_tokens=own.max_new_tokens)
    done = 0

    def progress_line(done: int) -> str:
        return _("answered {done} of {count}").format(done=done, count=len(questions))

    batch = engine.batch(
        prompts, own.stop, sampling, planned.options.batch_size, adapter=planned.adapter_name, card=card
    )
    try:
        with (
            (folder / UNFINISHED).open("ab", buffering=0) as file,
            closing(batch) as answers,
            progress(_("answering"), "bar", "percent", "time", total=len(questions), line=progress_line) as show,
        ):
            for answer in answers:
                question = questions[answer.number]
                text = answer.prompt or _text_of(prompts[answer.number], question, card)
                row = Prediction(question.id, text, answer.text, question.reference, answer.finish)
                line = memoryview(msgspec.json.encode(row) + b"\n")
                while line:  # a disk that gets full takes a part of it
                    line = line[file.write(line) :]
                done += 1
                show(done)
    except KeyboardInterrupt:
        how = _("the same command without `--replace`") if planned.options.replace else _("the same command")
        raise InterruptedRun(
            _("stopped; {done} new answers are kept in {folder}, and {how} goes on from there").format(
                done=done, folder=folder, how=how
            )
        ) from None
    except OSError as error:
        raise SetupError(
            _("cannot write `{path}`: {strerror}").format(path=folder / UNFINISHED, strerror=error.strerror or error)
        ) from error


def _ask_prompts(engine: Callable[[], Engine], planned: Plan, same: Plan | None) -> None:
    """Answer the fixed prompts of a plan, but those that it, or the `same` base, has answered before."""
    card, own = cast("ModelCard", planned.card), planned.settings
    folders = [planned.folder, *([same.folder] if same else [])]
    known = {each.prompt: each for folder in folders for each in prompts_in(folder) if each.system == card.system}
    if unasked := [each for each in planned.prompts if each not in known]:
        asking = engine()
        text = (
            _("asking {prompts} of the model before its training ...")
            if planned.is_before
            else _("asking {prompts} ...")
        )
        say(text.format(prompts=counted(len(unasked), "fixed prompt")))
        prompts = [asking.prompt_for(card.system, [(each, None)], card) for each in unasked]
        sampling, size = Sampling(max_new_tokens=own.max_new_tokens), planned.options.batch_size
        batch = asking.batch(prompts, own.stop, sampling, size, adapter=planned.adapter_name, card=card)
        with closing(batch) as answers:
            for answer in answers:
                prompt = unasked[answer.number]
                known[prompt] = PromptAnswer(prompt, card.system, answer.text, answer.finish)
                if answer.finish == "too_long":
                    say(
                        _("warning: a prompt is too long for the model, so its answer is empty: `{prompt} ...`").format(
                            prompt=prompt[:40]
                        )
                    )
    save_prompts(planned.folder, [known[each] for each in planned.prompts])


def _text_of(prompt: Prompt, question: Question, card: ModelCard | None) -> str:
    """Return a prompt as text: as a family writes it, or the messages that a server was sent."""
    return card.prompt.render(question.system, question.turns) if card else msgspec.json.encode(prompt).decode()


def place_in_run(source: ModelSource, name: str, engine: EngineName) -> Path:
    """Return the folder `name` of a run and its checkpoint; another engine, whose answers may differ, has its own."""
    return target_of(source, None, name if engine == "transformers" else f"{name}-{engine}")


def _has_both(source: ModelSource) -> bool:
    """Tell whether a run has base and adapter at hand, which are loaded once for both, rather than what was merged."""
    return bool(source.run and Path(source.run.model).is_dir())


def _folders_read(card: ModelCard, model: Path, adapter: Path | None) -> dict[str, Path]:
    """Return the folders that a prediction reads, by what they are in a message."""
    folders = {_("the model"): model}
    if adapter:
        folders[_("the adapter")] = adapter
    if card.base:
        folders[_("the base model")] = Path(card.base)
    return folders


def _refuse_what_is_read(out: Path, folders: dict[str, Path], dataset_dir: Path, project: Project) -> None:
    """Raise InputError where answers would lie in what is read, or be the dataset folder or lie in it.

    A project may lie in its dataset folder: then what lies beside the datasets may be written.
    """
    datasets = dataset_dir.resolve()
    if not project.folder.is_relative_to(datasets) or out.resolve() == datasets:
        folders = {**folders, _("the dataset folder"): datasets}
    refuse_inside(out, folders)


def names_to_answer(
    source: ModelSource, given: str | Sequence[str] | None, dataset_dir: str | os.PathLike[str] | None
) -> tuple[str, ...]:
    """Return the datasets that are given, each of which may be several by comma; by default all test parts there are.

    These are of what a run was trained on. Raises UsageError where none is given, and there is no test part.
    """
    if given:
        choices = dataset_choices(given)
        if part := next((each for each in choices if each.take), None):
            message = _("`{choice}` takes a part for training; to answer the first samples, use `--limit N`")
            raise UsageError(message.format(choice=part.text))
        return tuple(each.name for each in choices)
    run, folder = source.run, dataset_folder(source, dataset_dir)
    if not run:
        raise _without_run(source.folder)
    known = registry.read_entries(folder)
    trained = [registry.look_up(folder, each.name)[0] for each in run.spec.datasets]
    parts = {full: test_part(full) for full in trained}
    lacking = [full for full, part in parts.items() if part not in known]
    if len(lacking) == len(parts):
        raise UsageError(
            _(
                "`{id}` was trained on `{trained}`, and there is no `{part}` beside it in `{folder}`; "
                "name a dataset with `--dataset NAME`, or convert again with a test part, `--split "
                "8:1:1`"
            ).format(id=run.id, trained=trained[0], part=parts[trained[0]], folder=folder)
        )
    for full in lacking:
        say(_("note: `{dataset}` has no test part, so no question of it is asked").format(dataset=full))
    return tuple(part for part in parts.values() if part in known)


def dataset_to_answer(source: ModelSource, name: str, dataset_dir: str | os.PathLike[str] | None) -> Dataset:
    """Return the dataset called so, or its test part; raises InputError where there is none of that name."""
    folder = dataset_folder(source, dataset_dir)
    known = registry.read_entries(folder)
    if name not in known and f"{name}-test" in known:
        name = f"{name}-test"
    if name not in known and f"{name}-train" not in known and Path(name).is_file():
        raise InputError(_no_dataset(name))
    return resolve_dataset(folder, name, CONVERSATIONS, source.project.folder / DATASETS)


def _without_run(folder: Path) -> FtbridgeError:
    """Return the error where no dataset is given, and a folder, or a file, is no run, which would tell one."""
    if folder.is_file() and folder.suffix.lower() not in WEIGHTS:
        return InputError(_no_dataset(os.path.relpath(folder)))
    message = _(
        "which dataset? It is not known what `{folder}` was trained on: give `--dataset NAME`; "
        "`ftbridge predict --questions FILE` answers the questions of a file"
    )
    return UsageError(message.format(folder=folder.name))


def _no_dataset(file: str) -> str:
    """Return what to do with a file that is given in place of a dataset, or of a model."""
    return _(
        "`{name}` is a file, not a dataset or a run: `{predict}` answers the questions in it, and `{convert}` makes a "
        "dataset of it, which `ftbridge evaluate --dataset NAME` measures with"
    ).format(
        name=file,
        predict=shell_words(["ftbridge", "predict", "--questions", file]),
        convert=shell_words(["ftbridge", "convert", file]),
    )


def dataset_folder(source: ModelSource, dataset_dir: str | os.PathLike[str] | None) -> Path:
    """Return the dataset folder: the one that is given, else the run's, else the project's."""
    own = source.run.spec.dataset_dir if source.run else source.project.state().dataset_dir or "data"
    return Path(dataset_dir).expanduser().absolute() if dataset_dir else (source.project.folder / own).resolve()


def known_labels(data: Dataset) -> tuple[tuple[str, ...], str]:
    """Return the labels that the answers are known to be, and who knows: the label map, or the preset."""
    made_with = options_of(data.entry)
    known = presets().get(data.entry.preset)
    if made_with and made_with.mapping.label_map:
        return tuple(dict.fromkeys(made_with.mapping.label_map.values())), _("the label map of the conversion")
    if known and known.labels and data.entry.columns.get("output") == known.columns.get("output"):
        return tuple(dict.fromkeys(known.labels.values())), _("the preset {name}").format(name=known.name)
    return (), ""
