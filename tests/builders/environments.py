"""Folders that look like training environments: an interpreter's file, and what installers leave of each package."""

import json
import sys

import msgspec

from ftbridge.launchers.environment.venv import pinned_versions as pinned
from ftbridge.templates import families
from ftbridge.weights.card import ModelCard


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
    prompt = msgspec.to_builtins(families.get("qwen2.5").cell("xtuner").prompt)
    about = {"base": "", "family": "qwen2.5", "backend": "xtuner", "system": "", "thinking": "none"}
    ModelCard(template=prompt, **about | card).save(folder)
