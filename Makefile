# Every target works in a fresh clone; the environment is made on first use.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: help run test soak lint format benchmarks results doctor audit-deps lock clean

help:            ## Say what can be made
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/'

run: $(VENV)/run.stamp   ## The main job on synthetic data
	$(BIN)/python experiments/fused_wbc.py --split 50 --resume

test: $(VENV)/dev.stamp  ## All tests but the slow ones
	$(BIN)/python -m pytest -n auto --maxprocesses 4 --dist loadfile

KILLS ?= 100
soak: $(VENV)/dev.stamp  ## The long tests: mutated files, lost processes, clusters; then KILLS kills
	$(BIN)/python -m pytest -m slow
	$(BIN)/python tests/faults/soak.py --kills $(KILLS)

lint: $(VENV)/dev.stamp  ## Style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(VENV)/dev.stamp  ## Format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

BENCHMARKS ?= fused base autoencoder extract predict data tile start growth ddp
benchmarks: $(VENV)/run.stamp  ## Speed on this machine, to results/benchmarks; leave it idle
	for name in $(BENCHMARKS); do \
	  $(BIN)/python experiments/benchmark.py $$name --out results/benchmarks/$$name.json || exit 1; \
	done

results: $(VENV)/run.stamp ## Tables in results/ and README.md from finished runs
	$(BIN)/python experiments/readme_tables.py

doctor: $(VENV)/run.stamp  ## What this machine lacks, and what to do
	$(BIN)/python experiments/doctor.py

# Known, without a newer version that fits, and without a way in: torch.jit.script with a hostile
# program (torch 2.13 mends it; nothing here calls torch.jit), and packages that setuptools builds
# (83 and 84.1 mend it, torch 2.12 wants below 82; nothing is built here). Tested.
KNOWN_HOLES := GHSA-rrmf-rvhw-rf47 PYSEC-2026-3447 GHSA-xmj3-9gf7-h52w

# Strict: a package that the service does not know of is no clean one.
audit-deps: $(VENV)/run.stamp $(VENV)/tools.stamp  ## Known holes in the installed packages (pip-audit)
	$(VENV)/tools/bin/pip-audit --strict --progress-spinner off $(KNOWN_HOLES:%=--ignore-vuln %) \
	  --path "$$($(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')"

lock: $(VENV)/tools.stamp  ## requirements.lock: exact versions and hashes, for pip --require-hashes
	$(VENV)/tools/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	  --custom-compile-command "make lock" requirements.txt --output-file requirements.lock

clean:           ## Delete environment, caches and synthetic runs
	rm -rf $(VENV) cache runs/synthetic .pytest_cache .mypy_cache .ruff_cache

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python 3.11 or newer is needed; name one with: make PYTHON=python3.12"; exit 1; }
	$(PYTHON) -m venv --upgrade-deps $(VENV)

$(VENV)/run.stamp: requirements.txt | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	@touch $@

# Apart, so that what they need does not meet what we need.
$(VENV)/tools.stamp: | $(BIN)/python
	$(PYTHON) -m venv --upgrade-deps $(VENV)/tools
	$(VENV)/tools/bin/python -m pip install --quiet --disable-pip-version-check \
	  "pip-audit>=2.9,<3" "uv>=0.8,<1"
	@touch $@

$(VENV)/dev.stamp: requirements.txt requirements-dev.txt | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	@touch $@ $(VENV)/run.stamp
