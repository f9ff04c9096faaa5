"""`ftbridge preview --verify`: samples as four readers have them, and where and why these differ.

They are what each framework trains on, what the chat template writes, and what whoever serves the merged folder will
give the model.
"""

import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Unpack

import msgspec

from ftbridge.adapters.registered.dataset import Dataset
from ftbridge.adapters.registered.mixture import DATASETS, resolve_choices
from ftbridge.core.console import first_few, say
from ftbridge.core.errors import InputError, SetupError, UsageError
from ftbridge.core.plugins import load_backend
from ftbridge.core.train_spec import TrainSpec
from ftbridge.dataset_info.names import MESSAGES
from ftbridge.language import gettext as _
from ftbridge.launchers.backends.other_configs.reading import find_project
from ftbridge.launchers.environment.model_download import local_model
from ftbridge.launchers.environment.own_code import interpreter_for
from ftbridge.launchers.environment.venv import any_backend, interpreter
from ftbridge.launchers.preview.preview import BackendView, PreviewOptions, preview
from ftbridge.launchers.process.script import run_script
from ftbridge.launchers.training.options import resolve_train_spec
from ftbridge.launchers.training.tokens import chat_template_of, frameworks, tokens_of, with_possible_tokens
from ftbridge.templates.detect import detect_family
from ftbridge.templates.families import Family, get_family
from ftbridge.tokens.agreement import MERGED
from ftbridge.tokens.chat_template import ChatTemplate
from ftbridge.tokens.compared import ReadConversation, ReadSample, conversations_by_cause, counts_of, differences
from ftbridge.tokens.differences import Difference, Reading, Reference
from ftbridge.tokens.ready import TOKENS

# The chat template that a folder gets that is merged of this base, trained by a family's template in this framework,
# with this system prompt in all of its samples.
MergedTemplate = Callable[[Path, Family, str, str], str]
_FIRST = 20  # conversations that are compared where nobody says how many
_FURTHER = 20  # conversations that a framework may have left out one after the other


class VerifiedSample(msgspec.Struct, frozen=True):
    """One sample of the conversation of this number, from 1: as the chat template writes it, and as others read it.

    `readings` and `differences` are by reader.
    """

    conversation: int
    reference: Reference
    readings: dict[str, Reading]
    differences: dict[str, list[Difference]]

    @property
    def is_same(self) -> bool:
        """Tell whether all readers have the same tokens and labels."""
        return not any(self.differences.values())


class Verification(msgspec.Struct, frozen=True):
    """Samples of a dataset as all have them who read it; `tokens` is `once` or `native`, as a training's are.

    `chat_template` says whose it is, `conversations` is how many the dataset has.
    """

    dataset: str
    model: str
    tokens: str
    chat_template: str
    conversations: int
    samples: list[VerifiedSample]

    @property
    def readers(self) -> list[str]:
        """Return who reads the samples, beside the chat template."""
        return list(self.samples[0].readings) if self.samples else []

    def causes(self) -> dict[str, dict[str, list[int]]]:
        """Return the causes of differences, with the conversations by reader."""
        return conversations_by_cause((sample.conversation, sample.differences) for sample in self.samples)

    def counts(self) -> dict[str, dict[str, int]]:
        """Return the causes of differences, with how many conversations have them by reader."""
        return counts_of(self.causes())

    def refuse_differences(self) -> None:
        """Raise InputError where there is a difference."""
        if causes := self.causes():
            different = sum(not sample.is_same for sample in self.samples)
            raise InputError(
                _("{different} of {count} samples are not the same for all who read them: {causes}").format(
                    different=different, count=len(self.samples), causes=first_few([_(cause) for cause in causes], 5)
                )
            )


class _ScriptAnswer(msgspec.Struct, frozen=True):
    """What reference_samples.py prints."""

    conversations: list[ReadConversation] = []
    error: str = ""


def verify(
    dataset: str | None = None,
    merged_template: MergedTemplate | None = None,
    *,
    backend: str | None = None,
    samples: int | None = None,
    config: str | os.PathLike[str] | None = None,
    **options: Unpack[PreviewOptions],
) -> Verification:
    """Return the first conversations of a dataset, `samples` of them, as frameworks and chat templates have them.

    By default these are 20, and of ready tokens some more that are spread over the data, as in the pre-flight.
    `options` are those of `train` that decide the tokens. `merged_template` is asked for native tokens; ready ones are
    merged with the very template that made them. Raises an FtbridgeError that says what to do where something is
    missing, or where the chat template is no good for a conversation.
    """
    project = find_project(config, backend)
    spec = resolve_train_spec(project, {**options, "dataset": dataset, "backend": backend or any_backend(project)})
    model = local_model(spec.model, lambda: interpreter(project, spec.backend), project.folder, weights=False)
    spec = with_possible_tokens(spec, model, load_backend(backend) if backend else None)
    python = interpreter_for(project, spec.backend, model, trust_remote_code=spec.trust_remote_code)
    folder = (project.folder / spec.dataset_dir).resolve()
    data = resolve_choices(folder, spec.datasets, MESSAGES, project.folder / DATASETS, spec.seed)
    request = {
        "model": str(model),
        "trust_remote_code": spec.trust_remote_code,
        "file": str(data.folder / data.entry.files[MESSAGES]),
        "samples": _FIRST if samples is None else samples,
        "last_only": spec.learn == "last",
        "tokens": None,
    }
    if spec.tokens == "once":
        template = chat_template_of(spec, model, data, project.folder)
        ready = tokens_of(data, spec, model, template, project.folder / TOKENS, python)
        request |= {"tokens": str(ready.folder), "packing": spec.packing, "samples": samples}
        request |= {"cutoff_length": spec.cutoff_length, "too_long": spec.too_long}
        found = _read(python, {**request, "template": template.text, "merged": {MERGED: template.text}}, data)
        verified = _compared_with_ready(found, frameworks(backend))
    else:
        options["tokens"] = "native"
        count = _FIRST if samples is None else samples
        views = preview(dataset, backend=backend, samples=count, config=config, **options).views
        merged = _merged_of_native(list(views), spec, model, data, merged_template)
        template = _template_of_native(spec, model, data, project.folder, merged)
        found = _read(python, {**request, "template": template.text, "merged": merged}, data)
        verified = _compared_with_native(found, list(views.values()))
    return Verification(
        dataset=data.title,
        model=spec.model,
        tokens=spec.tokens,
        chat_template=template.origin,
        conversations=data.entry.samples,
        samples=verified,
    )


def _read(python: Path, request: dict[str, object], data: Dataset) -> list[ReadConversation]:
    say(_("reading with the chat template (10 seconds to load) ..."))
    answer = msgspec.json.decode(run_script(python, "reference_samples", request), type=_ScriptAnswer)
    if answer.error:
        raise InputError(
            _("the chat template does not work for `{title}`: {error}").format(title=data.title, error=answer.error)
        )
    return answer.conversations


def _merged_of_native(
    backends: Sequence[str], spec: TrainSpec, model: Path, data: Dataset, merged_template: MergedTemplate | None
) -> dict[str, str]:
    """Return the template of the folder that is merged of a training, of each framework's where these differ."""
    if merged_template is None:
        return {}
    family = get_family(spec.template) if spec.template else detect_family(model)
    texts = {each: merged_template(model, family, each, data.entry.system) for each in backends}
    if len({*texts.values()}) == 1:
        return {MERGED: next(iter(texts.values()))}
    return {
        _("{merged} of {title}").format(merged=MERGED, title=load_backend(each).title): text
        for each, text in texts.items()
    }


def _template_of_native(
    spec: TrainSpec, model: Path, data: Dataset, folder: Path, merged: dict[str, str]
) -> ChatTemplate:
    """Return the model's chat template, that of the merged folder where it has none."""
    with suppress(UsageError):
        return chat_template_of(spec, model, data, folder)
    if not merged:
        raise SetupError(
            _("`{model}` has no chat template to compare with; name one with `--chat-template`").format(model=model)
        )
    return ChatTemplate(next(iter(merged.values())), _("the chat template of the {merged}").format(merged=MERGED), None)


def _compared(number: int, sample: ReadSample, read: dict[str, Reading | None]) -> VerifiedSample:
    readings = sample.readings(read)
    return VerifiedSample(number, sample.reference, readings, differences(readings, sample.reference))


def _compared_with_ready(found: list[ReadConversation], titles: list[str]) -> list[VerifiedSample]:
    """Return all samples, beside the ready tokens, which every framework reads as they are."""
    return [
        _compared(conversation.number, sample, dict.fromkeys(titles, sample.ready))
        for conversation in found
        for sample in conversation.samples
    ]


def _compared_with_native(found: list[ReadConversation], views: list[BackendView]) -> list[VerifiedSample]:
    """Return the last sample of each conversation, which has all turns, beside what the frameworks make of these."""
    answered = [(each.number, each.samples) for each in found if each.samples]
    references = [samples[-1].reference for _, samples in answered]
    read = {view.title: _in_order(_readings(view), references) for view in views}
    result = []
    for at, (number, samples) in enumerate(answered):
        verified = _compared(number, samples[-1], {title: readings[at] for title, readings in read.items()})
        if len(samples) > 1:
            for title in read:
                verified.differences[title].insert(0, Difference(_("other samples"), "", "", 0, 0, 0, 0))
        result.append(verified)
    return result


def _readings(view: BackendView) -> list[Reading]:
    return [Reading(each.ids, each.labels, each.tokens) for each in view.samples]


def _in_order(readings: list[Reading], references: list[Reference]) -> list[Reading | None]:
    """Return the reading of each reference; None for what a framework's file lacks, which has all others in order."""
    found: list[Reading | None] = []
    rest = iter(readings)
    reading = next(rest, None)
    for at, reference in enumerate(references):
        later = islice(references, at + 1, at + 1 + _FURTHER)
        if reading and reading.ids and not _asks(reading, reference) and any(_asks(reading, each) for each in later):
            found.append(None)
            continue
        found.append(reading)
        reading = next(rest, None)
    return found


def _asks(reading: Reading, reference: Reference) -> bool:
    """Tell whether a reading has the questions' tokens."""
    asked = zip(reference.ids, reference.parts, strict=True)
    return {*reading.ids}.issuperset(token for token, part in asked if part == "question")
