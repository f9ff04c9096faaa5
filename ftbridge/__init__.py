"""From a spreadsheet of questions and answers to a fine-tuned model, on XTuner and LLaMA-Factory.

What a command does, the function of the same name does, and `ftbridge.runs` and `ftbridge.datasets` hold those of
`ftbridge runs` and `ftbridge datasets`. Each is imported on first use, so that ``import ftbridge`` stays light:

    import ftbridge

    ftbridge.convert("medqa.xlsx", split="7:3")
    run = ftbridge.train(backend="xtuner", model="Qwen/Qwen2.5-7B-Instruct")
    ftbridge.merge(run.id)

Type checkers and editors read the same names, with their types, in __init__.pyi.
"""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

# What each module gives. A stub, not imports under `if TYPE_CHECKING`: many modules import the version from here, and
# the import linter would find everything to import everything else.
_NAMES = {
    "ftbridge.adapters.convert.options": "MaxRejected Split",
    "ftbridge.adapters.convert.pipeline": "convert",
    "ftbridge.adapters.convert.result": "Conversion Part TableRead",
    "ftbridge.adapters.convert.selection": "Counts",
    "ftbridge.adapters.inspect": "Column Profile inspect",
    "ftbridge.adapters.registered.check": "CheckResult Support",
    "ftbridge.core.errors": "FrameworkError FtbridgeError InputError InterruptedRun QuestionError SetupError "
    "UsageError",
    "ftbridge.core.records": "Conversation Reading ReadingOptions Turn",
    "ftbridge.core.train_spec": "TrainOptions TrainSpec",
    "ftbridge.dataset_info.listing": "DatasetSummary",
    "ftbridge.dataset_info.presets": "Preset presets",
    "ftbridge.dataset_info.registry": "Removed",
    "ftbridge.datasets": "DatasetDetails",
    "ftbridge.dialogue.chat": "ChatOptions ChatSession chat chat_sessions",
    "ftbridge.dialogue.generation": "Sampling",
    "ftbridge.evaluation.answers.asking": "AnswerOptions",
    "ftbridge.evaluation.evaluate": "Evaluations evaluate",
    "ftbridge.evaluation.predict": "Predictions predict",
    "ftbridge.evaluation.record": "Comparison Evaluation Figure Leakage Scores",
    "ftbridge.evaluation.report.report": "Report report",
    "ftbridge.evaluation.answers.verify": "same_answers",
    "ftbridge.evaluation.sweep.record": "Point",
    "ftbridge.evaluation.sweep.results": "SeedSummary SweepResults SweepRow",
    "ftbridge.experiments.recipes.recipe": "Recipe",
    "ftbridge.experiments.recipes.run": "RecipeRun StepRun run_recipe",
    "ftbridge.experiments.demo": "Answers demo",
    "ftbridge.experiments.sweep.options": "RandomChoice Span",
    "ftbridge.experiments.sweep.sweep": "sweep",
    "ftbridge.launchers.environment.checklist": "Check",
    "ftbridge.launchers.environment.doctor": "doctor",
    "ftbridge.launchers.environment.setup": "setup",
    "ftbridge.launchers.preview.preview": "Preview PreviewOptions preview",
    "ftbridge.launchers.preview.tokenize": "Tokenization TokenizedPart TokenizeOptions tokenize",
    "ftbridge.launchers.runs.charts.loss_plot": "LossPlot",
    "ftbridge.launchers.runs.prune": "Leftover",
    "ftbridge.launchers.runs.record": "Attempt Run",
    "ftbridge.launchers.runs.summary": "RunSummary",
    "ftbridge.launchers.training.prepare": "Prepared build_only prepare",
    "ftbridge.launchers.training.train": "preflight train",
    "ftbridge.runs": "RunComparison RunDetails",
    "ftbridge.weights.export": "export",
    "ftbridge.weights.merge": "MergeOptions merge",
}
_MODULES = {name: module for module, names in _NAMES.items() for name in names.split()}
__all__ = ["__version__", "datasets", "runs", *_MODULES]  # noqa: PLE0604 - the names are strings


def __getattr__(name: str) -> Any:
    if name in {"datasets", "runs"}:
        return import_module(f"ftbridge.{name}")
    if name not in _MODULES:
        raise AttributeError(f"module 'ftbridge' has no attribute {name!r}")
    return getattr(import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
