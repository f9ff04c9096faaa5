"""How long the README's quick start takes on this machine, from `git clone` to the first answer of a trained model.

`python benchmarks/quick_start.py` clones this repository into a new folder, runs `make demo` there, and then the lines
of the README as they stand, up to the question; it needs no package. On a new machine the training environment is
downloaded meanwhile; where it is there already, it says so.
"""

import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
DATA = Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share") / "ftbridge" / "training"


def run_timed(line: str, folder: Path, programs: Path) -> float:
    """Run a line of bash in `folder`, which finds `programs` first, and print the seconds; ends where it fails."""
    path = f"{programs}{os.pathsep}{os.environ['PATH']}"
    begun = time.monotonic()
    code = subprocess.run(["bash", "-c", line], cwd=folder, env={**os.environ, "PATH": path}, check=False).returncode
    took = time.monotonic() - begun
    print(f"{took:7.1f} s  {line}", flush=True)
    if code:
        sys.exit(f"the quick start ended with exit status {code}: {line}")
    return took


def processor() -> str:
    """Return the processor's name and how many cores this process may use."""
    found = re.search(r"model name\s*: (.+)", Path("/proc/cpuinfo").read_text(encoding="utf-8"))
    return f"{found[1] if found else 'an unknown processor'}, {len(os.sched_getaffinity(0))} cores"


def main() -> None:
    """Print a line for each command, and the sum."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    blocks = "".join(re.findall(r"<!-- quick start.*?-->\s*```bash\n(.*?)```", readme, re.DOTALL))
    lines = [line for line in blocks.splitlines() if not line.startswith("cd ")]
    last = next(number for number, line in enumerate(lines) if line.startswith("ftbridge chat"))
    had = "with" if DATA.exists() else "without"
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        clone, project = folder / "clone", folder / "quickstart"
        steps = [(f"git clone --quiet '{ROOT}' '{clone}'", folder), ("make demo", clone), (lines[0], folder)]
        steps += [(line, project) for line in lines[1 : last + 1]]
        total = sum(run_timed(line, place, clone / ".venv" / "bin") for line, place in steps)
    print(f"{total:7.1f} s  from `git clone` to the answer, {had} a training environment before")
    print(f"on {processor()}")


if __name__ == "__main__":
    main()
