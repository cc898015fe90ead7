# `make help` lists the targets. The only requirements are Python >= 3.11, pip, git and make.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALL := $(BIN)/uv pip install --python $(BIN)/python -c constraints.txt
SPHINX := $(BIN)/python -m sphinx -W --keep-going

.DEFAULT_GOAL := help
.PHONY: help digits test test-slow bench docs docs-executed docs-links install install-dev install-docs clean

help: ## list the targets
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  \1\t/' | expand -t 14

digits: install ## install, then DMG and Aggregate on the embedded digits, leave one domain out, with a table at the end
	$(BIN)/dmg benchmark --dataset digits --methods dmg aggregate --out runs/digits

test: install-dev ## install, then formatting, types and the default tests
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/pytest -n auto --dist loadfile

test-slow: install-dev install-docs ## the tests that take minutes
	$(BIN)/pytest -m slow

bench: install ## speed and memory of every part against a baseline, as one table; eight minutes divided among them
	$(BIN)/python benchmarks/run.py --markdown

docs: install-docs ## the documentation as a site in docs/_build/html; a warning or a broken link fails
	$(SPHINX) -b html docs docs/_build/html

docs-executed: install-docs ## the site with the outputs of the notebooks, which run for minutes when they have changed
	$(SPHINX) -D nb_execution_mode=cache -b html docs docs/_build/html

docs-links: install-docs ## the links of the documentation to other sites, which needs a connection
	$(SPHINX) -b linkcheck docs docs/_build/linkcheck

install: $(VENV)/installed ## the package in .venv
install-dev: $(VENV)/installed-dev ## the package in .venv, with what its tests need
install-docs: $(VENV)/installed-docs ## the package in .venv, with what its documentation needs

$(VENV)/uv-installed:
	@$(PYTHON) -c 'import sys; v = sys.version_info; v >= (3, 11) or sys.exit("expected Python 3.11 or newer, got %d.%d: name another, as in make PYTHON=python3.12" % v[:2])'
	@# Some distributions ship Python without ensurepip: there the pip outside installs into the environment.
	$(PYTHON) -m venv --clear $(VENV) || $(PYTHON) -m venv --clear --without-pip $(VENV)
	$(BIN)/python -m pip install --quiet -c constraints.txt uv || $(PYTHON) -m pip --python $(BIN)/python install --quiet -c constraints.txt uv
	@touch $@

$(VENV)/installed: $(VENV)/uv-installed pyproject.toml constraints.txt
	$(INSTALL) -e .
	@touch $@

$(VENV)/installed-dev: $(VENV)/installed
	$(INSTALL) -e '.[dev]'
	@touch $@

$(VENV)/installed-docs: $(VENV)/installed
	$(INSTALL) -e '.[docs]'
	@touch $@

clean: ## remove the environment and caches; runs are kept
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache build dist docs/_build
	find src tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +
