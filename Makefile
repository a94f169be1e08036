# Everything a contributor runs. `make` alone lists the targets.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
export SEED SEEDS
MAKEFLAGS += --no-print-directory

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.setup-$(shell sha256sum pyproject.toml | cut -c1-16)
PYTEST := $(BIN)/python -m pytest -p no:cacheprovider
BUF := node_modules/.bin/buf
HOSTS ?= 3
SEED ?=
SEEDS ?=
STAY ?=
FAULTS ?= $(wildcard ../shared/faults.yaml)
ONLY ?=
FOR ?= 60m
LAB_TOOLS := mmdebstrap:mmdebstrap systemd-nspawn:systemd-container ip:iproute2

.PHONY: help setup demo lab test check fmt lint types sim coverage mutants lab-test lab-test-if-possible protos proto-baseline bench bench-faults bench-rivals bench-healthy clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(STAMP) ## Create .venv and install the project with its tools (does nothing when already done)

$(STAMP):
	@command -v $(PYTHON) >/dev/null || { echo "cannot set up: $(PYTHON) is missing; install the Debian package python3" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "cannot set up: $(PYTHON) is older than 3.11; name a newer one with make PYTHON=python3.11" >&2; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null \
	  || { echo "cannot set up: $(PYTHON) has no venv module; install the Debian package python3-venv" >&2; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@rm -f $(VENV)/.setup-*; touch $@

demo: setup ## Heal two faults on this very machine, without root (STAY=1 keeps it running)
	@$(BIN)/python -m deploy.demo.demo $(if $(STAY),--stay)

lab: setup ## Boot a fleet of real systemd hosts (root; HOSTS=3); `deploy/lab/lab down` ends it
	deploy/lab/lab up --hosts $(HOSTS)

test: setup ## Run the tests that need no root
	$(PYTEST) -n auto --dist loadfile --no-loadscope-reorder tests/e2e tests/unit tests/contract

check: test lint types sim lab-test-if-possible ## Everything: tests, lint, types, simulation and, as root, the lab
	@echo "check: all passed"

fmt: setup ## Format the code and rewrite what is generated from it
	$(BIN)/ruff check --fix-only --quiet .
	$(BIN)/ruff format --quiet .
	$(BIN)/python -m tests.tools.drawing --write
	$(BIN)/python -m tests.tools.catalogue --write

lint: setup $(BUF) ## Style, import contracts, dependencies, protocol rules
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-cache
	$(BIN)/deptry .
	$(BUF) lint protos
	$(BUF) breaking protos --against protos/baseline.binpb

types: setup ## mypy --strict
	$(BIN)/mypy
	$(BIN)/mypy -p deploy.demo -p deploy.grafana

sim: setup ## Run the seeded simulation of whole fleets (SEEDS=20000 for a night, SEED=7 prints the timeline of one)
	$(PYTEST) --timeout=900 $(if $(SEED),-n0 -q -s tests/simulation/test_swarm.py,-n auto tests/simulation)

coverage: setup ## Statements and branches of the decision core that tests and simulation reach; fails below 98 %
	@rm -f .coverage
	SEEDS=20 $(BIN)/python -m coverage run --branch --source=controller/fleetmend_controller/core \
	  -m pytest -p no:cacheprovider -n0 -q tests/unit/core tests/simulation/test_swarm.py
	$(BIN)/python -m coverage report --show-missing --skip-covered --fail-under=98
	@rm -f .coverage

mutants: setup ## Change gates, proof, storms and permission in many small ways; the tests must notice (docs/mutants.md explains the rest)
	$(BIN)/python -m tests.tools.mutants

lab-test: setup ## Test on real systemd hosts (needs root)
	@test "$$(id -u)" = 0 || { echo "cannot run the lab tests: they need root" >&2; exit 1; }
	@for pair in $(LAB_TOOLS); do command -v $${pair%%:*} >/dev/null \
	  || { echo "cannot run the lab tests: $${pair%%:*} is missing; install the Debian package $${pair##*:}" >&2; exit 1; }; done
	$(PYTEST) -n0 --timeout=1200 tests/lab

# Part of `check`: an ordinary user goes without the lab and is told so; CI=true or FLEETMEND_LAB_REQUIRED=1 insists on it.
lab-test-if-possible: setup
	@if [ "$$(id -u)" = 0 ] || [ "$${CI:-}" = true ] || [ "$${FLEETMEND_LAB_REQUIRED:-}" = 1 ]; then $(MAKE) lab-test; \
	  else echo "check: the lab tests need root and did not run"; fi

protos: setup ## Regenerate what is generated: protocol stubs, catalogue, drawing, dashboard
	$(BIN)/python -m tests.tools.stubs protos
	$(BIN)/python -m tests.tools.catalogue --write
	$(BIN)/python -m tests.tools.drawing --write
	$(BIN)/python -m tests.tools.catalogue --write
	$(BIN)/python deploy/grafana/generate.py

proto-baseline: $(BUF) # Taken at a release: what later protocol changes must stay compatible with
	$(BUF) build protos --exclude-source-info -o protos/baseline.binpb

bench: setup ## Measure the figures that the project promises
	$(PYTEST) -n0 -s --timeout=1800 tests/bench

bench-faults: setup ## Play a catalogue of faults on fresh lab hosts (root; FAULTS=file, ONLY=ID,ID, HOSTS=3)
	@test -n "$(FAULTS)" || { echo "cannot play faults: name a catalogue: make bench-faults FAULTS=path/faults.yaml" >&2; exit 2; }
	$(BIN)/python -m tests.bench.faults --faults $(FAULTS) --hosts $(HOSTS) $(if $(ONLY),--only $(ONLY))

bench-rivals: setup ## The same faults against Monit, beside the results of bench-faults (root; FAULTS=file, ONLY=ID,ID)
	@test -n "$(FAULTS)" || { echo "cannot play faults: name a catalogue: make bench-rivals FAULTS=path/faults.yaml" >&2; exit 2; }
	$(BIN)/python -m tests.bench.faults.rivals --faults $(FAULTS) $(if $(ONLY),--only $(ONLY))

bench-healthy: setup ## Watch healthy lab hosts; any incident or action fails (root; FOR=60m, FAULTS=file)
	@test -n "$(FAULTS)" || { echo "cannot watch hosts: name a catalogue for their world: make bench-healthy FAULTS=path/faults.yaml" >&2; exit 2; }
	$(BIN)/python -m tests.bench.faults --faults $(FAULTS) --healthy $(FOR) --state /var/lib/fleetmend-lab-healthy

$(BUF): package.json
	@command -v npm >/dev/null || { echo "cannot fetch buf: npm is missing; install the Debian package npm" >&2; exit 1; }
	npm install --no-package-lock --no-audit --no-fund --ignore-scripts --loglevel=error
	@touch $@

clean: ## Remove what the targets made
	rm -rf $(VENV) node_modules build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .coverage
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
