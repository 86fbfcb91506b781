# Everything a newcomer needs: `make demo` to see it, `make test` to trust it. Needs Python 3.11 or newer.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin

.PHONY: help setup demo test faults quality check format lock clean

help:  ## Say what there is
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## (.*)/  make \1\t\2/' | expand -t 16

setup: $(VENV)/.installed  ## Make the virtual environment with everything in it, the command anomalyd too

$(VENV)/.installed: requirements-dev.txt pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.txt
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	$(BIN)/python -m compileall -q service
	@touch $@

demo: setup  ## A local Kafka, live data, the whole service, alerts on the terminal (DEMO="--seconds 30")
	@$(BIN)/anomalyd demo $(DEMO)

test: setup  ## All tests, on a real Apache Kafka that is started for them (TEST="-k name")
	@PYTHON=$(BIN)/python sh tests/tools.sh
	$(BIN)/python -m pytest $(TEST)

faults: setup  ## Break things on a real Kafka and audit what came of it (FAULTS="--only kill --kills 200")
	$(BIN)/python -m tests.faults $(FAULTS)

quality: setup  ## How well it detects, on the sets in ANOMALYD_BENCHMARK_DATA (QUALITY="--only nab --peers")
	$(BIN)/python -m tests.benchmarks.quality $(QUALITY)

check: setup  ## ruff and mypy --strict
	$(BIN)/ruff check service tests
	$(BIN)/ruff format --check service tests
	$(BIN)/mypy

format: setup  ## Let ruff lay out the code
	$(BIN)/ruff check --fix service tests
	$(BIN)/ruff format service tests

lock:  ## Pin all dependencies anew, with hashes
	$(BIN)/uv pip compile -q --universal --generate-hashes --no-emit-index-url --no-annotate --no-header \
		--extra local --extra plot --extra dev pyproject.toml -o requirements-dev.txt
	$(BIN)/uv pip compile -q --universal --generate-hashes --no-emit-index-url --no-annotate --no-header \
		-c requirements-dev.txt pyproject.toml -o requirements.txt

clean:  ## Remove what make made
	rm -rf $(VENV) build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
