"""Projects whose interpreters are never started: settings, a dataset on record with empty files, a base's config."""

import sys

from ftbridge.core.records import DatasetEntry
from ftbridge.dataset_info.registry import register


def write_project(folder, settings, samples):
    """Write a project with a line of settings, a dataset of so many samples and a model; returns its folder.

    Nothing is started there, so that tokens are the frameworks' own.
    """
    backends = "".join(f"  {name}: {{python: {sys.executable}}}\n" for name in ("xtuner", "llamafactory"))
    (folder / "ftbridge.yaml").write_text(f"tokens: native\n{settings}\nbackends:\n{backends}")
    (folder / "base").mkdir()
    (folder / "base" / "config.json").write_text('{"model_type": "qwen2"}')
    files = {"xtuner": "faq-train.xtuner.jsonl", "alpaca": "faq-train.alpaca.jsonl"}
    entry = DatasetEntry(version="1", files=files, samples=samples, sources={"f": "1"}, columns={})
    register(folder / "data", {"faq-train": entry})
    for name in files.values():
        (folder / "data" / name).write_text("")
    return folder
