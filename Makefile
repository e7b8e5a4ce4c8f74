# Everything that people and CI do with this repository. Needs Python 3.11 or newer and make, nothing else.

PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/.installed
CONTAINERS ?= docker
LOCK := $(BIN)/uv pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes --no-annotate \
	--custom-compile-command 'make lock'

.DEFAULT_GOAL := help
.PHONY: help install demo dev test e2e chaos lint validate docs bench image lock clean

help: ## show this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

install: $(INSTALLED) ## create .venv with everything in it

$(INSTALLED): setup.cfg pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@

demo: install ## start an embedded cluster and the service, run a job, show its result
	$(BIN)/python -m devcluster.demo

dev: install ## the same, left running until Ctrl-C, with commands to try
	$(BIN)/python -m devcluster.demo --keep

test: install ## run the tests
	$(BIN)/pytest -n 4 --dist worksteal

e2e: install ## run the suites on a real control plane: KUBECONFIG's, or one built with Go
	$(BIN)/python -m tests.controlplane $(BIN)/pytest --server real -n 2 --dist loadgroup \
		tests/integration tests/http tests/e2e tests/parity tests/image tests/promtool

chaos: install ## 1,000 runs through kills, cut connections and outages, counted; SEED=… repeats one, SHORT=1 is a smaller form
	$(BIN)/python -m tests.chaos $(if $(SEED),--seed $(SEED)) $(if $(SHORT),--short)

lint: install ## style, types, layers
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

validate: install ## check the job configurations in our own manifests
	$(BIN)/slimfaas-jobs validate $(wildcard k8s/*/configmap.yaml k8s/*/*/configmap.yaml)

docs: install ## write the tables of docs/configuration.md anew from the JSON Schema
	$(BIN)/python -m tools.reference

bench: install ## measure the service on a real control plane (docs/performance.md); BENCH=--quick: less of it
	$(BIN)/python -m tests.controlplane $(BIN)/python -m benchmarks.bench $(BENCH)

image: ## build the container image (CONTAINERS=podman or buildah instead of docker)
	$(CONTAINERS) build --tag slimfaas-jobs:latest .

lock: install ## write down anew which versions the image is built of
	$(BIN)/pip install --quiet --disable-pip-version-check uv
	$(LOCK) --output-file requirements.lock setup.cfg
	echo 'setuptools>=77' | $(LOCK) --output-file requirements-build.lock -

clean: ## remove what was installed and cached here
	rm -rf .venv .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache build dist *.egg-info
