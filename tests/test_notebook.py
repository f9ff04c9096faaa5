"""ftbridge in notebooks: cells of a real kernel, and the notebook of the examples."""

import re
import sys
from contextlib import suppress
from pathlib import Path

import nbformat
import pytest
from jupyter_client.manager import KernelManager
from nbclient import NotebookClient

from ftbridge.launchers.runs.record import load_run

from .conftest import SMALL

EXAMPLE = Path(__file__).parents[1] / "examples" / "medqa.ipynb"
# Longer than the test takes, so that it ends by the interrupt.
LONG = {**SMALL, "dataset": "medqa", "epochs": 1000, "backend": "llamafactory"}


@pytest.fixture(scope="module")
def kernel(project):
    """Return a kernel in the shared project, as a notebook there would start it."""
    manager = KernelManager(kernel_name="python3")
    manager.start_kernel(cwd=str(project))
    client = manager.client()
    client.start_channels()
    client.wait_for_ready(timeout=120)
    yield manager, client
    client.stop_channels()
    manager.shutdown_kernel(now=True)


def run_cell(client, code):
    """Run a cell to its end and return its last shown data, all printed text, and the error's name, "" for none."""
    shown, text, error = {}, "", ""

    def take(message):
        nonlocal shown, text, error
        content = message["content"]
        shown = content.get("data", shown)
        text += content.get("text", "")
        error = content.get("ename", error)

    client.execute_interactive(code, timeout=600, output_hook=take, stop_on_error=False)
    return shown, text, error


def test_commands_of_a_cell_print_lines_and_ask_nobody(kernel):
    _, client = kernel
    _, text, _ = run_cell(client, f"!{sys.executable} -m ftbridge inspect data/medqa-train.alpaca.jsonl")
    assert "instruction" in text
    assert "\x1b[?25l" not in text  # no bar hides the cursor
    _, text, _ = run_cell(client, f"!{sys.executable} -m ftbridge datasets remove medqa-test")
    assert "nothing was removed" in text
    shown, _, _ = run_cell(client, "import ftbridge\nftbridge.datasets.list()")
    assert ">medqa-train</td>" in shown["text/html"]


@pytest.mark.framework
def test_a_preview_in_a_cell_shows_text_and_histogram(kernel):
    code = 'import ftbridge\nftbridge.preview("medqa", model="base", samples=1, stats=True)'
    shown, _, error = run_cell(kernel[1], code)
    assert not error
    assert '<span style="color: green; text-decoration: underline">' in shown["text/html"]
    assert '<img src="data:image/png;base64,' in shown["text/html"]


@pytest.mark.framework
def test_interrupting_a_cell_ends_its_training(kernel, project):
    """As the button of Jupyter does: the cell's process group gets SIGINT."""
    manager, client = kernel
    message = client.execute(f"import ftbridge\nftbridge.train(**{LONG!r})")
    bar = ""
    while not re.search(r"training [1-9]\d*/\d+  loss \d", bar):
        content = client.get_iopub_msg(timeout=300)["content"]
        assert "ename" not in content, content
        bar = content.get("data", {}).get("text/plain", "")
    assert '<progress value="' in content["data"]["text/html"]
    manager.interrupt_kernel()
    reply = client.get_shell_msg(timeout=120)
    while reply["parent_header"].get("msg_id") != message:
        reply = client.get_shell_msg(timeout=120)
    assert reply["content"]["ename"] == "InterruptedRun"
    run = load_run(max((project / "runs").iterdir(), key=lambda path: path.stat().st_mtime))
    assert run.status == "interrupted"
    shown, _, error = run_cell(client, f"ftbridge.runs.get({run.id!r})")
    assert not error
    assert ">interrupted</td>" in shown["text/html"]
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):  # it has ended
            assert run.id.encode() not in path.read_bytes(), path


def test_the_example_holds_no_outputs():
    for cell in nbformat.read(EXAMPLE, 4).cells:
        assert cell.get("outputs", []) == []
        assert cell.get("execution_count") is None


@pytest.mark.framework
def test_the_example_ends_in_the_right_answer(tmp_path):
    notebook = nbformat.read(EXAMPLE, 4)
    NotebookClient(notebook, timeout=900, resources={"metadata": {"path": str(tmp_path)}}).execute()
    cells = {cell.source.splitlines()[-1]: cell.outputs for cell in notebook.cells if cell.cell_type == "code"}

    def shown(line):
        return cells[line][-1]["data"]

    assert ">medqa-train</td>" in shown("data")["text/html"]
    (bar,) = [each for each in cells["run"] if "progress" in each.get("data", {}).get("text/html", "")]
    assert 'value="100" max="100"' in bar["data"]["text/html"]
    assert ">succeeded</td>" in shown("run")["text/html"]
    assert shown("ftbridge.runs.plot(run)")["image/png"]
    (answer,) = [value for line, value in cells.items() if line.startswith("ftbridge.chat(")]
    assert "Aspirin relieves mild pain" in answer[-1]["data"]["text/plain"]
