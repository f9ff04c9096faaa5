"""`ftbridge tokenize`: the ready tokens of a dataset, made by hand for the trainings that will take them."""

import os
from pathlib import Path
from typing import Literal, TypedDict, Unpack

import msgspec

from ftbridge.adapters.registered.dataset import Dataset
from ftbridge.core.errors import InputError
from ftbridge.core.plugins import load_backend
from ftbridge.core.project import Project
from ftbridge.core.train_spec import TrainSpec
from ftbridge.dataset_info.names import MESSAGES
from ftbridge.language import gettext as _
from ftbridge.launchers.backends.other_configs.reading import find_project
from ftbridge.launchers.environment.model_download import local_model
from ftbridge.launchers.environment.own_code import interpreter_for
from ftbridge.launchers.environment.venv import any_backend, interpreter
from ftbridge.launchers.training.options import resolve_train_spec
from ftbridge.launchers.training.prepare import resolve_datasets
from ftbridge.launchers.training.tokens import chat_template_of, make_tokens
from ftbridge.tokens.chat_template import ChatTemplate
from ftbridge.tokens.ready import TOKENS, Counts, ReadyTokens


class TokenizedPart(msgspec.Struct, frozen=True):
    """The ready tokens of one dataset: the folder that they are in, and what came of its conversations."""

    dataset: str
    folder: str
    counts: Counts


class Tokenization(msgspec.Struct, frozen=True, kw_only=True):
    """Ready tokens: of the dataset, and of the one that its trainings are validated on, where there is one.

    `chat_template` says in words where that comes from, `thinking` is on or off, None where it has no switch.
    """

    model: str
    chat_template: str
    thinking: Literal["on", "off"] | None
    cutoff_length: int
    packing: bool
    parts: tuple[TokenizedPart, ...]


class SharedOptions(TypedDict, total=False):
    """The options of a training that decide the ready tokens of one dataset, as TrainOptions has them."""

    model: str | os.PathLike[str]
    dataset_dir: str | os.PathLike[str]
    cutoff_length: int
    too_long: Literal["cut", "drop", "refuse"]
    chat_template: str | os.PathLike[str] | None
    learn: Literal["all", "last"]
    thinking: Literal["auto", "on", "off"]
    packing: bool
    trust_remote_code: bool


class TokenizeOptions(SharedOptions, total=False):
    """The options of a training that decide its ready tokens, as TrainOptions has them."""

    validation_dataset: str


class Made(msgspec.Struct, frozen=True):
    """What was made, and by what: the model's folder, the interpreter, and the chat template."""

    model: Path
    python: Path
    template: ChatTemplate
    data: Dataset
    tokens: ReadyTokens
    validation: tuple[Dataset, ReadyTokens] | None


def tokenize(
    dataset: str | None = None,
    *,
    backend: str | None = None,
    config: str | os.PathLike[str] | None = None,
    **options: Unpack[TokenizeOptions],
) -> Tokenization:
    """Return the ready tokens of a dataset, and of what its trainings are validated on, made where they are not there.

    A training with `tokens="once"` and the same `options` takes them, on whichever framework; `backend` names the one
    whose environment makes them. Of a hub's model only the tokenizer and the config are fetched. Raises an
    FtbridgeError that says what to do where something is missing, does not fit or cannot be trained.
    """
    if backend:
        load_backend(backend)
    project = find_project(config, backend)
    asked = {**options, "dataset": dataset, "backend": backend or any_backend(project), "tokens": "once"}
    spec = resolve_train_spec(project, asked)
    made = tokens_as_trained(spec, project)
    parts = [(made.data, made.tokens), *([made.validation] if made.validation else [])]
    return Tokenization(
        model=spec.model,
        chat_template=made.template.origin,
        thinking=made.template.thinking,
        cutoff_length=spec.cutoff_length,
        packing=spec.packing,
        parts=tuple(TokenizedPart(data.title, str(tokens.folder), tokens.counts) for data, tokens in parts),
    )


def tokens_as_trained(spec: TrainSpec, project: Project) -> Made:
    """Return the ready tokens that a training as `spec` takes, made where they are not there; raises as `tokenize`."""
    data, validation = resolve_datasets(project, spec, MESSAGES)
    model = model_with_tokenizer(spec, project)
    python = interpreter_for(project, spec.backend, model, trust_remote_code=spec.trust_remote_code)
    template = chat_template_of(spec, model, data, project.folder)
    folder = project.folder / TOKENS
    tokens, validated = make_tokens(spec, model, template, (data, validation), folder, python)
    both = (validation, validated) if validation and validated else None
    return Made(model, python, template, data, tokens, both)


def model_with_tokenizer(spec: TrainSpec, project: Project) -> Path:
    """Return the model's folder, where its tokenizer and config are at least; raises InputError where they are not."""
    model = local_model(spec.model, lambda: interpreter(project, spec.backend), project.folder, weights=False)
    if not any(path for pattern in ("token*", "vocab*", "*.model") for path in model.glob(pattern)):
        raise InputError(
            _("`{model}` has no tokenizer; a model folder has its tokenizer.json or tokenizer.model").format(
                model=model
            )
        )
    return model
