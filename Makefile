# What people and CI call. Each target sets up what it needs; nothing outside .venv is touched but by `servers`.
PYTHON ?= python3
VENV ?= .venv
TESTS ?=
BIN := $(VENV)/bin
PIP := $(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt
INSTALLED := $(VENV)/.installed
DEVELOPING := $(VENV)/.developing

.PHONY: serve test test-all check fmt servers reference wheel clean

serve: $(INSTALLED)  ## run everything here, in one process, on embedded stores
	$(BIN)/orderctl serve

test: $(DEVELOPING)  ## run what needs nothing but Python, and no minutes; TESTS="…" narrows it
	ORDERCTL_TEST_QUICK=1 $(BIN)/python -m tests.lanes $(TESTS)

test-all: $(DEVELOPING) servers  ## run every test, those on real servers, too
	$(BIN)/python -m tests.lanes $(TESTS)

check: $(DEVELOPING)  ## lint, types, and the shape of the tree
	$(BIN)/ruff check && $(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/python -m pytest -q tests/test_tidy.py

fmt: $(DEVELOPING)  ## format
	$(BIN)/ruff check --fix && $(BIN)/ruff format

servers:  ## the programs that tests and `orderctl stack` call (Debian, Ubuntu)
	@scripts/install-servers

reference: $(DEVELOPING)  ## write docs/reference.md anew, from the commands themselves
	$(BIN)/python -c "from orderctl.cli.reference import whole; print(whole(), end='')" >docs/reference.md

wheel: $(DEVELOPING)  ## build the wheel and the sdist into dist/
	$(BIN)/python -m build

clean:  ## take away what the targets above made; never an order
	rm -rf $(VENV) dist build .mypy_cache .ruff_cache .pytest_cache .hypothesis

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(INSTALLED): pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) -e .
	@touch $@

$(DEVELOPING): pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) -e '.[dev]'
	@touch $@
