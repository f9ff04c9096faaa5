"""Print, as JSON, what the torch of an environment is built for; it is read from torch's files, never imported.

Runs inside the training environment: `python inspect_torch.py '{}'`.
"""

import json
import mmap
import platform
import re
import runpy
import sys
from importlib.util import find_spec
from pathlib import Path


def cuda_targets(library: Path) -> list[str]:
    """Return the GPU architectures that a CUDA build of torch has code for, such as sm_80; [] where none is listed.

    torch keeps the list as one text in this library, which `torch.cuda.get_arch_list()` returns.
    """
    if not library.is_file():
        return []
    with library.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        match = re.search(rb"((?:sm|compute)_\d+[a-z]?(?: (?:sm|compute)_\d+[a-z]?)*)\0", content)
        return match[1].decode().split() if match else []


def main() -> None:
    """Print the report; ends with a sentence where torch is not installed."""
    spec = find_spec("torch")
    if spec is None or spec.origin is None:
        sys.exit("torch is not installed there")
    folder = Path(spec.origin).parent
    version = runpy.run_path(str(folder / "version.py"))
    cuda = version.get("cuda") or ""
    report = {
        "executable": sys.executable,
        "python": platform.python_version(),
        "version": version["__version__"],
        "cuda": cuda,
        "targets": cuda_targets(folder / "lib" / "libtorch_python.so") if cuda else [],
        "flash_attention": find_spec("flash_attn") is not None,
    }
    sys.stdout.write(json.dumps(report) + "\n")


if __name__ == "__main__":
    main()
