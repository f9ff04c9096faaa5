"""A machine with GPUs that is none: an nvidia-smi of given lines, and a torch that believes in the cards.

A row is what nvidia-smi prints for a card: index, uuid, name, memory, compute capability, driver, free memory and,
where MIG matters, "Enabled".
"""

import os
from pathlib import Path

from ftbridge.launchers.hardware import nvidia

HOOK = Path(__file__).with_name("hook")
H100 = "{0}, GPU-h100-{0}, NVIDIA H100 80GB HBM3, 81559, 9.0, 570.86.15, 81000"
A100 = "{0}, GPU-a100-{0}, NVIDIA A100-SXM4-80GB, 81920, 8.0, 570.86.15, 81150"
T4 = "{0}, GPU-t4-{0}, Tesla T4, 15360, 7.5, 570.86.15, 15090"
RTX4090 = "{0}, GPU-4090-{0}, NVIDIA GeForce RTX 4090, 24564, 8.9, 535.161.07, 24110"
# A slice of an A100 in a container: the card's memory is not told.
MIG = "0, GPU-a100-0, NVIDIA A100-SXM4-40GB, [Insufficient Permissions], 8.0, 570.86.15, [N/A], Enabled"
SLICES = "GPU 0: NVIDIA A100-SXM4-40GB (UUID: GPU-a100-0)\n  MIG 1g.5gb Device 0: (UUID: MIG-one)\n"
SLICES += "  MIG 2g.10gb Device 1: (UUID: MIG-two)"


def nvidia_smi(folder: Path, *rows: str, listed: str = "") -> Path:
    """Make a program `nvidia-smi` in `folder` that prints `rows`, as one driver does; returns `folder`.

    `listed` is what it prints for `--list-gpus`; accelerate's two questions are answered from the rows.
    """
    cells = [[cell.strip() for cell in row.split(",")] for row in rows]
    told = [row for row in cells if len(row) >= len(nvidia.COLUMNS) - 1]
    answers = {
        "*--list-gpus*": listed,
        "*query-gpu=count,name*": "\n".join(f"{len(told)}, {row[2]}" for row in told),
        "*query-gpu=driver_version*": "\n".join(row[5] for row in told),
        "*": "\n".join(rows),
    }
    lines = [f"{pattern}) printf '%s\\n' {_quoted(text)};;" for pattern, text in answers.items()]
    folder.mkdir(parents=True, exist_ok=True)
    program = folder / "nvidia-smi"
    program.write_text("\n".join(["#!/bin/sh", 'case "$*" in', *lines, "esac", ""]), encoding="utf-8")
    program.chmod(0o755)
    nvidia._answers.clear()
    return folder


def gpus(folder: Path, *rows: str, listed: str = "", toolkit: str = "", amp: bool = False) -> dict[str, str]:
    """Return the environment of a process whose machine has the cards of `rows`, and the CUDA toolkit `toolkit`.

    Its torch believes in as many as CUDA_VISIBLE_DEVICES leaves it. With `amp` it believes in none and computes on the
    CPU, and mmengine takes that for a device with mixed precision.
    """
    nvidia_smi(folder, *rows, listed=listed)
    return {
        "PATH": f"{folder}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(HOOK),
        "FAKE_GPUS": "" if amp else str(len(rows)),
        "FAKE_CAPABILITY": rows[0].split(",")[4].strip(),
        "FAKE_CUDA_HOME": toolkit,
        "FAKE_AMP": "1" if amp else "",
    }


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"
