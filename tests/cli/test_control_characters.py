"""Whatever data, files, models and options hold: no byte of it is obeyed by a terminal, in no command."""

import ast
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import ftbridge
from ftbridge.core.project import Project

from ..builders.environments import make_model  # noqa: TID252
from ..builders.keyboard import terminal  # noqa: TID252
from ..builders.runs import loss_records, record_run  # noqa: TID252

ROOT = Path(__file__).parents[2]
# Writes a clipboard, colours as nothing of ours does, begins a sequence in one byte, goes back, turns the direction.
HOSTILE = "\x1b]52;c;aGk=\x07\x1b[38;5;201m\x9b31mé\x7f\b\r\u202ex"
SHOWN = r"\x1b]52;c;aGk=\x07\x1b[38;5;201m\x9b31mé\x7f\x08\r"
ENTRY, RUN, OTHER = f"entry{HOSTILE}", f"run{HOSTILE}", "other"
# Stands for the training environment: its scripts answer, or fail, with what is hostile, an escape in two pieces.
FAKE = """
import json, sys
hostile = {hostile!a}
helper = sys.argv[1].rpartition("/")[2]
spec = json.loads(sys.argv[2])
def write(**record):
    print(json.dumps(record), flush=True)
if helper == "generate.py":
    write(ready=True)
    for line in sys.stdin:
        request = json.loads(line)
        if "interrupt" in request:
            continue
        number = request["number"]
        for index, _ in enumerate(request.get("prompts", ())):
            write(number=number, index=index, text=hostile, finish="stop")
        if "segments" in request:
            for text in (hostile[:1], hostile[1:]):
                write(number=number, text=text)
        write(number=number, end="length")
elif helper == "encode_samples.py" and "good" in sys.argv[2]:
    stretch = {{"text": hostile, "trained": True}}
    labels = [7] if "xtuner" in spec["script"] else [-100]
    write(samples=[dict(ids=[7], labels=labels, tokens=[hostile], text=[stretch], length=1, answer_tokens=1, cut="")])
else:
    sys.exit(f"{{helper}} {{hostile}}")
"""
# Runs each of the commands, with a line of its own behind it.
RUN_ALL = """
import json, os, sys
from ftbridge import cli
hostile = os.environ.pop("CUDA_VISIBLE_DEVICES")
os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
for arguments in json.loads(os.environ["COMMANDS"]):
    sys.argv = ["ftbridge", *arguments]
    if arguments[0] == "doctor":
        os.environ["CUDA_VISIBLE_DEVICES"] = hostile
    try:
        cli.main()
    except SystemExit as ended:
        code = ended.code
    sys.stdout.flush()
    os.write(1, f"\\n==== {code}\\n".encode())
"""
# By what they are called here: the arguments, and the exit code.
NATIVE = ["--tokens", "native", "--template", "qwen2.5"]
TRAIN = ["train", "--backend", "xtuner", "--model", f"model{HOSTILE}", *NATIVE, "--dataset", ENTRY]
COMMANDS = {
    "inspect": (["inspect", f"cells{HOSTILE}.jsonl"], 0),
    "inspect, a damaged file": (["inspect", f"bad{HOSTILE}.json"], 3),
    "inspect --encoding": (["inspect", f"cells{HOSTILE}.jsonl", "--encoding", HOSTILE], 2),
    "convert": (
        ["convert", f"cells{HOSTILE}.jsonl", "--explain", "--map", f"output=a{HOSTILE}", "--map", f"input=q{HOSTILE}"],
        0,
    ),
    "convert, rows that are no good": (["convert", f"rows{HOSTILE}.jsonl", "--name", "rows"], 3),
    "convert, a question": (["convert", f"question{HOSTILE}.jsonl", "--name", "question"], 2),
    "convert, no such file": (["convert", f"none{HOSTILE}.csv"], 3),
    "convert --map": (["convert", f"cells{HOSTILE}.jsonl", "--map", f"input={HOSTILE}"], 2),
    "convert --label-map": (["convert", "good.jsonl", "--label-map", f"label{HOSTILE}.yaml"], 3),
    "convert --instruction": (["convert", "good.jsonl", "--instruction", "{{" + HOSTILE], 2),
    "convert --name": (["convert", "good.jsonl", "--name", HOSTILE], 2),
    "datasets list": (["datasets", "list"], 0),
    "datasets list --json": (["datasets", "list", "--json"], 0),
    "datasets show": (["datasets", "show", ENTRY], 0),
    "datasets show --json": (["datasets", "show", ENTRY, "--json"], 0),
    "datasets show, none": (["datasets", "show", HOSTILE], 3),
    "datasets check": (["datasets", "check"], 3),
    "datasets remove, asked": (["datasets", "remove", f"gone{HOSTILE}"], 2),
    "datasets remove": (["datasets", "remove", f"gone{HOSTILE}", "--yes"], 0),
    "presets": (["presets", HOSTILE], 2),
    "preview": (["preview", "good", "--model", f"model{HOSTILE}", *NATIVE], 0),
    "preview, a helper that fails": (["preview", ENTRY, "--model", f"model{HOSTILE}", *NATIVE], 4),
    "train --dry-run": ([*TRAIN, "--dry-run"], 2),
    "train --model": (["train", "--backend", "xtuner", "--model", HOSTILE], 3),
    "train --config": (["train", "--config", f"label{HOSTILE}.yaml"], 3),
    "train --set": ([*TRAIN, "--set", f"{HOSTILE}=1", "--dry-run"], 2),
    "train --method": (["train", "--method", HOSTILE], 2),
    "runs list": (["runs", "list"], 0),
    "runs show": (["runs", "show", RUN], 0),
    "runs show --json": (["runs", "show", RUN, "--json"], 0),
    "runs logs": (["runs", "logs", RUN], 0),
    "runs logs -f": (["runs", "logs", "--follow", RUN], 0),
    "runs compare": (["runs", "compare", RUN, OTHER], 0),
    "runs plot": (["runs", "plot", RUN], 0),
    "runs stop": (["runs", "stop", RUN], 2),
    "runs prune": (["runs", "prune"], 2),
    "export": (["export", RUN], 3),
    "merge": (["merge", f"model{HOSTILE}", "--out", f"out{HOSTILE}"], 3),
    "merge --adapter": (["merge", "--adapter", f"a={HOSTILE}"], 2),
    "chat": (["chat", f"model{HOSTILE}", "--prompt", "hi", "--bot-name", "bot\x1b[2J"], 0),
    "chat, none": (["chat", HOSTILE, "--prompt", "hi"], 3),
    "predict": (["predict", f"model{HOSTILE}", "--dataset", "good", "--out", f"out{HOSTILE}", "--replace"], 0),
    "doctor": (["doctor"], 4),
    "doctor --json": (["doctor", "--json"], 4),
    "demo --keep": (["demo", "--keep", f"model{HOSTILE}"], 2),
    "no such command": ([HOSTILE], 2),
    "no such option": (["convert", f"--{HOSTILE}"], 2),
    "one argument too many": (["setup", HOSTILE], 2),
}


def make_project(folder):
    """Make a project all of whose names, cells, logs and models are hostile."""
    row = {f"q{HOSTILE}": f"question{HOSTILE}", f"a{HOSTILE}": f"answer{HOSTILE}"}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        lines = [{"instruction": f"Sort{HOSTILE}", "output": f"A{HOSTILE}"}, {"instruction": "b", "output": "c"}]
        write("good.jsonl", *lines)
        ftbridge.convert("good.jsonl")
        write(f"cells{HOSTILE}.jsonl", row, {**row, f"q{HOSTILE}": "another"})
        write(f"rows{HOSTILE}.jsonl", *lines, {"instruction": f"a{HOSTILE}", "output": [HOSTILE]})
        write(f"question{HOSTILE}.jsonl", {"instruction": f"a{HOSTILE}", "output": [HOSTILE]})
        Path(f"bad{HOSTILE}.json").write_text(f'[{{"{HOSTILE.encode("unicode_escape")!a}": }}]', encoding="utf-8")
        Path(f"label{HOSTILE}.yaml").write_text('"x\\x1b[31m": [\n', encoding="utf-8")
        info = json.loads(Path("data/dataset_info.json").read_text(encoding="utf-8"))
        write(f"data/cells{HOSTILE}.json", {"instruction": f"i{HOSTILE}", "output": f"o{HOSTILE}"})
        columns = {"prompt": "instruction", "response": "output"}
        info[ENTRY] = {"file_name": f"cells{HOSTILE}.json", "columns": columns}
        info[f"gone{HOSTILE}"] = {"file_name": f"none{HOSTILE}.json", "columns": {HOSTILE: HOSTILE}}
        Path("data/dataset_info.json").write_text(json.dumps(info), encoding="utf-8")
        project = Project.find()
        options = {"model": f"base{HOSTILE}", "dataset": f"faq{HOSTILE}"}
        run = record_run(project, RUN, metrics=loss_records(3, 2, 1), **options)
        record_run(project, OTHER, metrics=loss_records(3, 2, 1))
        record_run(project, f"failed{HOSTILE}", "failed", **options)
        log = f"\x1b[32mok\x1b[0m\r 50%\r100%\x1b[A\n{HOSTILE}".encode() + b"\xff\x9b31m\n"
        (run.path / "log.txt").write_bytes(log)
        make_model(folder / f"model{HOSTILE}", FAKE.format(hostile=HOSTILE), system=HOSTILE, several_systems=True)


def write(name, *rows):
    Path(name).write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


@pytest.fixture(scope="module", params=["pipe", "terminal"])
def outputs(request, tmp_path_factory):
    """Return what each command shows, and its exit code; in a pipe, or on a terminal with colours and bars."""
    folder = tmp_path_factory.mktemp("project")
    make_project(folder)
    commands = json.dumps([arguments for arguments, _ in COMMANDS.values()])
    env = {"COMMANDS": commands, "CUDA_VISIBLE_DEVICES": HOSTILE, "PYTHONUTF8": "1", "COLUMNS": "200"}
    env |= {
        "XDG_DATA_HOME": str(folder),
        "HF_ENDPOINT": f"http://127.0.0.1:9/{HOSTILE}",
        "MODELSCOPE_ENDPOINT": f"{HOSTILE}",
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        if request.param == "pipe":
            env = {**os.environ, **env, "NO_COLOR": "1", "FORCE_COLOR": ""}
            argv = [sys.executable, "-c", RUN_ALL]
            done = subprocess.run(argv, env=env, stdout=-1, stderr=subprocess.STDOUT, check=False)
            raw = done.stdout
        else:
            with terminal("-c", RUN_ALL, columns=200, **env) as screen:
                assert screen.end() == 0
                raw = screen.shown
    shown = re.split(rb"\r?\n==== (\d+)\r?\n", raw)[:-1]
    assert len(shown) == 2 * len(COMMANDS), raw[-2000:]
    return request.param, {
        name: (text.decode("utf-8", "surrogateescape"), int(code))
        for name, text, code in zip(COMMANDS, shown[::2], shown[1::2], strict=True)
    }


@pytest.mark.slow
@pytest.mark.parametrize("name", COMMANDS)
def test_control_characters_of_data_are_never_printed_raw(outputs, name):
    where, found = outputs
    text, code = found[name]
    assert code == COMMANDS[name][1], text
    assert r"\x1b" in text or r"\u001b" in text
    assert "\u202e" not in text or name in {"chat", "datasets show", "preview"}
    if where == "terminal":
        text = text.replace("\r\n", "\n")
        # What rich writes for its bars and colours; the colour in HOSTILE is none of them.
        text = re.sub(r"\x1b\[(?:[0-9]{1,2}(?:;[0-9]{1,2})*m|\?25[lh]|2K|1A)|\r(?=\x1b\[(?:2K|1A))", "", text)
    if "logs" in name or (where, name) == ("pipe", "chat"):
        text = text.replace("\r", "")
    left = re.findall(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", text)
    assert not left, (left, text)


# Who may write past core/console.py, and to whom.
ALLOWED = {
    "ftbridge/core/console/__init__.py",  # the one place
    "adapters/sources/workbook/reader.py",  # a child, to its parent
    "ftbridge/core/process/guard.py",  # to the log of a run
    "templates/render_chat_template.py",  # a child, to its parent
}
TOLD = re.compile(r"print\(|click\.s?echo|sys\.(__)?std(out|err)(__)?\.(buffer|write)|os\.write\([12],")
# A text without any of these is not parsed, which is what costs time.
SUSPECT = re.compile(r"print\(|echo|sys\.(__)?std|os\.write\(|(Progress|Live|Status|track)\(|\brich\b")
# What rich prints through; "console" says that it is given one of ours.
RICH = {"Progress", "Live", "Status", "track"}


def bypasses(text):
    """Return what prints past core/console.py in a module."""
    if not SUSPECT.search(text):
        return []
    tree = ast.parse(text)
    guarded = {
        id(node)
        for block in ast.walk(tree)
        if isinstance(block, ast.If) and ast.unparse(block.test) == "TYPE_CHECKING"
        for node in ast.walk(block)
    }
    found = []
    for node in ast.walk(tree):
        text = ast.unparse(node) if isinstance(node, ast.Call | ast.Attribute) else ""
        called = ast.unparse(node.func) if isinstance(node, ast.Call) else ""
        if TOLD.match(text) or (called in RICH and "console" not in {each.arg for each in node.keywords}):
            found.append(text)
        if isinstance(node, ast.ImportFrom) and id(node) not in guarded:
            names = {f"{node.module}.{each.name}" for each in node.names}
            found += names & {"rich.console.Console", "rich.print", "rich.get_console", "click.echo", "click.secho"}
    return found


def test_modules_print_through_the_console_alone():
    tops = ("ftbridge", "adapters", "dataset_info", "launchers", "templates")
    files = [file for top in tops for file in (ROOT / top).rglob("*.py") if "scripts" not in file.parts]
    found = {str(file.relative_to(ROOT)): bypasses(file.read_text(encoding="utf-8")) for file in files}
    assert {name for name, each in found.items() if each} == ALLOWED


@pytest.mark.parametrize(
    "line",
    [
        "print('x')",
        "click.secho('x')",
        "from click import echo",
        "sys.stderr.write('x')",
        "write = sys.stdout.buffer.write",
        "os.write(1, b'x')",
        "from rich.console import Console",
        "Progress()",
        "for x in track(y, 'z'): pass",
    ],
)
def test_a_line_that_prints_past_the_console_is_found(line):
    assert bypasses(line)
