"""XTuner's own configs as options of ours: they are Python, which is read and never run."""

import ast
import math
import operator
from collections.abc import Callable, Mapping
from typing import Any

from ftbridge.core.errors import InputError, UsageError
from ftbridge.language import gettext as _
from ftbridge.launchers.backends.other_configs.translation import OPTIMIZERS, Translation

TITLE = "XTuner"
NAME = "xtuner"
LARGEST = 1_000_000  # letters of a config that are read
_OPERATORS: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
}
# Hooks that show something, and change nothing in what is trained.
_HOOKS = {"DatasetInfoHook", "EvaluateChatHook", "VarlenAttnArgsToMessageHubHook", "ThroughputHook", "HFCheckpointHook"}


class _Code(str):
    """Code whose value is not known, such as the name of a class, as it is written."""

    __slots__ = ()


def translate_config(text: str, where: str) -> Translation:
    """Return the options that a config means; raises InputError for what is no Python, UsageError for no training."""
    config = _Config(read_variables(text, where))
    if not config.at("model") and "pretrained_model_name_or_path" not in config.variables:
        raise InputError(
            _("{where} is not a config of XTuner: it has no `model` and no `pretrained_model_name_or_path`").format(
                where=where
            )
        )
    kind = _last_name(config.at("model", "type") or "SupervisedFinetune")
    if kind != "SupervisedFinetune":
        raise UsageError(_("ftbridge trains XTuner's SupervisedFinetune, not {kind}").format(kind=kind))
    found = Translation(TITLE, {"backend": NAME})
    _take_model(config, found)
    _take_method(config, found)
    _take_data(config, found)
    _take_optimizer(config, found)
    _take_schedule(config, found)
    _take_rest(config, found)
    found.options = {name: value for name, value in found.options.items() if value not in (None, {}, ())}
    return found


def read_variables(text: str, where: str) -> dict[str, Any]:
    """Return what a Python file assigns to names at its top, as far as that is plain values: nothing of it is run.

    Raises InputError for a text that is no Python.
    """
    variables: dict[str, Any] = {}
    try:
        for statement in ast.parse(text[:LARGEST]).body:
            _assign(statement, variables)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        line = (
            _(" (line {lineno})").format(lineno=error.lineno) if isinstance(error, SyntaxError) and error.lineno else ""
        )
        why = error.msg if isinstance(error, SyntaxError) else str(error) or _("it is nested too deeply")
        raise InputError(
            _("{where} is not a readable config in Python{line}: {why}").format(where=where, line=line, why=why)
        ) from error
    return variables


def _assign(statement: ast.stmt, variables: dict[str, Any]) -> None:
    if isinstance(statement, ast.Assign):
        value = _value(statement.value, variables)
        variables |= {target.id: value for target in statement.targets if isinstance(target, ast.Name)}
    elif isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name) and statement.value:
        variables[statement.target.id] = _value(statement.value, variables)
    elif isinstance(statement, ast.AugAssign) and isinstance(statement.target, ast.Name):
        old = variables.get(statement.target.id)
        variables[statement.target.id] = _computed(statement.op, old, _value(statement.value, variables))
    elif isinstance(statement, ast.With):  # mmengine's `with read_base():`
        bases = [ast.unparse(inner) for inner in statement.body if isinstance(inner, ast.ImportFrom)]
        variables.setdefault("_base_", []).extend(bases)


def _value(node: ast.expr, variables: Mapping[str, Any]) -> Any:
    """Return the value of an expression; what would have to be run is _Code."""
    found: Any
    match node:
        case ast.Constant():
            found = node.value
        case ast.Name():
            found = variables.get(node.id, _Code(node.id))
        case ast.List() | ast.Tuple() | ast.Set():
            found = [_value(item, variables) for item in node.elts]
        case ast.Dict():
            pairs = zip(node.keys, node.values, strict=True)
            found = {key.value: _value(item, variables) for key, item in pairs if isinstance(key, ast.Constant)}
        case ast.Call(func=ast.Name(id="dict")):
            found = {keyword.arg: _value(keyword.value, variables) for keyword in node.keywords if keyword.arg}
        case ast.BinOp():
            found = _computed(node.op, _value(node.left, variables), _value(node.right, variables))
        case ast.UnaryOp(op=ast.USub()):
            found = _computed(ast.Sub(), 0, _value(node.operand, variables))
        case _:
            found = _Code(ast.unparse(node))
    return found


def _computed(kind: ast.operator, left: Any, right: Any) -> Any:
    """Return the sum, product and so on of two numbers; of nothing else, as a text times a billion fills the memory."""
    numbers = all(isinstance(each, int | float) and abs(each) < 2**63 for each in (left, right))
    if not numbers or type(kind) not in _OPERATORS or (right == 0 and isinstance(kind, ast.Div | ast.FloorDiv)):
        return _Code(_("a computed value"))
    return _OPERATORS[type(kind)](left, right)


class _Config:
    """The variables of a config, looked up by a path."""

    def __init__(self, variables: dict[str, Any]) -> None:
        self.variables = variables

    def at(self, *path: str) -> Any:
        """Return what stands there, None for nothing."""
        found: Any = self.variables
        for part in path:
            found = found.get(part) if isinstance(found, dict) else None
        return found

    def plain(self, *path: str) -> Any:
        """Return what stands there where it is a plain value, None for code and for nothing."""
        found = self.at(*path)
        return None if isinstance(found, _Code) else found

    def number(self, *path: str) -> Any:
        """Return the number there, None for anything else."""
        found = self.at(*path)
        return found if isinstance(found, int | float) and not isinstance(found, bool) else None


def _last_name(code: Any) -> str:
    return str(code).rpartition(".")[2]


def _take_model(config: _Config, found: Translation) -> None:
    names = ("pretrained_model_name_or_path", "llm_name_or_path")
    named = config.plain("model", "llm", names[0]) or next(filter(None, map(config.plain, names)), None)
    found.options["model"] = named
    if config.at("model", "llm", "trust_remote_code") is True:
        found.leave_out("trust_remote_code", True, _("add --trust-remote-code if the model needs it and you trust it"))
    found.options["attention"] = config.plain("model", "llm", "attn_implementation")
    if config.at("model", "use_activation_checkpointing") is False:
        found.options["gradient_checkpointing"] = False


def _take_method(config: _Config, found: Translation) -> None:
    lora, quantised = config.plain("model", "lora"), config.plain("model", "llm", "quantization_config")
    found.options["method"] = "full" if not lora else "qlora" if quantised else "lora"
    if lora:
        targets = config.plain("model", "lora", "target_modules")
        found.options |= {
            "lora_rank": config.number("model", "lora", "r"),
            "lora_alpha": config.number("model", "lora", "lora_alpha"),
            "lora_dropout": config.number("model", "lora", "lora_dropout"),
            "lora_targets": tuple(map(str, targets)) if isinstance(targets, list) else None,
            "rslora": config.plain("model", "lora", "use_rslora"),
            "dora": config.plain("model", "lora", "use_dora"),
        }
    if lora and quantised:
        bits = ("model", "llm", "quantization_config")
        found.options |= {
            "quantization_bits": 8 if config.at(*bits, "load_in_8bit") is True else 4,
            "quantization_type": config.plain(*bits, "bnb_4bit_quant_type"),
            "double_quantization": config.plain(*bits, "bnb_4bit_use_double_quant"),
        }


def _take_data(config: _Config, found: Translation) -> None:
    data = ("train_dataloader", "dataset")
    length, packs = config.number(*data, "max_length"), config.plain(*data, "pack_to_max_length")
    found.options |= {
        "cutoff_length": length if length is not None else config.number("max_length"),
        "packing": packs if packs is not None else config.plain("pack_to_max_length"),
        "micro_batch_size": config.number("train_dataloader", "batch_size") or config.number("batch_size"),
    }
    source = config.plain(*data, "dataset")
    if isinstance(source, dict):
        files = source.get("data_files") or source.get("path") or ""
        files = list(files.values()) if isinstance(files, dict) else files
        found.data = tuple(map(str, files if isinstance(files, list) else [files]))
    if template := config.at(*data, "template_map_fn", "template") or config.at("prompt_template"):
        why = _("the model's own chat template is used (see --chat-template and --tokens native)")
        found.leave_out("prompt_template", _last_name(template), why)


def _take_optimizer(config: _Config, found: Translation) -> None:
    optimizer = ("optim_wrapper", "optimizer")
    name = _last_name(config.at(*optimizer, "type") or config.at("optim_type") or "AdamW")
    if name in OPTIMIZERS:
        found.options["optimizer"] = OPTIMIZERS[name]
    else:
        found.leave_out("optimizer", name, _("see --optimizer"))
    rate, decay = config.number(*optimizer, "lr"), config.number(*optimizer, "weight_decay")
    accumulation = config.number("optim_wrapper", "accumulative_counts") or config.number("accumulative_counts")
    found.options |= {
        "learning_rate": rate if rate is not None else config.number("lr"),
        "weight_decay": decay if decay is not None else config.number("weight_decay"),
        "max_gradient_norm": config.number("optim_wrapper", "clip_grad", "max_norm") or config.number("max_norm"),
        "gradient_accumulation_steps": accumulation or 1,
        "dtype": "bfloat16" if config.at("optim_wrapper", "dtype") == "bfloat16" else None,
    }
    if (betas := config.plain(*optimizer, "betas")) not in (None, [0.9, 0.999]):
        found.leave_out("betas", betas, _("AdamW always uses betas 0.9 and 0.999 here"))


def _take_schedule(config: _Config, found: Translation) -> None:
    epochs = config.number("train_cfg", "max_epochs") or config.number("max_epochs")
    accumulation = found.options["gradient_accumulation_steps"]
    if iterations := config.number("train_cfg", "max_iters"):
        found.options["max_steps"] = math.ceil(iterations / accumulation)
    elif epochs:
        found.options["epochs"] = epochs
    schedulers = config.plain("param_scheduler")
    parts = [part for part in (schedulers if isinstance(schedulers, list) else [schedulers]) if isinstance(part, dict)]
    names = [_last_name(part.get("type")) for part in parts]
    warms_up = names[:1] == ["LinearLR"] and parts[0].get("start_factor", 1) != 1
    shapes = {"CosineAnnealingLR": "cosine", "LinearLR": "linear", "ConstantLR": "constant"}
    falling = names[1:] if warms_up else names
    if not falling or falling[0] in shapes:
        found.options["scheduler"] = shapes[falling[0]] if falling else "constant"
    else:
        found.leave_out("param_scheduler", falling[0], _("see --scheduler"))
    found.options["warmup_ratio"] = _warmup_ratio(parts[0], epochs) if warms_up else 0.0


def _warmup_ratio(warmup: Mapping[str, Any], epochs: Any) -> float | None:
    """Return the share of the training that is warm-up, None where its end is not known in epochs."""
    end = warmup.get("end")
    known = isinstance(end, int | float) and epochs and warmup.get("by_epoch") is True
    return round(end / epochs, 6) if known else None


def _take_rest(config: _Config, found: Translation) -> None:
    checkpoint = ("default_hooks", "checkpoint")
    saves = config.number(*checkpoint, "interval") or config.number("save_steps")
    if saves and config.at(*checkpoint, "by_epoch") is not True:  # it counts iterations
        found.options["save_steps"] = max(1, round(saves / found.options["gradient_accumulation_steps"]))
    keeps = config.number(*checkpoint, "max_keep_ckpts") or config.number("save_total_limit")
    found.options["save_limit"] = keeps if keeps and keeps > 0 else None
    found.options["seed"] = config.number("randomness", "seed")
    if bases := config.at("_base_"):
        found.leave_out("_base_", bases, _("what other files hold is not read"))
    if config.at("load_from"):
        found.leave_out("load_from", config.at("load_from"), _("`--resume CHECKPOINT` continues a run"))
    if (split := config.at("sequence_parallel_size")) not in (None, 1):
        found.leave_out("sequence_parallel_size", split, _("sequences are not split over GPUs"))
    if config.at("visualizer"):
        found.leave_out("visualizer", "...", _("--track names the trackers"))
    _note_hooks(config, found)


def _note_hooks(config: _Config, found: Translation) -> None:
    hooks = config.plain("custom_hooks")
    for hook in hooks if isinstance(hooks, list) else []:
        name = _last_name(hook.get("type")) if isinstance(hook, dict) else str(hook)
        if name not in _HOOKS:
            found.leave_out("custom_hooks", name, _("hooks of your own are not run"))
        elif name == "EvaluateChatHook":
            found.leave_out("custom_hooks", name, _("`ftbridge chat` asks the model"))
