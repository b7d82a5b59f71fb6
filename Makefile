# Two commands matter: `make demo` and `make test`; each does its own set-up. `make help` lists the rest.
PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin/python
STAMP := $(VENV)/.installed

.DEFAULT_GOAL := help
.PHONY: help demo test check setup lint types rules schemas docs fmt lock clean

help: ## list what can be done
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

demo: $(STAMP) ## run the programme's year through the real services (Ctrl-C ends it)
	@$(RUN) -m deploy.demo

test: $(STAMP) ## everything about behaviour, on real Kafka and MongoDB
	@$(RUN) -m pytest -q --durations=15

check: lint types rules schemas test ## what CI runs: test + lint + types + house rules + schema gate

setup: $(STAMP) ## create the virtual environment from the hashed lock

lint: $(STAMP) ## ruff: style and likely mistakes
	@$(VENV)/bin/ruff check . && $(VENV)/bin/ruff format --check .

types: $(STAMP) ## mypy strict
	@$(VENV)/bin/mypy

rules: $(STAMP) ## import rules of the house
	@PYTHONPATH=. $(VENV)/bin/lint-imports --no-cache

schemas: $(STAMP) ## committed schemas are current and compatible
	@$(RUN) -m deploy.contracts check

docs: $(STAMP) ## regenerate schemas, docs/events.md and AsyncAPI
	@$(RUN) -m deploy.contracts write

fmt: $(STAMP) ## format the code
	@$(VENV)/bin/ruff format . && $(VENV)/bin/ruff check --fix .

lock: $(STAMP) ## remake the hashed requirement files
	@$(RUN) -m pip install -q uv
	@for name in requirements requirements-dev; do \
	  $(VENV)/bin/uv pip compile -q --generate-hashes --no-header --no-emit-index-url --no-annotate --python-version 3.11 $$name.in -o $$name.lock; done

clean: ## remove the virtual environment and local data
	@rm -rf $(VENV) .liandong .mypy_cache .ruff_cache .pytest_cache

$(STAMP): requirements-dev.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Liandong needs Python 3.11 or newer: set PYTHON=/path/to/python3.11")'
	@test -x $(RUN) || $(PYTHON) -m venv $(VENV)
	@echo "installing packages (about a minute the first time)"
	@$(RUN) -m pip install -q --disable-pip-version-check --require-hashes -r requirements-dev.lock
	@touch $@
