# Two commands for a newcomer: `make demo`, `make test`. Everything lands in .venv.
PYTHON ?= python3
BIN := .venv/bin
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt

.PHONY: demo test test-all lint bench bench-gpu clean

demo: .venv/.geryon
	$(BIN)/geryon demo --out geryon-demo

test: lint
	$(BIN)/python -m pytest -q -n 2

test-all: lint
	$(BIN)/python -m pytest -q -n 2 -m "not gpu"

lint: .venv/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

bench: .venv/.dev
	$(BIN)/python -m benchmarks.run_all

bench-gpu: .venv/.dev
	$(BIN)/python -m benchmarks.gpu

clean:
	rm -rf .venv geryon-demo

.venv/.geryon: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv .venv
	$(INSTALL) -e .
	touch $@

.venv/.dev: .venv/.geryon
	$(INSTALL) -e ".[dev]"
	touch $@
