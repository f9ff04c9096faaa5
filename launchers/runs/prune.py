"""Find and remove old runs and checkpoints."""

import shutil
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path

import msgspec

from ftbridge.adapters.registered.mixture import DATASETS, is_mixture_file, remove_mixture, unused_mixtures
from ftbridge.core.console import say
from ftbridge.core.errors import SetupError
from ftbridge.core.parsing.json_yaml import read_json
from ftbridge.core.plugins import load_backend
from ftbridge.core.project import Project, Settings
from ftbridge.language import gettext as _
from ftbridge.language import joined
from ftbridge.launchers.process.steps import PROGRESS, STOP
from ftbridge.launchers.runs.checkpoints import best_checkpoint
from ftbridge.launchers.runs.record import RESERVE, Run, all_runs, base_folder, load_run
from ftbridge.launchers.runs.training_log import LOG_FILE
from ftbridge.launchers.runs.written_files import CARD, is_plain_file, quoted_name, unknown_files
from ftbridge.tokens.ready import TOKENS
from ftbridge.tokens.unused import remove_tokens, unused_tokens

# What training, `predict`, `evaluate` and `report` put into a run's folder, besides what the launch is told to write.
RUN_FOLDERS = ("output", "tracking")
ANSWER_FOLDERS = ("predictions", "predictions-*", "evaluations", "evaluations-*")
RUN_FILES = ("run.json", "log.txt", "launch.json", "deepspeed.json", "report.html", LOG_FILE, RESERVE, PROGRESS, STOP)
# What the frameworks put into `output`, besides files that the model has, too. All in a folder of theirs is theirs.
OUTPUT_PATTERNS = (
    "[0-9]" * 8 + "_" + "[0-9]" * 6,  # a folder of XTuner's
    "*.bin", "*.bin.index.json", "*.model", "*.pt", "*.pth", "*.safetensors", "*.safetensors.index.json",
    "*_config.json", "*_results.json", "Modelfile", "README.md", "added_tokens.json", "additional_chat_templates",
    "chat_template.*", "checkpoint-*", "config.json", "configuration_*.py", "generated_predictions.jsonl",
    "global_step*", "last_checkpoint", "latest", "merges.txt", "modeling_*.py", "pissa_*", "profiler",
    "running_log.txt", "runs", "special_tokens_map.json", "tokenization_*.py", "tokenizer.*", "trainer_log.jsonl",
    "trainer_state.json", "training_*.png", "vocab.*", "xtuner_config.py", "zero_to_fp32.py",
)  # fmt: skip
SHOWN_FILES = 5  # of those that are not ours, in a message
TRACKING_FOLDERS = ("tensorboard", "wandb", "swanlab")
# And `predict` and `evaluate` into each folder in these (see ftbridge/evaluation/answers/folder.py and judge.py).
ANSWER_FILES = (
    "predict.json", "predictions.jsonl", "predictions.xlsx", "unfinished.jsonl", "metrics.json", "result.jsonl",
    "prompts.json", "evaluation.json", "most-frequent.jsonl", "tfidf.jsonl", "bert=*.jsonl",
)  # fmt: skip


class Leftover(msgspec.Struct, frozen=True):
    """A run's folder, a checkpoint of one, or ready tokens or a mixture, whose `run` is "".

    `why` says why it may go, `size` its size in bytes.
    """

    path: str
    run: str
    why: str
    size: int


def find_leftovers(runs: list[Run], keep: int | None = None, *, checkpoints: bool = False) -> list[Leftover]:
    """Return the runs of `runs`, oldest first, that may go: those that did not succeed, never one that runs, or may.

    With `keep`, of at least 1, also those that succeeded but the newest so many; with `checkpoints`, also the
    checkpoints of succeeded runs but the last and the one with the lowest validation loss. A run stays, and is
    named, where its folder holds what ftbridge did not write, or the base of a run that stays.
    """
    succeeded = [run for run in runs if run.status == "succeeded"]
    newest = succeeded[-keep:] if keep else succeeded
    staying = [run for run in runs if run in newest or run.status in {"running", "unknown"}]
    found = [_run_leftover(run) for run in runs if run not in staying and not _must_stay(run, staying)]
    if checkpoints:
        found += [_leftover(path, run, "checkpoint") for run in newest for path in _old_checkpoints(run)]
    return found


def find_unused(project: Project, runs: list[Run], going: list[Leftover]) -> list[Leftover]:
    """Return the ready tokens and mixtures of a project that no run of `runs` uses, but for those that are `going`.

    Tokens that were begun and are not being made are among them.
    """
    gone = {each.path for each in going}
    staying = [run for run in runs if str(run.path) not in gone]
    tokens = unused_tokens(project.folder / TOKENS, {key for run in staying for key in run.tokens})
    mixtures = unused_mixtures(project.folder / DATASETS, {name for run in staying for name in run.datasets})
    return [
        *(_leftover(path, None, why) for path, why in tokens),
        *(_leftover(path, None, _("mixture that no run uses")) for path in mixtures),
    ]


def remove_leftovers(leftovers: list[Leftover]) -> list[Leftover]:
    """Remove what was found and return what went; what a run needs that has begun or was resumed since stays.

    Raises SetupError where something cannot be removed.
    """
    removed = []
    for leftover in leftovers:
        path = Path(leftover.path)
        try:
            if _remove(path) if leftover.run else _remove_unused(path):
                removed.append(leftover)
        except OSError as error:
            raise SetupError(
                _("cannot remove `{path}`: {strerror}").format(path=path, strerror=error.strerror or error)
            ) from error
    return removed


def _remove(path: Path) -> bool:
    """Remove a run's folder or a checkpoint unless the run may run; tell whether it went."""
    folder = path if (path / "run.json").exists() else path.parents[1]
    if load_run(folder).status in {"running", "unknown"}:
        return False
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()
    return True


def _remove_unused(path: Path) -> bool:
    """Remove ready tokens or a mixture unless a run uses them by now; tell whether they went."""
    runs = all_runs(Project(path.parents[len(TOKENS.parts)], Settings()))
    if path.name in {name for run in runs for name in (*run.tokens, *run.datasets)}:
        return False
    if is_mixture_file(path):
        remove_mixture(path)
        return True
    return remove_tokens(path)


def _must_stay(run: Run, others: list[Run]) -> bool:
    """Tell whether a run's folder must stay, which is then said with the reason; `others` stay in any case."""
    users = [other.id for other in others if _holds_base_of(run, other)]
    unknown = [] if users else list(_unknown_files(run))
    if users:
        say(_("`{path}` was kept: it holds the base model of the run `{user}`").format(path=run.path, user=users[0]))
    elif unknown:
        more = ", ..." if len(unknown) > SHOWN_FILES else ""
        say(
            _("`{path}` was kept: it holds {unknown}{more}, which ftbridge did not write").format(
                path=run.path, unknown=joined(", ", unknown[:SHOWN_FILES]), more=more
            )
        )
    return bool(users or unknown)


def _holds_base_of(run: Run, other: Run) -> bool:
    """Tell whether the base model of another run lies in a run's folder."""
    bases = [Path(base).resolve() for base in (base_folder(other), other.model) if base]
    return any(base.is_relative_to(run.path.resolve()) for base in bases)


def _unknown_files(run: Run) -> Iterator[str]:
    """Yield what ftbridge did not write into a run's folder, or into an adapter or model that it made there."""
    written = {*RUN_FILES, *(Path(name).name for name in run.launch.files)}
    for path in sorted(run.path.iterdir()):
        record = path / CARD
        holds_answers = path.is_dir() and any(fnmatchcase(path.name, pattern) for pattern in ANSWER_FOLDERS)
        if holds_answers or path.name in RUN_FOLDERS:
            unknown = _unknown_answers(path) if holds_answers else _unknown_output(path, run)
            yield from (f"`{file.relative_to(run.path)}`" for file in unknown)
            continue
        if path.name in written or _is_scratch(path):
            continue
        if not record.is_file():
            yield quoted_name(path)
            continue
        content = read_json(record)
        if "files" in content:
            yield from (f"{quoted_name(path)[:-1]}{name[1:]}" for name in unknown_files(path, content["files"]))


def _unknown_answers(folder: Path) -> Iterator[Path]:
    """Yield the files and links among answers that neither `predict` nor `evaluate` wrote, as far as names tell it."""
    for path in sorted(folder.rglob("*")):
        is_named = any(fnmatchcase(path.name, pattern) for pattern in ANSWER_FILES)
        is_known = (is_named or _is_scratch(path)) and is_plain_file(path)
        if not is_known and (path.is_symlink() or not path.is_dir()):
            yield path


def _unknown_output(folder: Path, run: Run) -> Iterator[Path]:
    """Yield what no framework wrote into `output` or `tracking`, as far as names tell it."""
    known, base = (OUTPUT_PATTERNS, base_folder(run)) if folder.name == "output" else (TRACKING_FOLDERS, "")
    if not folder.is_dir():
        return
    for path in sorted(folder.iterdir()):
        in_model = base and path.is_file() and Path(base, path.name).is_file()
        if not in_model and not any(fnmatchcase(path.name, pattern) for pattern in known):
            yield path


def _is_scratch(path: Path) -> bool:
    """Tell whether a file is a lock, or was being written by a process that was killed."""
    return path.name.startswith(".") and path.suffix in {".lock", ".part"}


def _old_checkpoints(run: Run) -> list[Path]:
    """Return the checkpoints of a run but the last one and the best."""
    best = best_checkpoint(run)
    return [path for path in load_backend(run.spec.backend).checkpoints(run.path)[:-1] if path != best]


def _run_leftover(run: Run) -> Leftover:
    return _leftover(run.path, run, "older" if run.status == "succeeded" else run.status)


def _leftover(path: Path, run: Run | None, why: str) -> Leftover:
    files = path.rglob("*") if path.is_dir() else [path]
    return Leftover(
        str(path), run.id if run else "", why, sum(file.lstat().st_size for file in files if file.is_file())
    )
