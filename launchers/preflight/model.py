"""The model's folder before a training: is it whole, of a known kind, and can the frameworks load its tokenizer."""

import math
import re
from collections.abc import Collection
from pathlib import Path
from typing import Any

from ftbridge.core.errors import UsageError
from ftbridge.core.parsing.json_yaml import read_json
from ftbridge.core.parsing.safetensors_header import Shape
from ftbridge.launchers.backends.plan import TrainPlan
from ftbridge.launchers.environment.checklist import Check
from ftbridge.launchers.preflight.memory_estimate import text_config
from ftbridge.templates import detect
from ftbridge.templates.families import Family

_AGAIN = "copy or download the model again"
_EXPERT = re.compile(r"\.experts\.\d+\.")
_LAYER = re.compile(r"(?:model\.|language_model\.)*layers\.(\d{1,9})\.")


def as_held(tensors: dict[str, Shape], plan: TrainPlan, config: dict[str, Any], transformers: str) -> dict[str, Shape]:
    """Return the shapes as this version of transformers holds them in memory.

    Layers that predict more than the next token, after the last or called `mtp`, are not loaded. From 5 on, all classes
    of its own stack the experts of a layer into one tensor (conversion_mapping.py), whichever way they are written; a
    class that comes with the model is taken to do as it is written.
    """
    layers = text_config(config).get("num_hidden_layers")
    stacks = not is_older(transformers) and not (config.get("auto_map") and plan.spec.trust_remote_code)
    found: dict[str, Shape] = {}
    for name, shape in tensors.items():
        number = _LAYER.match(name)
        if name.startswith("mtp.") or (number and isinstance(layers, int) and int(number[1]) >= layers):
            continue
        held = _EXPERT.sub(".experts.", name) if stacks else name
        found[held] = shape if held == name else (found.get(held, (0,))[0] + 1, *shape)
    return found


def folder_checks(
    plan: TrainPlan, config: dict[str, Any], tensors: dict[str, Shape], transformers: str, known: Collection[str] = ()
) -> list[Check]:
    """Return what there is to say of the weights and config.json, for this version of transformers.

    `known` are the model types that it has classes for, which need no code of the model's own.
    """
    checks = []
    if tensors:
        count = sum(map(math.prod, tensors.values()))
        checks.append(Check("model", "ok", f"{plan.family.title}, {count / 1e9:.3g} billion parameters, {plan.model}"))
    elif list(plan.model.glob("*.bin")):
        found = f"the weights in `{plan.model}` are pickled (*.bin), which are not looked into"
        checks.append(Check("model", "warning", found, "take safetensors where the model's makers offer them"))
    else:
        checks.append(Check("model", "failure", f"`{plan.model}` holds no weights (model*.safetensors)", _AGAIN))
    if config.get("auto_map") and not plan.spec.trust_remote_code and config.get("model_type") not in known:
        found = "the model comes with Python code of its own"
        checks.append(Check("model code", "failure", found, "if you trust who made it, add `--trust-remote-code`"))
    if plan.family.status == "unsupported":
        found = f"{plan.family.title} may not run: {plan.family.reason}"
        checks.append(Check("model family", "warning", found, "docs/models.md names the families that were trained"))
    checks += _newer_config(plan.model, config, transformers)
    return checks


def template_checks(plan: TrainPlan) -> list[Check]:
    """Return a warning where `--template` is not what the model's files say, which the vocabulary may, too."""
    name, chosen = plan.spec.template, plan.family
    if not name:
        return []
    told, missing = detect.find(plan.model), detect.lacking(plan.model, chosen)
    found = []
    if told and _said(told, plan.spec.backend) != _said(chosen, plan.spec.backend):
        found.append(f"`--template {name}` is the prompt of {chosen.title}, and by its files the model is {told.title}")
    if missing:
        tokens = ", ".join(f"`{token}`" for token in missing)
        found.append(f"its vocabulary lacks {tokens} (cut into pieces, or new rows that nothing has trained)")
    if not found:
        return [Check("template", "ok", f"{chosen.title}, by `--template`")]
    leave = "leave `--template` out" if told else "name the family that it was made with (docs/models.md)"
    return [Check("template", "warning", "; ".join(found), f"{leave}, unless you want to teach it another prompt")]


def _said(family: Family, backend: str) -> str:
    try:
        prompt = family.cell(backend).prompt
    except UsageError:
        return ""
    return prompt.render("system", [("question", "answer"), ("more", "answer")])


def _newer_config(model: Path, config: dict[str, Any], transformers: str) -> list[Check]:
    """Transformers 4 does not read what 5 writes for the rotary embedding, and silently takes 10000 for its base."""
    rope = config.get("rope_parameters")
    theta = rope.get("rope_theta") if isinstance(rope, dict) else None
    if not is_older(transformers) or theta in {None, 10000, config.get("rope_theta")}:
        return []
    found = f"`{model / 'config.json'}` was written by transformers 5; {transformers} would take rope_theta for 10000"
    return [Check("model config", "failure", found, f'put `"rope_theta": {theta}` into it, beside `rope_parameters`')]


def tokenizer_checks(plan: TrainPlan, tokenizer: Any, error: str, transformers: str) -> list[Check]:
    """Return what there is to say of the tokenizer: `tokenizer` is that of tokenizer.json or None, `error` why not."""
    model, file = plan.model, plan.model / "tokenizer_config.json"
    if error:
        return [Check("tokenizer", "failure", f"`{model / 'tokenizer.json'}` cannot be read: {error}", _AGAIN)]
    others = [path for pattern in ("*.model", "vocab*", "tokenization_*.py") for path in model.glob(pattern)]
    if tokenizer is None and not others:
        return [Check("tokenizer", "failure", f"`{model}` has none (tokenizer.json or tokenizer.model)", _AGAIN)]
    config = read_json(file) if file.is_file() else {}
    kind = str(config.get("tokenizer_class") or "")
    if kind == "TokenizersBackend" and is_older(transformers):
        found = f"`{file}` was written by transformers 5, and {transformers} does not know its `tokenizer_class`"
        return [Check("tokenizer", "failure", found, "put the class of the model's own tokenizer there")]
    known = f"{tokenizer.get_vocab_size()} tokens" if tokenizer else f"{others[0].name}, which is not looked into"
    return [Check("tokenizer", "ok", f"{kind or 'of no named class'}, {known}")]


def is_older(transformers: str) -> bool:
    """Tell whether this is a transformers before 5; an unknown one counts as newer, as that of the tested set."""
    return transformers.startswith(("3.", "4."))
