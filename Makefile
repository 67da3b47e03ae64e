# Each target sets up what it needs in .venv; nothing has to be done first.
PYTHON ?= python3
BIN := .venv/bin
INSTALL = $(BIN)/pip install --disable-pip-version-check --quiet --constraint constraints.txt --editable
THREADS := OMP_NUM_THREADS=1 DP_INTRA_OP_PARALLELISM_THREADS=1 DP_INTER_OP_PARALLELISM_THREADS=1

.PHONY: demo test lint docs wheel bench clean

demo: .venv/.runtime
	$(BIN)/napos-lmp demo

test: lint
	$(BIN)/pip check
	$(THREADS) $(BIN)/pytest --numprocesses 2 --dist loadfile

lint: .venv/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: .venv/.docs
	$(BIN)/mkdocs build --strict

wheel: .venv/.dev
	$(BIN)/python -m build --wheel --no-isolation

bench: .venv/.dev
	for script in scripts/bench/bench_*.py; do $(BIN)/python $$script || exit 1; done

.venv/bin/python:
	$(PYTHON) -m venv .venv

.venv/.runtime: .venv/bin/python pyproject.toml constraints.txt
	$(INSTALL) '.[mace]'
	touch $@

.venv/.dev: .venv/.runtime
	$(INSTALL) '.[dev]'
	touch $@

.venv/.docs: .venv/.runtime
	$(INSTALL) '.[docs]'
	touch $@

clean:
	rm -rf .venv build dist site
