# Breakwater: everything a person or CI runs. `make help` lists it.
SHELL := /bin/bash
.DEFAULT_GOAL := help
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STATE ?= .breakwater
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes
GROUPS_LOCKED := build leads notify files health gateway cli local gate run test lint bench

.PHONY: help
help: ## list what can be made
	@grep -hE '^[a-zA-Z_%-]+:.*?## ' $(MAKEFILE_LIST) | awk -F ':.*?## ' '{printf "  %-20s %s\n", $$1, $$2}'

# ---- set-up -----------------------------------------------------------------------------------------------------------
$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.run: $(BIN)/python locks/build.txt locks/run.txt pyproject.toml
	$(PIP) -r locks/build.txt -r locks/run.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/.dev: $(VENV)/.run locks/dev.txt
	$(PIP) -r locks/dev.txt
	@touch $@

.PHONY: setup
setup: $(VENV)/.run ## the run-time set-up: .venv with `breakwater` in .venv/bin

.PHONY: setup-dev
setup-dev: $(VENV)/.dev ## the set-up for tests, lint and benchmarks

.PHONY: locks
locks: setup-dev ## compile the hashed lock files again from pyproject.toml
	$(BIN)/uv pip compile pyproject.toml --group dev --generate-hashes --universal --no-emit-index-url --python-version 3.11 --custom-compile-command "make locks" -q -o locks/dev.txt
	@for group in $(GROUPS_LOCKED); do \
	  $(BIN)/uv pip compile pyproject.toml --group $$group -c locks/dev.txt --generate-hashes --universal --no-emit-index-url --no-annotate --python-version 3.11 --custom-compile-command "make locks" -q -o locks/$$group.txt || exit 1; \
	done
	$(BIN)/uv pip compile pyproject.toml --group tryton --generate-hashes --universal --no-emit-index-url --no-annotate --python-version 3.11 --custom-compile-command "make locks" -q -o locks/tryton.txt

# ---- run --------------------------------------------------------------------------------------------------------------
PORTS ?= default
.PHONY: run
run: setup ## start the whole platform; Ctrl-C drains; SEED=1 also loads generated data, PORTS=auto takes free ports
	@$(BIN)/breakwater up --state $(STATE) --ports $(PORTS) $(if $(SEED),--seed $(SEED))

# ---- style, types, rooms ----------------------------------------------------------------------------------------------
.PHONY: lint
lint: setup-dev ## style, types, import rules, protos
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy libs services bench
	$(BIN)/lint-imports --no-cache
	$(BIN)/buf lint proto

.PHONY: format
format: setup-dev ## bring the code into its one form
	$(BIN)/ruff check --fix-only --exit-zero .
	$(BIN)/ruff format .

# ---- tests ------------------------------------------------------------------------------------------------------------
PYTEST := $(BIN)/python -m pytest

# Programs that no Python package carries: a browser to look at the pages, an office program to open the files, and who
# watches the platform. The Debian packages of the latter bring services; none is started (tests/system-packages).
.PHONY: system-packages
system-packages:
	@bash tests/system-packages chromium=chromium soffice=libreoffice-calc-nogui prometheus=prometheus prometheus-alertmanager=prometheus-alertmanager

# Two lanes side by side, for most tests wait more than they work. What is not named runs in the second.
FIRST_LANE := $(addprefix tests/,chaos contract unit $(addprefix integration/,files gateway notify))
.PHONY: test test-first-lane test-second-lane
test: setup-dev system-packages ## set up and pass all tests; needs no running platform
	@$(MAKE) --no-print-directory --jobs=2 --output-sync=target test-first-lane test-second-lane
test-first-lane: setup-dev
	$(PYTEST) $(FIRST_LANE)
test-second-lane: setup-dev
	$(PYTEST) tests $(addprefix --ignore=,$(FIRST_LANE))

.PHONY: test-unit test-integration test-contract test-e2e test-chaos test-simulation
test-unit: setup-dev ## rules alone: no server is started
	$(PYTEST) tests/unit
test-integration: setup-dev system-packages ## against a real NATS and PostgreSQL
	$(PYTEST) tests/integration
test-contract: setup-dev system-packages ## stubs, protos, locks, the gate
	$(PYTEST) tests/contract
test-e2e: setup-dev system-packages ## the whole platform over HTTP, and its page in a browser
	$(PYTEST) tests/e2e
test-chaos: setup-dev ## processes killed in the middle
	$(PYTEST) tests/chaos
test-simulation: setup-dev ## seeded schedules of the policy layer
	$(PYTEST) tests/simulation

.PHONY: capabilities
capabilities: setup-dev ## write the tests' column of docs/capabilities.md
	$(BIN)/python -m tests.support.capabilities

.PHONY: screenshots
screenshots: setup-dev system-packages ## take the pictures of the page in docs/screenshots
	$(BIN)/python -m tests.support.screenshots

.PHONY: fault-matrix
fault-matrix: setup-dev ## write docs/fault-matrix.md from what the tests hold
	$(BIN)/python -m tests.support.faultmatrix.document

.PHONY: slo-rules
slo-rules: setup-dev ## write Prometheus' rules and Grafana's dashboards from deploy/slo.yaml
	$(BIN)/breakwater slo write

.PHONY: gate
gate: setup-dev ## may this tree replace what is deployed? runs every service and asks it; a changed interface needs a new version
	$(BIN)/breakwater versions
	$(BIN)/breakwater gate --env prod

.PHONY: ci
ci: lint gate test proof-status ## everything CI does

# ---- proofs: too long for CI; each writes proof/NAME.json (tests/proofs/README.md) ------------------------------------------
PROVE := nice -n 19 $(BIN)/python -m tests.proofs
EFFORT = $(if $(MINUTES),--minutes $(MINUTES)) $(if $(SCHEDULES),--schedules $(SCHEDULES)) $(if $(SAMPLE),--sample $(SAMPLE)) $(if $(SEED),--seed $(SEED)) $(if $(WORKERS),--workers $(WORKERS))
.PHONY: proof proof-status
proof: setup-dev ## every long proof
	$(PROVE) all $(EFFORT)
proof-status: setup-dev ## which proofs hold for the code as it is, and which are stale
	@$(PROVE) status
proof-%: setup-dev ## one long proof; as long as MINUTES=, SCHEDULES= or SAMPLE= say, from SEED=, by WORKERS=
	$(PROVE) $* $(EFFORT)

# ---- benchmarks: one JSON line a figure, each beside a named peer in the same run ------------------------------------------
.PHONY: bench bench-platform bench-resilience bench-sla bench-hop bench-outbox bench-import bench-routing bench-followups bench-overload bench-exports bench-documents bench-exports-crowd bench-page bench-ops
bench: bench-platform bench-resilience bench-sla bench-hop bench-outbox bench-import bench-routing bench-followups bench-overload bench-exports bench-documents bench-exports-crowd bench-page bench-ops ## every benchmark

bench-platform: setup-dev $(if $(TRYTON),.venv-tryton/.done) ## create, read, list, import; beside a bare path with the same SQL; TRYTON=1 also beside Tryton
	$(BIN)/python -m bench.whole $(if $(TRYTON),--tryton .venv-tryton/bin)
.venv-tryton/.done: locks/tryton.txt
	$(PYTHON) -m venv .venv-tryton
	.venv-tryton/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r locks/tryton.txt
	@touch $@
bench-resilience: setup-dev ## a guarded call, beside hyx and pybreaker + tenacity
	$(BIN)/python -m bench.resilience
bench-sla: setup-dev ## a due time in business hours, beside businesstimedelta
	$(BIN)/python -m bench.sla
bench-hop: setup-dev ## a unary hop through the chassis, beside bare grpcio
	$(BIN)/python -m bench.hop
bench-outbox: setup-dev ## outbox -> JetStream -> inbox
	$(BIN)/python -m bench.outbox
bench-import: setup-dev ## rows of an import, assigned, without the way through the gateway
	$(BIN)/python -m bench.import_rows
bench-routing: setup-dev ## 10,000 rules asked of a lead, beside asking each; explanations and replays from PostgreSQL
	$(BIN)/python -m bench.routing
bench-followups: setup-dev ## a customer's story of 10,000 entries beside one sorted UNION, a quick follow-up, a text tagged beside re
	$(BIN)/python -m bench.followups
bench-overload: setup-dev ## three times a server's capacity: goodput, latency, priorities, what starts late; beside no limit
	$(BIN)/python -m bench.overload
bench-page: setup-dev system-packages ## the on-call's page: a transition to the screen, first paint and scrolling with 500 dependencies x 50 instances
	$(BIN)/python -m bench.page
bench-ops: setup-dev ## what a second of 500 dependencies x 50 instances costs the ops process, CPU by part
	$(BIN)/python -m bench.opsround
bench-exports: setup-dev ## files from PostgreSQL: rows a second, memory, first byte, right or not, beside five public engines; WRITE=1 writes docs/exports.md
	$(BIN)/python -m bench.exports $(if $(WRITE),--write)
bench-exports-crowd: setup-dev ## fifty exports of 100,000 rows at once: memory, and what small exports and reads feel of them
	$(BIN)/python -m bench.exports.crowd
bench-documents: setup-dev ## 1,000 renewal reminders and a report of 2,000 rows as PDF: rate, memory, size; WRITE=1 writes docs/documents.md
	$(if $(WRITE),@bash tests/system-packages pdftoppm=poppler-utils)
	$(BIN)/python -m bench.documents $(if $(WRITE),--write)

# ---- protobuf ---------------------------------------------------------------------------------------------------------
PROTOS := $(shell find proto/breakwater -name '*.proto' | sort)
PROTOS_WITH_SERVICES := $(shell grep -lE '^service ' -r proto/breakwater --include '*.proto' | sort)
PROTOC := $(BIN)/python -m grpc_tools.protoc -I proto --plugin=protoc-gen-mypy=$(BIN)/protoc-gen-mypy --plugin=protoc-gen-mypy_grpc=$(BIN)/protoc-gen-mypy_grpc
STUBS ?= libs

.PHONY: proto stubs
proto: setup-dev stubs ## generate the committed stubs from proto/

stubs:
	@find $(STUBS) -name '*_pb2*.py*' -delete
	@$(PROTOC) --python_out=$(STUBS) --mypy_out=quiet:$(STUBS) $(PROTOS)
	@$(PROTOC) --grpc_python_out=$(STUBS) --mypy_grpc_out=quiet:$(STUBS) $(PROTOS_WITH_SERVICES)
