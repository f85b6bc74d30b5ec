# Two commands do everything on a fresh machine: `make run` and `make test`.
SHELL := /bin/bash
VENV := .venv
BIN := $(VENV)/bin
UV := $(shell command -v uv 2>/dev/null || echo .uv/bin/uv)
ARGS ?=
# Which interpreter .venv is made of: a distribution's where it is there whole, since it is up to a fifth faster than
# one that was built plainly, else what uv finds.
DISTRIBUTED = $(firstword $(foreach python,$(wildcard /usr/bin/python3.12 /usr/bin/python3.11),\
  $(shell $(python) -c 'import asyncio,ctypes,sqlite3,ssl' 2>/dev/null && echo $(python))))
FOUND := >=3.11,<3.13
PYTHON ?= $(or $(DISTRIBUTED),$(FOUND))

.DEFAULT_GOAL := help
.PHONY: help setup run test nightly oracle live-final lint types format lock bench chaos simulate outages specs bench-day bench-archive bench-audit fuzz audit-deps sbom clean

help: ## What there is
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'

setup: $(VENV)/.installed ## Everything that is needed, into .venv

# An own uv where the machine has none: from a venv, or beside pip where the machine's Python has no venv.
.uv/bin/uv:
	@python3 -m venv .uv >/dev/null 2>&1 && .uv/bin/pip install --quiet uv \
	  || { rm -rf .uv && python3 -m pip install --quiet --target .uv uv; } \
	  || { echo "make setup: this needs Python 3 with venv or pip (Debian: apt install python3-venv)"; exit 1; }

$(VENV)/.installed: requirements.lock pyproject.toml | $(UV)
	@test -x $(BIN)/python || $(UV) venv --quiet --python '$(PYTHON)' $(VENV)
	@echo "installing the packages of requirements.lock (about 1.8 GB on disk; half a minute with a warm cache)"
	@$(UV) pip install --quiet --python $(BIN)/python --require-hashes -r requirements.lock
	@$(UV) pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .
	@touch $@

run: setup ## The main job on the embedded real servers; Ctrl-C stops it (options: make run ARGS="--for 60s")
	@$(BIN)/execution-agent run $(ARGS)

test: setup lint types ## Lint, types, import rules and all tests but the slow campaigns
	@$(BIN)/pytest -n 2 --dist worksteal -q $(ARGS)

lint: setup ## ruff and the import rules
	@$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/lint-imports --no-logo 2>/dev/null || $(BIN)/lint-imports

types: setup ## mypy --strict over all packages
	@$(BIN)/mypy

format: setup ## Let ruff mend what it can
	@$(BIN)/ruff check --fix . ; $(BIN)/ruff format .

bench: setup ## Landing rate and latency, against yardsticks of the same run
	@$(BIN)/python -m bench $(ARGS)

bench-day: setup ## A day of a million fills derived again: time and memory, against a yardstick (ARGS="--fills 100000")
	@$(BIN)/python -m bench.derive $(ARGS)

bench-archive: setup ## A day of a million fills archived, encrypted and locked, and read back: time and memory (exit 3: not proven)
	@$(BIN)/python -m bench.archive $(ARGS)

bench-audit: setup ## The audit log: events a second, gaps between checkpoints, a proof in 10 million events (exit 3: not proven)
	@$(BIN)/python -m bench.audit_log $(ARGS)

KILLS ?= 1000
SEED ?= 1
chaos: setup ## SIGKILL at every fault point under load, then the books (KILLS=1000 SEED=1)
	@$(BIN)/python -m chaos --kills $(KILLS) --seed $(SEED) $(ARGS)

outages: setup ## Each server fails in every way under load, the clock and the writer too, then the books (ARGS="--only postgres")
	@$(BIN)/python -m chaos.outages $(ARGS)

HOURS ?= 10000
simulate: setup ## The streaming core under a virtual clock, with faults from seeds (HOURS=10000 SEED=1)
	@$(BIN)/python -m simulation --hours $(HOURS) --seed $(SEED) $(ARGS)

oracle: setup ## Slippage and fees of a million random fills against fractions (ORACLE_FILLS=…)
	@$(BIN)/python -m bench.oracle

live-final: setup ## Live against final slippage on captured markets (FILES="…"; default ../shared/data/*.gz)
	@$(BIN)/python -m bench.live_final $(FILES)

CONVERGENCE := tests/unit/domain/test_convergence.py tests/unit/domain/test_order_machine.py \
  tests/integration/test_reading.py tests/integration/test_convergence_day.py
nightly: setup ## Convergence with 10,000 examples
	@CONVERGENCE_EXAMPLES=10000 $(BIN)/pytest -q -n 2 --dist worksteal $(CONVERGENCE)

specs: setup ## Write the snapshot of Dagster's definitions again (after a change that is meant)
	@$(BIN)/python -m tests.unit.specs

MINUTES ?= 10
fuzz: setup ## The HTTP edge by its OpenAPI document, then every decoder with hostile messages (MINUTES=10 ARGS="--seed 1")
	@FUZZ_EXAMPLES=1000 $(BIN)/pytest -q -n 0 tests/fuzz/test_rest.py
	@$(BIN)/python -m tests.fuzz --minutes $(MINUTES) $(ARGS)

audit-deps: setup ## Known holes in what requirements.lock pins; exit 3 where the vulnerability service cannot be asked
	@$(BIN)/python -m tests.dependencies audit $(ARGS)

sbom: setup ## The bill of materials of requirements.lock, CycloneDX JSON, into .state (ARGS="--output FILE")
	@$(BIN)/python -m tests.dependencies sbom $(ARGS)

lock: $(UV) ## Resolve the dependencies again
	@$(UV) pip compile --quiet pyproject.toml --group dev --universal --generate-hashes --no-annotate --no-header \
	  --python-version 3.11 --output-file requirements.lock $(ARGS)

clean: ## Remove what setup made (data stays: execution-agent reset)
	@rm -rf $(VENV) .uv .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
