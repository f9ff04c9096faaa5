"""Where models are kept, and what the frameworks can make anew, also where the home folder cannot be written."""

import getpass
import os
from pathlib import Path

from ftbridge.core.files.owner import is_writable, spare_folder

# By the variable that names a cache: the variable of the folder that it is in by default, and its path there.
_IN_FOLDERS = {
    "HF_ASSETS_CACHE": ("HF_HOME", "assets"),
    "HF_DATASETS_CACHE": ("HF_HOME", "datasets"),
    "HF_HUB_CACHE": ("HF_HOME", "hub"),
    "HF_MODULES_CACHE": ("HF_HOME", "modules"),
    "HF_XET_CACHE": ("HF_HOME", "xet"),
    "MODELSCOPE_CACHE": ("XDG_CACHE_HOME", "modelscope"),
    "MODELSCOPE_HOME": ("HOME", ".modelscope"),
    "MPLCONFIGDIR": ("XDG_CONFIG_HOME", "matplotlib"),
    "PIP_CACHE_DIR": ("XDG_CACHE_HOME", "pip"),
    "TORCH_EXTENSIONS_DIR": ("XDG_CACHE_HOME", "torch_extensions"),
    "TRITON_CACHE_DIR": ("TRITON_HOME", ".triton/cache"),
    "UV_CACHE_DIR": ("XDG_CACHE_HOME", "uv"),
}


def places() -> dict[str, Path]:
    """Return the folder of each cache by its variable: as the user has set it, else where its client puts it."""
    home = Path(os.path.expanduser("~"))  # noqa: PTH111 - without a home it raises nothing
    folders = {"HOME": home, "XDG_CACHE_HOME": home / ".cache", "XDG_CONFIG_HOME": home / ".config"}
    folders |= {"TRITON_HOME": home} | {name: Path(os.environ[name]) for name in folders if os.environ.get(name)}
    folders |= {"HF_HOME": folders["XDG_CACHE_HOME"] / "huggingface"}
    folders |= {name: Path(os.environ[name]) for name in ("HF_HOME", "TRITON_HOME") if os.environ.get(name)}
    found = {name: folders[base] / inner for name, (base, inner) in _IN_FOLDERS.items()}
    found |= {name: Path(os.environ[name]).expanduser() for name in found if os.environ.get(name)}
    if "HF_HUB_CACHE" not in os.environ and (older := os.environ.get("HUGGINGFACE_HUB_CACHE")):
        found["HF_HUB_CACHE"] = Path(older).expanduser()
    return found


def environment_variables() -> dict[str, str]:
    """Return environment variables that put a child's caches where they can be written; {} where all can already.

    They lie in a folder of this user alone: from some of them, code is loaded. A user whom the system has no name for,
    as in a container, gets one, which torch's and others' own caches are called by.
    """
    # What the user has set is theirs, and reported where it cannot be written.
    unwritable = [name for name, path in places().items() if name not in os.environ and not is_writable(path)]
    found = {name: str(spare_folder() / "caches" / name.lower()) for name in unwritable}
    try:
        getpass.getuser()
    except (KeyError, OSError):
        found["USER"] = f"user{os.geteuid()}"
    return found
