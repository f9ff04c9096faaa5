"""The tree as a whole: what is installed, what mirrors what, what the README says."""

import ast
import os
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

from ftbridge.core.plugins import REQUIRED, Backend
from ftbridge.dataset_info import self_cognition
from ftbridge.experiments.demo import SETTINGS, base_model
from ftbridge.launchers.environment.venv import LOCK_NAMES
from ftbridge.launchers.environment.venv import pinned_versions as pinned

ROOT = Path(__file__).parents[1]
MAPPED = ("adapters", "dataset_info", "templates", "launchers")
# What looks as if such an import were there; only that is parsed, as it costs time.
IMPORTS_MAPPED = re.compile(rf"^\s*(from|import)\b.*(?<![.\w])({'|'.join(MAPPED)})\b", re.MULTILINE)
IMPORTS_A_TEST = re.compile(
    r"^\s*(from\s+\S*\btest_|(from\s+\S+\s+)?import\s.*\btest_|from\s+\S+\s+import\s*\([^)]*\btest_)", re.MULTILINE
)
# The scripts run in the training environment; trainings, downloads and the doctor's tests run them.
SOURCES = [
    path
    for top in ("ftbridge", *MAPPED)
    for path in sorted((ROOT / top).rglob("*.py"))
    if path.name not in {"__init__.py", "__main__.py"} and "scripts" not in path.parts
]


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_module_has_its_test_file(source):
    relative = source.relative_to(ROOT)
    parts = relative.parts[1:] if relative.parts[0] == "ftbridge" else relative.parts
    assert ROOT.joinpath("tests", *parts[:-1], f"test_{parts[-1]}").is_file()


def test_mapped_folders_are_never_imported_by_their_bare_name():
    for file in [*ROOT.glob("ftbridge/**/*.py"), *(f for top in MAPPED for f in ROOT.glob(f"{top}/**/*.py"))]:
        text = file.read_text(encoding="utf-8")
        for node in ast.walk(ast.parse(text)) if IMPORTS_MAPPED.search(text) else ():
            modules = [node.module or ""] if isinstance(node, ast.ImportFrom) and not node.level else []
            modules += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            assert not [module for module in modules if module.partition(".")[0] in MAPPED], file


def test_no_test_module_imports_another():
    """What several share stands in tests/builders, or in the conftest.py of their folder."""
    for file in (ROOT / "tests").rglob("*.py"):
        text = file.read_text(encoding="utf-8")
        for node in ast.walk(ast.parse(text)) if IMPORTS_A_TEST.search(text) else ():
            modules = (
                [node.module or "", *(alias.name for alias in node.names)] if isinstance(node, ast.ImportFrom) else []
            )
            modules += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            assert not [name for each in modules for name in each.split(".") if name.startswith("test_")], file


def test_a_backends_name_stands_in_its_own_module_alone():
    """Whoever compares names decides for the backends that are known today; `Backend` has a member to ask instead."""
    own = {"launchers/backends/xtuner.py", "launchers/backends/llamafactory.py"}
    # The format that is called as XTuner is, the demo, configs of the frameworks' own, and other names of theirs.
    own |= {"dataset_info/names.py", "ftbridge/experiments/demo.py", "ftbridge/core/parsing/suggestions.py"}
    own |= {f"launchers/backends/other_configs/{name}.py" for name in ("llamafactory", "xtuner")}
    names, found = {"xtuner", "llamafactory"}, set()
    for file in [file for top in ("ftbridge", *MAPPED) for file in (ROOT / top).rglob("*.py")]:
        text = file.read_text(encoding="utf-8")
        if any(name in text for name in names):  # few: it is costly to parse them all
            constants = {node.value for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Constant)}
            found |= {file.relative_to(ROOT).as_posix()} if names & constants else set()
    assert found == own


def test_a_folder_has_at_most_nine_modules_and_folders():
    """Commands and scripts may be more: one file each. Of ftbridge itself the layers are counted by import-linter."""
    folders = [folder for top in ("ftbridge", *MAPPED) for folder in (ROOT / top, *(ROOT / top).rglob("*/"))]
    for folder in folders:
        things = [*folder.glob("[!_]*.py"), *(path.parent for path in folder.glob("*/__init__.py"))]
        assert len(things) <= 9 or folder.name in {"cli", "scripts"} or folder == ROOT / "ftbridge", folder


def test_the_table_of_folders_is_the_order_of_the_floors():
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"][
        "contracts"
    ]
    floors = [name for layer in contracts[0]["layers"] for name in layer.split(" | ") if name.isidentifier()]
    table = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8").partition("|---|")[2].partition("\n\n")[0]
    folders = re.findall(r"^\| `(?:ftbridge/)?(\w+)(?:/|\.py)` \|", table, re.MULTILINE)
    assert folders == [name for name in floors if name != "__main__"]


@pytest.mark.slow
def test_the_wheel_holds_ftbridge_alone(tmp_path):
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", tmp_path, ROOT]
    subprocess.run(build, check=True)
    (wheel,) = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.partition("/")[0].partition("-")[0] for name in names} == {"ftbridge"}
    for needed in (
        "ftbridge/__init__.pyi",
        "ftbridge/py.typed",
        "ftbridge/dataset_info/phrases/self-cognition-zh.yaml",
        "ftbridge/dataset_info/presets/medqa.yaml",
        "ftbridge/dataset_info/samples/medqa.xlsx",
        "ftbridge/launchers/scripts/run_backend.py",
        "ftbridge/launchers/training.lock",
        "ftbridge/launchers/training-transformers4.lock",
        "ftbridge/templates/deepspeed/zero2.json",
        "ftbridge/templates/families.yaml",
        "ftbridge/templates/xtuner.py.j2",
    ):
        assert needed in names


@pytest.mark.parametrize(("environment", "name"), LOCK_NAMES.items())
def test_a_lock_pins_what_is_asked_for(environment, name):
    wanted = (ROOT / "launchers" / f"{name}.in").read_text(encoding="utf-8").splitlines()
    for requirement in (line for line in wanted if not line.startswith("#")):
        package = re.match(r"[\w-]+", requirement)[0]
        assert package in pinned(environment)
        if "==" in requirement:
            assert pinned(environment)[package] == requirement.partition("==")[2]


@pytest.mark.slow
def test_help_costs_little_more_than_click():
    """The budget is 40 ms over `import click`: of the processor's time, as a shared machine takes its own of ours.

    The best of several, in turns; the whole process counts, what it does after its imports as well.
    """

    def cost(*arguments):
        env = {**os.environ, "PYTHONDONTWRITEBYTECODE": ""}  # or ours would be compiled each time, click's would not
        with subprocess.Popen([sys.executable, *arguments], env=env, stdout=subprocess.DEVNULL) as child:
            _, status, used = os.wait4(child.pid, 0)
            child.returncode = os.waitstatus_to_exitcode(status)
        assert child.returncode == 0
        return used.ru_utime + used.ru_stime

    runs = [(cost("-m", "ftbridge", "--help"), cost("-c", "import click")) for _ in range(7)]
    ours, clicks = (min(column) for column in zip(*runs, strict=True))
    assert ours - clicks < 0.040


def typed(folder, *blocks, **env):
    """Run lines of a page as they stand; returns what they print."""
    env = {**os.environ, **env, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    script = "\n".join(["set -e", *blocks])
    done = subprocess.run(["bash", "-c", script], cwd=folder, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def quick_start(readme):
    """Return the blocks of a README that are typed first."""
    text = (ROOT / readme).read_text(encoding="utf-8")
    return re.findall(r"<!-- quick start.*?-->\s*```bash\n(.*?)```", text, re.DOTALL)


def test_the_quick_start_is_the_same_in_both_languages():
    assert len(quick_start("README.md")) == 2
    assert quick_start("README.zh-CN.md") == quick_start("README.md")


@pytest.mark.framework
@pytest.mark.matrix
def test_the_quick_start_ends_in_the_right_answer_on_both_frameworks(tmp_path):
    prepare, lines = quick_start("README.md")
    merge, chat = lines.splitlines()[2:4]
    said = typed(tmp_path, prepare, lines, merge, chat)
    assert said.splitlines().count("Aspirin relieves mild pain and lowers fever.") == 2, said
    assert len(list(tmp_path.glob("*/runs/*/merged/model.safetensors"))) == 2


@pytest.mark.matrix
def test_the_tutorials_homework_runs_as_it_stands(tmp_path, training_python):
    """A small model with random weights learns its name, with settings with which it can."""
    text = (ROOT / "docs" / "tutorial.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"<!-- homework -->\s*```bash\n(.*?)```", text, re.DOTALL)
    made = [row.values() for row in self_cognition.rows("小青", "Ada")]
    base_model(tmp_path / "base", training_python, [str(value) for values in made for value in values])
    settings = {**SETTINGS, "epochs": 3, "max_steps": 100, "micro_batch_size": 16}
    (tmp_path / "ftbridge.yaml").write_text("".join(f"{key}: {value}\n" for key, value in settings.items()))
    said = typed(tmp_path, block, MODEL="base")
    assert "小青" in said.splitlines()[-1], said


def test_the_files_that_the_architecture_names_are_there():
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    named = [name for name in re.findall(r"`((?:[a-z_]+/)+[\w.]*)`", text) if name != "runs/"]
    assert len(named) > 50
    assert [name for name in named if not (ROOT / name).exists() and not (ROOT / "ftbridge" / name).exists()] == []


def test_the_page_of_plugins_shows_the_packages_of_the_tests_as_they_are():
    page = (ROOT / "docs" / "plugins.md").read_text(encoding="utf-8")
    blocks = dict(re.findall(r"<!-- (\S+) -->\n```\w+\n(.*?)```", page, re.DOTALL))
    files = {
        file.relative_to(ROOT).as_posix(): file.read_text(encoding="utf-8")
        for package in ("plain_backend", "small_plugins")
        for file in (ROOT / "tests" / package).rglob("*.*")
        if file.is_file() and file.suffix != ".pyc"
    }
    assert files.pop("tests/small_plugins/ftbridge_small/__init__.py").count("\n") == 1  # a docstring alone
    assert blocks == files


def test_the_page_of_plugins_names_all_that_a_backend_may_leave_out():
    page = (ROOT / "docs" / "plugins.md").read_text(encoding="utf-8")
    named = re.findall(r"^\| `(\w+)` \|", page.partition("may leave out")[2], re.MULTILINE)
    members = {name for name in {*vars(Backend), *Backend.__annotations__} if not name.startswith("_")}
    assert set(named) == members - {"name", *REQUIRED}


@pytest.mark.parametrize("page", ["pains.md", "security.md"])
def test_every_row_of_the_docs_names_a_test_that_is_there(page):
    lines = (ROOT / "docs" / page).read_text(encoding="utf-8").splitlines()
    rows = [line for line in lines if "test_" in line]
    named = [re.findall(r"`(test_\w+\.py)(?:::(test_\w+))?`", row) for row in rows if row.startswith("| ")]
    assert all(named)
    for file, test in {each for row in named for each in row}:
        found = [path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob(file)]
        assert any(f"def {test}" in text for text in found), (file, test)


@pytest.mark.parametrize("readme", ["README.md", "README.zh-CN.md"])
def test_a_readme_is_short_and_its_links_lead_somewhere(readme):
    text = (ROOT / readme).read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 130
    links = re.findall(r"\]\((?!https?:)([^)#]+)", text)
    assert len(links) > 15
    assert [link for link in links if not (ROOT / link).exists()] == []


@pytest.mark.parametrize("page", [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")], ids=lambda page: page.name)
def test_a_page_has_no_line_over_120_letters_but_in_tables(page):
    lines = page.read_text(encoding="utf-8").splitlines()
    assert [line for line in lines if len(line) > 120 and not line.startswith("|")] == []


def anchors(page):
    """Return what a link into a page may end with: its headings, as GitHub writes them."""
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")], ids=lambda page: page.name)
def test_the_links_of_a_page_lead_to_a_file_and_a_heading(page):
    text = re.sub(r"```.*?```|`[^`\n]*`", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    for file, _, heading in (link.partition("#") for link in re.findall(r"\]\((?!https?:)([^)\s]+)\)", text)):
        target = page.parent / file if file else page
        assert target.exists(), file
        assert not heading or heading in anchors(target), f"{file}#{heading}"


def test_a_reader_finds_every_page_from_the_readme():
    named = re.findall(r"\]\(docs/([\w./-]+\.md)", (ROOT / "README.md").read_text(encoding="utf-8"))
    seen, pages = set(), [ROOT / "docs" / name for name in named]
    while pages:
        page = pages.pop().resolve()
        if page not in seen:
            seen.add(page)
            links = re.findall(r"\]\((?!https?:)([\w./-]+\.md)", page.read_text(encoding="utf-8"))
            pages += [page.parent / link for link in links]
    assert {page.resolve() for page in ROOT.glob("docs/*.md")} <= seen


@pytest.mark.parametrize("page", [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")], ids=lambda page: page.name)
def test_what_a_page_tells_to_run_is_there(page):
    text = page.read_text(encoding="utf-8")
    modules = [name.replace(".", "/") for name in re.findall(r"python -m ((?:tests|ftbridge)\.[\w.]+)", text)]
    scripts = re.findall(r"\bbenchmarks/\w+\.\w+", text)
    assert [name for name in modules if not (ROOT / f"{name}.py").is_file()] == []
    assert [name for name in scripts if not (ROOT / name).is_file()] == []
    targets = re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    assert {*re.findall(r"`make ([a-z]+)", text)} <= {*targets}
