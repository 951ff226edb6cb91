# The two commands: `make run` starts the agent with its cache, `make test` checks everything. Both do the set-up.
#
#   make run ARGS="--set cache.port=7000"     arguments for `predis-agent run`
#   make test TESTS=tests/agent               a part of the tests
#   make setup PYTHON=/opt/python/bin/python3 another Python (3.11 or newer)

SHELL := /bin/sh
PYTHON ?=
ARGS ?=
TESTS ?= tests
VENV := .venv
BIN := $(VENV)/bin
NATIVE := $(wildcard core_cache/native/*.cpp core_cache/native/*.h)

.NOTPARALLEL:
.PHONY: help setup native peers run test lint types native-tests pytest sanitize fuzz stress bench eval clean
.DEFAULT_GOAL := help

help:
	@sed -n 's/^# \{0,1\}//p' Makefile | sed -n '1,/^$$/p'
	@echo "targets: setup run test lint types pytest sanitize fuzz stress bench eval peers clean"

# --- set-up: virtual environment, packages, native extension; each step only when what it reads has changed ---

setup: $(VENV)/.native

$(VENV)/.created: packaging/setup.sh packaging/install-packages.sh
	@PYTHON='$(PYTHON)' sh packaging/setup.sh $(VENV)
	@touch $@

$(VENV)/.packages: $(VENV)/.created setup.cfg pyproject.toml
	@echo "Installing Predis Agent and its Python packages into $(VENV) ..."
	@PYTHONWARNINGS=ignore $(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@

$(VENV)/.native: $(VENV)/.packages setup.py $(NATIVE)
	@echo "Building the native cache engine ..."
	@PYTHONWARNINGS=ignore $(BIN)/python setup.py --quiet build_ext --inplace
	@touch $@

native: $(VENV)/.native

# --- the real peers that tests and benchmarks talk to; without them those tests are skipped and say so ---

peers:
	@sh packaging/peers.sh

run: setup
	@exec $(BIN)/predis-agent run $(ARGS)

test: setup peers lint types pytest

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check --quiet .

types: setup
	$(BIN)/mypy

pytest: setup native-tests
	$(BIN)/python -m pytest $(TESTS)

native-tests: setup
	@echo "Building the native tests with the sanitizers ..."
	@$(BIN)/python -m tests.core_cache.native_build

# The cache core's tests on an engine built with AddressSanitizer and UndefinedBehaviorSanitizer; TESTS=… for a part.
sanitize: setup peers
	$(BIN)/python -m tests.core_cache.sanitize $(if $(filter-out tests,$(TESTS)),$(TESTS))

# The engine and its arena under libFuzzer, SECONDS=n for each target; TARGETS="arena text" for some of them.
fuzz: setup
	@sh packaging/install-packages.sh "fuzzing with make fuzz" clang libclang-rt-dev || true
	$(BIN)/python -m tests.core_cache.fuzz --seconds $(or $(SECONDS),60) $(TARGETS)

# At least 10^7 checked reads by local readers while the cache evicts, expires, flushes and is killed; READS=n for more.
# Then 100 kills of a process that exports to all vendors, and 100 of a whole agent that does; KILLS=n for more.
stress: setup
	READS=$(or $(READS),10000000) $(BIN)/python -m tests.core_cache.reader_stress
	$(BIN)/python -m tests.exporters.kills $(or $(KILLS),100)
	$(BIN)/python -m tests.exporters.agent_kills $(or $(KILLS),100)

bench: setup peers
	$(BIN)/python -m bench.run $(ARGS)

# Detection, causes and forecasts on recorded data, beside simple ones; ARGS="anomaly --shared DIR" for some of it.
eval: setup
	$(BIN)/python -m bench.evaluation $(ARGS)

# Keeps var/, which holds the cache's data.
clean:
	rm -rf $(VENV) build *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
	rm -f core_cache/*.so
	find agent core_cache plugins tests bench -name __pycache__ -type d -prune -exec rm -rf {} +
