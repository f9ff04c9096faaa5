"""Folders that look like training environments: an interpreter's file, and what installers leave of each package."""

import json
import sys

import msgspec

from ftbridge.launchers.environment.venv import pinned_versions as pinned
from ftbridge.templates.families import get_family
from ftbridge.weights.card import ModelCard

BUILT_FOR = "sm_70 sm_75 sm_80 sm_86 sm_90 sm_100 sm_120"


def make_environment(folder, environment="transformers5", **changed):
    """Make the tested set's folders but for what is `changed` (None: not there); returns the interpreter."""
    for name, version in (pinned(environment) | changed).items():
        if version:
            (folder / f"lib/python3.11/site-packages/{name.replace('-', '_')}-{version}.dist-info").mkdir(parents=True)
    python = folder / "bin" / "python"
    python.parent.mkdir(parents=True, exist_ok=True)
    python.touch(0o755)
    return python


def make_model(folder, script, **card):
    """Make a model folder in a project whose environment runs the Python `script` for every helper."""
    python = make_environment(folder.parent / "environment")
    python.write_text(f"#!{sys.executable}\n{script}", encoding="utf-8")
    backends = {name: {"python": str(python)} for name in ("xtuner", "llamafactory")}
    (folder.parent / "ftbridge.yaml").write_text(json.dumps({"backends": backends}), encoding="utf-8")
    folder.mkdir()
    for name in ("config.json", "tokenizer.json"):
        (folder / name).write_text("{}")
    (folder / "model.safetensors").write_bytes(b"weights")
    prompt = msgspec.to_builtins(get_family("qwen2.5").cell("xtuner").prompt)
    about = {"base": "", "family": "qwen2.5", "backend": "xtuner", "system": "", "thinking": "none"}
    ModelCard(template=prompt, **about | card).save(folder)


def program(path, text):
    """Make a shell script at `path`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def torch_environment(folder, cuda="12.8", targets=BUILT_FOR):
    """Return the Python of an environment whose torch has the files that are read, and fails when it is imported."""
    torch = folder / "site" / "torch"
    (torch / "lib").mkdir(parents=True, exist_ok=True)
    (torch / "__init__.py").write_text("raise ImportError('torch must not be imported')")
    (torch / "version.py").write_text(f"__version__ = '2.8.0+x'\ncuda: str | None = {cuda!r}\n")
    (torch / "lib" / "libtorch_python.so").write_bytes(
        b"\x7fELF sm_1 std::string ipc_h" + targets.encode() + b"\0sm_90\0"
    )
    return program(folder / "bin" / "python", f'PYTHONPATH="{folder}/site" exec "{sys.executable}" "$@"')
