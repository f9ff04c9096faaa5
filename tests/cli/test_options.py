"""What the commands' options share: their line in the help, the names of plugins, and what Tab completes."""

import json

import click
import pytest
from click.shell_completion import ShellComplete
from click.testing import CliRunner

from ftbridge.cli import COMMANDS, cli
from ftbridge.cli.options import Command, Group, PluginName, option
from ftbridge.core import plugins
from ftbridge.core.project import Project

from ..builders.runs import record_run  # noqa: TID252


@pytest.fixture(autouse=True)
def project(tmp_path, monkeypatch):
    """Stand in a project with two runs, two datasets and a sweep."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs" / "odd\x1b\nplain,evil").mkdir(parents=True)
    (tmp_path / "runs" / "odd\x1b\nplain,evil" / "run.json").write_text("{}")
    for name in ("20260101-xtuner-faq", "20260102-xtuner-faq"):
        record_run(Project.find(), name)
    (tmp_path / "sweeps" / "sizes").mkdir(parents=True)
    (tmp_path / "sweeps" / "sizes" / "sweep.json").write_text("{}")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "dataset_info.json").write_text('{"药-train": {}, "faq-train": {}}')
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "dataset_info.json").write_text('{"theirs": {}}')
    return tmp_path


def completed(*words, incomplete=""):
    found = ShellComplete(cli, {}, "ftbridge", "_FTBRIDGE_COMPLETE").get_completions(list(words), incomplete)
    return [(item.type, item.value) for item in found]


def plain(*words, incomplete=""):
    return [value for kind, value in completed(*words, incomplete=incomplete) if kind == "plain"]


def test_an_option_has_names_metavar_help_and_default():
    @click.command(cls=Command, headings={"First": "count"}, examples=("x --count 2",))
    @option("-n", "--count", type=int, default=3, help="How many.")
    @option("--rate", type=float, default=2.0, help="How fast.")
    @option("--way", type=click.Choice(["one", "two"]), help="Which.")
    @option("--long/--no-long", default=True, help="Or not.")
    @option("--bare", is_flag=True, help="Yes.")
    @option("--at", show_default="here", default="", help="Where.")
    def command(**_):
        pass

    lines = CliRunner().invoke(command, ["--help"]).output.splitlines()
    assert [" ".join(line.split()) for line in lines[2:]] == [
        "First:",
        "-n, --count N How many. [default: 3]",
        "",
        "Options:",
        "--rate NUMBER How fast. [default: 2]",
        "--way one|two Which.",
        "--long / --no-long Or not. [default: on]",
        "--bare Yes.",
        "--at TEXT Where. [default: here]",
        "--help Show this message and exit.",
        "",
        "Examples:",
        "x --count 2",
    ]


def test_choices_too_long_for_a_metavar_are_in_the_help():
    @click.command(cls=Command)
    @option("--way", type=click.Choice([f"way-number-{at}" for at in range(4)]), help="Which.")
    def command(**_):
        pass

    text = " ".join(CliRunner().invoke(command, ["--help"]).output.split())
    assert "--way NAME Which. One of way-number-0, way-number-1, way-number-2, way-number-3." in text


def test_a_group_has_its_commands_and_examples():
    @click.group(cls=Group, examples=("x list",))
    def group():
        pass

    @group.command("list", examples=("x list --all",))
    def listing():
        """List all."""

    text = CliRunner().invoke(group, ["--help"]).output
    assert "Commands:\n  list  List all.\n\nExamples:\n  x list\n" in text
    assert CliRunner().invoke(group, ["list", "--help"]).output.endswith("Examples:\n  x list --all\n")


@pytest.mark.parametrize("command", ["train", "demo", "preview"])
def test_a_third_partys_backend_is_a_choice_everywhere(command, monkeypatch):
    known = plugins.plugin_names("backends")
    monkeypatch.setattr(plugins, "plugin_names", lambda _: [*known, "theirs"])
    assert plain(command, "--backend") == [*known, "theirs"]
    assert "llamafactory|xtuner|theirs" in CliRunner().invoke(cli, [command, "--help"]).output
    assert PluginName("backends").convert("theirs", None, None) == "theirs"


@pytest.mark.parametrize("command", ["train", "demo", "preview"])
def test_a_backend_that_is_not_there_gets_the_closest(command):
    done = CliRunner().invoke(cli, [command, "--backend", "xtunre"])
    assert done.exit_code == 2
    assert "there is no backend `xtunre`; did you mean `xtuner`?" in done.output


RUNS = ["20260102-xtuner-faq", "20260101-xtuner-faq"]
CHOICES = [*RUNS, "last"]
DATASETS = ["药-train", "faq-train"]


@pytest.mark.parametrize(
    ("words", "incomplete", "names"),
    [
        (["runs", "show"], "", CHOICES),
        (["runs", "compare", RUNS[0]], "20260101", RUNS[1:]),
        (["runs", "stop"], "x", []),
        (["merge"], "", CHOICES),
        (["chat"], "20260102", RUNS[:1]),
        (["train", "--resume"], "", CHOICES),
        (["train", "--dataset"], "", DATASETS),
        (["train", "--dataset"], "药", DATASETS[:1]),
        (["datasets", "remove", "faq-train"], "", DATASETS),
        (["datasets", "show", "--dataset-dir", "other"], "", ["theirs"]),
        (["preview"], "f", DATASETS[1:]),
        (["train", "--template"], "qwen2.", ["qwen2.5"]),
        (["chat", "--template"], "qwen2.", ["qwen2.5"]),
        (["report"], "", [*CHOICES, "sizes"]),
        (["sweep", "show"], "s", ["sizes"]),
        (["presets"], "med", ["medqa"]),
        (["convert", "--preset"], "med", ["medqa"]),
        (["train", "--method"], "q", ["qlora"]),
        (["train"], "--lora-r", ["--lora-rank"]),
        ([], "d", ["doctor", "demo", "datasets"]),
        (["runs"], "s", ["show", "stop"]),
        (["trian"], "", [*COMMANDS]),
    ],
)
def test_argument_is_completed_with_the_known_names(words, incomplete, names, capsys):
    assert plain(*words, incomplete=incomplete) == names
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("words", "kind"),
    [(["merge"], "dir"), (["convert"], "file"), (["train", "--model"], "dir"), (["merge", "--out"], "dir")],
)
def test_folders_and_files_are_left_to_the_shell(words, kind):
    assert completed(*words, incomplete="so")[0] == (kind, "so")


def test_completion_is_silent_and_changes_nothing_whatever_is_wrong(project, capsys, give_away):
    (project / "data" / "dataset_info.json").write_text("{")
    (project / "runs" / "broken").mkdir()
    (project / "runs" / "broken" / "run.json").write_text("{")
    assert plain("datasets", "show") == []
    assert plain("runs", "show")[0] == "broken"
    (project / "ftbridge.yaml").write_text("- nothing")
    before = sorted(project.rglob("*"))
    assert plain("runs", "show") == plain("train", "--dataset") == []
    give_away(project / "ftbridge.yaml")
    assert plain("runs", "show") == plain("train", "--dataset") == []
    assert sorted(project.rglob("*")) == before
    assert capsys.readouterr() == ("", "")


def test_shell_completion_request_is_answered(run_ftbridge, project):
    words = {"COMP_WORDS": "ftbridge runs show", "COMP_CWORD": "3", "_FTBRIDGE_COMPLETE": "bash_complete"}
    done = run_ftbridge(cwd=project, **words)
    assert (done.stdout.splitlines(), done.stderr) == ([f"plain,{name}" for name in CHOICES], "")


def test_json_results_stand_alone_on_stdout(project):
    (project / "faq.jsonl").write_text('{"question": "a", "answer": "b"}\n')
    for words in (
        ["convert", "faq.jsonl", "--name", "new"],
        ["inspect", "faq.jsonl"],
        ["presets"],
        ["datasets", "list"],
    ):
        assert json.loads(CliRunner().invoke(cli, [*words, "--json"]).stdout)
