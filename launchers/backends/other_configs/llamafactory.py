"""LLaMA-Factory's own configs and arguments, those of 0.9.5 and of transformers' Trainer, as options of ours."""

from collections.abc import Callable, Mapping
from typing import Any

from ftbridge.core.errors import UsageError
from ftbridge.core.parsing.suggestions import SAME
from ftbridge.core.train_spec import TrainSpec
from ftbridge.language import gettext as _
from ftbridge.launchers.backends.other_configs.translation import OPTIMIZERS, Translation, deepspeed_name

TITLE = "LLaMA-Factory"
NAME = "llamafactory"
_OURS = frozenset(TrainSpec.__struct_fields__)
# Arguments whose values mean the same in an option of ours, which may have another name.
_RENAMED_TEXT = """
    model_name_or_path dataset dataset_dir eval_dataset cutoff_len packing learning_rate weight_decay
    max_grad_norm num_train_epochs max_steps per_device_train_batch_size gradient_accumulation_steps
    warmup_ratio save_steps save_total_limit eval_steps seed neftune_noise_alpha early_stopping_steps lora_rank
    lora_alpha lora_dropout use_rslora use_dora quantization_type double_quantization gradient_checkpointing
"""
_RENAMED = {name: SAME.get(name, name) for name in _RENAMED_TEXT.split()}
# What a config means by leaving a line out, where ftbridge's own default is another.
_DEFAULTS = {
    "finetuning_type": "lora",
    "lora_rank": 8,
    "lora_dropout": 0.0,
    "learning_rate": 5e-5,
    "per_device_train_batch_size": 8,
    "gradient_accumulation_steps": 1,
    "lr_scheduler_type": "linear",
    "warmup_ratio": 0.0,
}
# What ftbridge decides itself, and what changes nothing in what is trained.
_DECIDED_TEXT = """
    stage do_train do_eval overwrite_output_dir overwrite_cache preprocessing_num_workers
    preprocessing_batch_size dataloader_num_workers dataloader_pin_memory dataloader_persistent_workers
    logging_steps logging_strategy logging_dir logging_first_step plot_loss ddp_timeout
    per_device_eval_batch_size eval_strategy evaluation_strategy save_strategy load_best_model_at_end
    metric_for_best_model greater_is_better run_name save_safetensors save_only_model
    include_num_input_tokens_seen disable_tqdm log_level remove_unused_columns cache_dir use_fast_tokenizer
    low_cpu_mem_usage ddp_find_unused_parameters quantization_method ray_run_name
"""
_DECIDED = frozenset(_DECIDED_TEXT.split())
# Arguments that are true by themselves.
_TRUE_BY_DEFAULT = frozenset({"use_reentrant_gc", "use_kv_cache", "ignore_pad_token_for_loss", "freeze_vision_tower"})


def _why_left_out() -> dict[str, str]:
    """Return the arguments that have no counterpart, each with what to do instead."""
    tracked = _("choose trackers with --track; ftbridge names the run")
    samples = _("`--dataset NAME#{value}` takes so many samples")
    return {
        "output_dir": _("a run is written to runs/ID"),
        "max_samples": samples,
        "val_size": _("`ftbridge convert --split 9:1` makes a validation or test part"),
        "adapter_name_or_path": _("`--resume` continues a run"),
        "resume_from_checkpoint": _("`--resume CHECKPOINT` continues a run"),
        "default_system": _("`ftbridge convert --system` sets it"),
        "train_on_prompt": _("only answers are trained on"),
        "streaming": _("the data are read from disk as they are"),
        "tokenized_path": _("ftbridge makes the tokens"),
        "template": _("the model's own chat template is used (see --chat-template and --tokens native)"),
        "trust_remote_code": _("add --trust-remote-code if the model needs it and you trust it"),
        "mix_strategy": _("datasets are mixed by --dataset A --dataset B"),
        "interleave_probs": _("datasets are mixed by --dataset A --dataset B"),
        "predict_with_generate": _("`ftbridge predict` answers a dataset"),
        "do_predict": _("`ftbridge predict` answers a dataset"),
        "compute_accuracy": _("`ftbridge evaluate` measures it"),
        "swanlab_project": tracked,
        "swanlab_run_name": tracked,
        "swanlab_mode": tracked,
        "swanlab_workspace": tracked,
        "swanlab_logdir": tracked,
        "swanlab_api_key": _("set the variable SWANLAB_API_KEY"),
        "hub_model_id": _("`ftbridge merge` makes the folder to upload"),
        "push_to_hub": _("`ftbridge merge` makes the folder to upload"),
        "hf_hub_token": _("set the variable HF_TOKEN"),
        "ms_hub_token": _("set the variable MODELSCOPE_API_TOKEN"),
    }


def _choice(option: str, **values: Any) -> Callable[[Any], dict[str, Any] | None]:
    """Return what gives the option for a value, None for a value that is none of these."""
    return lambda value: {option: values[str(value)]} if str(value) in values else None


def _flag(**options: Any) -> Callable[[Any], dict[str, Any] | None]:
    """Return what gives these options for true, none for false."""
    return lambda value: options if _is_yes(value) else {}


def _is_yes(value: Any) -> bool:
    return value is True or str(value).lower() in {"true", "1", "yes"}


def _targets(value: Any) -> dict[str, Any]:
    names = value if isinstance(value, list) else [name.strip() for name in str(value).split(",")]
    return {} if names == ["all"] else {"lora_targets": tuple(map(str, names))}


def _trackers(value: Any) -> dict[str, Any] | None:
    names = value if isinstance(value, list) else [name.strip() for name in str(value).split(",")]
    names = [name for name in names if name not in {"none", "None", None}]
    known = {"tensorboard", "swanlab", "wandb"}
    return None if not known.issuperset(names) else {"track": tuple(names)} if names else {}


_CONVERTED: dict[str, Callable[[Any], dict[str, Any] | None]] = {
    "finetuning_type": _choice("method", lora="lora", full="full"),
    "quantization_bit": lambda value: {"quantization_bits": int(value)} if str(value) in {"4", "8"} else None,
    "lora_target": _targets,
    "lr_scheduler_type": _choice(
        "scheduler", cosine="cosine", linear="linear", constant="constant", constant_with_warmup="constant"
    ),
    "optim": _choice("optimizer", **OPTIMIZERS),
    "flash_attn": _choice("attention", auto="auto", disabled="eager", sdpa="sdpa", fa2="flash_attention_2"),
    "bf16": _flag(dtype="bfloat16"),
    "pure_bf16": _flag(dtype="bfloat16"),
    "fp16": _flag(dtype="float16"),
    "use_cpu": _flag(device="cpu"),
    "no_cuda": _flag(device="cpu"),
    "disable_gradient_checkpointing": _flag(gradient_checkpointing=False),
    "neat_packing": _flag(packing=True),
    "mask_history": _flag(learn="last"),
    "enable_thinking": lambda value: {} if _is_yes(value) else {"thinking": "off"},
    "deepspeed": lambda value: {"deepspeed": deepspeed_name(value)} if isinstance(value, str) else None,
    "report_to": _trackers,
    "use_swanlab": _flag(track=("swanlab",)),
}
# Those that are true where no value follows them.
FLAGS = frozenset(
    {"bf16", "pure_bf16", "fp16", "use_cpu", "no_cuda", "disable_gradient_checkpointing", "neat_packing"}
    | {"mask_history", "enable_thinking", "use_swanlab", "use_rslora", "use_dora", "trust_remote_code"}
    | {key for key in _DECIDED if key.startswith(("do_", "overwrite_", "plot_"))}
)
ARGUMENTS = frozenset({*_RENAMED, *_CONVERTED, *_DECIDED, *_why_left_out()})


def is_config(values: Mapping[str, Any]) -> bool:
    """Tell whether the keys of a YAML file are LLaMA-Factory's, and not ours."""
    keys = values.keys()
    return bool(keys & (ARGUMENTS - _OURS)) and not keys & (_OURS - ARGUMENTS)


def translate_config(values: Mapping[str, Any], backend: str = NAME) -> Translation:
    """Return the options that a whole config means; what only LLaMA-Factory has goes to `--set` where that trains.

    Raises UsageError for a config that does not train with answers (`stage: sft`).
    """
    if (stage := values.get("stage", "sft")) != "sft":
        raise UsageError(_("ftbridge trains with `stage: sft`, not `stage: {stage}`").format(stage=stage))
    if "export_dir" in values:
        raise UsageError(_("this config merges a model (`export_dir`): use `ftbridge merge`"))
    if not _is_yes(values.get("do_train", True)) or values.keys() & {"infer_backend", "task"}:
        raise UsageError(_("this config does not train: use `ftbridge chat` or `ftbridge predict`"))
    given = {**_DEFAULTS, **values}
    if given["finetuning_type"] == "full":
        given = {key: value for key, value in given.items() if key in values or not key.startswith("lora_")}
    elif given.get("lora_alpha") is None:
        given["lora_alpha"] = 2 * int(given["lora_rank"])
    found = translate_arguments(given, backend)
    found.options.setdefault("backend", backend)
    return found


def translate_arguments(values: Mapping[str, Any], backend: str = "") -> Translation:
    """Return the options that these arguments mean, and nothing for those that are not given."""
    found = Translation(TITLE)
    for key, typed in values.items():
        value = {"true": True, "false": False}.get(str(typed).lower(), typed)
        options = _options_of(key, value)
        if options is None:
            _note_without_option(key, value, backend, found)
        elif "track" in options:
            found.options["track"] = (*found.options.get("track", ()), *options["track"])
        else:
            found.options |= options
    if "quantization_bits" in found.options and found.options.get("method", "lora") == "lora":
        found.options["method"] = "qlora"
    return found


def _note_without_option(key: str, value: Any, backend: str, found: Translation) -> None:
    """Note an argument that is no option: `--set` takes it where LLaMA-Factory trains, unless ftbridge decides it."""
    if why := _why_left_out().get(key):
        found.leave_out(key, value, why.format(value=value))
    elif backend == NAME:
        found.options.setdefault("set", {})[key] = value
    else:
        found.leave_out(key, value, _("only LLaMA-Factory has it"))


def _options_of(key: str, value: Any) -> dict[str, Any] | None:
    """Return the options for an argument, none for one that changes nothing, None for one without a counterpart."""
    if key in _DECIDED or value is None or (key in {"max_steps", "save_total_limit"} and value == -1):
        return {}
    if key in _RENAMED:
        return {_RENAMED[key]: value}
    if key in _CONVERTED:
        return _CONVERTED[key](value)
    is_default = value in (False, "", 0, [], "none", "false", "concat") and key not in _TRUE_BY_DEFAULT
    return {} if is_default else None
