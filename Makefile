# make demo   set up .venv, then run the whole pipeline, small
# make test   set up .venv, lint, check types, run the tests
# make test-faults   kill every command 100 times, damage every kind of file, and count the outcomes (hours)
# Recipes use relative paths only, so a clone may be in any folder, including one with spaces in its path.

PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check

# Spinning threads slow down everything many times on shared cores.
export OMP_WAIT_POLICY := PASSIVE

.PHONY: setup demo test test-slow test-faults format lint
.DEFAULT_GOAL := setup

setup: .venv/.installed

# torch is installed first and separately: otherwise pip may install gigabytes of CUDA libraries without a GPU.
.venv/.installed: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(None if sys.version_info >= (3, 11) else "driveforge needs Python 3.11 or newer")'
	$(PYTHON) -m venv .venv
	$(PIP) install --quiet --constraint constraints.txt pip
	$(PIP) install --constraint constraints.txt torch==2.13.0
	$(PIP) install --constraint constraints.txt --editable . --group dev
	touch .venv/.installed

demo: setup
	$(BIN)/driveforge demo

lint: setup
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy

# Tests of one file run in one process, since they share expensive fixtures.
test: lint
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m "not slow" --numprocesses=auto --maxprocesses=4 --dist=loadfile \
		--cov=datasets --cov=replay --cov=validation --cov=finetune --cov=pipelines --cov-report=term --cov-fail-under=85

test-slow: setup
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest

# One line per test, and tables of the outcomes at the end.
test-faults: setup
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests/faults -vv --numprocesses=2 --dist=loadfile

format: setup
	$(BIN)/ruff format
	$(BIN)/ruff check --fix
