# Everything that one does with Tandem. `make` alone prints the targets.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-print-directory

# The binaries that `up` runs: `make up PROFILE=dist` builds the fastest ones.
PROFILE ?= release
LOCAL_STACK := target/$(if $(filter dev,$(PROFILE)),debug,$(PROFILE))/local-stack
# Tools that only some targets need, installed here and nowhere else.
TOOLS := target/tools
CARGO_DENY := 0.20.2
CARGO_LLVM_COV := 0.9.1
PYTHON := $(TOOLS)/python/bin

help: ## Print this
	@echo 'Tandem: one gateway, two ways to route.'
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-15s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo
	@echo '  make up STATELESS=2 STATEFUL=3 STORE=hybrid REDIS=single GATEWAYS=1 PORT_OFFSET=0'
	@echo '                            (all optional; STORE: hybrid, redis, memory; REDIS: single, sentinel, cluster)'
	@echo '                            OTLP=http://127.0.0.1:4318 sends traces to a collector there; LAB=1 opens the lab'
	@echo '  make scale stateful=4      make kill i=stateful-2      make start i=stateful-2      make logs i=gateway f=1'

# The system on this machine
up: packages build ## Install what is missing, build, start everything, wait until it is healthy
	@$(LOCAL_STACK) up $(if $(STATELESS),--stateless=$(STATELESS)) $(if $(STATEFUL),--stateful=$(STATEFUL)) \
	    $(if $(STORE),--store=$(STORE)) $(if $(REDIS),--redis=$(REDIS)) $(if $(PORT_OFFSET),--port-offset=$(PORT_OFFSET)) \
	    $(if $(GATEWAYS),--gateways=$(GATEWAYS)) $(if $(OTLP),--otlp=$(OTLP)) $(if $(LAB),--lab)

down: ## End everything; data and logs stay in .local
	@$(call local-stack,down)

status: ## Show each component: state, pid, port, log
	@$(call local-stack,status)

scale: ## Set the number of instances: stateful=4, stateless=2 (to none only with force=1)
	@$(call require,$(stateless)$(stateful),make scale stateful=4)
	@$(call local-stack,scale $(if $(stateless),stateless=$(stateless)) $(if $(stateful),stateful=$(stateful)) $(if $(force),--force))

kill: ## Kill a component at once: i=stateful-2
	@$(call require,$(i),make kill i=stateful-2)
	@$(call local-stack,kill $(i))

stop: ## End a component in order: i=stateful-2
	@$(call require,$(i),make stop i=stateful-2)
	@$(call local-stack,stop $(i))

start: ## Start a component again: i=stateful-2
	@$(call require,$(i),make start i=stateful-2)
	@$(call local-stack,start $(i))

ctl: ## Operate the gateways: args='pools', args=top, args='explain stateful --key 0badcafe --with stateful-4'; i=gateway-2 for one
	@$(call local-stack,ctl $(if $(i),--only=$(i)) $(or $(args),pools))

roll: ## Restart an instance, or upgrade a gateway, without a failed request: i=stateful-2
	@$(call require,$(i),make roll i=stateful-2)
	@$(call local-stack,roll $(i))

upgrade-gateway: build ## Have a newly built gateway take the place of the one that runs, without a gap
	@$(call local-stack,upgrade-gateway)

logs: ## Show a log: i=gateway (f=1 follows it)
	@$(call require,$(i),make logs i=gateway)
	@$(call local-stack,logs $(i) $(if $(f),--follow))

load: build ## Measure stateless beside stateful calls: args='--duration 10s --connections 32'
	@target/$(PROFILE)/loadtest compare $(args)

chaos: build ## Break a system under load and check its promises: args='--duration 120s --seed 1'
	@$(dir $(LOCAL_STACK))loadtest chaos $(args)

rollout: build ## Restart, scale, reload and upgrade under 500 requests/s, and see that none fails: args='--upgrades 3'
	@$(dir $(LOCAL_STACK))loadtest rollout $(args)

abuse: build ## Be one hostile client beside 200 good requests/s, and see that nobody is hurt: args='--duration 60s'
	@$(dir $(LOCAL_STACK))loadtest abuse --rate 200 $(args)

faults: build ## Kill, hang, slow down and fill each part, and see what clients see: args='--only redis-sessions-hung'
	@$(dir $(LOCAL_STACK))loadtest faults $(args)

# With the binaries that `up` runs, so that the figures are about the system that people see.
bench: packages-for-bench build ## Measure what the system costs, beside other proxies and what limits it: args='--parts proxies --json bench.json'
	@$(dir $(LOCAL_STACK))loadtest bench $(args)

# The same system in containers
compose-up: ## Build the images and start everything in containers: OVERLAYS='scale monitoring'
	@infra/compose/compose.sh up -d --build
	@infra/compose/compose.sh ps

compose-down: ## End the containers; the volumes with the data stay
	@infra/compose/compose.sh down

compose-roll: ## Make the containers of a service anew, one after the other: s=stateful-svc
	@$(call require,$(s),make compose-roll s=stateful-svc)
	@infra/compose/compose.sh roll $(s)

compose-test: ## Try the containers for real: health, API, load, scaling, replacing, down and up
	@cargo build --workspace --bins
	@infra/compose/test.sh

compose-test-ha: ## Kill what may die in the containers of the ha overlay: Redis, a gateway, PostgreSQL
	@cargo build --workspace --bins
	@infra/compose/test-ha.sh

compose-test-monitoring: ## Try the monitoring overlay: what is scraped, what is shown, and three alerts from fault to fix
	@cargo build --workspace --bins
	@infra/compose/test-monitoring.sh

deployment-test: ## Run every command of docs/DEPLOYMENT.md in a fresh clone
	@infra/compose/test-deployment.sh

# Development
build: ## Build the release binaries
	@cargo build --profile $(PROFILE) --workspace --bins

broken: ## Build the stateful service that guarantees can be taken out of: make chaos args='--broken no-handover'
	@cargo build --profile $(PROFILE) --workspace --features stateful-svc/broken --bin stateful-svc-broken

test: packages ## Run all tests, against real servers
	@cargo build --workspace --bins
	@$(MAKE) broken PROFILE=dev
	@cargo test --workspace

coverage: packages $(TOOLS)/bin/cargo-llvm-cov ## Measure how many of the lines the tests run: more than 85 %, or it fails
	@infra/local/install-packages.sh --for-coverage
	@infra/coverage.sh $(TOOLS)/bin/cargo-llvm-cov

fmt: ## Format the code
	@cargo fmt --all

ci: ## Exactly what CI runs: format, lints, documentation, files of infra, tests, dependencies
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked -- -D warnings
	RUSTDOCFLAGS='-D warnings' cargo doc --workspace --no-deps --locked
	@$(MAKE) lint-infra
	@$(MAKE) test
	@$(MAKE) deny

deny: $(TOOLS)/bin/cargo-deny ## Check the dependencies: licences, sources, bans
	@$(TOOLS)/bin/cargo-deny --workspace --locked check bans licenses sources

advisories: $(TOOLS)/bin/cargo-deny ## Check the dependencies for known vulnerabilities; fetches the database
	@$(TOOLS)/bin/cargo-deny --workspace --locked check advisories

monitoring-test: packages ## See that every rule and dashboard has something to show, with a local stack under load
	@cargo build --workspace --bins
	@infra/monitoring/test.sh

alerts-test: packages ## Break a local stack in turn, and see that each alert fires for its cause and for no other
	@cargo build --workspace --bins
	@infra/monitoring/try-alerts.py

lint-infra: $(PYTHON)/.installed ## Check everything in infra/ with the tool that it is made for
	@infra/lint.sh $(PYTHON)

dashboards: $(PYTHON)/.installed ## Write the dashboards of Grafana that infra/monitoring/grafana/dashboards.py makes
	@$(PYTHON)/python infra/monitoring/grafana/dashboards.py

clean: down ## End everything and remove its data, its logs and all that was built
	@if [ -f .local/shared ]; then rm -rf -- "$$(<.local/shared)"; fi; rm -rf .local
	@cargo clean

packages:
	@infra/local/install-packages.sh

packages-for-bench:
	@infra/local/install-packages.sh --for-bench

# Unoptimized, for it builds in a third of the time and runs for a second.
$(TOOLS)/bin/cargo-deny:
	@cargo install cargo-deny --version $(CARGO_DENY) --locked --debug --root $(TOOLS) --target-dir $(TOOLS)/build
	@rm -rf $(TOOLS)/build

$(TOOLS)/bin/cargo-llvm-cov:
	@cargo install cargo-llvm-cov --version $(CARGO_LLVM_COV) --locked --debug --root $(TOOLS) --target-dir $(TOOLS)/build
	@rm -rf $(TOOLS)/build

$(PYTHON)/.installed: infra/requirements.txt
	@infra/local/install-packages.sh --for-lint
	@python3 -m venv $(TOOLS)/python
	@$(PYTHON)/pip install --quiet --disable-pip-version-check --requirement infra/requirements.txt
	@touch $@

# Runs the command line of the stack, which is there once something was started.
local-stack = if [ -x $(LOCAL_STACK) ]; then $(LOCAL_STACK) $(1); else echo 'Nothing was ever started here: `make up`.'; fi
require = if [ -z '$(1)' ]; then echo 'Say which, such as: $(2)' >&2; exit 2; fi

.PHONY: compose-up compose-down compose-roll compose-test compose-test-ha compose-test-monitoring deployment-test monitoring-test alerts-test lint-infra dashboards help up down status scale kill stop start ctl roll upgrade-gateway rollout abuse faults logs load bench chaos build broken test coverage fmt ci deny advisories clean packages packages-for-bench
