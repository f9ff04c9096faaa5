"""The folder of a prediction, which a command that was stopped goes on from.

It holds predict.json (what decides the answers), predictions.jsonl in the dataset's order once all samples are
answered, and until then unfinished.jsonl with the answers as they come; prompts.json has those to fixed prompts.
"""

import os
from array import array
from collections.abc import Container, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import msgspec

from ftbridge.core.console import say
from ftbridge.core.errors import InputError, SetupError
from ftbridge.core.files.atomic import atomic_file, locked, opened_record, read_record, read_text, write_json
from ftbridge.core.parsing.json_yaml import load_json
from ftbridge.dialogue.generation import EngineName, Finish
from ftbridge.language import gettext as _
from ftbridge.language import joined, ngettext
from ftbridge.templates.prompt import ChatPrompt

SETTINGS, FINISHED, UNFINISHED = "predict.json", "predictions.jsonl", "unfinished.jsonl"
RESULT, PROMPTS, XLSX = "result.jsonl", "prompts.json", "predictions.xlsx"
FILES = (SETTINGS, FINISHED, UNFINISHED, RESULT, PROMPTS, XLSX)
_SHOWN_SETTINGS = {"max_new_tokens", "thinking", "bits", "dtype", "device", "engine"}  # settings whose values are shown


class OtherAnswersError(InputError):
    """A folder holds answers that were made in another way."""


class Prediction(msgspec.Struct, frozen=True):
    """One line of predictions.jsonl; `id` counts the dataset's samples from 1, `prompt` is what the model was given.

    `finish_reason` is stop, length (of `--max-new-tokens`), full (the model takes no more), or too_long, where the
    prompt leaves no room for an answer.
    """

    id: int
    prompt: str
    answer: str
    reference: str
    finish_reason: Finish


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """What decides the answers, kept in predict.json; a change of any of it makes others.

    `data` is the sha256 of the samples, `prompt` that of a chat template where one renders the prompts, "" where a
    server does, `model` tells the model's files from others, `engine` what computed the answers. `thinking` is on, off,
    or none where the prompt has no switch. `device` is cuda or cpu, and `dtype` what was decided for it. `labels` are
    those that the dataset is known to have.
    """

    dataset: str
    data: str
    model: str
    prompt: ChatPrompt | str
    thinking: str
    stop: tuple[str, ...]
    max_new_tokens: int
    bits: int | None
    dtype: str
    device: str
    labels: tuple[str, ...]
    labels_from: str
    engine: EngineName = "transformers"

    @property
    def has_thoughts(self) -> bool:
        """Tell whether what stands before `</think>` in an answer is a thought, and no text that was trained on."""
        return isinstance(self.prompt, str) or self.thinking != "none"


@contextmanager
def hold_folder(folder: Path, settings: Settings, *, replace: bool) -> Iterator[set[int]]:
    """Hold the folder, and yield the ids of the answers that are there.

    Raises InputError where they have other settings.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SetupError(
            _("cannot write `{folder}`: {strerror}").format(folder=folder, strerror=error.strerror or error)
        ) from error
    with locked(folder / FINISHED):
        check_folder(folder, settings, replace=replace)
        if replace:
            for name in FILES:
                (folder / name).unlink(missing_ok=True)
        write_json(folder / SETTINGS, settings)
        _remove_cut_rows(folder / UNFINISHED)
        yield {row.id for file in _files_of_answers(folder) for row in read_predictions(file)}


def check_folder(folder: Path, settings: Settings, *, replace: bool) -> None:
    """Raise InputError for a folder with files that are not ours, or with answers of other settings, if not replaced.

    A folder that is not there yet is well.
    """
    _refuse_foreign_files(folder)
    if not replace and (folder / SETTINGS).exists():
        _refuse_changed(folder, settings)


def _refuse_foreign_files(folder: Path) -> None:
    """Raise InputError where a file of ours would take the place of something else."""
    there = [path for path in (folder / name for name in FILES) if os.path.lexists(path)]
    ours = (
        [path for path in there if path.is_file()] if _has_keys(folder / SETTINGS, "dataset", "data", "model") else []
    )
    if wrong := [path for path in there if path not in ours]:
        raise InputError(
            _(
                "`{wrong}` was not written by ftbridge, or `{settings}` beside it is damaged; move it "
                "away, or write elsewhere with `ftbridge predict --out DIR`"
            ).format(wrong=wrong[0], settings=SETTINGS)
        )


def _has_keys(file: Path, *keys: str) -> bool:
    """Tell whether a JSON file is of ours, be it of another version, by some of its keys."""
    try:
        return msgspec.json.decode(read_record(file), type=dict[str, Any]).keys() >= {*keys}
    except (ValueError, RecursionError):  # InputError is a ValueError
        return False


def _refuse_changed(folder: Path, settings: Settings) -> None:
    before = settings_in(folder)
    pairs = ((name, getattr(before, name), getattr(settings, name)) for name in Settings.__struct_fields__)
    changed = [
        (name, _(" ({old}, now {new})").format(old=old, new=new) if name in _SHOWN_SETTINGS else "")
        for name, old, new in pairs
        if old != new
    ]
    if changed:
        said = joined(", ", (name + values for name, values in changed))
        raise OtherAnswersError(
            _(
                "`{folder}` holds answers from before a change of {said}; undo the change, or ask all samples again "
                "with `--replace`"
            ).format(folder=folder, said=said)
        )


def settings_in(folder: Path) -> Settings:
    """Return what the answers in `folder` were made with; raises InputError where predict.json is damaged."""
    refusal = _("`{path}` is damaged; ask again with `--replace`").format(path=folder / SETTINGS)
    return load_json(read_text(folder / SETTINGS, _("settings")), Settings, refusal)


def _remove_cut_rows(file: Path) -> None:
    """Take out what a killed process or a full disk has left of a row, which is then asked again."""
    if not file.exists():
        return
    end, damaged = 0, False
    with opened_record(file) as opened:
        for line in opened:
            if line.endswith(b"\n"):
                end += len(line)
                damaged |= not _is_prediction(line)
    if end < file.stat().st_size:
        os.truncate(file, end)  # which needs no room
    if damaged:
        with atomic_file(file) as out, opened_record(file) as opened:
            out.writelines(filter(_is_prediction, opened))


def _is_prediction(line: bytes) -> bool:
    try:
        msgspec.json.decode(line, type=Prediction)
    except (msgspec.DecodeError, RecursionError, UnicodeError):
        return False
    return True


def _files_of_answers(folder: Path) -> list[Path]:
    return [folder / name for name in (FINISHED, UNFINISHED) if (folder / name).exists()]


def read_predictions(file: Path) -> Iterator[Prediction]:
    """Yield the answers in a file, as they stand there; raises InputError where it holds anything else."""
    decoder = msgspec.json.Decoder(Prediction)
    try:
        with opened_record(file) as opened:
            yield from map(decoder.decode, opened)
    except (OSError, msgspec.DecodeError, RecursionError, UnicodeError) as error:
        raise InputError(
            _("`{file}` does not hold answers, as `ftbridge predict` writes them: {error}").format(
                file=file, error=error
            )
        ) from error


def copy_answers(source: Path, folder: Path, wanted: Container[int]) -> list[int]:
    """Copy the `wanted` answers of a finished folder into another, which is held, and return their ids.

    Raises SetupError where they cannot be written.
    """
    copied = []
    try:
        with (folder / UNFINISHED).open("ab") as file:
            for row in read_predictions(source / FINISHED):
                if row.id in wanted:
                    file.write(msgspec.json.encode(row) + b"\n")
                    copied.append(row.id)
    except OSError as error:
        raise SetupError(
            _("cannot write `{path}`: {strerror}").format(path=folder / UNFINISHED, strerror=error.strerror or error)
        ) from error
    return copied


def finish_predictions(folder: Path) -> int:
    """Put all answers into predictions.jsonl, in the dataset's order; what was made of fewer goes. Returns how many."""
    if (folder / UNFINISHED).exists():
        for name in (RESULT, XLSX):
            (folder / name).unlink(missing_ok=True)
        _put_in_order(_files_of_answers(folder), folder / FINISHED)
        (folder / UNFINISHED).unlink()
    count = long = 0
    for row in read_predictions(folder / FINISHED):
        count += 1
        long += row.finish_reason == "too_long"
    if long:
        text = ngettext(
            "warning: {long:,} prompt is too long for the model; its answer is empty, and wrong",
            "warning: {long:,} prompts are too long for the model; their answers are empty, and wrong",
            long,
        )
        say(text.format(long=long))
    return count


def _put_in_order(files: list[Path], target: Path) -> None:
    """Write the lines of `files` into `target` by their ids; of them, places alone are held in memory."""
    import numpy as np

    places = array("q")  # of each line its id, the file that it is in, and where it begins there
    with ExitStack() as stack:
        opened = [stack.enter_context(opened_record(file)) for file in files]
        for number, file in enumerate(opened):
            begin = 0
            for line in file:
                places.extend((msgspec.json.decode(line, type=Prediction).id, number, begin))
                begin += len(line)
        ordered = np.frombuffer(places, dtype=np.int64).reshape(-1, 3)
        ordered = ordered[np.argsort(ordered[:, 0], kind="stable")]
        ids = ordered[:, 0]
        ordered = ordered[np.append(ids[1:] != ids[:-1], True)]  # one that was killed here has left some twice
        with atomic_file(target) as out:
            for _unused, number, begin in ordered:
                opened[number].seek(begin)
                out.write(opened[number].readline())
