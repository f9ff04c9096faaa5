"""What bounds a chat template: processor time and memory, of a rendering and no longer."""

import subprocess

import pytest

from ftbridge.launchers.process.script import SCRIPTS

# Works for longer than a template may, and takes more memory, outside of the bounds and then within.
SCRIPT = """
import resource, signal, sys
sys.path.insert(0, sys.argv[1])
import template_bounds
template_bounds.SECONDS, template_bounds.MEMORY = 0.1, 1 << 26
def work():
    for _ in range(10**8):
        pass
def take():
    return len(bytes(1 << 27))
bounds = template_bounds.Bounds()
for what in (work, take):
    try:
        with bounds:
            what()
    except (TimeoutError, MemoryError) as error:
        print(type(error).__name__, error)
    print(signal.getitimer(signal.ITIMER_VIRTUAL)[0], resource.getrlimit(resource.RLIMIT_DATA) == bounds.usual, take())
"""


@pytest.mark.framework
def test_bounds_hold_within_and_are_lifted_afterwards(training_python):
    done = subprocess.run([training_python, "-c", SCRIPT, SCRIPTS], capture_output=True, text=True, check=True)
    lifted = f"0.0 True {1 << 27}"
    assert done.stdout.splitlines() == ["TimeoutError it takes more than 0.1 seconds", lifted, "MemoryError ", lifted]
