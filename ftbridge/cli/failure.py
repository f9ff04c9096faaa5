"""How an error leaves the program: one message and an exit code, or a report to paste."""

import os
import platform
import sys
import traceback
from errno import EACCES, EDQUOT, ENOSPC, EPERM, EROFS

from ftbridge import __version__
from ftbridge.core.console import say
from ftbridge.core.errors import FtbridgeError, SetupError


def report(error: Exception) -> int:
    """Tell the user of `error` and return the exit code."""
    if isinstance(error, FtbridgeError):
        say(f"error: {error}")
        return error.exit_code
    full = isinstance(error, OSError) and error.errno == ENOSPC
    if full or isinstance(error, BrokenPipeError):  # `ftbridge ... > file`, or `| head`: Python need not try again
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    if full:
        say("error: the disk is full, and what should be printed or written is not; make room")
        return SetupError.exit_code
    if isinstance(error, BrokenPipeError):
        return 141
    if isinstance(error, OSError) and error.errno in {EACCES, EDQUOT, EPERM, EROFS} and error.filename:
        say(f"error: `{error.filename}`: {error.strerror}; work in a folder that you may read and write")
        return SetupError.exit_code
    say("".join(traceback.format_exception(error)).rstrip())
    say()
    say("This is a fault in ftbridge, not in what you typed. Please report it with the text above and:")
    say(f"  ftbridge {__version__}, Python {platform.python_version()}, {platform.platform()}")
    return 70
