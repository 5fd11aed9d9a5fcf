# make quickstart   install into .venv and run the main job on this machine
# make test         install what the tests need and run all but the long ones
# make long         trainings and soak runs
# make lint         ruff and mypy
# make bench        every benchmark; writes docs/results/benchmarks.md

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: quickstart test long lint bench clean
.DELETE_ON_ERROR:

quickstart: $(VENV)/.installed
	$(BIN)/hwnas run examples/quickstart.yaml

test: $(VENV)/.installed-dev
	$(BIN)/python -m pytest -m "not long" --durations=15 $(TESTS)

long: $(VENV)/.installed-dev
	$(BIN)/python -m pytest -m long --timeout 7200 $(TESTS)

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/mypy

bench: $(VENV)/.installed-dev
	$(BIN)/python benchmarks/run_all.py

clean:
	rm -rf build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis

# A stamp per install: nothing is installed again until the requirements change.
$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	    { echo "error: hwnas needs Python 3.11 or later; hint: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 2; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: pyproject.toml constraints.txt | $(BIN)/python
	@echo "installing into $(VENV): a minute or two the first time"
	$(BIN)/python -m pip install -qq -c constraints.txt -e '.[train,compile,cross]'
	@touch $@

$(VENV)/.installed-dev: pyproject.toml constraints.txt | $(BIN)/python
	@echo "installing into $(VENV): a minute or two the first time"
	$(BIN)/python -m pip install -qq -c constraints.txt -e '.[train,compile,cross,dev]'
	@touch $(VENV)/.installed $@
