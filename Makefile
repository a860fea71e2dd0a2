# The same few commands on a laptop and in CI. `make help` lists them.
.DEFAULT_GOAL := help
.PHONY: help install install-dask install-dev install-bench run test test-all test-numerics test-faults test-hosts \
  test-containers test-gpu coverage check audit bench format image lock clean secrets backup restore upgrade

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet

help: ## list these commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

run: install ## train 10 seeds on every device that is there, as a Prefect flow, tracked in mlruns/
	@$(BIN)/paramshare flow sweep --seeds 0:10 --devices auto

JOBS ?= 2
test: install-dev ## the whole test suite, by two processes (JOBS=0: by one)
	$(BIN)/python -m pytest -n $(JOBS)

CAPABILITY ?= default
test-numerics: install-dev ## the tests of trained numbers with other instructions of the CPU (CAPABILITY=default, avx2 or avx512)
	ATEN_CPU_CAPABILITY=$(CAPABILITY) $(BIN)/python -m pytest tests/training tests/comparing tests/proof \
	  --ignore=tests/proof/test_server_store.py

coverage: install-dev ## the lines that `make test` runs, those of its child processes too
	$(BIN)/python -m pytest --cov --cov-report=term

test-all: install-dev ## every test, and of all that is drawn four times as much (hours; needs what each of the targets needs)
	$(MAKE) test test-faults test-hosts test-containers DRAWS=4

CONTAINERS ?= tests/containers
test-containers: install-dev ## the images and the stack, built and run for real (minutes; needs a Docker engine; DRAWS=4: more)
	$(BIN)/python -m pytest $(CONTAINERS)

test-hosts: install-dev ## workers and clusters on several hosts, each killed in turn (half an hour; needs root for namespaces)
	$(BIN)/python -m pytest tests/hosts

FAULTS ?= tests/faults
test-faults: install-dev ## the faults, caused for real: kills, servers that die, full disks (minutes; DRAWS=4: more)
	$(BIN)/python -m pytest $(FAULTS)

# The interpreter with the torch for the GPU: nothing is installed.
GPU_PYTHON ?= $(if $(wildcard $(BIN)/python),$(BIN)/python,python3)
test-gpu: ## what only a GPU can show, in at most 8 minutes, into gpu-report.md (GPU_PYTHON=python3: with that one's torch)
	@$(GPU_PYTHON) benchmarks/gpu.py $(if $(OUTPUT),--output "$(OUTPUT)")

check: install-dev ## formatting, lint and types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

secrets: ## make what the stack keeps secret, once, in docker/secrets/
	@docker/secrets.sh

backup: ## both databases and the artifacts of the running stack into a new folder of backups/
	@docker/backup.sh

restore: ## BACKUP=backups/... takes the place of what the stack has
	@docker/restore.sh "$(BACKUP)"

upgrade: ## after `git pull`: back up, build, bring the databases' schemas to the new programs, start again
	@docker/upgrade.sh

audit: | $(BIN)/python ## known vulnerabilities among the locked dependencies, where the advisories can be reached
	@$(PYTHON) -m venv $(VENV)/audit && $(VENV)/audit/bin/pip --quiet --disable-pip-version-check install pip-audit==2.10.1 \
	  && rm -f $(VENV)/audit.json || { echo "not audited: pip-audit cannot be installed here"; exit 0; }; \
	$(VENV)/audit/bin/pip-audit -S --disable-pip --no-deps -r requirements.lock -r requirements-dev.lock \
	  -f json -o $(VENV)/audit.json > $(VENV)/audit.log 2>&1 && echo "audited: nothing known" && exit 0; \
	test -s $(VENV)/audit.json || { echo "not audited: $$(tail -1 $(VENV)/audit.log)"; exit 0; }; \
	cat $(VENV)/audit.json; exit 1

bench: install-bench ## the measured claims of docs/speed.md, as ratios (some 20 minutes; WRITE=docs/speed.md puts them there)
	$(BIN)/python benchmarks/report.py $(if $(WRITE),--write $(WRITE))

format: install-dev ## bring the code into the house's form
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

install: $(VENV)/.installed ## make .venv with the locked dependencies
install-dask: $(VENV)/.installed-dask ## the same with what a sweep on a Dask cluster needs
install-dev: $(VENV)/.installed-dev ## the same with the tools of the tests and the libraries whose models they count
install-bench: $(VENV)/.installed-bench ## the same with the counters that the benchmarks run beside ours

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
REPOSITORY ?= paramshare
WHEELS ?= $(if $(filter cpu,$(VARIANT)),$(wildcard $(PIP_FIND_LINKS)))
IMAGE = docker build --file docker/Dockerfile \
  --build-arg VERSION="$$(sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)" \
  --build-arg COMMIT="$$(git describe --always --abbrev=40 --dirty --exclude '*' 2>/dev/null)"

# Torch comes from pip's index, where Linux gets the CUDA build, from TORCH_INDEX, or from wheels in the folder WHEELS.
image: ## build the images paramshare:cuda (VARIANT=cpu: paramshare:cpu) and paramshare-mlflow
	$(IMAGE) --target mlflow --tag $(REPOSITORY)-mlflow .
	$(IMAGE) --target paramshare --tag $(REPOSITORY):$(VARIANT) --build-arg TORCH_VARIANT=$(VARIANT) \
	  $(if $(TORCH_INDEX),--build-arg TORCH_INDEX=$(TORCH_INDEX)) $(if $(WHEELS),--build-context wheels=$(WHEELS)) .

# Torch's builds differ by platform and the CUDA build pins its own libraries, so they stay out of the hashed locks.
NOT_LOCKED := torch triton cuda-bindings cuda-pathfinder cuda-toolkit nvidia-cublas nvidia-cuda-cupti \
  nvidia-cuda-nvrtc nvidia-cuda-runtime nvidia-cudnn-cu13 nvidia-cufft nvidia-cufile nvidia-curand nvidia-cusolver \
  nvidia-cusparse nvidia-cusparselt-cu13 nvidia-nccl-cu13 nvidia-nvjitlink nvidia-nvshmem-cu13 nvidia-nvtx
COMPILE = uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header \
  $(addprefix --no-emit-package ,$(NOT_LOCKED))
OURS = $(COMPILE) pyproject.toml
LOCKS := requirements.lock requirements-dask.lock requirements-dev.lock requirements-bench.lock requirements-mlflow.lock
REPEATS_NOTHING_OF = $$(sed -n 's/^\([A-Za-z0-9._-]*\)==.*/--no-emit-package \1/p' $(1))

# The lock of Dask comes on top of the product's, that of the benchmarks on top of the one of the tests; they repeat
# nothing of it. The one of MLflow's image stands alone. What uv left out it lists at a file's end.
lock: ## write the lock files anew from pyproject.toml, keeping the pins that still fit (needs uv)
	$(OURS) -o requirements.lock
	$(OURS) -c requirements.lock --extra dask -o requirements-dask.lock \
	  $(call REPEATS_NOTHING_OF,requirements.lock)
	$(OURS) -c requirements.lock -c requirements-dask.lock --extra dask --extra dev --extra zoo \
	  -o requirements-dev.lock
	$(OURS) -c requirements-dev.lock --extra dask --extra dev --extra zoo --extra bench -o requirements-bench.lock \
	  $(call REPEATS_NOTHING_OF,requirements-dev.lock)
	$(COMPILE) --group mlflow-server -c requirements-bench.lock -c requirements.lock -o requirements-mlflow.lock
	sed -i.bak '/^# The following packages were excluded/,$$d' $(LOCKS) && rm $(LOCKS:=.bak)

clean: ## remove .venv and caches; mlruns/ stays
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis build ./*.egg-info
