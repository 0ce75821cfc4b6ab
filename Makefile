# Two commands matter: `make start` and `make test`. Both set up everything they need.

PYTHON := $(shell for p in python3 python3.13 python3.12 python3.11; do \
	command -v $$p >/dev/null 2>&1 && $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' && echo $$p && break; done)
BIN := .venv/bin
RUNTIME := .venv/.runtime
DEVELOPMENT := .venv/.development

.DEFAULT_GOAL := help
.PHONY: help compile start stop status test unit lint types fmt bench clean

help: ## Show this list
	@awk -F':.*## ' '/^[a-z]+:.*## /{printf "  make %-8s %s\n", $$1, $$2}' Makefile

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "Selfbase needs Python 3.11 or newer. Install it and run make again."; exit 1; }
	@echo "Making .venv with $(PYTHON)"
	@$(PYTHON) -m venv .venv

$(RUNTIME): $(BIN)/python pyproject.toml requirements.lock
	@echo "Installing Selfbase into .venv"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c requirements.lock -e .
	@touch $@

$(DEVELOPMENT): $(BIN)/python pyproject.toml requirements.lock
	@echo "Installing Selfbase and its development tools into .venv"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c requirements.lock -e '.[dev]'
	@touch $@ $(RUNTIME)

# An editable install is not compiled by pip, and where PYTHONDONTWRITEBYTECODE is set, as in many
# container images, Python would compile it anew at every start: 0.5 s.
compile: $(RUNTIME)
	@$(BIN)/python -m compileall -q src

start: compile ## Start a project in the foreground and print its addresses and keys
	@$(BIN)/selfbase start $(ARGS)

stop: $(RUNTIME) ## Stop it from another terminal
	@$(BIN)/selfbase stop $(ARGS)

status: $(RUNTIME) ## Show addresses and keys of the running project
	@$(BIN)/selfbase status $(ARGS)

test: lint types unit ## Lint, check types, install what tests need, run all tests

unit: $(DEVELOPMENT) compile
	@$(BIN)/python tools/prepare_tests.py
	@$(BIN)/python -m pytest $(ARGS)

lint: $(DEVELOPMENT) ## Check style and format
	@$(BIN)/ruff check src tests bench examples tools
	@$(BIN)/ruff format --check src tests bench examples tools

types: $(DEVELOPMENT) ## Check types strictly
	@$(BIN)/mypy

fmt: $(DEVELOPMENT) ## Format, and fix what can be fixed
	@$(BIN)/ruff format src tests bench examples tools
	@$(BIN)/ruff check --fix src tests bench examples tools

bench: $(DEVELOPMENT) compile ## Measure speed; NAME=rest measures one part
	@$(BIN)/python -m bench $(NAME)

clean: ## Remove what these commands made, but no project's data
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis tests/js/node_modules dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
