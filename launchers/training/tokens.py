"""Tokens made once, before a training starts: by the model's chat template, in the training environment."""

from contextlib import suppress
from functools import cache
from pathlib import Path

import msgspec

from ftbridge.adapters.registered.dataset import Dataset
from ftbridge.core.console import natural_size, progress, say
from ftbridge.core.errors import FtbridgeError, InputError, SetupError, UsageError
from ftbridge.core.files.atomic import sha256_of_files
from ftbridge.core.plugins import Backend, load_backend, plugin_names
from ftbridge.core.process.json_lines import ChildEndedError
from ftbridge.core.train_spec import OF_TOKENS, TrainSpec
from ftbridge.dataset_info.names import MESSAGES
from ftbridge.language import gettext as _
from ftbridge.launchers.backends.plan import TrainPlan
from ftbridge.launchers.environment.venv import installed_versions
from ftbridge.launchers.hardware import devices, host
from ftbridge.launchers.preflight.tokens import refuse_packing
from ftbridge.launchers.process.script import SCRIPTS, start_script
from ftbridge.templates.chat_templates import read_chat_template
from ftbridge.templates.detect import find_family
from ftbridge.templates.families import Family
from ftbridge.tokens.agreement import Agreement
from ftbridge.tokens.chat_template import ChatTemplate, Thinking, choose_chat_template
from ftbridge.tokens.compared import Compared, agreement_of
from ftbridge.tokens.ready import Counts, Fingerprint, ReadyTokens, TokenOptions, ready_tokens, tokenizer_files

_CODE = (
    "tokenize_dataset", "chat_tokens", "thoughts", "cutoff_tokens", "pack_tokens", "probes", "reference_samples",
    "ready_rows", "word_tokens", "template_bounds",
)  # fmt: skip
_THOUGHTS = (b'"reasoning_content"', b"<think>")
_BLOCK = 1 << 20  # bytes


class _Line(msgspec.Struct, frozen=True):
    """What the script prints: how many bytes of the messages are done, what it counted and read, or what is wrong."""

    bytes: int = 0
    counts: Counts | None = None
    compared: Compared | None = None
    error: str = ""


def check_takes_tokens(backend: Backend, spec: TrainSpec) -> None:
    """Raise UsageError where a backend does not train on ready tokens, or not on packed ones."""
    if not backend.token_columns:
        raise UsageError(
            _("{title} does not train on ready tokens; take `--tokens native`").format(title=backend.title)
        )
    if spec.packing and "position_ids" not in backend.token_columns:
        raise UsageError(_("{title} cannot tell packed samples apart; take `--no-packing`").format(title=backend.title))


def with_possible_tokens(spec: TrainSpec, model: Path, backend: Backend | None = None) -> TrainSpec:
    """Return the spec, with the framework's own tokens where ready ones cannot be had, which is said.

    So it is with a model that has no chat template and is of a known family, and with a backend that trains on none,
    unless an option of ready tokens was given.
    """
    if spec.tokens == "native" or any(getattr(spec, name) != default for name, default in OF_TOKENS.items()):
        return spec
    if backend and not backend.token_columns:
        reason = _("{title} does not train on ready tokens").format(title=backend.title)
    elif not read_chat_template(model) and (family := find_family(model)) and _has_cell(family, backend):
        reason = _("`{name}` has no chat template; that of {title} is used").format(name=model.name, title=family.title)
    else:
        return spec
    say(_("note: {reason} (`--tokens native`)").format(reason=reason))
    return msgspec.structs.replace(spec, tokens="native")


def _has_cell(family: Family, backend: Backend | None) -> bool:
    """Tell whether a backend has a template of a family, or takes another's; None is any backend."""
    return backend is None or family.backends.get(backend.name, True) is not None


def chat_template_of(spec: TrainSpec, model: Path, data: Dataset, folder: Path) -> ChatTemplate:
    """Return the chat template that a dataset is trained with in a project's folder.

    Raises as `choose_chat_template`.
    """
    thinking: Thinking
    if spec.thinking == "auto":
        thinking = "on" if has_thoughts(data.folder / data.entry.files[MESSAGES]) else "off"
    else:
        thinking = spec.thinking
    template = choose_chat_template(model, spec.chat_template, thinking, folder)
    if spec.thinking == "off":
        template = template.without_thoughts()
    if "strftime_now" in template.text:
        say(
            _(
                "note: {origin} writes the date: the tokens have that of the day on which they are "
                "made, and who asks the model later has another"
            ).format(origin=template.origin)
        )
    return template


def has_thoughts(messages: Path) -> bool:
    """Return whether a file of messages holds thoughts before answers."""
    end = b""
    with messages.open("rb") as content:
        while block := content.read(_BLOCK):
            if any(mark in end + block for mark in _THOUGHTS):
                return True
            end = block[-32:]
    return False


def with_tokens(plan: TrainPlan, template: ChatTemplate, data: Dataset, folder: Path, python: Path) -> TrainPlan:
    """Return the plan with the ready tokens of its dataset and validation dataset, made where they are not there yet.

    They stand in `folder`. Raises InputError for a conversation that cannot be trained, SetupError where the
    environment of the interpreter `python` cannot do it.
    """
    tokens, validation = make_tokens(plan.spec, plan.model, template, (data, plan.validation), folder, python)
    return msgspec.structs.replace(plan, tokens=tokens, validation_tokens=validation)


def make_tokens(
    spec: TrainSpec,
    model: Path,
    template: ChatTemplate,
    datasets: tuple[Dataset, Dataset | None],
    folder: Path,
    python: Path,
) -> tuple[ReadyTokens, ReadyTokens | None]:
    """Return the ready tokens in `folder` of a dataset and of that which is validated on, and is never packed.

    Raises as `with_tokens`, and InputError where packed samples would see each other.
    """
    refuse_packing(spec, model, installed_versions(python).get("transformers", ""))
    data, validation = datasets
    tokens = tokens_of(data, spec, model, template, folder, python)
    if not tokens.counts.rows:
        within = (
            _(" within {cutoff_length} tokens").format(cutoff_length=spec.cutoff_length)
            if tokens.counts.left_out
            else ""
        )
        raise InputError(_("`{title}` has no answer to train on{within}").format(title=data.title, within=within))
    if not validation:
        return tokens, None
    unpacked = msgspec.structs.replace(spec, packing=False)
    return tokens, tokens_of(validation, unpacked, model, template, folder, python)


def tokens_of(
    data: Dataset, spec: TrainSpec, model: Path, template: ChatTemplate, folder: Path, python: Path
) -> ReadyTokens:
    """Return the ready tokens of a dataset, whose hashes are recorded, made where they are not there yet.

    Raises as `with_tokens`.
    """
    name = data.entry.files[MESSAGES]
    options = TokenOptions(
        cutoff_length=spec.cutoff_length, learn=spec.learn, too_long=spec.too_long, packing=spec.packing
    )
    fingerprint = Fingerprint(
        messages=data.sha256[name],
        tokenizer=tokenizer_files(model),
        chat_template=template.sha256,
        options=options,
        code=_code_sha256(),
        version=installed_versions(python).get("transformers", ""),
    )

    def make(unfinished: Path) -> tuple[Counts, Agreement]:
        say(_("making the tokens of `{title}` with {origin}").format(title=data.title, origin=template.origin))
        file = data.folder / name
        told = {
            "model": str(model),
            "trust_remote_code": spec.trust_remote_code,
            "template": template.text,
            "file": str(file),
            "folder": str(unfinished),
            "last_only": options.learn == "last",
            "cutoff_length": options.cutoff_length,
            "too_long": options.too_long,
            "packing": options.packing,
            "processes": host.cores(),
            "fingerprint": fingerprint.key,
        }
        return _run(python, told, file.stat().st_size, data.title)

    return ready_tokens(folder, fingerprint, template, make)


def frameworks(backend: str | None = None) -> list[str]:
    """Return the titles of the frameworks that train on ready tokens, all on the same ones, or of `backend` alone."""
    if backend:
        return [load_backend(backend).title]
    titles = []
    for name in reversed(plugin_names("backends")):
        with suppress(FtbridgeError, ImportError):  # of a package that does not work
            loaded = load_backend(name)
            titles += [loaded.title] if loaded.token_columns else []
    return titles


def _run(python: Path, spec: dict[str, object], size: int, dataset: str) -> tuple[Counts, Agreement]:
    """Run the script with a bar, and return what it counted, and what it found when it read the tokens again."""
    told = msgspec.json.encode(spec).decode()
    with (
        start_script(python, "tokenize_dataset", told, environment=devices.device_variables(())) as child,
        progress(
            "bar", "percent", "time", total=size, line=lambda done: _("{done} done").format(done=natural_size(done))
        ) as show,
    ):
        try:
            while True:
                line = msgspec.convert(child.receive(), _Line)
                if line.bytes:
                    show(line.bytes)
                if line.error:
                    raise InputError(
                        _("the tokens of `{dataset}` cannot be made: {error}").format(dataset=dataset, error=line.error)
                    )
                if line.counts and line.compared:
                    return line.counts, agreement_of(line.compared, frameworks(), line.counts.samples)
        except ChildEndedError as error:
            raise SetupError(
                _("`{python}` could not make tokens (exit status {status})\n{messages}").format(
                    python=python, status=error.status, messages=error.messages
                )
            ) from error


@cache
def _code_sha256() -> str:
    return sha256_of_files({name: SCRIPTS / f"{name}.py" for name in _CODE})
