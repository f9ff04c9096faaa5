"""What other programs, and other habits, call the options of ours: for suggestions by meaning, not by letters."""

from collections.abc import Iterable, Sequence
from difflib import get_close_matches

# By the other name, the option that means the same: it may stand in its place.
SAME = {
    # LLaMA-Factory and transformers
    "model_name_or_path": "model",
    "cutoff_len": "cutoff_length",
    "lora_target": "lora_targets",
    "quantization_bit": "quantization_bits",
    "use_rslora": "rslora",
    "use_dora": "dora",
    "max_grad_norm": "max_gradient_norm",
    "num_train_epochs": "epochs",
    "per_device_train_batch_size": "micro_batch_size",
    "save_total_limit": "save_limit",
    "eval_steps": "validation_steps",
    "eval_dataset": "validation_dataset",
    "neftune_noise_alpha": "neftune_alpha",
    "early_stopping_steps": "early_stopping",
    "lr_scheduler_type": "scheduler",
    "optim": "optimizer",
    "finetuning_type": "method",
    "flash_attn": "attention",
    "report_to": "track",
    "val_dataset": "validation_dataset",
    "resume_from_checkpoint": "resume",
    # XTuner
    "pretrained_model_name_or_path": "model",
    "max_length": "cutoff_length",
    "accumulative_counts": "gradient_accumulation_steps",
    "max_epochs": "epochs",
    "max_norm": "max_gradient_norm",
    "pack_to_max_length": "packing",
    # Short ones, and PEFT's
    "lr": "learning_rate",
    "wd": "weight_decay",
    "epoch": "epochs",
    "num_epochs": "epochs",
    "lora_r": "lora_rank",
    "rank": "lora_rank",
    "alpha": "lora_alpha",
    "target_modules": "lora_targets",
    "max_seq_length": "cutoff_length",
    "max_seq_len": "cutoff_length",
    "grad_accum": "gradient_accumulation_steps",
    "lr_scheduler": "scheduler",
    "datasets": "dataset",
    "base_model": "model",
}
# Names that mean something near, in the order of likelihood: a person is asked.
NEAR: dict[str, Sequence[str]] = {
    "batch_size": ("micro_batch_size",),
    "bs": ("micro_batch_size", "batch_size"),
    "train_batch_size": ("micro_batch_size",),
    "gas": ("gradient_accumulation_steps",),
    "warmup": ("warmup_ratio",),
    "warmup_steps": ("warmup_ratio",),
    "bits": ("quantization_bits",),
    "load_in_4bit": ("bits", "quantization_bits"),
    "load_in_8bit": ("bits", "quantization_bits"),
    "load_in": ("bits", "quantization_bits"),
    "qlora": ("method",),
    "lora": ("method",),
    "full": ("method",),
    "bf16": ("dtype",),
    "fp16": ("dtype",),
    "precision": ("dtype",),
    "framework": ("backend",),
    "engine": ("backend",),
    "data": ("dataset",),
    "train_file": ("dataset",),
    "num_gpus": ("gpus",),
    "nproc_per_node": ("gpus",),
    "system_prompt": ("system",),
    "val_size": ("split",),
    "test_size": ("split",),
    "output": ("out",),
    "output_dir": ("out",),
    "export_dir": ("out",),
    "save_dir": ("out",),
    "max_tokens": ("max_new_tokens",),
    "query": ("prompt",),
    "input": ("prompt",),
    "dry": ("dry_run",),
    "force": ("yes", "replace"),
    "overwrite": ("replace",),
    "background": ("detach",),
    # Commands
    "infer": ("chat", "predict"),
    "inference": ("chat", "predict"),
    "talk": ("chat",),
    "ask": ("chat",),
    "run": ("train", "recipe"),
    "sft": ("train",),
    "finetune": ("train",),
    "fine_tune": ("train",),
    "tune": ("train",),
    "fit": ("train",),
    "save": ("export", "merge"),
    "pth_to_hf": ("export",),
    "test": ("evaluate", "predict"),
    "eval": ("evaluate",),
    "score": ("evaluate",),
    "benchmark": ("evaluate",),
    "answer": ("predict",),
    "generate": ("predict",),
    "import": ("convert",),
    "load": ("convert",),
    "prepare": ("convert",),
    "preprocess": ("convert", "tokenize"),
    "data_format": ("convert",),
    "install": ("setup",),
    "init": ("setup", "recipe"),
    "env": ("doctor", "setup"),
    "check": ("doctor",),
    "info": ("show", "doctor"),
    "list": ("runs", "datasets"),
    "ls": ("list", "runs", "datasets"),
    "log": ("logs", "runs"),
    "logs": ("runs",),
    "tail": ("logs",),
    "follow": ("logs",),
    "status": ("list", "runs"),
    "kill": ("stop",),
    "cancel": ("stop",),
    "rm": ("remove", "prune"),
    "delete": ("remove", "prune"),
    "clean": ("prune",),
    "cat": ("show",),
    "describe": ("show",),
    "diff": ("compare",),
    "new": ("init", "setup"),
    "stop": ("runs",),
    "plot": ("runs",),
    "history": ("runs",),
    "show": ("inspect", "runs"),
    "view": ("inspect", "preview"),
    "search": ("sweep",),
    "grid": ("sweep",),
    "copy_cfg": ("recipe",),
    # Backends
    "llama_factory": ("llamafactory",),
    "llamafactory_cli": ("llamafactory",),
    "lf": ("llamafactory",),
    "xtuner1": ("xtuner",),
    "xt": ("xtuner",),
}


def normal(word: str) -> str:
    """Return an option's or a command's name as the tables have it: lower case, with underscores."""
    return word.lower().lstrip("-").replace("-", "_").replace(" ", "_")


def meant(word: str, choices: Iterable[str]) -> list[str]:
    """Return the choices that `word` may mean, the likeliest first: by meaning, else by its letters; [] for none."""
    by_name = {normal(choice): choice for choice in choices}
    name = normal(word)
    if name in by_name:
        return [by_name[name]]
    names = [SAME[name]] if name in SAME else [*NEAR.get(name, ())]
    if found := [by_name[each] for each in names if each in by_name]:
        return found
    return [by_name[near] for near in get_close_matches(name, by_name, n=1)]
