# make demo   set up .venv, then run the whole pipeline, small
# make test   set up .venv, lint, check types, run the tests
# make test-faults   kill every command 100 times, damage every kind of file, and count what comes of it (hours)
# Recipes use relative paths only, so a clone may lie anywhere, in a folder with spaces too.

PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check

# Threads that spin while they wait make everything many times slower where cores are shared.
export OMP_WAIT_POLICY := PASSIVE

.PHONY: setup demo test test-slow test-faults format lint
.DEFAULT_GOAL := setup

setup: .venv/.installed

# torch comes first and alone: any wider request may bring gigabytes of CUDA libraries to a machine without a GPU.
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

# Tests of one file stay together, since they share what is dear to make.
test: lint
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m "not slow" --numprocesses=auto --maxprocesses=4 --dist=loadfile \
		--cov=datasets --cov=replay --cov=validation --cov=finetune --cov=pipelines --cov-report=term --cov-fail-under=85

test-slow: setup
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest

# A line for each test, and tables of what was counted at the end.
test-faults: setup
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests/faults -vv --numprocesses=2 --dist=loadfile

format: setup
	$(BIN)/ruff format
	$(BIN)/ruff check --fix
