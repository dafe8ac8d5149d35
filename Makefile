# The two commands: `make decide` and `make test`. Needs Python >= 3.11 and a network once; no Docker, no Java, no Redis.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
EXAMPLE := examples/nats-jetstream
# Of the test suite, most of which waits: one more than cores.
PROCESSES ?= 3

.PHONY: help setup engines example decide test test-plain test-docker mutants check fix lock clean

help:
	@echo "make decide       measure all five profiles, write docs/decision-record.md, an HTML report and runs/<id>/"
	@echo "make test         the whole test suite, with real brokers"
	@echo "make test-plain   the Kafka adapters through plain confluent-kafka: their tests and the conformance kit"
	@echo "make test-docker  a cell per broker in Docker (needs a daemon)"
	@echo "make example      install the example adapter beside the project (make test does)"
	@echo "make mutants      weaken every checker, one expression at a time, and see the tests fail (half an hour and more)"
	@echo "make check        formatting, lint, types, layers"
	@echo "make clean        remove what these made, but not runs/"

setup: $(VENV)/.stamp

engines: setup
	@$(BIN)/python -m brokerbench.bench.engines.prepare > /dev/null

# pip only brings uv, which installs the rest from the lock in seconds. Both refuse what has no matching hash.
# All is compiled once: a run starts some fifty processes, and where PYTHONDONTWRITEBYTECODE is set each would compile anew.
$(VENV)/.stamp: locks/main.txt locks/uv.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python >= 3.11 is needed; this is $$($(PYTHON) --version). Name another: make PYTHON=python3.12" >&2; exit 2; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || \
	  { echo "the venv module is missing (Debian: apt-get install python3-venv)" >&2; exit 2; }
	@echo "installing from locks/main.txt" >&2
	@$(BIN)/python -m pip install -qq --retries 1 --disable-pip-version-check --require-hashes -r locks/uv.txt && \
	  VIRTUAL_ENV=$(CURDIR)/$(VENV) $(BIN)/uv pip sync --quiet --compile-bytecode --require-hashes locks/main.txt || \
	  { echo "the packages could not be installed (see above); the first use needs a network, once" >&2; exit 3; }
	@VIRTUAL_ENV=$(CURDIR)/$(VENV) $(BIN)/uv pip install --quiet --no-deps --no-build-isolation --editable .
	@$(BIN)/python -m compileall -q src/brokerbench $(addprefix src/brokerbench/,brokers scenarios reports bench)
	@touch $@

decide: engines
	@$(BIN)/brokerbench decide --engine native

# An adapter from elsewhere, installed beside the project for the tests that need one.
example: $(VENV)/.example

$(VENV)/.example: $(VENV)/.stamp $(EXAMPLE)/lock.txt $(EXAMPLE)/pyproject.toml
	@VIRTUAL_ENV=$(CURDIR)/$(VENV) $(BIN)/uv pip install --quiet --require-hashes -r $(EXAMPLE)/lock.txt || \
	  { echo "the example's packages could not be installed (see above); the first use needs a network, once" >&2; exit 3; }
	@VIRTUAL_ENV=$(CURDIR)/$(VENV) $(BIN)/uv pip install --quiet --no-deps --no-build-isolation --editable $(EXAMPLE)
	@touch $@

test: engines example
	$(BIN)/python -m pytest -n $(PROCESSES) --dist loadfile --no-loadscope-reorder

test-plain: engines
	BROKERBENCH_KAFKA_CLIENT=plain $(BIN)/python -m pytest -n $(PROCESSES) --dist loadscope -m engine -k kafka \
	  tests/brokers/kafka tests/conformance/test_profiles.py

test-docker: engines
	$(BIN)/python -m pytest -m docker tests/system/docker

mutants: setup
	rm -rf mutants
	$(BIN)/mutmut run > /dev/null
	$(BIN)/python -m tests.scenarios.checkers.mutation_score

check: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

fix: setup
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# After a change in pyproject.toml or of a version in bench/engines/catalogue.py. Read the difference before committing it.
lock: setup
	@$(BIN)/uv pip compile pyproject.toml --extra dev --universal --python-version 3.11 --generate-hashes --no-header \
	  --no-annotate --quiet -o locks/main.txt > /dev/null
	@grep -A 99 '^uv==' locks/main.txt | sed '1!{/^[^ ]/,$$d}' > locks/uv.txt
	@$(BIN)/python -m brokerbench.bench.engines.lock
	@printf 'nats-py\nnats-server-bin\n' | $(BIN)/uv pip compile - --universal --python-version 3.11 --generate-hashes \
	  --no-header --no-annotate --quiet -o $(EXAMPLE)/lock.txt > /dev/null

clean:
	rm -rf $(VENV) .cache build dist src/*.egg-info $(EXAMPLE)/build $(EXAMPLE)/*.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache mutants
