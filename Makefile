# `make help` lists the targets: a line "target: ## what it does" is its own entry.
.DEFAULT_GOAL := help
SHELL := /bin/sh
VENV := .venv
PY := $(VENV)/bin/python
PIP := $(PY) -m pip install --quiet --disable-pip-version-check
# Where to write the process id of a container engine that is started here (.ci/run stops it).
ENGINE_PID_FILE ?=
PID_FILE := $(if $(ENGINE_PID_FILE),--pid-file $(ENGINE_PID_FILE))

export PYTHONUNBUFFERED := 1

.PHONY: help demo lab test lint format bench docs image wheel-check notebooks conformance soak clean distclean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

$(VENV)/lab.stamp: pyproject.toml scripts/venv.sh
	@scripts/venv.sh $(VENV)
	@echo "installing oblako-magic and JupyterLab into $(VENV)"
	@$(PIP) --editable '.[lab]'
	@touch $@

$(VENV)/dev.stamp: pyproject.toml scripts/venv.sh
	@scripts/venv.sh $(VENV)
	@echo "installing oblako-magic and its tools into $(VENV)"
	@$(PIP) --editable '.[lab,test,dev,bench]'
	@touch $(VENV)/lab.stamp $@

demo: $(VENV)/lab.stamp ## set up what is missing, run the first notebook for real, tell what happened
	@$(PY) -m scripts.demo $(PID_FILE)

lab: $(VENV)/lab.stamp ## open the notebooks in JupyterLab, on loopback
	@$(VENV)/bin/jupyter lab --ip=127.0.0.1 --notebook-dir=notebooks

test: $(VENV)/dev.stamp ## everything: engine, lint, packaging, tests, notebooks, demo
	@$(PY) -m scripts.check $(PID_FILE)

lint: $(VENV)/dev.stamp ## style, types and layers
	@$(PY) -m scripts.check lint

format: $(VENV)/dev.stamp ## put the code into its format
	@$(VENV)/bin/ruff check --fix --quiet . ; $(VENV)/bin/ruff format .

notebooks: $(VENV)/dev.stamp ## execute the notebooks twice and compare their outputs
	@$(PY) -m scripts.check notebooks

wheel-check: $(VENV)/dev.stamp ## build the wheel and install it on every Python that is here
	@$(PY) -m scripts.check packaging

conformance: $(VENV)/dev.stamp ## moto's own tests here and on moto; writes docs/conformance.md
	@$(PY) -m scripts.conformance

soak: $(VENV)/dev.stamp ## 200 rounds of kills, full disks and ended engines, 20 min (as root; SEED=N repeats)
	@$(PY) -m tests.faults --rounds 200 $(if $(SEED),--seed $(SEED))

bench: $(VENV)/dev.stamp ## measure, and write docs/performance.md
	@$(PY) -m benchmarks

docs: $(VENV)/lab.stamp ## write docs/magics.md from the registry of subcommands
	@$(PY) -m oblako_magic.frontends.docs > docs/magics.md.new && mv docs/magics.md.new docs/magics.md

image: $(VENV)/lab.stamp ## build the base and the notebook image from packages
	@$(VENV)/bin/oblako image build base
	@$(VENV)/bin/oblako image build notebook

clean: ## remove caches, and what killed test runs left in the engine
	@if [ -e $(VENV)/dev.stamp ]; then $(PY) -m tests.support.sweep; fi
	@rm -rf .demo build dist .hypothesis .mypy_cache .pytest_cache .ruff_cache .import_linter_cache
	@find . -path ./$(VENV) -prune -o -name __pycache__ -type d -print | xargs rm -rf

distclean: clean ## clean, and remove .venv
	@rm -rf $(VENV)
