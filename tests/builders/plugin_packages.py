"""Packages of third parties, installed as an installer leaves them."""

import shutil
import tomllib
from pathlib import Path

PLAIN = Path(__file__).parents[1] / "plain_backend"
SMALL = Path(__file__).parents[1] / "small_plugins"


def install(source, place):
    """Put a package into the folder `place`, with the entry points of its pyproject.toml; returns the folder."""
    written = tomllib.loads((source / "pyproject.toml").read_text(encoding="utf-8"))
    project = written["project"]
    for name in written["tool"]["setuptools"]["packages"]:
        shutil.copytree(source / name, place / name)
    record = place / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
    record.mkdir(parents=True)
    about = {"Metadata-Version": "2.1", "Name": project["name"], "Version": project["version"]}
    (record / "METADATA").write_text("".join(f"{key}: {value}\n" for key, value in about.items()))
    groups = project["entry-points"].items()
    lines = [line for group, plugins in groups for line in (f"[{group}]", *(f"{k} = {v}" for k, v in plugins.items()))]
    (record / "entry_points.txt").write_text("\n".join(lines) + "\n")
    return place
