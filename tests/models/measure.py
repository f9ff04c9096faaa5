"""Train, export, merge and ask the classes of classes.yaml on both frameworks, and write the table of docs/models.md.

`measure.py [CLASS ...] [--backend NAME] [--folder DIR] [--docs FILE] [--go-on]`: all classes where none is named.
Results are written into DIR/results.json as they come, beside those of earlier calls, which `--go-on` does not measure
again; with `--docs` the rows of the table are written there. Ends with 1 where a class that should run does not, or one
that should be refused is not.
"""

import argparse
import contextlib
import math
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import msgspec
import yaml

import ftbridge
from ftbridge.core.errors import FrameworkError, FtbridgeError, InterruptedRun
from ftbridge.core.files.atomic import json_lines, write_atomic, write_json
from ftbridge.launchers.environment.venv import default_folder
from ftbridge.launchers.preflight.tokens import packing_table
from ftbridge.launchers.runs.record import Run
from ftbridge.launchers.runs.training_log import LOG_FILE

HERE = Path(__file__).parent
SAMPLE = HERE.parents[1] / "dataset_info" / "samples" / "medqa.xlsx"
PYTHON = default_folder() / "bin" / "python"
BACKENDS = {"xtuner": "XTuner", "llamafactory": "LLaMA-Factory"}
BEGIN, END = "<!-- begin: made by `make models` -->", "<!-- end -->"
# A high rate, or what three steps change is lost when it is rounded to bfloat16.
SETTINGS: dict[str, Any] = {
    "dataset": "medqa",
    "device": "cpu",
    "lora_rank": 8,
    "learning_rate": 1e-2,
    "max_steps": 3,
    "micro_batch_size": 2,
    "gradient_accumulation_steps": 1,
    "cutoff_length": 256,
}


class Kind(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An entry of `classes`; the head of classes.yaml explains it."""

    models: str
    architecture: str
    config: dict[str, Any]
    tokens: str
    options: dict[str, Any] = {}
    refused: tuple[str, ...] = ()


class Result(msgspec.Struct):
    """What came of a class on a backend: its prompt, the steps that were done, and what was said where one failed."""

    prompt: str = ""
    done: list[str] = []
    said: str = ""
    refused: bool = False
    seconds: float = 0.0
    versions: dict[str, str] = {}

    @property
    def cell(self) -> str:
        """Return what the table says."""
        return ", ".join(self.done) + ("; " if self.done and self.said else "") + self.said.replace("|", "\\|")


Results = dict[str, dict[str, Result]]  # by class and backend


def main() -> int:
    """Measure what the command line names."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("classes", nargs="*", metavar="CLASS")
    parser.add_argument("--backend", choices=BACKENDS, action="append")
    parser.add_argument("--folder", type=Path, default=Path("build/models"))
    parser.add_argument("--docs", type=Path)
    parser.add_argument("--go-on", action="store_true")
    wanted = parser.parse_args()
    kinds, tokenizers = read()
    if unknown := set(wanted.classes) - set(kinds):
        parser.error(f"no such class: {', '.join(sorted(unknown))}; there are {', '.join(kinds)}")
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # threads that wait for each other cost more than they do
    folder = prepare(wanted.folder.absolute())
    file, failed = folder / "results.json", []
    known = msgspec.json.decode(file.read_bytes(), type=Results) if file.exists() else {}
    for name in wanted.classes or kinds:
        shutil.rmtree(folder / name, ignore_errors=True)
        for backend in wanted.backend or BACKENDS:
            if not (wanted.go_on and backend in known.get(name, {})):
                result = measure(folder / name, kinds[name], tokenizers[kinds[name].tokens], backend)
                known.setdefault(name, {})[backend] = result
                write_json(file, known)
            result = known[name][backend]
            fine = result.refused if backend in kinds[name].refused else "asked" in result.done
            failed += [] if fine else [f"{name} on {backend}"]
            print(f"{name} on {backend}: {result.cell} ({result.seconds:.0f} s)", flush=True)  # noqa: T201
        if wanted.docs:
            write_atomic(wanted.docs, table(wanted.docs.read_text(encoding="utf-8"), kinds, known))
    print(f"not as it should be: {', '.join(failed) or 'none'}")  # noqa: T201
    return bool(failed)


def read() -> tuple[dict[str, Kind], dict[str, dict[str, Any]]]:
    """Return the classes of classes.yaml, and the tokenizers of tokenizers.yaml."""
    known = {
        name: yaml.safe_load((HERE / f"{name}.yaml").read_text(encoding="utf-8"))[name]
        for name in ("classes", "tokenizers")
    }
    return msgspec.convert(known["classes"], dict[str, Kind]), known["tokenizers"]


def prepare(folder: Path) -> Path:
    """Make the folder, with the sample's data and its texts; returns it."""
    folder.mkdir(parents=True, exist_ok=True)
    with contextlib.chdir(folder):
        ftbridge.convert(SAMPLE, split="7:3", replace=True)
    lines = (folder / "data" / "medqa-train.alpaca.jsonl").read_text(encoding="utf-8").splitlines()
    write_json(folder / "texts.json", [str(text) for line in lines for text in msgspec.json.decode(line).values()])
    return folder


def measure(folder: Path, kind: Kind, tokenizer: dict[str, Any], backend: str) -> Result:
    """Go the whole way with one class on one framework, as far as it goes, in `folder`; both have the same tokens."""
    result, started = Result(), time.monotonic()
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with contextlib.chdir(folder):
            _go(result, kind, base(folder, kind, tokenizer), backend)
    except InterruptedRun:
        raise
    except FtbridgeError as error:
        result.said = sentence(str(error).replace(f"{folder}/", ""))
        result.refused = not result.done and not isinstance(error, FrameworkError)
    result.seconds = time.monotonic() - started
    return result


def base(folder: Path, kind: Kind, tokenizer: dict[str, Any]) -> Path:
    """Return the model of a class in `folder`, made where it is not there yet; the texts are in the one above."""
    model = folder / "base"
    if not model.is_dir():
        texts = str(folder.parent / "texts.json")
        spec = {"class": msgspec.to_builtins(kind), "tokenizer": tokenizer, "texts": texts, "out": str(model)}
        _ask("make_model.py", msgspec.json.encode(spec).decode())
    return model


def _go(result: Result, kind: Kind, model: Path, backend: str) -> None:
    data = {"dataset_dir": model.parents[1] / "data"}
    run = ftbridge.train(backend=backend, model=str(model), **SETTINGS, **data, **kind.options)
    result.versions, result.prompt = run.versions, _prompt(run)
    losses = [record["loss"] for record in json_lines(run.path / LOG_FILE) if "loss" in record]
    if not losses or not all(map(math.isfinite, losses)):
        raise FrameworkError(f"the losses are {losses}")
    result.done.append("run")
    adapter = ftbridge.export(run.id)
    merged = ftbridge.merge(run.id)
    _ask("judge_merged.py", model, adapter, merged)
    result.done.append("merged")
    answers = ftbridge.predict(run.id, limit=2, max_new_tokens=8, device="cpu").file
    if not all(record["answer"] for record in json_lines(Path(answers))):
        raise FrameworkError("an answer is empty")
    result.done.append("asked")


def _prompt(run: Run) -> str:
    """Return what the table says of the prompt: whose it is, and where a switch for thoughts stands."""
    if not run.chat_template:
        return f"the prompt of {run.family}"
    thinking = f", thinking {run.chat_template.thinking}" if run.chat_template.thinking else ""
    return f"its chat template{thinking}"


def _ask(script: str, *arguments: Any) -> None:
    """Run a script of this folder in the training environment; raises FrameworkError with its last line."""
    argv = [PYTHON, HERE / script, *arguments]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if done.returncode:
        raise FrameworkError((done.stderr.strip().splitlines() or [f"`{script}` said nothing"])[-1])


def sentence(message: str) -> str:
    """Return what tells most in a message: of a failed check its finding, of a failed framework its last word."""
    first, *rest = [line for line in message.splitlines() if line.strip()]
    if rest and first.endswith("so it was not started:"):
        return rest[0].partition(": ")[2]
    quoted = [line.strip() for line in rest if line.startswith("  ")]
    return quoted[-1] if quoted and first.endswith("the end of its log:") else first


def table(text: str, kinds: dict[str, Kind], results: Results) -> str:
    """Return `text` with the rows of its table that were measured, in the order of classes.yaml."""
    before, _, rest = text.partition(BEGIN)
    old, _, after = rest.partition(END)
    rows = {line.split("`")[1]: line for line in old.splitlines() if line.startswith("| `")}
    for name, found in results.items():
        cells = [found[backend].cell for backend in BACKENDS if backend in found]
        if len(cells) == len(BACKENDS):
            prompt = next(iter(found.values())).prompt
            rows[name] = f"| `{name}` | {kinds[name].models} | {prompt} | {' | '.join(cells)} |"
    head = f"| class | models of it | prompt | {' | '.join(BACKENDS.values())} |\n|---|---|---|{'---|' * len(BACKENDS)}"
    measured = [*head.splitlines(), *(rows[name] for name in kinds if name in rows)]
    body = "\n".join(map(_with_packing, measured))
    return f"{before}{BEGIN}\n{body}\n{END}{after}"


def _with_packing(line: str) -> str:
    """Return a line of the table with its last column: whether `--packing` keeps samples of the class apart."""
    cells = re.split(r"(?<!\\)\|", line)[1 : 4 + len(BACKENDS)]  # a row of before has that column already
    known, name = packing_table(), cells[0].strip().strip("`")
    if name == "class":
        packing = " packing "
    elif set(name) == {"-"}:
        packing = "---"
    elif name in known.apart:
        packing = " yes "
    elif name in known.apart_with_transformers5:
        packing = " with transformers 5 "
    else:
        packing = " no " if any(name in names for names in known.together.values()) else " not measured "
    return "|".join(["", *cells, packing, ""])


if __name__ == "__main__":
    sys.exit(main())
