# Every target makes what it needs: a virtual environment in .venv when there is none.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
JOBS ?= 2
FUZZ_SECONDS ?= 60

.DEFAULT_GOAL := help
.PHONY: help demo test test-long test-fallback test-all fuzz check format bench serve pack clean

help:  ## Show this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | column -t -s "$$(printf '\t')"

$(BIN)/uv:
	$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("byop needs Python 3.11 or newer: make PYTHON=python3.11 ...")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet uv

$(VENV)/.runtime: pyproject.toml | $(BIN)/uv
	$(BIN)/uv pip install --quiet --python $(BIN)/python --editable '.[pandas]'
	@touch $@

$(VENV)/.dev: pyproject.toml | $(BIN)/uv
	$(BIN)/uv pip install --quiet --python $(BIN)/python --editable . --group dev
	@touch $@ $(VENV)/.runtime

demo: $(VENV)/.runtime  ## Run the main job: pack, upload, deploy, infer, score, read the log
	$(BIN)/byop demo

test: $(VENV)/.dev  ## The fast suite
	$(BIN)/python -m pytest -n $(JOBS) --dist loadfile -m "not long" tests

test-long: $(VENV)/.dev  ## What takes too long for every change: kills, fuzzing, load
	$(BIN)/python -m pytest -n $(JOBS) --dist load -m long tests

test-fallback: $(VENV)/.dev  ## Workers and attacks on them without bubblewrap
	$(BIN)/python -m pytest -n $(JOBS) --dist loadfile --isolation process -m "not long" tests/engine tests/attacks

test-all: test test-fallback test-long  ## All tests, every zip, and the wheel in an environment of its own
	$(BIN)/python packaging/build_zips.py
	$(BIN)/python packaging/try_wheel.py

fuzz: $(VENV)/.dev  ## Fuzz the parsers of outside bytes, each for FUZZ_SECONDS
	$(BIN)/python -m pytest tests/fuzz --fuzz-seconds $(FUZZ_SECONDS)

check: $(VENV)/.dev  ## Lint, types, layers, spelling, dependencies
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/deptry .
	$(BIN)/codespell

format: $(VENV)/.dev  ## Format and apply safe lint fixes
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(VENV)/.dev  ## Every benchmark, each with the ratio to its reference
	$(BIN)/python -m benchmarks

serve: $(VENV)/.runtime  ## Start the server on http://127.0.0.1:8080
	$(BIN)/byop serve

pack: $(VENV)/.runtime  ## Pack every provider and listener into dist/*.zip
	$(BIN)/python packaging/build_zips.py

clean:  ## Remove what the targets made
	rm -rf $(VENV) dist build .cache .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
