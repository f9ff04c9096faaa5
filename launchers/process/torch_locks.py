"""The lock on what DeepSpeed compiles: a killed process leaves it behind, and every later training waits for ever.

torch makes the file `lock` in the folder of an extension, keeps it open as long as it compiles or looks whether it
has to, and waits for it without end (`torch/utils/file_baton.py`).
"""

import os
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from ftbridge.core.console import say
from ftbridge.language import gettext as _

# A lock that nobody here holds may be held on another machine, or in another container, with the same home: seconds.
FRESH_SECONDS = 120


def remove_stale_locks() -> None:
    """Remove the locks that no process here holds, waiting for each to be FRESH_SECONDS old, or gone."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    for lock in Path(os.environ.get("TORCH_EXTENSIONS_DIR") or cache / "torch_extensions").rglob("lock"):
        is_reported, since = False, time.monotonic()
        with suppress(OSError):  # it is gone, or somebody else's
            while not _is_held(lock):
                # A time in the future is that of a clock that was put back: it says nothing.
                left = min(lock.stat().st_mtime - time.time(), since - time.monotonic()) + FRESH_SECONDS
                if left <= 0:
                    lock.unlink()
                    say(_("removed {lock}, which a killed training had left behind").format(lock=lock))
                    break
                if not is_reported:
                    say(
                        _("waiting for {lock}; unless it goes, it is removed in {left:.0f} seconds ...").format(
                            lock=lock, left=left
                        )
                    )
                    is_reported = True
                time.sleep(1)


def _is_held(lock: Path) -> bool:
    """Tell whether a process here has the file open."""
    return os.path.realpath(lock) in _open_files()


def _open_files() -> Iterator[str]:
    import psutil

    for process in psutil.process_iter():
        with suppress(psutil.Error):  # it has ended, or is another user's
            yield from (file.path for file in process.open_files())
