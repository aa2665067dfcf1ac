# Two commands do all the set-up on a fresh machine: `make demo` and `make test`. Run again, both start in seconds.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet --constraint constraints.txt
PYTEST_ARGS ?=
ROUNDS ?= 5

.PHONY: demo test test-slow test-all explore lint docs release bench reliability scaling screenshots clean help

help:
	@echo "make demo         score a brain with a simulated lesion and say where the results lie"
	@echo "make test         install what the tests need and run the quick ones (minutes)"
	@echo "make test-slow    run the tests that take long"
	@echo "make test-all     run both and measure how much of the code they run"
	@echo "make explore      try property tests on new examples (ROUNDS=5)"
	@echo "make lint         check style, layers, workflows, and types on Linux, Windows and macOS"
	@echo "make docs         build the site into site/, and check its links"
	@echo "make release      build the packages and try the wheel in a clean environment"
	@echo "make bench        measure speed and memory, and check the times that a user waits (slow)"
	@echo "make reliability  feed broken and hostile files to the readers and count what happens (slow)"
	@echo "make scaling      measure what a cluster needs and estimate the rest (slow)"
	@echo "make screenshots  make the pictures of the documentation again"

demo: $(VENV)/.demo-is-installed
	$(BIN)/moeclip-med demo --output demo

test: $(VENV)/.dev-is-installed
	@scripts/system-packages
	scripts/run-tests $(BIN)/python -m "not slow and not timed" $(PYTEST_ARGS)

test-slow: $(VENV)/.dev-is-installed
	@scripts/system-packages
	scripts/run-tests $(BIN)/python -m "slow and not timed" $(PYTEST_ARGS)

test-all:
	$(MAKE) test PYTEST_ARGS="--cov --cov-report= --cov-fail-under=0"
	$(MAKE) test-slow PYTEST_ARGS="--cov --cov-append --cov-report=term --cov-report=xml"

explore: $(VENV)/.dev-is-installed
	for round in $$(seq $(ROUNDS)); do \
	  HYPOTHESIS_PROFILE=explore $(BIN)/python -m pytest -n 2 -q -m "hypothesis and not timed" $(PYTEST_ARGS) || exit; \
	done

lint: $(VENV)/.dev-is-installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-cache --no-logo
	$(BIN)/check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/*.yml
	$(BIN)/check-jsonschema --builtin-schema vendor.github-issue-forms .github/ISSUE_TEMPLATE/bug.yml .github/ISSUE_TEMPLATE/idea.yml
	$(BIN)/check-jsonschema --builtin-schema vendor.dependabot .github/dependabot.yml
	$(BIN)/check-jsonschema --builtin-schema vendor.citation-file-format CITATION.cff
	$(BIN)/zizmor --offline --quiet .github
	$(BIN)/mypy
	$(BIN)/mypy --platform win32
	$(BIN)/mypy --platform darwin

docs: $(VENV)/.dev-is-installed
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --strict

release: $(VENV)/.dev-is-installed
	scripts/release $(BIN)/python

bench: $(VENV)/.dev-is-installed
	@scripts/system-packages
	xvfb-run --auto-servernum $(BIN)/python -m pytest -m timed
	$(BIN)/python benchmarks/bench.py

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
	rm -rf $(VENV) demo dist site
