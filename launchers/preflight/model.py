"""Checks of the model's folder: whether it is whole, of a known family, and its tokenizer can be loaded."""

import math
import re
from collections.abc import Collection
from pathlib import Path
from typing import Any

from ftbridge.core.errors import QuestionError, UsageError
from ftbridge.core.parsing.json_yaml import read_json
from ftbridge.core.parsing.safetensors_header import Shape
from ftbridge.core.train_spec import TrainSpec
from ftbridge.language import gettext as _
from ftbridge.language import joined
from ftbridge.launchers.backends.plan import TrainPlan
from ftbridge.launchers.environment.checklist import Check
from ftbridge.launchers.preflight.memory_estimate import text_config
from ftbridge.templates.detect import find_family, missing_tokens, writes_another_prompt
from ftbridge.templates.families import Family, get_family

_COPY_AGAIN = _("copy or download the model again")
_EXPERT = re.compile(r"\.experts\.\d+\.")
_LAYER = re.compile(r"(?:model\.|language_model\.)*layers\.(\d{1,9})\.")


def shapes_in_memory(
    tensors: dict[str, Shape], plan: TrainPlan, config: dict[str, Any], transformers: str
) -> dict[str, Shape]:
    """Return the shapes of the weights in memory, as this version of transformers loads them.

    Layers that predict more than the next token, after the last or called `mtp`, are not loaded. From 5 on, all classes
    of its own stack the experts of a layer into one tensor (conversion_mapping.py), whichever way they are written; a
    class that comes with the model is taken to do as it is written.
    """
    layers = text_config(config).get("num_hidden_layers")
    has_own_code = config.get("auto_map") and plan.spec.trust_remote_code
    is_stacked = not is_before_transformers5(transformers) and not has_own_code
    found: dict[str, Shape] = {}
    for name, shape in tensors.items():
        number = _LAYER.match(name)
        if name.startswith("mtp.") or (number and isinstance(layers, int) and int(number[1]) >= layers):
            continue
        held = _EXPERT.sub(".experts.", name) if is_stacked else name
        found[held] = shape if held == name else (found.get(held, (0,))[0] + 1, *shape)
    return found


def folder_checks(
    plan: TrainPlan, config: dict[str, Any], tensors: dict[str, Shape], transformers: str, known: Collection[str] = ()
) -> list[Check]:
    """Return the checks of the weights and of config.json, for this version of transformers.

    `known` are the model types that it has classes for, which need no code of the model's own.
    """
    checks = []
    if tensors:
        count = sum(map(math.prod, tensors.values()))
        title = plan.family.title if plan.family else config.get("model_type", "")
        checks.append(
            Check(
                "model",
                "ok",
                _("{title}, {parameters} parameters, {model}").format(
                    title=title, parameters=_parameters(count), model=plan.model
                ),
            )
        )
    elif list(plan.model.glob("*.bin")):
        found = _("the weights in `{model}` are pickled (*.bin) and are not inspected").format(model=plan.model)
        checks.append(Check("model", "warning", found, _("use safetensors weights if the model has them")))
    else:
        checks.append(
            Check(
                "model",
                "failure",
                _("`{model}` holds no weights (model*.safetensors)").format(model=plan.model),
                _COPY_AGAIN,
            )
        )
    if config.get("auto_map") and not plan.spec.trust_remote_code and config.get("model_type") not in known:
        found = _("the model comes with Python code of its own")
        checks.append(Check("model code", "failure", found, _("if you trust who made it, add `--trust-remote-code`")))
    if plan.family and plan.family.status == "unsupported":
        found = _("{title} may not run: {reason}").format(title=plan.family.title, reason=plan.family.reason)
        checks.append(Check("model family", "warning", found, _("docs/models.md names the families that were trained")))
    checks += _rope_checks(plan.model, config, transformers)
    return checks


THOUSAND = 1000


def _parameters(count: int) -> str:
    """Return a number of parameters as people say it: `2.7 M`, `7.6 B`."""
    millions = count / 1e6
    return (
        _("{millions:.3g} M").format(millions=millions)
        if millions < THOUSAND
        else _("{millions:.3g} B").format(millions=millions / THOUSAND)
    )


def template_checks(plan: TrainPlan) -> list[Check]:
    """Return a check of `--template`: whether the model's own prompt is the same, and its vocabulary has the tokens."""
    if plan.chat_template:
        thinking = (
            _(", thinking {thinking}").format(thinking=plan.chat_template.thinking)
            if plan.chat_template.thinking
            else ""
        )
        return [Check("chat template", "ok", f"{plan.chat_template.origin}{thinking}")]
    name, chosen = plan.spec.template, plan.family
    if not name or not chosen:
        return []
    detected, found = _evidence_against(chosen, plan.spec, plan.model)
    if not found:
        return [Check("template", "ok", _("{title}, by `--template`").format(title=chosen.title))]
    leave = _("leave `--template` out") if detected else _("name the family that it was made with (docs/models.md)")
    return [
        Check(
            "template",
            "warning",
            joined("; ", found),
            _("{leave}, unless you want to teach it another prompt").format(leave=leave),
        )
    ]


def ask_about_template(spec: TrainSpec, model: Path) -> None:
    """Raise QuestionError where `--template` names another prompt than that of the model's own files."""
    if not spec.template:
        return
    chosen = get_family(spec.template)
    detected, found = _evidence_against(chosen, spec, model)
    if not found:
        return
    own = (
        {_("the model's own, {title}").format(title=detected.title): ["--template", detected.name]} if detected else {}
    )
    anyway = _("the prompt of {title} anyway").format(title=chosen.title)
    raise QuestionError(joined("; ", found), {**own, anyway: ["--yes"]})


def _evidence_against(chosen: Family, spec: TrainSpec, model: Path) -> tuple[Family | None, list[str]]:
    """Return the family that the model is of by its files, None for none, and what in them speaks against `chosen`."""
    detected, missing, found = find_family(model), missing_tokens(model, chosen), []
    option = _("`--template {template}`").format(template=spec.template)
    if detected and _rendered_example(detected, spec.backend) != _rendered_example(chosen, spec.backend):
        found.append(
            _("{option} is the prompt of {title}, and by its files the model is {detected_title}").format(
                option=option, title=chosen.title, detected_title=detected.title
            )
        )
    elif not detected and writes_another_prompt(model, chosen):
        found.append(
            _("{option} is the prompt of {title}, and the model's own chat template writes another").format(
                option=option, title=chosen.title
            )
        )
    if missing:
        tokens = joined(", ", (f"`{token}`" for token in missing))
        found.append(
            _("its vocabulary lacks {tokens} (cut into pieces, or new rows that nothing has trained)").format(
                tokens=tokens
            )
        )
    return detected, found


def _rendered_example(family: Family, backend: str) -> str:
    """Return two turns in the family's prompt, "" where the backend has no template of it."""
    try:
        prompt = family.cell(backend).prompt
    except UsageError:
        return ""
    return prompt.render("system", [("question", "answer"), ("more", "answer")])


def _rope_checks(model: Path, config: dict[str, Any], transformers: str) -> list[Check]:
    """Return a failure for a config.json of transformers 5 under 4, which silently takes 10000 for rope_theta."""
    rope = config.get("rope_parameters")
    theta = rope.get("rope_theta") if isinstance(rope, dict) else None
    if not is_before_transformers5(transformers) or theta in {None, 10000, config.get("rope_theta")}:
        return []
    found = _("`{model}` was written by transformers 5; {transformers} would read rope_theta as 10000").format(
        model=model / "config.json", transformers=transformers
    )
    return [
        Check(
            "model config",
            "failure",
            found,
            _('put `"rope_theta": {theta}` into it, beside `rope_parameters`').format(theta=theta),
        )
    ]


def tokenizer_checks(plan: TrainPlan, tokenizer: Any, error: str, transformers: str) -> list[Check]:
    """Return the checks of the tokenizer: `tokenizer` is that of tokenizer.json or None, `error` why it is not read."""
    model, file = plan.model, plan.model / "tokenizer_config.json"
    if error:
        return [
            Check(
                "tokenizer",
                "failure",
                _("`{model}` cannot be read: {error}").format(model=model / "tokenizer.json", error=error),
                _COPY_AGAIN,
            )
        ]
    others = [path for pattern in ("*.model", "vocab*", "tokenization_*.py") for path in model.glob(pattern)]
    if tokenizer is None and not others:
        return [
            Check(
                "tokenizer",
                "failure",
                _("`{model}` has no tokenizer.json or tokenizer.model").format(model=model),
                _COPY_AGAIN,
            )
        ]
    config = read_json(file) if file.is_file() else {}
    kind = str(config.get("tokenizer_class") or "")
    if kind == "TokenizersBackend" and is_before_transformers5(transformers):
        found = _(
            "`{file}` was written by transformers 5, and {transformers} does not know its `tokenizer_class`"
        ).format(file=file, transformers=transformers)
        return [Check("tokenizer", "failure", found, _("put the class of the model's own tokenizer there"))]
    known = (
        _("{count} tokens").format(count=tokenizer.get_vocab_size())
        if tokenizer
        else _("{name}, not inspected").format(name=others[0].name)
    )
    return [Check("tokenizer", "ok", _("{kind}, {known}").format(kind=kind or _("of no named class"), known=known))]


def is_before_transformers5(transformers: str) -> bool:
    """Tell whether this version of transformers is before 5; "", a version that is not known, counts as newer."""
    return transformers.startswith(("3.", "4."))
