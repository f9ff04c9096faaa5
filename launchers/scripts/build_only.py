"""Build what a config names with the framework's own code, and train nothing.

Runs inside the training environment, in one process: `python build_only.py SPEC.json`, with the spec of run_backend.py.
"""

from run_backend import read_spec

if __name__ == "__main__":
    spec, backend = read_spec()
    backend.build(spec["arguments"])
