# Needs make and Python 3.11 or newer. `make` alone lists the targets.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help setup run test check format docs bench profile simulate crash golden lock clean

help: ## list the targets
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 12

setup: $(STAMP) ## make .venv and install the locked dependencies

$(STAMP): requirements-dev.lock pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --disable-pip-version-check --quiet --require-hashes -r requirements-dev.lock
	$(BIN)/python -m pip install --disable-pip-version-check --quiet --no-deps --no-build-isolation --editable .
	touch $@

run: $(STAMP) ## start a broker: make run ARGS="--port 9093"
	@exec $(BIN)/kafscale broker $(ARGS)

test: $(STAMP) ## run the tests; suites whose tool chain is not installed are skipped
	$(BIN)/python -m pytest -m "not campaign" $(ARGS)

check: $(STAMP) ## lint, formatting, types, import directions
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(STAMP) ## format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(STAMP) ## write docs/configuration.md from the declarations
	$(BIN)/python -m kafscale config reference > docs/configuration.md

bench: $(STAMP) ## this broker beside Apache Kafka: make bench ARGS="--quick" (needs Java and Maven)
	$(BIN)/python -m benchmarks $(ARGS)

profile: $(STAMP) ## the broker's top functions under load: make profile ARGS="default-client" (needs Java and Maven)
	$(BIN)/python -m benchmarks.profiling $(ARGS)

simulate: $(STAMP) ## run the simulation campaign
	$(BIN)/python -m tests.simulation $(ARGS)

crash: $(STAMP) ## kill -9 campaign: make crash ARGS="--runs 100 --seed 1 --state crash.json"
	$(BIN)/python -m tests.faults.crash_campaign $(ARGS)

golden: ## write the golden bytes again (needs Java and Maven)
	mvn -q -B -f tests/golden/generator/pom.xml compile exec:java

# Locks name no index: each installation uses the one pip is configured with.
LOCK := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header \
	--no-emit-index-url --no-annotate --upgrade pyproject.toml

lock: $(STAMP) ## resolve the dependencies again, to their newest versions
	$(LOCK) --output-file requirements.lock
	$(LOCK) --extra dev --output-file requirements-dev.lock

clean: ## delete .venv, caches and build products; data/ stays
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache build dist
	find . -name __pycache__ -not -path './.git/*' -prune -exec rm -rf {} +
