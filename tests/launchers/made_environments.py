"""Folders that look like training environments: an interpreter's file, and what installers leave of each package."""

from ftbridge.launchers.environment import tested_set as pinned


def make_environment(folder, environment="transformers5", **changed):
    """Make the tested set's folders but for what is `changed` (None: not there); returns the interpreter."""
    for name, version in (pinned(environment) | changed).items():
        if version:
            (folder / f"lib/python3.11/site-packages/{name.replace('-', '_')}-{version}.dist-info").mkdir(parents=True)
    python = folder / "bin" / "python"
    python.parent.mkdir(parents=True, exist_ok=True)
    python.touch(0o755)
    return python
