"""Where the frameworks keep what they can make anew, on a machine whose home folder cannot be written."""

import atexit
import os
import shutil
import tempfile
from functools import cache
from pathlib import Path


def environment() -> dict[str, str]:
    """Return variables that lead a child's caches away from where they cannot be written; none where all can.

    They lie in a folder of this process alone, with which it goes: from some of them, code is loaded.
    """
    home = Path(os.path.expanduser("~"))  # noqa: PTH111 - without a home it raises nothing
    kept = Path(os.environ.get("XDG_CACHE_HOME") or home / ".cache")
    hub = Path(os.environ.get("HF_HOME") or kept / "huggingface")
    own = {
        "HF_DATASETS_CACHE": hub / "datasets",
        "HF_MODULES_CACHE": hub / "modules",
        "MPLCONFIGDIR": Path(os.environ.get("XDG_CONFIG_HOME") or home / ".config") / "matplotlib",
        "TORCH_EXTENSIONS_DIR": kept / "torch_extensions",
        "TRITON_CACHE_DIR": Path(os.environ.get("TRITON_HOME") or home) / ".triton" / "cache",
    }
    # What the user has set is theirs, and reported where it cannot be written.
    barred = [name for name, path in own.items() if name not in os.environ and not _writable(path)]
    return {name: str(_folder() / name.lower()) for name in barred}


def _writable(path: Path) -> bool:
    """Tell whether files can be made below `path`, which need not be there yet."""
    there = next(folder for folder in (path.absolute(), *path.absolute().parents) if folder.exists())
    try:
        tempfile.TemporaryFile(dir=there).close()
    except OSError:
        return False
    return True


@cache
def _folder() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="ftbridge-caches-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder
