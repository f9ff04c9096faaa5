from ftbridge import datasets, runs
from ftbridge.adapters.convert.options import MaxRejected, Split
from ftbridge.adapters.convert.pipeline import convert
from ftbridge.adapters.convert.result import Conversion, Part, TableRead
from ftbridge.adapters.convert.selection import Counts
from ftbridge.adapters.inspect import Column, Profile, inspect
from ftbridge.adapters.registered.check import CheckResult, Support
from ftbridge.core.errors import (
    FrameworkError,
    FtbridgeError,
    InputError,
    InterruptedRun,
    QuestionError,
    SetupError,
    UsageError,
)
from ftbridge.core.records import Conversation, Reading, ReadingOptions, Turn
from ftbridge.core.train_spec import TrainOptions, TrainSpec
from ftbridge.dataset_info.listing import DatasetSummary
from ftbridge.dataset_info.presets import Preset, presets
from ftbridge.dataset_info.registry import Removed
from ftbridge.datasets import DatasetDetails
from ftbridge.dialogue.chat import ChatOptions, ChatSession, chat, chat_sessions
from ftbridge.dialogue.generation import Sampling
from ftbridge.evaluation.answers.asking import AnswerOptions
from ftbridge.evaluation.answers.verify import same_answers
from ftbridge.evaluation.evaluate import Evaluations, evaluate
from ftbridge.evaluation.predict import Predictions, predict
from ftbridge.evaluation.record import Comparison, Evaluation, Figure, Leakage, Scores
from ftbridge.evaluation.report.report import Report, report
from ftbridge.evaluation.sweep.record import Point
from ftbridge.evaluation.sweep.results import SeedSummary, SweepResults, SweepRow
from ftbridge.experiments.demo import Answers, demo
from ftbridge.experiments.recipes.recipe import Recipe
from ftbridge.experiments.recipes.run import RecipeRun, StepRun, run_recipe
from ftbridge.experiments.sweep.options import RandomChoice, Span
from ftbridge.experiments.sweep.sweep import sweep
from ftbridge.launchers.environment.checklist import Check
from ftbridge.launchers.environment.doctor import doctor
from ftbridge.launchers.environment.setup import setup
from ftbridge.launchers.preview.preview import Preview, PreviewOptions, preview
from ftbridge.launchers.preview.tokenize import Tokenization, TokenizedPart, TokenizeOptions, tokenize
from ftbridge.launchers.runs.charts.loss_plot import LossPlot
from ftbridge.launchers.runs.prune import Leftover
from ftbridge.launchers.runs.record import Attempt, Run
from ftbridge.launchers.runs.summary import RunSummary
from ftbridge.launchers.training.prepare import Prepared, build_only, prepare
from ftbridge.launchers.training.train import preflight, train
from ftbridge.runs import RunComparison, RunDetails
from ftbridge.weights.export import export
from ftbridge.weights.merge import MergeOptions, merge

__all__ = [
    "AnswerOptions",
    "Answers",
    "Attempt",
    "ChatOptions",
    "ChatSession",
    "Check",
    "CheckResult",
    "Column",
    "Comparison",
    "Conversation",
    "Conversion",
    "Counts",
    "DatasetDetails",
    "DatasetSummary",
    "Evaluation",
    "Evaluations",
    "Figure",
    "FrameworkError",
    "FtbridgeError",
    "InputError",
    "InterruptedRun",
    "Leakage",
    "Leftover",
    "LossPlot",
    "MaxRejected",
    "MergeOptions",
    "Part",
    "Point",
    "Predictions",
    "Prepared",
    "Preset",
    "Preview",
    "PreviewOptions",
    "Profile",
    "QuestionError",
    "RandomChoice",
    "Reading",
    "ReadingOptions",
    "Recipe",
    "RecipeRun",
    "Removed",
    "Report",
    "Run",
    "RunComparison",
    "RunDetails",
    "RunSummary",
    "Sampling",
    "Scores",
    "SeedSummary",
    "SetupError",
    "Span",
    "Split",
    "StepRun",
    "Support",
    "SweepResults",
    "SweepRow",
    "TableRead",
    "Tokenization",
    "TokenizeOptions",
    "TokenizedPart",
    "TrainOptions",
    "TrainSpec",
    "Turn",
    "UsageError",
    "__version__",
    "build_only",
    "chat",
    "chat_sessions",
    "convert",
    "datasets",
    "demo",
    "doctor",
    "evaluate",
    "export",
    "inspect",
    "merge",
    "predict",
    "preflight",
    "prepare",
    "presets",
    "preview",
    "report",
    "run_recipe",
    "runs",
    "same_answers",
    "setup",
    "sweep",
    "tokenize",
    "train",
]

__version__: str
