"""Print what an environment holds, as JSON: versions, packages with missing files, import errors.

Runs inside the training environment: `python inspect_environment.py '{"imports": ["xtuner"]}'`.
"""

import importlib
import importlib.metadata
import json
import platform
import sys
from pathlib import Path
from typing import Any


def installed_packages() -> dict[str, dict[str, Any]]:
    """Return version and count of missing files by normalised package name; no file is opened."""
    packages: dict[str, dict[str, Any]] = {}
    for distribution in importlib.metadata.distributions():
        name = (distribution.metadata["Name"] or "").lower().replace("_", "-").replace(".", "-")
        if not name or name in packages:  # half removed, or hidden by one that comes first
            continue
        files = [file for file in distribution.files or [] if file.suffix != ".pyc"]
        missing = sum(not Path(str(distribution.locate_file(file))).exists() for file in files)
        packages[name] = {"version": distribution.version, "missing": missing}
    return packages


def import_errors(names: list[str]) -> dict[str, str]:
    """Return what importing each module raised, or "" where it went well."""
    errors = {}
    for name in names:
        try:
            importlib.import_module(name)
            errors[name] = ""
        except BaseException as error:  # noqa: BLE001 - whatever it is, the user should read it
            errors[name] = f"{type(error).__name__}: {error}"
    return errors


def main() -> None:
    """Print the report as the last line of stdout; imports may print before it."""
    spec = json.loads(sys.argv[1])
    report = {
        "python": platform.python_version(),
        "packages": installed_packages(),
        "imports": import_errors(spec.get("imports", [])),
    }
    sys.stdout.write("\n" + json.dumps(report) + "\n")


if __name__ == "__main__":
    main()
