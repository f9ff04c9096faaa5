"""Where the frameworks keep what they can make anew, on a machine whose home folder cannot be written."""

import atexit
import os
import shutil
import tempfile
from functools import cache
from pathlib import Path


def environment_variables() -> dict[str, str]:
    """Return environment variables that put a child's caches where they can be written; {} where all can already.

    They lie in a folder of this process alone, with which it goes: from some of them, code is loaded.
    """
    home = Path(os.path.expanduser("~"))  # noqa: PTH111 - without a home it raises nothing
    cache_home = Path(os.environ.get("XDG_CACHE_HOME") or home / ".cache")
    hub = Path(os.environ.get("HF_HOME") or cache_home / "huggingface")
    caches = {
        "HF_DATASETS_CACHE": hub / "datasets",
        "HF_MODULES_CACHE": hub / "modules",
        "MPLCONFIGDIR": Path(os.environ.get("XDG_CONFIG_HOME") or home / ".config") / "matplotlib",
        "TORCH_EXTENSIONS_DIR": cache_home / "torch_extensions",
        "TRITON_CACHE_DIR": Path(os.environ.get("TRITON_HOME") or home) / ".triton" / "cache",
    }
    # What the user has set is theirs, and reported where it cannot be written.
    unwritable = [name for name, path in caches.items() if name not in os.environ and not _is_writable(path)]
    return {name: str(_temporary_folder() / name.lower()) for name in unwritable}


def _is_writable(path: Path) -> bool:
    """Tell whether files can be made below `path`, which need not be there yet."""
    existing = next(folder for folder in (path.absolute(), *path.absolute().parents) if folder.exists())
    try:
        tempfile.TemporaryFile(dir=existing).close()
    except OSError:
        return False
    return True


@cache
def _temporary_folder() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="ftbridge-caches-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder
