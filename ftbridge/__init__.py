"""From a spreadsheet of questions and answers to a fine-tuned model, on XTuner and LLaMA-Factory.

What a command does, the function of the same name does; each is imported on first use, so that
``import ftbridge`` stays light:

    import ftbridge

    ftbridge.convert("medqa.xlsx", split="7:3")
    run = ftbridge.train(backend="xtuner", model="Qwen/Qwen2.5-7B-Instruct")
    ftbridge.merge(run.id)
"""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_FUNCTIONS = {
    "inspect": "ftbridge.adapters.inspect:inspect",
    "convert": "ftbridge.adapters.convert.pipeline:convert",
    "presets": "ftbridge.dataset_info.presets:presets",
    "setup": "ftbridge.launchers.environment.setup:setup",
    "doctor": "ftbridge.launchers.environment.doctor:doctor",
    "preview": "ftbridge.launchers.preview.preview:preview",
    "train": "ftbridge.launchers.training.train:train",
    "export": "ftbridge.weights.export:export",
    "merge": "ftbridge.weights.merge:merge",
    "chat": "ftbridge.dialogue.chat:chat",
    "predict": "ftbridge.evaluation.predict:predict",
    "demo": "ftbridge.demo:demo",
}
__all__ = ["__version__", *_FUNCTIONS]  # noqa: PLE0604 - the names are strings


def __getattr__(name: str) -> Any:
    if name not in _FUNCTIONS:
        raise AttributeError(f"module 'ftbridge' has no attribute {name!r}")
    module, _, function = _FUNCTIONS[name].partition(":")
    return getattr(import_module(module), function)


def __dir__() -> list[str]:
    return sorted(__all__)
