# `make help` lists the targets.
PYTHON ?= python3
BIN := .venv/bin
SCALE ?= demo
SEEDS ?= 0
HOURS ?= 10
ARGS ?=
TABLES := $(sort $(notdir $(wildcard experiments/*)))
DETECTION := table2
# Table 2 needs boxes, the others classes: generated images have both, COCO boxes alone, every other scale classes alone.
LEFT_OUT := $(if $(filter demo,$(SCALE)),,$(if $(filter coco,$(SCALE)),$(filter-out $(DETECTION),$(TABLES)),$(DETECTION)))

.DEFAULT_GOAL := help
.PHONY: help setup demo test lint mutants costs tables results bench gpu dashboard browse $(TABLES)

help:  ## List the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' Makefile
	@printf '  make %-10s Train its rows, print it beside the paper (SCALE=demo SEEDS=0,1,2)\n' $(TABLES)

setup: .venv/ready  ## Make .venv from the lock file

.venv/ready: pyproject.toml uv.lock
	@command -v uv >/dev/null || test -x $(BIN)/uv || { $(PYTHON) -m venv .venv && $(BIN)/python -m pip install --quiet uv; }
	@echo "setting up .venv (7 GB, most of it PyTorch's): some minutes the first time"
	@PATH="$(CURDIR)/$(BIN):$$PATH" UV_COMPILE_BYTECODE=1 uv sync --quiet --frozen --inexact --python $(PYTHON)
	@touch $@

demo: setup  ## The main job: train a small network on generated images, in about a minute
	$(BIN)/python run.py $(ARGS)

test: setup  ## Run the tests
	$(BIN)/python -m pytest -n auto --dist worksteal $(ARGS)

lint: setup  ## Check style and types
	$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy

mutants: setup  ## Which small faults in the code the tests notice, of a sample (ARGS="sasa/data --count 100")
	$(BIN)/python tests/mutants.py $(ARGS)

costs: setup  ## FLOPs and parameters of every row beside the paper's; trains nothing
	$(BIN)/python -m sasa.cost

bench: setup  ## Time the operation, networks and detectors against their contenders (ARGS=--quick)
	$(BIN)/python -m sasa.bench ops $(ARGS)
	$(BIN)/python -m sasa.bench stems $(ARGS)
	$(BIN)/python -m sasa.bench models $(ARGS)
	$(BIN)/python -m sasa.bench detectors $(ARGS)

gpu: setup  ## All that a GPU can tell of the kernels and networks, in eight minutes, to outputs/gpu.json (ARGS="--cifar DIR")
	$(BIN)/python -m sasa.bench gpu --to outputs/gpu.json $(ARGS)

tables: setup  ## Every table that the scale has images for, one after the other, whatever becomes of a row
	@failed=; for table in $(filter-out $(LEFT_OUT),$(TABLES)); do $(MAKE) --no-print-directory $$table || failed="$$failed $$table"; done; \
	$(if $(LEFT_OUT),echo "left out at SCALE=$(SCALE): $(LEFT_OUT) (table2 detects objects: SCALE=demo or coco; the others classify)";) \
	test -z "$$failed" || { echo "with failed rows:$$failed"; exit 1; }

results: setup  ## What decides most of the paper's statements in HOURS=10 of training; stop and share it at will (SCALE=cifar10)
	$(BIN)/python -m sasa.protocol --scale $(SCALE) --hours $(HOURS) $(ARGS)

dashboard: setup  ## The results as web pages, in outputs/dashboard
	$(BIN)/python -m sasa.report dashboard $(ARGS)

browse: setup  ## The same on http://127.0.0.1:8517, fresh while runs go on
	@$(BIN)/python -m sasa.report browse $(ARGS)

$(TABLES): setup
	$(BIN)/python run.py -m '$@=glob(*)' scale=$(SCALE) seed=$(SEEDS) $(ARGS)
