# Needs Python (3.10 or newer), git and make; everything else is set up here.
.DEFAULT_GOAL := help
SHELL := bash

# uv from PATH, else one of our own
UV := $(shell command -v uv || echo .uv/bin/uv)
PYTHON ?= python3
READY := .venv/.ready
BIN := .venv/bin
OLDEST := .venv-oldest

# two test processes with one thread each are faster here than one with two
WORKERS ?= 2
ARGS ?=
TEST := OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 MPLBACKEND=Agg
PYTEST := -m pytest -rs -p no:cacheprovider
SPREAD := -n $(WORKERS) --dist worksteal

.PHONY: env browser demo test test-fast test-oldest check format bench docs clean help

env: $(READY)  ## set up .venv once, with byte-compiled packages
$(READY): pyproject.toml
	@if [ "$(UV)" = .uv/bin/uv ] && [ ! -x .uv/bin/uv ]; then \
	  $(PYTHON) -m venv .uv && .uv/bin/python -m pip install --quiet uv; fi
	$(UV) sync --quiet --compile-bytecode
	@touch $@

browser:  ## Debian's Chromium and its driver, for the tests of report pages in a browser
	@if command -v chromium >/dev/null && command -v chromedriver >/dev/null; then exit 0; fi; \
	if [ "$$(id -u)" = 0 ]; then root=; else root="sudo -n"; fi; \
	$$root apt-get update -qq && \
	$$root apt-get install -qq -y --no-install-recommends chromium chromium-driver >/dev/null || \
	{ echo "make browser: chromium and chromium-driver were not installed; that takes Debian's" \
	  "apt-get, and root or sudo without a password." >&2; exit 1; }

demo: env  ## train, prune and compare a small ResNet on digits (ARGS="..." are passed on)
	$(BIN)/lightning-prune $(ARGS)

test: env  ## the whole suite, slow tests included
	$(TEST) $(BIN)/python $(PYTEST) $(SPREAD) --ignore=tests/benchmarks $(ARGS)

test-fast: env  ## the suite without slow tests
	$(TEST) $(BIN)/python $(PYTEST) $(SPREAD) --ignore=tests/benchmarks -m "not slow" $(ARGS)

test-oldest: env  ## the fast suite with the oldest supported dependencies, in its own environment
	$(UV) venv --quiet --allow-existing $(OLDEST)
	$(UV) pip install --quiet --python $(OLDEST)/bin/python --resolution lowest-direct \
	  --editable . --group test
	$(TEST) $(OLDEST)/bin/python $(PYTEST) $(SPREAD) --ignore=tests/benchmarks -m "not slow" \
	  -W default $(ARGS)  # old packages and newer ones under them warn about each other

check: env  ## ruff (lint and format), mypy, codespell
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/codespell

format: env  ## rewrite the code as `check` wants it
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: env  ## speed and memory against the floors, one thread
	$(TEST) $(BIN)/python tests/benchmarks $(ARGS)

docs: env  ## API reference in docs/api
	MPLBACKEND=Agg $(BIN)/pdoc --docformat google --math --output-directory docs/api lightning_prune

clean:  ## remove what builds and runs left; environments stay
	rm -rf build dist docs/api outputs multirun .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -type d -not -path './.venv*' -not -path './.uv/*' -prune -exec rm -rf {} +

help:  ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
