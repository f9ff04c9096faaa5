"""`ftbridge demo`: the whole way in one sitting, on a small model that really learns."""

import contextlib
import os
import platform
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import msgspec

from ftbridge.adapters.convert.pipeline import convert
from ftbridge.core.console import progress, progress_bar, result, rich_console, say
from ftbridge.core.errors import FrameworkError, InterruptedRun, UsageError, shell_words
from ftbridge.core.files.atomic import json_lines, write_atomic
from ftbridge.core.plugins import load_backend
from ftbridge.core.project import SETTINGS as SETTINGS_FILE
from ftbridge.core.project import Project, Settings
from ftbridge.dialogue.chat import ChatSession, chat_sessions
from ftbridge.dialogue.generation import Generator, Sampling
from ftbridge.language import english, joined
from ftbridge.language import gettext as _
from ftbridge.launchers.environment.venv import interpreter
from ftbridge.launchers.hardware import host
from ftbridge.launchers.process.script import run_script
from ftbridge.launchers.runs import training_log
from ftbridge.launchers.runs.record import Run
from ftbridge.launchers.training.train import train
from ftbridge.weights.card import card_of
from ftbridge.weights.merge import merge
from ftbridge.weights.model_files.transformers4 import make_for_both
from ftbridge.weights.source import resolve

# A model this small learns by heart at a high rate; all samples go into one batch. A rate that rises and falls slowly
# leaves a margin for what processors round otherwise: docs/demo.md has what was measured where.
BASE = {"seed": 0, "vocabulary": 700, "hidden": 256, "layers": 4, "output_std": 0.06}
SETTINGS: dict[str, Any] = {
    "model": "base",
    "device": "cpu",
    "lora_alpha": 64,
    "lora_dropout": 0.0,
    "learning_rate": 2e-3,
    "scheduler": "cosine",
    "warmup_ratio": 0.2,
    "max_gradient_norm": 0.5,
    "epochs": 100,
    "gradient_checkpointing": False,
    "micro_batch_size": 21,
    "gradient_accumulation_steps": 1,
}
SETTINGS_NOTES = (
    _("These make the small model in base/ learn medqa.xlsx by heart, on the CPU."),
    _("They fit nothing else: use another folder for models and data of your own."),
)
SHOWN = ("xtuner", "llamafactory")  # SETTINGS are what these two learn well with
GOAL = 0.8  # the share of training questions to be answered word for word
REPORT = "report.json"
# What makes the same training compute otherwise, and holds no secret.
COMPUTING = ("ONEDNN_MAX_CPU_ISA", "ATEN_CPU_CAPABILITY", "OMP_NUM_THREADS", "MKL_ENABLE_INSTRUCTIONS", "MKL_CBWR")


class Answers(msgspec.Struct, frozen=True):
    """The training questions, what was expected, and what each model said: "before", then by backend."""

    questions: list[str]
    expected: list[str]
    given: dict[str, list[str]]

    def share(self, who: str) -> float:
        """Return the share of answers that equal the expected one, word for word."""
        return sum(map(str.__eq__, self.given[who], self.expected)) / len(self.expected)


def demo(
    *, backend: str | None = None, keep: str | os.PathLike[str] | None = None, train: bool = True, seed: int = 0
) -> Answers | None:
    """Show the whole way, with one backend or both of ours; `keep` is a new folder for everything it makes.

    With `train` false only the workbook and the base model are made. `seed` is that of the model's random weights and
    of the trainings. Raises FrameworkError where a trained model answers less than 80 % of its training questions word
    for word; the folder stays then, with a report.
    """
    if not train and not keep:
        raise UsageError(_("`--no-train` makes files to go on with: give a folder for them with `--keep DIR`"))
    backends = [backend] if backend else list(SHOWN)
    for name in backends:
        load_backend(name)
    around = Project.find(Path(keep).expanduser().absolute().parent if keep else None)
    with _working_folder(keep) as folder, contextlib.chdir(folder):
        if keep or around.settings.train or around.settings.backends:
            # A project of its own: the one around it keeps its data, and lends its interpreters.
            own = {name: {"python": str(interpreter(around, name))} for name in around.settings.backends}
            chosen = {**SETTINGS, "seed": seed} | ({"backends": own} if own else {})
            Project(folder, Settings()).write_settings(chosen, *SETTINGS_NOTES)
        _make_inputs(folder, interpreter(Project.find(), backends[0]), seed)
        answers = _train_and_ask(folder, backends, seed) if train else None
        _say_next_steps(folder if keep else None, backends[0], trained=train)
    return answers


def base_model(folder: Path, python: Path, texts: Sequence[str], **changes: Any) -> Path:
    """Make a small Qwen2 model with random weights and a tokenizer trained on `texts` in `folder`; returns it."""
    with tempfile.TemporaryDirectory() as place:
        file = Path(place) / "texts.json"
        write_atomic(file, msgspec.json.encode(list(texts)))
        spec = {**BASE, **changes, "texts": str(file), "out": str(folder)}
        run_script(python, "make_base", spec, stderr=-1)
    make_for_both(folder)
    return folder


@contextlib.contextmanager
def _working_folder(keep: str | os.PathLike[str] | None) -> Iterator[Path]:
    """Yield the folder to work in; one of ours stays only where the demo fails."""
    if not keep:
        place = Path(tempfile.mkdtemp(prefix="ftbridge-demo-"))
        failed = False
        try:
            yield place
        except FrameworkError:
            failed = True
            say(_("everything is kept in {place}").format(place=place))
            raise
        except InterruptedRun:
            raise InterruptedRun(_("stopped; the demo's folder is removed, `--keep DIR` keeps one")) from None
        finally:
            if not failed:
                shutil.rmtree(place, ignore_errors=True)
        return
    folder = Path(keep).expanduser().absolute()
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(
            _("`{folder}` exists already and is not empty; give a new folder to `--keep`").format(folder=folder)
        )
    folder.mkdir(parents=True, exist_ok=True)
    yield folder


def _make_inputs(folder: Path, python: Path, seed: int) -> None:
    sample = resources.files("ftbridge.dataset_info") / "samples" / "medqa.xlsx"
    with resources.as_file(sample) as file:
        shutil.copyfile(file, folder / "medqa.xlsx")
    say(_("medqa.xlsx: 30 questions and answers about medicines, in the shape of the tutorial's MedQA2019.xlsx"))
    what = _("making a small base model with random weights (Qwen2, 3 million parameters) ...")
    with progress_bar("spinner", what, "elapsed", total=None, transient=True) as bar:
        if not bar:
            say(what)
        base_model(folder / "base", python, _workbook_texts(folder / "medqa.xlsx"), seed=seed)
    say(_("base/: a small base model with random weights (Qwen2, 3 million parameters)"))
    if (folder / SETTINGS_FILE).is_file():
        say(_("ftbridge.yaml: the settings with which it learns them, on the CPU"))


def _workbook_texts(workbook: Path) -> list[str]:
    from openpyxl import load_workbook

    with contextlib.closing(load_workbook(workbook, read_only=True)) as book:
        cells = (cell for row in book["DrugQA"].values for cell in row)
        return [cell for cell in cells if isinstance(cell, str)]


def _train_and_ask(folder: Path, backends: list[str], seed: int) -> Answers:
    started = time.monotonic()
    converted = convert("medqa.xlsx", split="7:3", seed=42)
    part = converted.parts[0]
    say(
        _("converted: {parts}").format(
            parts=joined(", ", (f"{each.name} ({each.samples})" for each in converted.parts))
        )
    )
    questions, expected, system = _read_samples(folder / "data" / f"{part.name}.xtuner.jsonl")
    given: dict[str, list[str]] = {}
    runs: dict[str, Run] = {}
    for name in backends:
        # Over in a minute, it saves at its end only.
        run = runs[name] = train(backend=name, seed=seed, save_steps=10_000, **SETTINGS)
        if not given:
            given["before"] = _ask_base_model(run.id, questions, system)
        merge(run.id)
        with chat_sessions(run.id, device="cpu", sampling=Sampling(max_new_tokens=80)) as (conversation,):
            given[name] = _ask_all(conversation, questions, load_backend(name).title)
    answers = Answers(questions, expected, given)
    _print_answers(answers, time.monotonic() - started)
    _refuse_poor_answers(folder, answers, runs)
    return answers


def _read_samples(file: Path) -> tuple[list[str], list[str], str]:
    turns = [msgspec.json.decode(line)["conversation"][0] for line in file.read_bytes().splitlines()]
    return [turn["input"] for turn in turns], [turn["output"] for turn in turns], turns[0]["system"]


def _ask_base_model(run: str, questions: list[str], system: str) -> list[str]:
    """Ask the base model, with the same prompts."""
    source = resolve(run)
    card = card_of(source)
    with Generator(interpreter(source.project, card.backend), card, Path(card.base), None, ()) as generator:
        return _ask_all(ChatSession(generator, system, Sampling(max_new_tokens=40)), questions, "base")


def _ask_all(conversation: ChatSession, questions: list[str], model: str) -> list[str]:
    answers: list[str] = []
    total = len(questions)
    asking = _("asking the {model} model").format(model=model)

    def line(done: int) -> str:
        return _("{asking}: {done} of {total}").format(asking=asking, done=done, total=total)

    with progress(asking, "bar", "count", "elapsed", total=total, line=line) as done:
        for question in questions:
            conversation.reset()
            answers.append("".join(conversation.say(question)))
            done(len(answers))
    return answers


def _print_answers(answers: Answers, seconds: float) -> None:
    from rich.table import Table

    titles = {
        name: _("after, {title}").format(title=load_backend(name).title) for name in answers.given if name != "before"
    }
    console = rich_console(width=None if os.isatty(1) else 160)
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="bold", width=console.width)
    for title in (_("question"), _("before"), *titles.values(), _("expected")):
        table.add_column(title, no_wrap=True, ratio=1)
    for row in zip(answers.questions, *answers.given.values(), answers.expected, strict=True):
        table.add_row(*map(_shorten, row))
    console.print(table)
    for name in answers.given:
        result(
            _("{name}: {share:.0%} of {count} word for word").format(
                name=titles.get(name, _("before")), share=answers.share(name), count=len(answers.questions)
            )
        )
    say(_("done in {seconds:.0f} s").format(seconds=seconds))


def _refuse_poor_answers(folder: Path, answers: Answers, runs: dict[str, Run]) -> None:
    """Raise FrameworkError, with what may be the cause and what to report, where a model learned too little."""
    poor = [name for name in runs if answers.share(name) < GOAL]
    if not poor:
        return
    losses = {each: _logged_losses(run) for each, run in runs.items()}
    processor, bfloat16 = host.processor()
    report = {
        "shares": {each: answers.share(each) for each in runs},
        "losses": losses,
        "answers": answers,
        "processor": {"name": processor, "bfloat16": bfloat16, "cores": host.cores()},
        "platform": platform.platform(),
        "environment": {name: os.environ[name] for name in COMPUTING if name in os.environ},
        "runs": {each: {"versions": run.versions, "options": run.spec} for each, run in runs.items()},
    }
    write_atomic(folder / REPORT, msgspec.json.format(msgspec.json.encode(report, enc_hook=english)))
    reached = joined(
        ", ",
        (
            _("{title} {share:.0%} (loss {loss} at the end)").format(
                title=load_backend(each).title, share=answers.share(each), loss=losses[each][-1]
            )
            for each in poor
        ),
    )
    raise FrameworkError(
        _(
            "the demo did not reach {goal:.0%} word for word: {reached}. This is not your fault: "
            "the cause may be how this processor rounds ({processor}), or a package that differs "
            "from the tested set (see `ftbridge doctor`). Please report it with the file {path}: "
            "losses, answers, processor and versions"
        ).format(goal=GOAL, reached=reached, processor=processor, path=folder / REPORT)
    )


def _logged_losses(run: Run) -> list[float | None]:
    """Return the losses that a run has logged, None for one that is no number."""
    return [line["loss"] for line in json_lines(run.path / training_log.LOG_FILE)]


def _shorten(text: str, length: int = 60) -> str:
    shown = "".join(letter if letter.isprintable() else "·" for letter in text)
    return shown if len(shown) <= length else shown[: length - 1] + "…"


def _say_next_steps(folder: Path | None, backend: str, *, trained: bool) -> None:
    go = f"cd {shell_words([str(folder)])}" if folder else ""
    train_lines = [f"ftbridge train --backend {backend} --model", "ftbridge merge", "ftbridge chat"]
    if folder and not trained:
        _say_lines(
            _("Next:"),
            go,
            "ftbridge convert medqa.xlsx --split 7:3",
            _("{train_line} base").format(train_line=train_lines[0]),
            *train_lines[1:],
        )
        return
    if folder:
        _say_lines(_("Talk to the model:"), go, "ftbridge chat")
    model = _("{train_line} Qwen/Qwen2.5-7B-Instruct").format(train_line=train_lines[0])
    title = _("Next, in a new folder, with a workbook and a model of your own:")
    _say_lines(title, "ftbridge convert FILE.xlsx --split 7:3", model, *train_lines[1:])


def _say_lines(title: str, *lines: str) -> None:
    say(_("\n{title}").format(title=title))
    for line in filter(None, lines):
        say(_("  {line}").format(line=line))
