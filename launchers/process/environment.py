"""What a child inherits of this process's environment variables: all but what is this process's own."""

import os

from ftbridge.core.console.notebook import is_of_notebook
from ftbridge.launchers.process import caches

# They are for the interpreter and the screen of this process. A child has an interpreter of its own, and writes logs.
OWN = frozenset(
    {
        "CLICOLOR",
        "CLICOLOR_FORCE",
        "FORCE_COLOR",
        "MPLBACKEND",
        "PYDEVD_USE_FRAME_EVAL",
        "PYTHONHOME",
        "PYTHONINSPECT",
        "PYTHONSTARTUP",
        "VIRTUAL_ENV",
        "__PYVENV_LAUNCHER__",
    }
)
# A notebook's kernel has these for itself: on Colab and Kaggle PYTHONPATH leads to packages of the kernel's Python.
OF_KERNEL = frozenset({"JPY_PARENT_PID", "JPY_SESSION_NAME", "PYTHONPATH", "PYTHONUSERBASE"})


def inherited_variables() -> dict[str, str]:
    """Return the environment variables that a child inherits, with caches where they can be written."""
    dropped = OWN | OF_KERNEL if is_of_notebook() else OWN
    passed = {name: value for name, value in os.environ.items() if name not in dropped}
    return passed | caches.environment_variables()
