# The ways to work on Hero Supervisor. What each one does is in packaging/dev; here are only their names.
# Try `make demo`. ARGS goes to pytest: make test ARGS='-k recovery -x'

DEV := packaging/dev
ARGS :=

.DEFAULT_GOAL := help
.PHONY: help demo down test unit integration e2e bench chaos sandbox install docs lint format all clean
.PHONY: conformance test-debian test-debian12 test-debian13 test-vm

help: ## show this list
	@echo "Hero Supervisor: make TARGET"
	@sed -n 's/^\([a-z0-9-]*\):.*## \(.*\)/  \1\t\2/p' Makefile | expand -t 16

demo: ## see it work: set-up, a supervisor on a real systemd, a batch of jobs
	@$(DEV)/demo

down: ## end the demo, and all it started
	@$(DEV)/down

test: ## all tests, on a real systemd in a throw-away machine (ARGS='-k name')
	@$(DEV)/test tests/unit tests/integration tests/e2e -- $(ARGS)

unit: install ## tests that need no daemon, here and now
	@PATH="$$PWD/.venv/bin:$$PATH" pytest tests/unit $(ARGS)

integration: ## tests with one real daemon per file
	@$(DEV)/test tests/integration -- $(ARGS)

e2e: ## tests that drive the installed program
	@$(DEV)/test tests/e2e -- $(ARGS)

test-debian: test-debian12 test-debian13 ## all tests on both Debian releases (root)

test-debian12: ## all tests on Debian 12: systemd 252
	@$(DEV)/test --debian bookworm tests/unit tests/integration tests/e2e -- $(ARGS)

test-debian13: ## all tests on Debian 13: systemd 257
	@$(DEV)/test --debian trixie tests/unit tests/integration tests/e2e -- $(ARGS)

test-vm: ## tests of limits, reboots and power cuts, in a virtual machine (root)
	@$(DEV)/vm trixie -- $(ARGS)

conformance: ## clients and tools of others against the service; needs Node
	@$(DEV)/setup conformance
	@$(DEV)/test tests/conformance -- $(ARGS)

bench: ## benchmarks, in the same throw-away machine as the tests
	@$(DEV)/setup bench
	@$(DEV)/test tests/benchmarks -- $(ARGS)

chaos: ## the fault matrix: what has to stay true when things break, with figures; takes some eleven minutes
	@$(DEV)/test tests/chaos -- $(ARGS) </dev/null

sandbox: ## a shell in a fresh throw-away machine, gone on exit
	@$(DEV)/setup dev sandbox
	@$(DEV)/sandbox once "shell-$$$$" -- bash

install: ## make .venv with the project and the tools for working on it
	@$(DEV)/setup dev

docs: install ## make what is made from the code: docs/openrpc.json, docs/methods.md, the methods of the clients
	@.venv/bin/python $(DEV)/describe.py docs
	@.venv/bin/python $(DEV)/client.py hero_supervisor/rpc_client

lint: install ## all static checks
	@$(DEV)/lint

format: install ## format the code, and fix what ruff can fix
	@.venv/bin/ruff check --fix --quiet .
	@.venv/bin/ruff format .

all: lint test ## what must pass before every submission

clean: down ## remove everything that make made in this directory
	@rm -rf .venv .cache .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis build dist *.egg-info
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
