# Everything a newcomer types. Needs only git, make and Python 3.11 or 3.12: each target first brings the environment
# up to date (nothing is installed when nothing changed).
SHELL := /bin/bash
PYTHON ?= $(shell for p in python3.12 python3.11 python3; do command -v $$p >/dev/null 2>&1 && $$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 13))' 2>/dev/null && echo $$p && break; done)
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
export DO_NOT_TRACK := 1
export KEDRO_DISABLE_TELEMETRY := 1
export NO_ALBUMENTATIONS_UPDATE := 1

.DEFAULT_GOAL := help
.PHONY: help setup lock demo format lint test test-gpu bench bench-train robustness docs viz clean

help: ## Show the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-14s %s\n", $$1, $$2}'

setup: $(STAMP) ## Create .venv from the lock file (done by every other target when needed)

$(STAMP): requirements/lock.txt pyproject.toml
	@test -n "$(PYTHON)" || { echo "facealbedo needs Python 3.11 or 3.12; none was found. Set PYTHON=/path/to/python3.11"; exit 1; }
	@echo "==> Setting up $(VENV) with $$($(PYTHON) --version) (about 7 GB, a few minutes the first time)"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@test -x $(BIN)/uv || $(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	@echo "==> Installing the locked packages"
	@VIRTUAL_ENV=$(VENV) $(BIN)/uv pip install --quiet --no-deps --require-hashes -r requirements/lock.txt
	@echo "==> Installing facealbedo itself"
	@VIRTUAL_ENV=$(VENV) $(BIN)/uv pip install --quiet --no-deps --editable .
	@touch $@

lock: ## Resolve the dependencies again and rewrite requirements/lock.txt
	@test -x $(BIN)/uv || { $(PYTHON) -m venv $(VENV) && $(BIN)/python -m pip install --quiet uv; }
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --no-emit-index-url --no-emit-find-links --no-header \
		--generate-hashes --extra face-model --extra evaluate --extra docs --extra dev --override requirements/overrides.txt pyproject.toml \
		-o requirements/lock.txt

demo: $(STAMP) ## Reconstruct one real photograph and two fabricated faces, and say where the result lies
	@echo "==> Reconstructing the bundled faces (kedro run)"
	@$(BIN)/kedro run

lint: $(STAMP) ## Style, types, import contracts
	$(BIN)/ruff check src tests
	$(BIN)/ruff format --check src tests
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	$(BIN)/python -m tests.check_repository

format: $(STAMP) ## Rewrite the sources in the project's style
	$(BIN)/ruff check --fix src tests
	$(BIN)/ruff format src tests

test: $(STAMP) ## Every test that this machine can run (on two cores under 15 minutes)
	@# Without a GPU the CUDA kernels run in Triton's interpreter.
	TRITON_INTERPRET=$$($(BIN)/python -c 'import torch; print(int(not torch.cuda.is_available()))') OMP_NUM_THREADS=1 \
		$(BIN)/pytest -n 2 --dist loadfile

test-gpu: $(STAMP) ## The tests that need a CUDA device
	$(BIN)/pytest -m gpu

bench-train: $(STAMP) ## Measure training on this machine and write docs/benchmarks/train_<device>.json
	$(BIN)/python -m facealbedo.benchmarks.train

bench: $(STAMP) ## Measure the reconstruction on this machine and write docs/benchmarks/reconstruct_cpu.json
	$(BIN)/python -m facealbedo.benchmarks.reconstruct

bench-render: $(STAMP) ## Time every rasteriser that runs on this machine and write docs/benchmarks/render_<device>.json
	$(BIN)/python -m facealbedo.benchmarks.render

robustness: $(STAMP) ## Strange files and kills in full (long: the file says how many seconds); writes docs/benchmarks/robustness.json
	$(BIN)/python -m tests.robustness

docs: $(STAMP) ## Build docs/ as a site in build/docs; warnings are errors
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

viz: $(STAMP) ## Kedro-Viz as a static site in build/viz, with previews (live: kedro viz run --host 127.0.0.1)
	$(BIN)/python -m facealbedo.viz_site
	@echo "==> $(BIN)/python -m http.server --bind 127.0.0.1 --directory build/viz"

clean: ## Remove what the targets made (not the environment)
	rm -rf data/0* mlflow.db mlruns build out .viz
