"""Three cards as nvidia-smi shows them."""

import msgspec

from ftbridge.launchers.hardware.nvidia import Gpu

FIRST = Gpu("NVIDIA A100-SXM4-80GB", 81920, 8.0, "570.86.15", 40000, "GPU-aaaa-1")
SECOND = msgspec.structs.replace(FIRST, free=81150, uuid="GPU-bbbb-2")
TURING = Gpu("Tesla T4", 15360, 7.5, "570.86.15", 14914, "GPU-cccc-3")
MISMATCH = "Failed to initialize NVML: Driver/library version mismatch"


def rows(*cards):
    """Return what nvidia-smi prints of `cards`."""
    return [
        f"{index}, {gpu.uuid}, {gpu.name}, {gpu.memory}, {gpu.capability}, {gpu.driver}, {gpu.free}, Disabled"
        for index, gpu in enumerate(cards)
    ]
