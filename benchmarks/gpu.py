"""Everything of ftbridge that wants a GPU, measured on one: `make gpu`, or `python benchmarks/gpu.py [--help]`.

Needs an NVIDIA GPU, one of 24 GB suffices, and the training environment. Each phase is a process of its own with a
time limit; one that fails or hangs ends alone. Results are written as they come: results.json, and table.md for
docs/gpu.md. Without a GPU it says so and ends; `--rehearse` runs every phase on the CPU with a model of no size.
"""

import argparse
import contextlib
import json
import os
import platform
import shutil
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
from gpu_parts.bench import BACKENDS, Bench, Row
from gpu_parts.phases import PHASES, Phase
from gpu_parts.tables import insert_results, results_as_markdown

import ftbridge
from ftbridge.core.errors import FtbridgeError
from ftbridge.core.files.atomic import json_lines, write_atomic
from ftbridge.core.project import SETTINGS, Project, Settings
from ftbridge.core.records import Launch
from ftbridge.launchers.environment.gpu_checks import read_torch_build
from ftbridge.launchers.environment.setup import setup
from ftbridge.launchers.environment.venv import inspect_environment
from ftbridge.launchers.hardware import host, nvidia
from ftbridge.launchers.process.child import execute

VERSIONS = ("torch", "transformers", "peft", "bitsandbytes", "deepspeed", "accelerate", "xtuner", "llamafactory")
FIRST_PHASE = "models"  # what every other phase needs
ROOT = Path(__file__).resolve().parents[1]
LEAST_SECONDS = 5  # seconds: with less left no phase is begun


def main() -> int:
    options = _parse_options()
    bench = Bench(out=options.out.absolute(), rehearse=options.rehearse, small=options.small)
    if options.inside:
        return _run_inside(bench, options.inside)
    try:
        gpus = bench.gpus
    except FtbridgeError as error:
        print(f"No GPU can be used here, so nothing was measured: {error}", file=sys.stderr)
        print("`--rehearse` runs every phase on the CPU with a tiny model.", file=sys.stderr)
        return error.exit_code
    bench.project.mkdir(parents=True, exist_ok=True)
    _prepare_environment(bench, options.python)
    chosen = [name for name in PHASES if name in {FIRST_PHASE, *(options.phase or PHASES)}]
    about = _machine_row(bench, gpus)
    results = {"machine": about, "phases": _earlier_results(bench, about) if options.phase else {}}
    end = time.monotonic() + options.seconds if options.seconds else float("inf")
    for name in chosen:
        print(f"--- {PHASES[name].title}", flush=True)
        results["phases"][name] = found = _run_phase(bench, name, PHASES[name], end)
        about["packages"] = about.get("packages") or _package_versions(bench)
        _write_results(bench, results, None if bench.rehearse else options.docs)
        print(f"    {found['status']}, {found['seconds']:.0f} s", flush=True)
    if not options.keep:
        shutil.rmtree(bench.project, ignore_errors=True)
    print(f"\n{results_as_markdown(results, PHASES)}")
    print(f"This stands in {bench.out / 'table.md'}, and all in results.json there.")
    return 0 if all(results["phases"][name]["status"] == "done" for name in chosen) else 1


def _parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--phase", action="append", choices=PHASES, help="one phase alone; may be repeated")
    parser.add_argument("--seconds", type=float, help="begin nothing and go on with nothing after so many, in all")
    parser.add_argument("--out", type=Path, default=Path("gpu-results"), help="folder of the results (%(default)s)")
    parser.add_argument("--small", action="store_true", help="take Qwen2.5-0.5B's shape for the large model as well")
    parser.add_argument("--rehearse", action="store_true", help="run the phases on the CPU, with a tiny model")
    parser.add_argument(
        "--python",
        type=_absolute_path,
        help="an interpreter with both frameworks (default: `ftbridge setup`'s)",
    )
    parser.add_argument("--keep", action="store_true", help="keep models and runs, up to 60 GB, in the folder project")
    parser.add_argument("--docs", type=Path, metavar="FILE", help="put the table between the marks of a page as well")
    parser.add_argument("--inside", choices=PHASES, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.docs and options.rehearse:
        parser.error("a rehearsal measures nothing: leave --docs out")
    if options.docs:
        try:
            insert_results(options.docs.read_text(encoding="utf-8"), "")
        except (OSError, ValueError) as error:
            parser.error(str(error))
    return options


def _absolute_path(path: str) -> str:
    return str(Path(path).expanduser().absolute())


def _prepare_environment(bench: Bench, python: str | None) -> None:
    """See that there is an interpreter with the frameworks: the one that is named, else the training environment."""
    own = {"backends": {backend: {"python": python} for backend in BACKENDS}} if python else {}
    # With settings of its own, the folder is a project, whatever it lies in.
    (bench.project / SETTINGS).unlink(missing_ok=True)
    Project(bench.project, Settings()).write_settings(own)
    try:
        bench.interpreter()
    except FtbridgeError:
        setup()


def _run_phase(bench: Bench, name: str, phase: Phase, end: float) -> dict[str, Any]:
    """Run a phase in a process of its own; returns its status, seconds and rows, all that it wrote in its time."""
    rows, log = bench.out / f"{name}.jsonl", bench.out / f"{name}.log"
    for file in (rows, log):
        file.unlink(missing_ok=True)
    limit = min(phase.seconds * (5 if bench.rehearse else 1), end - time.monotonic())
    if limit < LEAST_SECONDS:
        return {"status": "not begun: the time is up", "seconds": 0.0, "rows": []}
    begun = time.monotonic()

    def watch() -> None:
        if time.monotonic() - begun > limit:
            raise TimeoutError

    argv = (sys.executable, str(Path(__file__).resolve()), *sys.argv[1:], "--out", str(bench.out), "--inside", name)
    try:
        # In place of a plain child: its guard ends all that the phase has started, whatever becomes of it.
        code = execute(Launch(argv, {"RECORD_VRAM": "1"}, str(bench.project), {}), log, watch)
        status = "done" if not code else f"failed: {_last_line(log)}"
    except TimeoutError:
        status = f"ended after its {limit:.0f} s"
    found = list(json_lines(rows))
    if bad := [row for row in found if row["result"] != "ok"]:
        status = f"{len(bad)} of {len(found)} failed" if status == "done" else status
    return {"status": status, "seconds": round(time.monotonic() - begun, 1), "rows": found}


def _run_inside(bench: Bench, name: str) -> int:
    """Run a phase in this process, which stands in the project; each row is on the disk as soon as it is there."""
    with (bench.out / f"{name}.jsonl").open("ab", buffering=0) as file:
        for row in PHASES[name].run(bench):
            file.write(msgspec.json.encode(row) + b"\n")
            print(row, flush=True)
    return 0


def _last_line(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines() if log.exists() else []
    return lines[-1][:300] if lines else "it said nothing"


def _earlier_results(bench: Bench, about: Row) -> dict[str, Any]:
    """Return the phases that an earlier call has measured in the same folder, of this tree and on this machine."""
    with contextlib.suppress(OSError, ValueError):
        found = json.loads((bench.out / "results.json").read_text(encoding="utf-8"))
        if all(found["machine"].get(key) == value for key, value in about.items() if key != "date"):
            return dict(found["phases"])
    return {}


def _machine_row(bench: Bench, gpus: list[nvidia.Gpu]) -> Row:
    gpu = gpus[0] if gpus else None
    found: Row = {
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "cards": f"{len(gpus)} x {gpu.name}" if gpu else "none (a rehearsal, no measurement)",
        "memory": f"{gpu.memory} MiB" if gpu else "-",
        "compute capability": gpu.capability if gpu else "-",
        "driver": gpu.driver if gpu else "-",
        "processor": host.processor()[0],
        "cores": host.cores(),
        "Python": platform.python_version(),
        "ftbridge": ftbridge.__version__ + _commit(),
    }
    return found | {"shape": ", ".join(f"{model} {shape}" for model, shape in bench.shapes.items())}


def _package_versions(bench: Bench) -> dict[str, str]:
    """Return the versions in the frameworks' environment, {} where it does not tell."""
    try:
        python = bench.interpreter()
        installed, build = inspect_environment(python, []).packages, read_torch_build(python)
    except (FtbridgeError, OSError):
        return {}
    found = {name: installed[name].version for name in VERSIONS if name in installed}
    return found | {"torch": build.version, "CUDA": build.cuda}


def _commit() -> str:
    """Return the commit of this tree, from git, or from the file that gpu_offline.sh leaves beside it."""
    git = ["git", "-C", str(ROOT), "rev-parse", "--short", "HEAD"]
    with contextlib.suppress(OSError, subprocess.CalledProcessError):
        return f" ({subprocess.run(git, check=True, capture_output=True, text=True).stdout.strip()})"
    packed = ROOT / "COMMIT"
    return f" ({packed.read_text(encoding='utf-8').strip()})" if packed.is_file() else ""


def _write_results(bench: Bench, results: dict[str, Any], page: Path | None) -> None:
    write_atomic(bench.out / "results.json", msgspec.json.format(msgspec.json.encode(results)))
    text = results_as_markdown(results, PHASES)
    write_atomic(bench.out / "table.md", text)
    if page:
        write_atomic(page, insert_results(page.read_text(encoding="utf-8"), text))


if __name__ == "__main__":
    # Several trainings share the cores, and leave the computing to the GPU.
    os.environ.setdefault("OMP_NUM_THREADS", "1" if "--rehearse" in sys.argv else str(max(1, host.cores() // 5)))
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        print("stopped; what was measured until then is in the folder of the results", file=sys.stderr)
        sys.exit(130)
