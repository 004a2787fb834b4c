# Every target works in a fresh clone; the environment is made on first use.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: help run test soak lint format results clean

help:            ## Say what can be made
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/'

run: $(VENV)/run.stamp   ## The main job on synthetic data
	$(BIN)/python experiments/fused_wbc.py --split 50 --resume

test: $(VENV)/dev.stamp  ## The whole test suite
	$(BIN)/python -m pytest

soak: $(VENV)/dev.stamp  ## The long tests: mutated files, memory bounds, clusters
	$(BIN)/python -m pytest -m slow

lint: $(VENV)/dev.stamp  ## Style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(VENV)/dev.stamp  ## Format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

results: $(VENV)/run.stamp ## Tables in results/ and README.md from finished runs
	$(BIN)/python experiments/readme_tables.py

clean:           ## Delete environment, caches and synthetic runs
	rm -rf $(VENV) cache runs/synthetic .pytest_cache .mypy_cache .ruff_cache

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python 3.11 or newer is needed; name one with: make PYTHON=python3.12"; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/run.stamp: requirements.txt | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	@touch $@

$(VENV)/dev.stamp: requirements.txt requirements-dev.txt | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	@touch $@ $(VENV)/run.stamp
