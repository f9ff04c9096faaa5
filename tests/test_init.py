"""What a program or a notebook imports: the names, their types, and one shape for all options."""

import ast
import inspect
import os
import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import get_args, get_origin, get_type_hints

import pytest

import ftbridge
from ftbridge.core.project import Project
from ftbridge.launchers.preview.preview import PreviewOptions
from ftbridge.launchers.preview.tokenize import TokenizeOptions
from ftbridge.launchers.training.options import given_options, resolve_train_spec

ROOT = Path(__file__).parents[1]
FUNCTIONS = {
    "inspect", "convert", "presets", "setup", "doctor", "preview", "tokenize", "prepare", "preflight",
    "build_only", "train", "export", "merge", "chat", "chat_sessions", "predict", "evaluate", "report",
    "same_answers", "demo", "run_recipe", "sweep",
}  # fmt: skip
ERRORS = {
    "FtbridgeError", "UsageError", "QuestionError", "InputError", "SetupError", "FrameworkError", "InterruptedRun",
}  # fmt: skip
TYPES = {
    "AnswerOptions", "Answers", "Attempt", "ChatOptions", "ChatSession", "Check", "CheckResult", "Column",
    "Comparison", "Conversation", "Conversion", "Counts", "DatasetDetails", "DatasetSummary", "Evaluation",
    "Evaluations", "Figure", "Leakage", "Leftover", "LossPlot", "MaxRejected", "MergeOptions", "Part", "Point",
    "Predictions", "Prepared", "Preset", "Preview", "PreviewOptions", "Profile", "RandomChoice", "Reading",
    "ReadingOptions", "Recipe", "RecipeRun", "Removed", "Report", "Run", "RunComparison", "RunDetails", "RunSummary",
    "Sampling", "Scores", "SeedSummary", "Span", "Split", "StepRun", "Support", "SweepResults", "SweepRow", "TableRead",
    "Tokenization", "TokenizeOptions", "TokenizedPart", "TrainOptions", "TrainSpec", "Turn",
}  # fmt: skip
OF_RUNS = {"list", "get", "show", "logs", "losses", "plot", "compare", "stop", "prune"}
OF_DATASETS = {"list", "show", "check", "remove", "folder"}
# Objects, and what its command has as `--verify-answers`, `--adapter` (again and again), `--no-check` and `--no-train`.
OF_PYTHON_ALONE = {"callback", "sampling", "check", "adapters", "preflight", "train"}


def test_exported_names_are_those_listed():
    assert set(ftbridge.__all__) == {"__version__", "runs", "datasets", *FUNCTIONS, *ERRORS, *TYPES}
    assert dir(ftbridge) == sorted(ftbridge.__all__)
    assert set(ftbridge.runs.__all__) == OF_RUNS
    assert set(ftbridge.datasets.__all__) == OF_DATASETS


def test_a_type_checker_is_told_the_same_names_from_the_same_modules():
    stub = ast.parse((ROOT / "ftbridge" / "__init__.pyi").read_text(encoding="utf-8"))
    told = {alias.name: each.module for each in stub.body if isinstance(each, ast.ImportFrom) for alias in each.names}
    (listed,) = (ast.literal_eval(each.value) for each in stub.body if isinstance(each, ast.Assign))
    assert sorted(listed) == sorted(ftbridge.__all__)
    assert told == {**ftbridge._MODULES, "runs": "ftbridge", "datasets": "ftbridge"}


def run_python(code):
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="nothing_like_it"):
        _ = ftbridge.nothing_like_it


def test_import_of_ftbridge_loads_no_dependency():
    heavy = ("click", "msgspec", "yaml", "jinja2", "ftbridge.")
    loaded = run_python("import ftbridge, sys; print(*sys.modules)").split()
    assert [name for name in loaded if name.startswith(heavy)] == []


def callables():
    yield from ((name, getattr(import_module(ftbridge._MODULES[name]), name)) for name in FUNCTIONS)
    for module in (ftbridge.runs, ftbridge.datasets):
        yield from ((f"{module.__name__}.{name}", getattr(module, name)) for name in module.__all__)


def classes_in(kind):
    """Yield the classes of ours that an annotation names."""
    if isinstance(kind, type) and get_origin(kind) is None and kind.__module__.startswith("ftbridge."):
        yield kind.__name__
    for part in get_args(kind):
        yield from classes_in(part)


def test_types_of_exported_functions_are_exported_too():
    for name, function in callables():
        hints = get_type_hints(inspect.unwrap(function))
        assert "return" in hints, name
        assert {each for kind in hints.values() for each in classes_in(kind)} <= TYPES, name


def keywords(function):
    """Return the names of a function's options, and those of the typed dicts that it unpacks."""
    function = inspect.unwrap(function)
    parameters = inspect.signature(function).parameters.values()
    names = {each.name for each in parameters if each.kind is each.KEYWORD_ONLY}
    for each in parameters:
        if each.kind is each.VAR_KEYWORD:
            (options,) = get_args(get_type_hints(function)[each.name])
            assert not names & get_type_hints(options).keys()
            names |= get_type_hints(options).keys()
    return names


def typed_options(name):
    """Return the options of a command, as they are typed."""
    parameters = import_module(f"ftbridge.cli.{name}").command.params
    return {text.lstrip("-").replace("-", "_") for each in parameters for text in (*each.opts, *each.secondary_opts)}


@pytest.mark.parametrize(
    "name",
    ["setup", "inspect", "convert", "preview", "tokenize", "train", "export", "merge", "chat", "predict", "demo"],
)
def test_an_option_is_called_as_on_the_command_line(name):
    assert keywords(dict(callables())[name]) - OF_PYTHON_ALONE <= typed_options(name)


def test_sources_are_read_with_the_same_options_everywhere():
    reading = get_type_hints(ftbridge.ReadingOptions).keys()
    assert keywords(dict(callables())["inspect"]) == {*reading, "callback"}
    assert reading <= keywords(dict(callables())["convert"])
    assert keywords(ftbridge.Reading.from_options) == reading
    assert reading <= typed_options("inspect")


def test_preview_options_have_the_types_of_train_options():
    assert get_type_hints(TokenizeOptions).items() <= get_type_hints(ftbridge.TrainOptions).items()
    assert get_type_hints(PreviewOptions).items() <= get_type_hints(ftbridge.TrainOptions).items()


def test_callback_parameter_has_one_name_everywhere():
    parameters = [each for _, function in callables() for each in inspect.signature(function).parameters.values()]
    hooks = [each for each in parameters if "Callable" in str(each.annotation)]
    assert {(each.name, each.kind) for each in hooks} == {("callback", inspect.Parameter.KEYWORD_ONLY)}
    assert len(hooks) == 5


def test_a_training_that_is_left_alone_calls_nobody_back():
    with pytest.raises(ftbridge.UsageError, match="leave `callback` out"):
        ftbridge.train(detach=True, callback=print)


def test_options_may_be_paths_and_numbers_as_python_has_them(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "base").mkdir()
    (tmp_path / "faq.jsonl").write_text('{"question": "q", "answer": "a"}\n')
    ftbridge.convert("faq.jsonl")
    project = Project.find()
    given = {"backend": "xtuner", "model": Path("base"), "dataset_dir": tmp_path / "data", "set": {"a": 1, "b": "1"}}
    spec = resolve_train_spec(project, {**given, "lora_targets": ["q_proj"], "deepspeed": Path("none"), "epochs": 1})
    assert (spec.model, spec.dataset_dir, spec.deepspeed) == ("base", "data", "none")
    assert (spec.set, spec.lora_targets, spec.epochs) == ({"a": "1", "b": "1"}, ("q_proj",), 1)
    assert given_options(project, given)["set"] == spec.set


@pytest.fixture(scope="module")
def as_installed(tmp_path_factory):
    """Return a folder in which ftbridge lies as it is installed: a type checker sees no mapped folders."""
    folder = tmp_path_factory.mktemp("installed")
    package = folder / "ftbridge"
    package.mkdir()
    mapped = (ROOT / top for top in ("adapters", "dataset_info", "launchers", "templates"))
    for path in (*(ROOT / "ftbridge").iterdir(), *mapped):
        (package / path.name).symlink_to(path)
    return folder


def type_check(folder, file, *options):
    argv = [sys.executable, "-m", "mypy", "--config-file=", "--strict", "--follow-imports=silent", *options, str(file)]
    env = {**os.environ, "MYPYPATH": str(folder)}
    return subprocess.run(argv, env=env, cwd=folder, capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_a_users_program_is_typed_throughout(as_installed):
    done = type_check(as_installed, ROOT / "tests" / "user_program.py", "--disallow-any-expr")
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
def test_python_examples_of_the_docs_pass_strict_typing(as_installed):
    text = (ROOT / "docs" / "python.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    file = as_installed / "docs.py"
    file.write_text("\n".join(["questions: list[str] = []", *blocks]))
    assert len(blocks) == 5
    done = type_check(as_installed, file, "--disallow-any-expr")
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
def test_a_users_mistakes_are_found_before_the_program_runs(as_installed):
    mistakes = {
        "ftbridge.train(learning_rat=1e-4)": 'did you mean "learning_rate"',
        'ftbridge.train(method="lorra")': "Literal['qlora', 'lora', 'full']",
        "ftbridge.prepare(seed=None)": 'expected "int"',
        'ftbridge.convert("a.csv", shet="Q")': 'did you mean "sheet"',
        'ftbridge.inspect("a.csv", header_row="first")': 'expected "int | None"',
        "ftbridge.preview(lora_rank=8)": 'Unexpected keyword argument "lora_rank"',
        'ftbridge.merge(shard_size="5GB")': 'expected "int"',
        'ftbridge.chat("run", "hello", callback="print")': '"callback" to "chat" has incompatible type',
        "ftbridge.runs.list().status": 'has no attribute "status"',
        'ftbridge.datasets.remove("faq", yes=True)': 'Unexpected keyword argument "yes"',
        "ftbridge.nothing_like_it": 'Module has no attribute "nothing_like_it"',
    }
    file = as_installed / "mistakes.py"
    file.write_text("\n".join(["import ftbridge", *mistakes]))
    said = [line for line in type_check(as_installed, file).stdout.splitlines() if ": error: " in line]
    for number, (found, words) in enumerate(zip(said, mistakes.values(), strict=True), 2):
        assert found.startswith(f"mistakes.py:{number}: ")
        assert words in found
