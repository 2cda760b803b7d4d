# make demo   a synthetic city from files to a report
# make test   all tests
# make bench  how fast it is, as a table in docs/benchmarks.md
# make check  lint, types, documentation and all tests: what continuous integration runs
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo test bench check lint types docs clean

demo: $(VENV)/ready
	$(BIN)/streetgauge demo --out streetgauge-demo

test: $(VENV)/ready
	$(BIN)/python -m pytest

bench: $(VENV)/ready
	$(BIN)/python benchmarks/bench.py

check: $(VENV)/ready
	$(MAKE) --jobs 2 lint types docs
	$(MAKE) test

lint: $(VENV)/ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

types: $(VENV)/ready
	$(BIN)/mypy

docs: $(VENV)/ready
	$(BIN)/python -m sphinx -q -W -b html docs docs/_build/html

# Installed once; again only when what is to be installed has changed.
$(VENV)/ready: requirements.lock pyproject.toml
	@echo "Installing into $(VENV) (once; a few minutes on a fresh machine)"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@# The lock file names every package, and of most modules none is ever loaded: nothing is resolved or compiled.
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --no-deps --no-compile -r requirements.lock
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --no-deps --editable .
	@touch $@

clean:
	rm -rf $(VENV) streetgauge-demo docs/_build
