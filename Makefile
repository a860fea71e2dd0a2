# The commands for development and operation, the same on a laptop and in CI. `make help` lists them.
.DEFAULT_GOAL := help
.PHONY: help install install-dask install-dev install-bench run test test-all test-numerics test-faults test-hosts \
  test-containers test-gpu coverage check audit bench format image lock clean secrets backup restore upgrade

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet

help: ## list these commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

run: install ## train 10 seeds on every available device, as a Prefect flow, tracked in mlruns/
	@$(BIN)/paramshare flow sweep --seeds 0:10 --devices auto

JOBS ?= 2
test: install-dev ## run the test suite with two processes (JOBS=0: with one)
	$(BIN)/python -m pytest -n $(JOBS)

CAPABILITY ?= default
# Left out, since its many processes take long and `make test` runs it.
KILLED_AGAIN := tests/training/loop/test_checkpoints.py::test_a_long_run_that_is_killed_again_and_again_has_the_curve_of_an_undisturbed_one
test-numerics: install-dev ## run the tests of trained numbers with other CPU instructions (CAPABILITY=default, avx2 or avx512)
	ATEN_CPU_CAPABILITY=$(CAPABILITY) $(BIN)/python -m pytest tests/training tests/recipes/dynamicnet \
	  tests/recipes/digits tests/comparing/test_numbers.py tests/comparing/test_run.py tests/proof \
	  --ignore=tests/proof/test_server_store.py --deselect=$(KILLED_AGAIN)

COVERED ?= tests
coverage: install-dev ## report the lines that `make test` runs, including those of child processes (COVERED=tests/stats: a part)
	$(BIN)/python -m pytest $(COVERED) --cov --cov-report=term

test-all: install-dev ## run every test with four times as many random draws (hours; needs what each test target needs)
	$(MAKE) test test-faults test-hosts test-containers DRAWS=4

CONTAINERS ?= tests/containers
test-containers: install-dev ## build and test the images and the stack (minutes; needs a Docker engine; DRAWS=4: more draws)
	$(BIN)/python -m pytest $(CONTAINERS)

test-hosts: install-dev ## test workers and clusters on several hosts, each killed in turn (half an hour; needs root for namespaces)
	$(BIN)/python -m pytest tests/hosts

FAULTS ?= tests/faults
test-faults: install-dev ## cause faults and test the recovery: kills, failing servers, full disks (minutes; DRAWS=4: more draws)
	$(BIN)/python -m pytest $(FAULTS)

# The interpreter whose torch supports the GPU. Nothing is installed.
GPU_PYTHON ?= $(if $(wildcard $(BIN)/python),$(BIN)/python,python3)
test-gpu: ## test and measure on a GPU, in at most 8 minutes, and write gpu-report.md (GPU_PYTHON=python3: with its torch)
	@$(GPU_PYTHON) benchmarks/gpu.py $(if $(OUTPUT),--output "$(OUTPUT)")

check: install-dev ## check formatting, lint and types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

secrets: ## create the secrets of the stack in docker/secrets/, except existing ones
	@docker/secrets.sh

backup: ## back up both databases and the artifacts of the running stack to a new folder of backups/
	@docker/backup.sh

restore: ## replace the data of the stack by a backup (BACKUP=backups/...)
	@docker/restore.sh "$(BACKUP)"

upgrade: ## upgrade the stack after `git pull`: build, back up, upgrade the databases' schemas, restart
	@docker/upgrade.sh

audit: | $(BIN)/python ## list known vulnerabilities of the locked dependencies, if the advisories can be reached
	@$(PYTHON) -m venv $(VENV)/audit && $(VENV)/audit/bin/pip --quiet --disable-pip-version-check install pip-audit==2.10.1 \
	  && rm -f $(VENV)/audit.json || { echo "not audited: pip-audit cannot be installed here"; exit 0; }; \
	$(VENV)/audit/bin/pip-audit -S --disable-pip --no-deps -r requirements.lock -r requirements-dev.lock \
	  -f json -o $(VENV)/audit.json > $(VENV)/audit.log 2>&1 && echo "audited: no known vulnerability" && exit 0; \
	test -s $(VENV)/audit.json || { echo "not audited: $$(tail -1 $(VENV)/audit.log)"; exit 0; }; \
	cat $(VENV)/audit.json; exit 1

bench: install-bench ## measure the claims of docs/speed.md, as ratios (about 20 minutes; WRITE=docs/speed.md updates the page)
	$(BIN)/python benchmarks/report.py $(if $(WRITE),--write $(WRITE))

format: install-dev ## format the code and fix lint
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

install: $(VENV)/.installed ## create .venv with the locked dependencies
install-dask: $(VENV)/.installed-dask ## add the packages for a sweep on a Dask cluster to .venv
install-dev: $(VENV)/.installed-dev ## add the tools of the tests and the libraries whose models they count to .venv
install-bench: $(VENV)/.installed-bench ## add the counters that the benchmarks compare with to .venv

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "paramshare needs Python 3.11 or newer; choose one: make PYTHON=python3.12 ..." >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) \
	  || { rm -rf $(VENV); echo "python3 -m venv does not work; on Debian or Ubuntu: apt-get install python3-venv" >&2; exit 1; }

# By its version alone: the platforms have different builds of torch, each with libraries of its own.
$(VENV)/.installed: requirements.lock requirements-torch-cuda.lock pyproject.toml | $(BIN)/python
	@echo "installing the locked dependencies into $(VENV) (minutes, once)"
	$(PIP) install --no-deps --require-hashes -r requirements.lock
	$(PIP) install "$$(sed -n 's/^\(torch==[0-9.]*\).*/\1/p' requirements-torch-cuda.lock)"
	$(PIP) install --no-deps --no-build-isolation -e .
	@touch $@

$(VENV)/.installed-dask: requirements-dask.lock $(VENV)/.installed
	@echo "installing Dask into $(VENV)"
	$(PIP) install --no-deps --require-hashes -r requirements-dask.lock
	@touch $@

$(VENV)/.installed-dev: requirements-dev.lock $(VENV)/.installed
	@echo "installing the tools of the tests into $(VENV)"
	$(PIP) install --no-deps --require-hashes -r requirements-dev.lock
	@touch $@

$(VENV)/.installed-bench: requirements-bench.lock $(VENV)/.installed-dev
	@echo "installing the counters of the benchmarks into $(VENV)"
	$(PIP) install --no-deps --require-hashes -r requirements-bench.lock
	@touch $@

VARIANT ?= cuda
REPOSITORY ?= $(or $(STACK_IMAGES),paramshare)
WHEELS ?= $(or $(STACK_WHEELS),$(if $(filter cpu,$(VARIANT)),$(wildcard $(PIP_FIND_LINKS))))
ABOUT = $(shell docker/source.sh)
of_source = $(patsubst $(1)=%,%,$(filter $(1)=%,$(ABOUT)))
VERSION ?= $(call of_source,VERSION)
COMMIT = $(call of_source,COMMIT)
# The engine's own lists of contents and of the build, for an engine that can store them.
ATTESTATIONS = $(if $(ATTEST),--sbom=true --provenance=mode=max)
IMAGE = docker build --file docker/Dockerfile $(ATTESTATIONS) $(patsubst %,--build-arg %,$(ABOUT)) \
  $(if $(STACK_PYTHON_IMAGE),--build-arg PYTHON_IMAGE=$(STACK_PYTHON_IMAGE))

# Torch is installed from the wheels in the folder WHEELS, from TORCH_INDEX, or from pip's index (the CUDA build on Linux),
# and the CPU build from PyTorch's own index. The second tag of an image is its commit.
image: ## build the images paramshare:VERSION-cuda (VARIANT=cpu: -cpu) and paramshare-mlflow:VERSION
	$(IMAGE) --target mlflow $(foreach tag,$(VERSION) $(COMMIT),--tag $(REPOSITORY)-mlflow:$(tag)) .
	$(IMAGE) --target paramshare $(foreach tag,$(VERSION) $(COMMIT),--tag $(REPOSITORY):$(tag)-$(VARIANT)) \
	  --build-arg TORCH_VARIANT=$(VARIANT) $(if $(TORCH_INDEX),--build-arg TORCH_INDEX=$(TORCH_INDEX)) \
	  $(if $(WHEELS),--build-context wheels=$(WHEELS)) .

# Torch's builds differ by platform and the CUDA build pins its own libraries, so they have locks of their own, for the images.
NOT_LOCKED := torch triton cuda-bindings cuda-pathfinder cuda-toolkit nvidia-cublas nvidia-cuda-cupti \
  nvidia-cuda-nvrtc nvidia-cuda-runtime nvidia-cudnn-cu13 nvidia-cufft nvidia-cufile nvidia-curand nvidia-cusolver \
  nvidia-cusparse nvidia-cusparselt-cu13 nvidia-nccl-cu13 nvidia-nvjitlink nvidia-nvshmem-cu13 nvidia-nvtx
COMPILE_ALL = uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header
COMPILE = $(COMPILE_ALL) $(addprefix --no-emit-package ,$(NOT_LOCKED))
OURS = $(COMPILE) pyproject.toml
LOCKS := requirements.lock requirements-dask.lock requirements-dev.lock requirements-bench.lock requirements-mlflow.lock \
  requirements-sbom.lock requirements-uv.lock requirements-torch-cuda.lock requirements-torch-cpu.lock
REPEATS_NOTHING_OF = $$(sed -n 's/^\([A-Za-z0-9._-]*\)==.*/--no-emit-package \1/p' $(1))

CPU_WHEELS ?= https://download.pytorch.org/whl/cpu/torch/

# The lock of Dask adds to requirements.lock, and the lock of the benchmarks adds to the lock of the tests, without
# repeating pins. The lock of MLflow's image is complete. uv lists omitted packages at the end of a file.
lock: ## update the lock files from pyproject.toml, keeping the pins that are still valid (needs uv)
	$(OURS) -o requirements.lock
	$(OURS) -c requirements.lock --extra dask -o requirements-dask.lock \
	  $(call REPEATS_NOTHING_OF,requirements.lock)
	$(OURS) -c requirements.lock -c requirements-dask.lock --extra dask --extra dev --extra zoo \
	  -o requirements-dev.lock
	$(OURS) -c requirements-dev.lock --extra dask --extra dev --extra zoo --extra bench -o requirements-bench.lock \
	  $(call REPEATS_NOTHING_OF,requirements-dev.lock)
	$(COMPILE) --group mlflow-server -c requirements-bench.lock -c requirements.lock -o requirements-mlflow.lock
	$(COMPILE) --group sbom -c requirements-bench.lock -c requirements.lock -o requirements-sbom.lock
	$(COMPILE) --group uv -o requirements-uv.lock
	$(COMPILE_ALL) pyproject.toml -c requirements.lock -o requirements-torch-cuda.lock \
	  $(call REPEATS_NOTHING_OF,requirements.lock)
	sed -n 's/^\(torch==[0-9.]*\).*/\1+cpu/p' requirements-torch-cuda.lock \
	  | $(COMPILE_ALL) --no-deps --no-annotate --find-links $(CPU_WHEELS) -o requirements-torch-cpu.lock -
	sed -i.bak '/^# The following packages were excluded/,$$d' $(LOCKS) && rm $(LOCKS:=.bak)

clean: ## delete .venv and caches, but not mlruns/
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis build ./*.egg-info
