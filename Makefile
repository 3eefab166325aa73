# Everything a person or CI does, one command each. Needs Python >= 3.11 and make; `make help` lists the targets.
SHELL := /bin/sh
PYTHON := .venv/bin/python
READY := .venv/.ready
LOG ?= postgres
TESTS ?= tests
# Worker processes of `make test`; 0 runs the tests in one.
WORKERS ?= 2
# What is written here stays what is run: no option of an outer make, no PYTHONPATH of another project.
unexport PYTHONPATH PYTHONHOME

.DEFAULT_GOAL := help
.PHONY: help setup run demo kafka test check replay bench faults sdks clean

help: ## list these targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' Makefile

setup: $(READY) ## make the environment in .venv (the other targets do it when it is missing or out of date)

$(READY): requirements.lock pyproject.toml
	@python=; \
	for name in python3.14 python3.13 python3.12 python3.11 python3; do \
	  if "$$name" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then python=$$name; break; fi; \
	done; \
	if [ -z "$$python" ]; then \
	  found=`python3 --version 2>&1` || found="no python3 on the PATH"; \
	  echo "Rapport needs Python 3.11 or newer with its venv module; found: $$found." >&2; \
	  echo "Install one (Debian and Ubuntu: apt install python3 python3-venv; macOS: brew install python) and try again." >&2; \
	  exit 1; \
	fi; \
	echo "Making the environment in .venv with $$($$python --version) (once, about a minute) ..."; \
	if [ -d .venv ] && .venv/bin/python -c 'import sys, pip; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; \
	then :; else rm -rf .venv && "$$python" -m venv .venv || exit 1; fi; \
	.venv/bin/python -m pip --disable-pip-version-check install --quiet --no-input --no-deps --require-hashes -r requirements.lock \
	&& .venv/bin/python -m pip --disable-pip-version-check install --quiet --no-input --no-deps --no-build-isolation -e . \
	|| { echo "The environment could not be made: see pip's message above. 'rm -rf .venv' starts afresh." >&2; exit 1; }
	@touch $(READY)

run: $(READY) ## the whole platform on 127.0.0.1:8001-8005, data in .rapport (RAPPORT_HOME, RAPPORT_PORT_BASE; LOG=kafka)
	@$(PYTHON) -m deploy.cli run --log $(LOG)

demo: $(READY) ## real purchases through the whole platform, and what came of them (LOG=kafka; KEEP=1 leaves it running)
	@$(PYTHON) -m deploy.cli demo --log $(LOG) $(if $(filter-out 0 no,$(KEEP)),--keep)

kafka: $(READY) ## a real Apache Kafka on this machine, alone
	@$(PYTHON) -m deploy.cli kafka

test: $(READY) ## every test, against a real PostgreSQL and Kafka (TESTS=tests/unit runs some; WORKERS=0 in one process)
	@$(PYTHON) -m pytest -q -n $(WORKERS) --dist loadfile --no-loadscope-reorder $(TESTS)

check: $(READY) ## lint, format, types, layers, generated pages
	@.venv/bin/ruff check --quiet .
	@.venv/bin/ruff format --quiet --check .
	@.venv/bin/mypy --no-error-summary
	@.venv/bin/lint-imports --no-logo >.venv/imports.log 2>&1 || { cat .venv/imports.log; exit 1; }
	@$(PYTHON) -m deploy.reference --check
	@echo "check: all good"

replay: $(READY) ## fold the journal again beside the live state, and compare (ARGS="rewards --json"; .venv/bin/rapport replay --help)
	@$(PYTHON) -m deploy.cli replay $(ARGS)

bench: $(READY) ## throughput and delays, as a table (ROWS=singles,null BEST=1 SCALE=0.01; docs/performance.md)
	@$(PYTHON) -m tests.bench

faults: $(READY) ## seeded faults under load, checked against a model (SEED=1 RUNS=20 on each log; LOG=postgres, kafka)
	@$(PYTHON) -m tests.faults --seed $(or $(SEED),1) --runs $(or $(RUNS),20) --log $(if $(filter file,$(origin LOG)),both,$(LOG))

sdks: $(READY) ## the real SDKs, each with 429, 503, cut connections and a restart: which arrived (ONLY=segment; Node and Chromium where there)
	@mkdir -p .sdks && cp tests/sdks/package.json tests/sdks/programs/*.mjs .sdks/
	@.venv/bin/python -m pip --disable-pip-version-check install --quiet --no-input --target .sdks/python --upgrade -r tests/sdks/requirements.txt
	@if command -v npm >/dev/null; then cd .sdks && npm install --silent --no-package-lock --no-audit --no-fund; fi
	@$(PYTHON) -m tests.sdks

clean: ## remove the environment and caches (data in .rapport stays)
	@rm -rf .venv .sdks .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache *.egg-info
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
