# Everything that people and CI do with this repository. Needs only Python 3.11 or newer and make.

PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/pip --disable-pip-version-check
DEMO_INSTALLED := .venv/.installed-demo
INSTALLED := .venv/.installed
# Bytecode is kept even where the environment turns it off: each test process would compile everything anew.
PYTEST := PYTHONDONTWRITEBYTECODE= $(BIN)/pytest
REPEATED := $(if $(REPEAT),-n 0 --dist no --last-failed --last-failed-no-failures none)
AS_ROOT := $(if $(filter 0,$(shell id -u)),,sudo)
CONTAINERS ?= docker
IMAGE ?= slimfaas-jobs:latest
LABELS = --label org.opencontainers.image.version=$(shell sed -n 's/^version = //p' setup.cfg) \
	--label org.opencontainers.image.revision=$(shell git describe --always --dirty --abbrev=40 --exclude '*' 2>/dev/null)
LOCK := $(BIN)/uv pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes --no-annotate \
	--custom-compile-command 'make lock'

.DEFAULT_GOAL := help
.PHONY: help install demo dev test test-all e2e chaos model lint validate docs bench image lock clean

help: ## show this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

install: $(INSTALLED) ## create .venv with everything in it

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.12 ...")'
	@echo 'Creating a Python environment in .venv ...'
	@$(PYTHON) -m venv .venv

# Python compiles a package when it is first imported. Compiling all of them would take as long as the download.
$(DEMO_INSTALLED): setup.cfg pyproject.toml | $(BIN)/python
	@echo 'Installing the service and the demo into .venv: about 45 packages, 140 MB, half a minute to a minute ...'
	@$(PIP) install --no-compile --editable '.[demo]'
	@touch $@

$(INSTALLED): setup.cfg pyproject.toml | $(BIN)/python
	@echo 'Installing the service and all tools into .venv: about 100 packages, 400 MB, one to two minutes ...'
	@$(PIP) install --editable '.[dev]'
	@touch $(DEMO_INSTALLED) $@

demo: $(DEMO_INSTALLED) ## start an embedded cluster and the service, run a job, show its result
	@$(BIN)/python -m devcluster.demo

dev: $(DEMO_INSTALLED) ## run jobs of your own, until Ctrl-C: JOBS=jobs.json IMAGES=images.json PORT=30021 (all optional)
	@$(BIN)/python -m devcluster.dev $(if $(JOBS),--jobs "$(JOBS)") $(if $(IMAGES),--images "$(IMAGES)")

test: install ## run the tests, but for the slow ones; REPEAT=1: only those that failed last, one after the other
	$(PYTEST) -n 5 --dist worksteal --quick $(REPEATED)

test-all: install ## run all tests that need no real control plane
	$(PYTEST) -n 6 --dist worksteal $(REPEATED)

e2e: install ## run the suites on a real control plane: KUBECONFIG's, or one built with Go
	$(BIN)/python -m tests.controlplane $(BIN)/pytest --server real -n 2 --dist loadgroup \
		tests/integration tests/http tests/e2e tests/parity tests/image tests/promtool $(REPEATED)

chaos: install ## count broken promises in 1,000 runs under kills, cut connections and outages; SEED=… repeats one, SHORT=1 is smaller
	$(BIN)/python -m tests.chaos $(if $(SEED),--seed $(SEED)) $(if $(SHORT),--short)

chaos-notifications: install ## count ends of runs that are not told, told early or told twice, in 1,000; SEED=… draws the same answers
	$(BIN)/python -m tests.chaos.notifications $(if $(SEED),--seed $(SEED))

model: install ## explore the dispatcher's decisions: all schedules of small worlds, 1,000,000 drawn ones; SEED=… repeats one
	$(BIN)/python -m tests.model $(if $(SEED),--seed $(SEED))

lint: install ## style, types, layers
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

coverage: install ## run the tests, measure the branches of app and schemas, and fail below the floor that setup.cfg sets
	rm -rf build/coverage
	mkdir -p build/coverage
	$(BIN)/coverage run -m pytest -n 4 --dist worksteal
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report

mutation: install ## mutation tests of the pure modules that setup.cfg names, in five minutes; lists what survived
	$(PIP) install --quiet --editable '.[mutation]'
	rm -rf mutants
	$(BIN)/mutmut run --max-children 2
	$(BIN)/mutmut results
	$(BIN)/mutmut export-cicd-stats
	@cat mutants/mutmut-cicd-stats.json

workflows: install ## check the workflows in .github with zizmor and actionlint (needs Go)
	$(PIP) install --quiet --editable '.[workflows]'
	$(BIN)/zizmor --offline --persona pedantic .github
	go run github.com/rhysd/actionlint/cmd/actionlint@v1.7.12

description: install ## lint the OpenAPI document, and compile TypeScript with its types (needs Node.js); a warning fails, too
	mkdir -p build
	$(BIN)/python -m tools.description >build/openapi.json
	npx --yes @stoplight/spectral-cli@6.16.3 lint --ruleset tools/spectral.json --fail-severity warn build/openapi.json
	REDOCLY_TELEMETRY=off npx --yes @redocly/cli@2.77.0 lint --extends recommended-strict build/openapi.json
	npx --yes --package openapi-typescript@7.13.0 --package typescript@5.9.3 -- openapi-typescript build/openapi.json \
		--output build/openapi.d.ts
	npx --yes --package typescript@5.9.3 -- tsc --noEmit --strict --module nodenext --target es2022 tests/http/generated_types.ts

proxies: ## install nginx and HAProxy, for the tests behind proxies that `make e2e` runs (Debian, Ubuntu)
	$(AS_ROOT) apt-get update --quiet=2
	$(AS_ROOT) apt-get install --quiet=2 --yes --no-install-recommends nginx-light haproxy

browser: install ## install Chromium and Playwright, for the tests of the page (Debian, Ubuntu)
	command -v chromium >/dev/null || command -v google-chrome >/dev/null || { $(AS_ROOT) apt-get update --quiet=2 && \
		$(AS_ROOT) apt-get install --quiet=2 --yes --no-install-recommends chromium fonts-dejavu-core; }
	$(PIP) install --quiet --editable '.[browser]'

.PHONY: chaos-notifications coverage mutation workflows description proxies browser dist recording

validate: install ## check the job configurations in our own manifests
	$(BIN)/slimfaas-jobs validate $(wildcard k8s/*/configmap.yaml k8s/*/*/configmap.yaml)

docs: install ## update the tables of docs/configuration.md, and the fields of a template that `validate` knows
	$(BIN)/python -m tools.reference
	$(BIN)/python -m tools.template_fields

recording: install ## record the commands in a terminal, for the README (docs/terminal.svg)
	$(BIN)/python -m tools.recording

bench: install ## measure the service on a real control plane (docs/performance.md); BENCH=--quick measures less
	$(BIN)/python -m tests.controlplane $(BIN)/python -m benchmarks.bench $(BENCH)

dist: install ## build the wheel and the sdist, and check them; TAG=v1.2.3: also that this is their version
	$(PIP) install --quiet --editable '.[dist]'
	rm -rf dist
	$(BIN)/python -m build
	$(BIN)/twine check --strict dist/*
	$(BIN)/python -m tools.distributions dist $(TAG)

image: ## build the container image (CONTAINERS=podman or buildah instead of docker)
	$(CONTAINERS) build --tag $(IMAGE) $(LABELS) $(BUILD_OPTIONS) .

lock: install ## update the locked versions that the image is built of
	$(PIP) install --quiet uv
	$(LOCK) --output-file requirements.lock setup.cfg
	echo 'setuptools>=77' | $(LOCK) --output-file requirements-build.lock -

clean: ## remove what was installed and cached here
	rm -rf .venv .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache build dist mutants *.egg-info
