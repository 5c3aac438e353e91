# Every target works from a fresh clone: what it needs is installed first.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo test test-slow test-system lint type verify install

install: $(VENV)/.installed

$(VENV)/.installed: pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "python 3.11 or newer is needed: make PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	touch $@

demo: install  ## train five methods on real recordings and print the accuracy table
	$(BIN)/python -m benchmark.run --method erm unimodal late_fusion joint mbcd --dataset sp_sw_har --all-splits --threads 1 --no-reuse --results results/demo
	$(BIN)/python -m benchmark.report --results results/demo

test: install  ## the fast tests
	$(BIN)/python -m pytest -n 2 --dist loadfile -m "not slow and not slurm and not browser and not latex and not gpu"

test-slow: install  ## the tests that take longer, real data included where it is at hand
	$(BIN)/python -m pytest -n 2 --dist loadfile -m "slow and not slurm and not browser and not latex and not gpu"

test-system: install  ## what needs Debian packages: a SLURM cluster, Chromium, pdflatex
	$(BIN)/python -m pytest -m "slurm or browser or latex"

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

type: install
	$(BIN)/mypy

verify: install  ## the committed results: every score follows from the stored predictions
	$(BIN)/python -m benchmark.results verify
