# Needs Python 3.11 or 3.12, make and a package index. `make demo` and `make test` are all a new machine needs.
PYTHON ?= $(shell for p in python3.12 python3.11 python3; do \
	$$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 12))' 2>/dev/null && echo $$p && break; done)
BIN := .venv/bin
# A file's tests stay together: what they share is trained once. Each process takes a core, and up to 4 GiB.
PYTEST := $(BIN)/pytest --numprocesses=logical --maxprocesses=4 --dist=loadfile --no-loadscope-reorder

# Tests start hundreds of processes; none is to compile anew all that it imports, as in images that set this.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo test quick matrix nightly fuzz models gpu check docs messages lock clean
.DELETE_ON_ERROR:

.venv/installed: pyproject.toml
	@test -n "$(PYTHON)" || { echo "ftbridge needs Python 3.11 or 3.12: make PYTHON=/path/to/python3.12" >&2; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	touch $@

.venv/developer: .venv/installed tests/developer.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --requirement tests/developer.lock
	touch $@

demo: .venv/installed
	$(BIN)/ftbridge setup
	$(BIN)/ftbridge demo

# The type checker and the import linter do not see the mapped packages of an editable install, so they read a
# built tree. It is built anew each time; what the type checker remembers outlives it, and is asked by content.
check: .venv/developer
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/complexipy
	rm -rf build/check build/lib build/bdist*
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --target build/check .
	cd build/check && ../../$(BIN)/mypy --config-file ../../pyproject.toml --cache-dir ../mypy
	cd build/check && ../../$(BIN)/lint-imports --config ../../pyproject.toml

quick: check
	$(PYTEST) --durations=20 --hypothesis-profile=quick -m "not framework and not slow and not matrix and not nightly and not gpu"

test: check
	$(BIN)/ftbridge setup
	$(PYTEST) --durations=20 -m "not matrix and not nightly and not gpu"

matrix: .venv/developer
	$(BIN)/ftbridge setup
	$(BIN)/ftbridge setup --environment transformers4
	$(PYTEST) -m matrix

nightly: .venv/developer
	$(BIN)/ftbridge setup
	$(BIN)/ftbridge setup --environment transformers4
	FUZZ_SEED=$${FUZZ_SEED:-$$(date +%s)} $(PYTEST) -m "matrix or nightly"
	$(BIN)/python tests/models/measure.py

# Changed files of every kind that is read, for an hour or SECONDS=...; what fails is kept under build/fuzz.
SECONDS ?= 3600
fuzz: .venv/developer
	FUZZ_SEED=$${FUZZ_SEED:-$$(date +%s)} FUZZ_SECONDS=$(SECONDS) $(BIN)/pytest -s tests/fuzz -k as_long_as_there_is_time

# The table of docs/models.md, measured: CLASSES="qwen3 glm4_moe" measures these alone, and OPTIONS=--go-on what is
# not in build/models/results.json yet.
models: .venv/developer
	$(BIN)/ftbridge setup
	$(BIN)/python tests/models/measure.py $(CLASSES) $(OPTIONS) --docs docs/models.md

# For whoever has an NVIDIA card; docs/gpu.md says what it does. 1: a phase failed, which keeps no test from running.
gpu: .venv/developer
	@status=0; $(BIN)/python benchmarks/gpu.py || status=$$?; test $$status -le 1 || exit $$status; \
		$(BIN)/pytest -m gpu tests/gpu && exit $$status

# docs/cli.md: what the commands say with --help.
docs: .venv/developer
	FTBRIDGE_LANG=en $(BIN)/python -m ftbridge.cli.reference > docs/cli.md

# The messages in the code into the catalogue, which is compiled; says how many are not translated yet.
messages: .venv/developer
	$(BIN)/python -m tests.language.messages

# All locks anew; what is pinned already stays where it still fits.
lock: .venv/installed
	for set in training training-transformers4; do \
		$(BIN)/uv pip compile --quiet launchers/$$set.in --override launchers/$$set.in --no-config \
			--python-version 3.11 --python-platform x86_64-unknown-linux-gnu --no-annotate --no-header \
			--no-emit-index-url --output-file launchers/$$set.lock || exit; done
	$(BIN)/uv pip compile --quiet --group dev --python-version 3.11 --no-annotate --no-header --no-emit-index-url \
		--output-file tests/developer.lock

clean:
	rm -rf .venv build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache gpu-results ftbridge-gpu.tar
