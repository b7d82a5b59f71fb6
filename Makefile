# `make test` does its own set-up on a fresh machine; `make help` lists the rest.
PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin/python
STAMP := $(VENV)/.installed
SERVICES := pilot_registration evaluation incentive_scoring

.DEFAULT_GOAL := help
.PHONY: help demo test faults check setup lint types rules schemas contracts fmt lock clean

help: ## list what can be done
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

demo: $(STAMP) ## the programme's year in a few minutes, from real workbooks, on real Kafka and MongoDB (ARGS="--scale 0.1")
	@$(RUN) -m deploy.demo $(ARGS)

test: $(STAMP) ## everything about behaviour, on real Kafka and MongoDB
	@$(RUN) -m pytest -q --durations=15

faults: $(STAMP) ## the long form: faults of every kind on 3 brokers and 3 mongods, then the auditor (ARGS="--seed 7 --faults 300")
	@$(RUN) -m tests.faults --brokers 3 --mongods 3 $(ARGS)

check: lint types rules schemas test ## what CI runs: lint + types + import rules + schema gate + test

setup: $(STAMP) ## create the virtual environment from the hashed lock

lint: $(STAMP) ## ruff: style and likely mistakes
	@$(VENV)/bin/ruff check . && $(VENV)/bin/ruff format --check .

types: $(STAMP) ## mypy strict
	@$(VENV)/bin/mypy

rules: $(STAMP) ## import rules of the house
	@PYTHONPATH=. $(VENV)/bin/lint-imports --no-cache

schemas: $(STAMP) ## schema gate: nothing generated is stale, no contract breaks
	@$(RUN) -m deploy.contracts --check
	@for name in $(SERVICES); do \
	  $(RUN) -m shared.doors.openapi --check services.$$name.main:app docs/openapi/$$name.json || exit 1; done

contracts: $(STAMP) ## remake what is generated from contracts and doors: schemas, samples, events.md, AsyncAPI, OpenAPI
	@$(RUN) -m deploy.contracts
	@for name in $(SERVICES); do $(RUN) -m shared.doors.openapi services.$$name.main:app docs/openapi/$$name.json || exit 1; done

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
