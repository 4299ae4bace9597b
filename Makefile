# Every target works from a fresh clone: it first sets up what it needs and says so.
# PYTHON=... chooses the interpreter (3.11 or newer), ARGS=... is passed on to pytest or benchmarks.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

export PYTHON
bin := .venv/bin
ARGS ?=

.PHONY: help demo lab test check bench bench-agent bench-drops fmt docs lock clean

help: ## print this
	@echo 'podwall: Kubernetes NetworkPolicy on a Linux node, enforced and explained'
	@echo
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1#\2/p' $(firstword $(MAKEFILE_LIST)) | \
		while IFS='#' read -r name text; do printf '%-19s %s\n' "$$name" "$$text"; done

demo: ## see the example policy enforced on real packets, in a cluster of namespaces
	@scripts/setup runtime
	@echo '$$ podwall lab run examples/test-network-policy --nodes 2'
	@$(bin)/python -m podwall lab run examples/test-network-policy --nodes 2

lab: ## a small cluster on this machine, with agents and an API server for your kubectl
	@scripts/setup agent
	@$(bin)/python -m podwall lab up --agents --nodes 3 $(ARGS)
	@echo "First, for this shell: . .venv/bin/activate"

test: ## run all tests, also those on private kernels
	@scripts/setup dev
	@$(bin)/python -m pytest --numprocesses auto $(ARGS)

check: ## check format, lint, types and layers
	@scripts/setup dev
	$(bin)/python -m ruff format --check
	$(bin)/python -m ruff check
	$(bin)/python -m mypy
	$(bin)/lint-imports --no-logo

bench: ## measure the data path and the compiler (some minutes; ARGS=--quick is shorter)
	@scripts/setup bench
	@mkdir -p docs/img
	@$(bin)/python bench/datapath.py --plot docs/img/datapath.svg $(ARGS)
	@$(bin)/python bench/compiler.py $(ARGS)

bench-agent: ## measure the agent in clusters of 5,000 and 150,000 pods (ARGS=--quick is shorter)
	@scripts/setup bench
	@mkdir -p docs/img
	@$(bin)/python bench/agent.py --plot docs/img/agent-scale.svg --write docs/scale.md $(ARGS)

bench-drops: ## measure what logging costs under a flood of denied packets (ARGS=--quick is shorter)
	@scripts/setup bench
	@$(bin)/python bench/drops.py $(ARGS)

fmt: ## format the code and fix what can be fixed
	@scripts/setup dev
	$(bin)/python -m ruff format
	$(bin)/python -m ruff check --fix

docs: ## run the commands in the documentation and write down what they print
	@scripts/setup dev
	$(bin)/python -m tests.e2e.doc_blocks

lock: ## write requirements/*.txt anew (ARGS=--upgrade takes newer versions)
	@scripts/lock $(ARGS)

clean: ## remove everything that was built or installed here
	rm -rf .venv build dist .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	find src tests bench -name __pycache__ -type d -prune -exec rm -rf {} +
