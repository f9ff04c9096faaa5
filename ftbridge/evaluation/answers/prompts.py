"""Fixed prompts, asked beside a dataset; their answers are kept in the folder of its answers.

What else decides an answer stands in predict.json there: where that is another one, all is asked anew.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path

import msgspec

from ftbridge.core.errors import UsageError
from ftbridge.core.files.atomic import read_text, write_json
from ftbridge.core.parsing.json_yaml import load_json
from ftbridge.dialogue.generation import Finish, refuse_half_characters
from ftbridge.evaluation.answers.folder import PROMPTS
from ftbridge.language import gettext as _


class PromptAnswer(msgspec.Struct, frozen=True):
    """The answer to a prompt that was asked with a system prompt, which may be ""."""

    prompt: str
    system: str
    answer: str
    finish_reason: Finish


def checked_prompts(given: str | Sequence[str]) -> tuple[str, ...]:
    """Return the prompts that are given, each once; raises UsageError or InputError for one that is no question."""
    prompts = tuple(dict.fromkeys([given] if isinstance(given, str) else given))
    if not all(each.strip() for each in prompts):
        raise UsageError(_("a prompt is empty: write what the model is to be asked"))
    refuse_half_characters(_("a prompt"), *prompts)
    return prompts


def prompts_in(folder: Path) -> tuple[PromptAnswer, ...]:
    """Return the prompts that were asked last, with their answers; raises InputError where their file is damaged."""
    file = folder / PROMPTS
    if not file.is_file():
        return ()
    refusal = _("`{file}` is damaged; delete it, and the prompts are asked again").format(file=file)
    return load_json(read_text(file, _("answers to prompts")), tuple[PromptAnswer, ...], refusal)


def save_prompts(folder: Path, answers: Iterable[PromptAnswer]) -> None:
    """Keep these answers to prompts in a folder, in the place of earlier ones."""
    write_json(folder / PROMPTS, tuple(answers))
