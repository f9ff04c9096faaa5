"""How an error leaves the program: one message and an exit code, or a report to paste."""

import os
import platform
import sys
import traceback

from ftbridge import __version__
from ftbridge.core.console import say
from ftbridge.core.errors import FtbridgeError


def report(error: Exception) -> int:
    """Tell the user of `error` and return the exit code."""
    if isinstance(error, FtbridgeError):
        say(f"error: {error}")
        return error.exit_code
    if isinstance(error, BrokenPipeError):  # `ftbridge ... | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    say("".join(traceback.format_exception(error)).rstrip())
    say()
    say("This is a fault in ftbridge, not in what you typed. Please report it with the text above and:")
    say(f"  ftbridge {__version__}, Python {platform.python_version()}, {platform.platform()}")
    return 70
