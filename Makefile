# Two commands do all the set-up on a fresh machine: `make demo` and `make test`. Run again, both start in seconds.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet --constraint constraints.txt
PYTEST_ARGS ?=

.PHONY: demo test test-slow lint bench reliability scaling screenshots clean help

help:
	@echo "make demo         score a brain with a simulated lesion and say where the results lie"
	@echo "make test         install what the tests need and run them"
	@echo "make test-slow    run the tests that take long"
	@echo "make lint         check style and types"
	@echo "make bench        measure speed and memory (slow)"
	@echo "make reliability  feed broken and hostile files to the readers and count what happens (slow)"
	@echo "make scaling      measure what a cluster needs and reckon the rest (slow)"
	@echo "make screenshots  make the pictures of the documentation again"

demo: $(VENV)/.demo-is-installed
	$(BIN)/moeclip-med demo --output demo

test: $(VENV)/.dev-is-installed
	@scripts/system-packages
	scripts/run-tests $(BIN)/python $(PYTEST_ARGS)

test-slow: $(VENV)/.dev-is-installed
	@scripts/system-packages
	xvfb-run --auto-servernum $(BIN)/python -m pytest -m slow $(PYTEST_ARGS)

lint: $(VENV)/.dev-is-installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-cache --no-logo
	$(BIN)/mypy

bench: $(VENV)/.dev-is-installed
	$(BIN)/python benchmarks/run.py

reliability: $(VENV)/.dev-is-installed
	$(BIN)/python scripts/reliability.py

scaling: $(VENV)/.dev-is-installed
	$(BIN)/python scripts/scaling.py

screenshots: $(VENV)/.dev-is-installed
	@scripts/system-packages
	xvfb-run --auto-servernum --server-args="-screen 0 1920x1200x24" $(BIN)/python scripts/screenshots.py

$(VENV)/.is-made:
	$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed: make PYTHON=python3.12" if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/.demo-is-installed: pyproject.toml constraints.txt | $(VENV)/.is-made
	@echo "Installing pinned versions; this takes a few minutes the first time."
	$(PIP) --editable ".[openvino,demo]"
	@touch $@

$(VENV)/.dev-is-installed: pyproject.toml constraints.txt | $(VENV)/.is-made
	@echo "Installing pinned versions; this takes a few minutes the first time."
	$(PIP) --editable ".[all,cluster,dev]"
	@touch $@ $(VENV)/.demo-is-installed

clean:
	rm -rf $(VENV) demo dist
