# The same few commands on a laptop and in CI. `make help` lists them.
.DEFAULT_GOAL := help
.PHONY: help install install-dev run test check format lock clean

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet

help: ## list these commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

run: install ## train 10 seeds on every device that is there, as a Prefect flow, tracked in mlruns/
	@$(BIN)/paramshare flow sweep --seeds 0:10 --devices auto

test: install-dev ## the whole test suite
	$(BIN)/python -m pytest

check: install-dev ## formatting, lint and types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: install-dev ## bring the code into the house's form
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

install: $(VENV)/.installed ## make .venv with the locked dependencies
install-dev: $(VENV)/.installed-dev ## the same with the tools of the tests

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "paramshare needs Python 3.11 or newer; name one: make PYTHON=python3.12 ..." >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) \
	  || { rm -rf $(VENV); echo "python3 -m venv does not work; on Debian or Ubuntu: apt-get install python3-venv" >&2; exit 1; }

$(VENV)/.installed: requirements.lock requirements-torch.lock pyproject.toml | $(BIN)/python
	@echo "installing the locked dependencies into $(VENV) (minutes, once)"
	$(PIP) install --no-deps --require-hashes -r requirements.lock
	$(PIP) install -r requirements-torch.lock
	$(PIP) install --no-deps --no-build-isolation -e .
	@touch $@

$(VENV)/.installed-dev: requirements-dev.lock $(VENV)/.installed
	@echo "installing the tools of the tests into $(VENV)"
	$(PIP) install --no-deps --require-hashes -r requirements-dev.lock
	@touch $@

# Torch's builds differ by platform and the CUDA build pins its own libraries, so they stay out of the hashed locks.
NOT_LOCKED := torch triton cuda-bindings cuda-pathfinder cuda-toolkit nvidia-cublas nvidia-cuda-cupti \
  nvidia-cuda-nvrtc nvidia-cuda-runtime nvidia-cudnn-cu13 nvidia-cufft nvidia-cufile nvidia-curand nvidia-cusolver \
  nvidia-cusparse nvidia-cusparselt-cu13 nvidia-nccl-cu13 nvidia-nvjitlink nvidia-nvshmem-cu13 nvidia-nvtx
COMPILE = uv pip compile pyproject.toml --quiet --universal --python-version 3.11 --generate-hashes --no-header \
  $(addprefix --no-emit-package ,$(NOT_LOCKED))

lock: ## write the lock files anew from pyproject.toml (needs uv)
	$(COMPILE) -o requirements.lock
	$(COMPILE) -c requirements.lock --extra dev -o requirements-dev.lock

clean: ## remove .venv and caches; mlruns/ stays
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis build ./*.egg-info
