"""Run in a mount namespace of its own: a training that fills its small disk, `full_disk.py FOLDER bytes|files`.

It prints, as JSON: what the command would say and end with, the run's status and checkpoints as they stand in run.json,
what is left over, and from which checkpoint the run goes on once there is room.
"""

import json
import subprocess
import sys
from pathlib import Path

from ftbridge.core.errors import FtbridgeError
from ftbridge.core.project import Project, Settings
from ftbridge.launchers.runs.record import load_run
from ftbridge.launchers.training import resume
from ftbridge.launchers.training.watch import watch
from tests.builders.runs import record_run

# A whole checkpoint, and one that the disk has no room for.
CHILD = """
import itertools, pathlib, sys, zipfile
output = pathlib.Path("runs/one/output")
output.mkdir()
with zipfile.ZipFile(output / "iter_3.pth", "w") as archive:
    archive.writestr("data.pkl", "weights")
try:
    if sys.argv[1] == "files":
        for number in itertools.count():
            (output / str(number)).touch()
    with open(output / "iter_6.pth", "wb", buffering=0) as file:
        while True:
            file.write(bytes(99))
except OSError:
    sys.exit(1)
"""

folder, kind = Path(sys.argv[1]), sys.argv[2]
limit = "size=2m" if kind == "bytes" else "size=9m,nr_inodes=60"
subprocess.run(["mount", "-t", "tmpfs", "-o", limit, "tmpfs", folder], check=True)
project = Project(folder, Settings())
run = record_run(project, "one", "running", argv=(sys.executable, "-c", CHILD, kind))
try:
    watch(run, lambda _record: None)
except FtbridgeError as error:
    said, code = str(error), error.exit_code
after = load_run(run.path)
left = [file.name for file in run.path.iterdir() if file.name.startswith(".")]
for file in (run.path / "output").iterdir():
    if file.suffix != ".pth":
        file.unlink()
found = resume.find_resume_point(project, "auto", {}, trusted=False).checkpoint.name
sys.stdout.write(json.dumps([said, code, after.status, after.died, list(after.checkpoints), left, found]))
