# Every target makes its own environment; Python 3.11 or newer and make are all it needs.
PYTHONS = python3 python3.14 python3.13 python3.12 python3.11
NEW_ENOUGH = import sys; sys.exit(sys.version_info < (3, 11))
# The first that is new enough: of a system's several Pythons `python3` is often the oldest.
PYTHON ?= $(shell for each in $(PYTHONS); do \
    $$each -c '$(NEW_ENOUGH)' 2> /dev/null && echo $$each && break; done)
VENV ?= .venv
BIN := $(VENV)/bin
PIP = $(BIN)/pip install --quiet --disable-pip-version-check
# With hashes, so that a file changed on the registry is refused; with extras, which pip then wants.
COMPILE = $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --no-header \
    --no-emit-index-url --generate-hashes --no-strip-extras
ARGS ?=

.PHONY: help serve sandbox doctor test testbed testbed-down bench fuzz lint types imports check format \
    python-clients tables docs lock lists clean

help:  ## Show this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 14

# What serving needs; every other target installs the tools as well.
$(VENV)/.runtime: requirements.lock pyproject.toml
	@found='$(or $(PYTHON),python3)'; $$found -c '$(NEW_ENOUGH)' 2> /dev/null || { \
	    version=$$($$found --version 2>&1 | sed -n 's/^Python //p'); \
	    echo "make: Veriplex needs Python 3.11 or newer; found $${version:-none}" >&2; \
	    echo "make: with another one: make PYTHON=/path/to/python3.12 $(MAKECMDGOALS)" >&2; \
	    exit 1; }
	@echo "Making an environment in $(VENV) with $$($(PYTHON) --version)"
	@$(PYTHON) -m venv $(VENV)
	@echo "Installing what the server needs (requirements.lock); this takes about half a minute"
	@$(PIP) -r requirements.lock
	@$(PIP) --no-deps --editable .
	@echo "Installed. To have the command in this shell: . $(VENV)/bin/activate"
	@touch $@

$(VENV)/.stamp: $(VENV)/.runtime requirements-dev.lock packaging/pytest-veriplex/pyproject.toml
	@echo "Installing the tools of development (requirements-dev.lock)"
	@$(PIP) -r requirements-dev.lock
	@$(PIP) --no-deps --editable packaging/pytest-veriplex
	@touch $@

serve: $(VENV)/.runtime  ## Install what is needed and run the server on http://127.0.0.1:8025
	@$(BIN)/veriplex serve $(ARGS)

sandbox: $(VENV)/.runtime  ## Run the offline sandbox: test keys only, nothing stored
	@$(BIN)/veriplex sandbox $(ARGS)

doctor: $(VENV)/.runtime  ## Find what prevents verifications: port 25, DNS, names, block lists
	@$(BIN)/veriplex doctor $(ARGS)

# Without bytecode pytest would rewrite every test file anew, which doubles the time to start.
test: export PYTHONDONTWRITEBYTECODE =
test: $(VENV)/.stamp  ## Install what is needed and run the whole test suite
	$(BIN)/python -m pytest $(if $(ARGS),$(ARGS),-n auto --dist loadgroup)

testbed:  ## Start the mail testbed on loopback addresses (Debian or Ubuntu, as root)
	@tests/testbed/up

python-clients: $(VENV)/.stamp  ## Install further versions of the vendors' Python clients, for the tests
	@cd tests/clients/python && grep '^[^#]' versions.txt | while read -r client hash; do \
	    echo "$$client $$hash" > .wanted.txt && $(abspath $(BIN))/python -m pip install --quiet --no-deps \
	        --disable-pip-version-check --upgrade --target "$$client" -r .wanted.txt || exit 1; \
	done && rm -f .wanted.txt

testbed-down:  ## Stop the mail testbed
	@tests/testbed/down

bench: $(VENV)/.stamp  ## Measure, as ratios against bare baselines of the same run
	$(BIN)/python -m tests.benchmarks $(ARGS)

# There are wheels of atheris for CPython on Linux; without it the inputs are not guided by coverage.
fuzz: $(VENV)/.stamp  ## Fuzz the parsers of foreign bytes, a minute each unless ARGS say otherwise
	@$(PIP) --only-binary :all: 'atheris>=3' || echo "make: going on without atheris"
	$(BIN)/python -m tests.fuzz $(ARGS)

lint: $(VENV)/.stamp  ## Format and lint checks
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/codespell

types: $(VENV)/.stamp  ## Strict type check of code and tests
	$(BIN)/mypy

imports: $(VENV)/.stamp  ## The import arrows: gateway -> adapters -> engine
	$(BIN)/lint-imports

check: lint types imports test  ## Everything that must hold before a commit

format: $(VENV)/.stamp  ## Format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

$(VENV)/.docs: $(VENV)/.runtime requirements-docs.lock
	$(PIP) -r requirements-docs.lock
	@touch $@

tables: $(VENV)/.runtime  ## Fill in the tables of the documentation from the code
	$(BIN)/python -m tools.docs

docs: $(VENV)/.docs  ## Build the docs site into build/docs
	$(BIN)/zensical build --strict --clean

lock: $(VENV)/.stamp  ## Resolve the locked dependencies anew
	$(PIP) uv
	$(COMPILE) pyproject.toml --extra cluster --extra outcomes -o requirements.lock $(ARGS)
	$(COMPILE) pyproject.toml --group dev -o requirements-dev.lock $(ARGS)
	$(COMPILE) --group docs --constraints requirements-dev.lock -o requirements-docs.lock $(ARGS)

lists: $(VENV)/.stamp  ## Take the newest lists of disposable and free domains, and show what is new
	$(PIP) uv
	@$(BIN)/python tools/update_lists.py

clean:  ## Remove the environment and caches
	rm -rf $(VENV) build .cache .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
