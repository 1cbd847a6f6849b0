# Every task of the project. `make` prints the common targets, `make help-all` every one.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-print-directory

# The binaries that `up` runs: `make up PROFILE=dist` builds the fastest ones.
PROFILE ?= release
LOCAL_STACK := target/$(if $(filter dev,$(PROFILE)),debug,$(PROFILE))/local-stack
# Tools that only some targets need, installed in this folder only.
TOOLS := target/tools
CARGO_DENY := 0.20.2
CARGO_LLVM_COV := 0.9.1
CARGO_CYCLONEDX := 0.5.9
PYTHON := $(TOOLS)/python/bin
UI_TESTS := infra/ui-tests/node_modules
EXAMPLES := docs/examples/node_modules
API_TESTS := $(TOOLS)/api-tests

# A target's help follows `##`; the rarer targets have `###`, and only help-all prints them.
help: ## Print the common targets
	@echo 'Tandem: one gateway, two ways to route.'
	@$(call targets,##)
	@echo
	@echo '  make up STATELESS=2 STATEFUL=3 STORE=hybrid REDIS=single GATEWAYS=1 PORT_OFFSET=0'
	@echo '                            (all optional; STORE: hybrid, redis, memory; REDIS: single, sentinel, cluster)'
	@echo '                            OTLP=http://127.0.0.1:4318 sends traces to a collector; LAB=1 enables the lab; REPLICA=1 adds a standby of PostgreSQL'
	@echo '                            TLS=1 encrypts all connections between the tiers, too'
	@echo '                            CLASS=1 opens a page for the phones of a class to the local network'
	@echo '                            DRIVER=0 leaves the traffic source of the board away: the first build is shorter'
	@echo '  make scale stateful=4      make kill i=stateful-2      make start i=stateful-2      make logs i=gateway f=1'

help-all: ## Print every target
	@$(call targets,###?)

# The system on this machine
up: packages build-up ## Install what is missing, build, start everything, wait until it is healthy
	@$(LOCAL_STACK) up $(if $(STATELESS),--stateless=$(STATELESS)) $(if $(STATEFUL),--stateful=$(STATEFUL)) \
	    $(if $(STORE),--store=$(STORE)) $(if $(REDIS),--redis=$(REDIS)) $(if $(PORT_OFFSET),--port-offset=$(PORT_OFFSET)) \
	    $(if $(GATEWAYS),--gateways=$(GATEWAYS)) $(if $(OTLP),--otlp=$(OTLP)) $(if $(LAB),--lab) $(if $(REPLICA),--replica) $(if $(TLS),--tls) \
	    $(if $(filter 0,$(DRIVER)),,--driver) \
	    $(if $(CLASS),--class $(if $(CLASS_HOST),--class-host=$(CLASS_HOST)) $(if $(CLASS_CERT),--class-cert=$(CLASS_CERT) --class-key=$(CLASS_KEY)))

down: ## Stop everything; data and logs stay in .local
	@$(call local-stack,down)

backup: ### Back up the running system into .local/backups; kind=base or kind=recent for the other kinds
	@infra/local/install-packages.sh --for-backup
	@infra/backup/local.sh backup $(or $(kind),create)

backups: ### List the backups of the local stack
	@infra/backup/local.sh backup list

restore: ### Replace all data of the running system by the newest backup, or by from=daily/20261129T030000Z
	@infra/backup/local.sh restore $(from)

drill: ### Restore the newest backup into a scratch system, compare it, and print RPO and RTO
	@infra/local/install-packages.sh --for-backup
	@infra/backup/local.sh drill

status: ## Show each component: state, pid, port, log
	@$(call local-stack,status)

scale: ## Set the number of instances: stateful=4, stateless=2 (0 only with force=1)
	@$(call require,$(stateless)$(stateful),make scale stateful=4)
	@$(call local-stack,scale $(if $(stateless),stateless=$(stateless)) $(if $(stateful),stateful=$(stateful)) $(if $(force),--force))

kill: ## Kill a component with SIGKILL: i=stateful-2
	@$(call require,$(i),make kill i=stateful-2)
	@$(call local-stack,kill $(i))

stop: ### Stop a component gracefully: i=stateful-2
	@$(call require,$(i),make stop i=stateful-2)
	@$(call local-stack,stop $(i))

start: ## Start a component again: i=stateful-2
	@$(call require,$(i),make start i=stateful-2)
	@$(call local-stack,start $(i))

ctl: ## Operate the gateways: args=pools, args=top, args='explain stateful --key 0badcafe'; i=gateway-2 for one
	@$(call local-stack,ctl $(if $(i),--only=$(i)) $(or $(args),pools))

roll: ## Restart an instance, or upgrade a gateway, without a failed request: i=stateful-2
	@$(call require,$(i),make roll i=stateful-2)
	@$(call local-stack,roll $(i))

upgrade-gateway: build-up ### Build the gateway and replace the running one without a gap
	@$(call local-stack,upgrade-gateway)

logs: ## Show a log: i=gateway (f=1 follows it)
	@$(call require,$(i),make logs i=gateway)
	@$(call local-stack,logs $(i) $(if $(f),--follow))

load: build ## Measure stateless beside stateful requests: args='--duration 10s --connections 32'
	@target/$(PROFILE)/loadtest compare $(args)

routing: build ### Compare sticky routing with round robin, side by side, after `make up LAB=1`: args='--html routing.html'
	@target/$(PROFILE)/loadtest routing $(args)

chaos: build ## Inject faults under load and check the guarantees: args='--duration 120s --seed 1'
	@$(dir $(LOCAL_STACK))loadtest chaos $(args)

kill-postgres: packages ### Kill PostgreSQL under changes of accounts, and compare what was acknowledged with the audit log: kills=10
	@cargo build --workspace --bins
	@TANDEM_TEST_KILLS=$(or $(kills),10) cargo test --workspace --test e2e accounts::kills -- --nocapture

postgres-failover-test: packages-for-failover ### Fail PostgreSQL over as the `ha` overlay does, under load, and compare what was acknowledged with the audit log: kills=10
	@cargo build --workspace --bins
	@TANDEM_TEST_FAILOVERS=$(or $(kills),10) cargo test --workspace --test e2e postgres_failover -- --nocapture

lessons: build ## Run every lesson: predicted beside measured. args='--step' asks the class first
	@$(dir $(LOCAL_STACK))loadtest lesson run all $(args)

lesson: build ## Run one lesson: name=memory; without a name, list them
	@$(dir $(LOCAL_STACK))loadtest lesson $(if $(name),run $(name) $(args),list)

test-lessons: packages ### Run every lesson twice, then with each claim made false, then interrupted
	@cargo build --workspace --bins
	@for run in 1 2; do target/debug/loadtest lesson run all --scratch; done
	@cargo test -p loadtest --test it lesson -- --include-ignored

# Sessions in memory, so that lesson 3 runs on this system and is seen on the board.
demo: STORE = memory
demo: build up ## Start everything with some traffic, open the board, and walk through lesson 3
	@PROGRAMS=$(dir $(LOCAL_STACK)) PORT_OFFSET=$(or $(PORT_OFFSET),0) infra/local/demo.sh $(args)

rollout: build ### Restart, scale, reload and upgrade under 500 requests/s, and count failures: args='--upgrades 3'
	@$(dir $(LOCAL_STACK))loadtest rollout $(args)

abuse: build ### Run one hostile client beside 200 good requests/s, and count those that suffer: args='--duration 60s'
	@$(dir $(LOCAL_STACK))loadtest abuse --rate 200 $(args)

logins: build ### Measure what rejected logins show, and what 200 logins at once cost: args='--pairs 1000 --clients 200'
	@$(dir $(LOCAL_STACK))loadtest logins $(args)

faults: build ### Kill, hang, slow down and fill each part, and report what clients see: args='--only redis-sessions-hung'
	@$(dir $(LOCAL_STACK))loadtest faults $(args)

dist: build ### Build the fastest gateway, optimized by a profile of our own load: target/pgo/gateway
	@infra/dist.sh $(dir $(LOCAL_STACK))loadtest

# Uses the binaries that `up` runs, so the figures are those of the system that people run.
bench: packages-for-bench build ### Measure costs, beside other proxies and what limits the system: args='--parts proxies,idle --json bench.json'
	@$(dir $(LOCAL_STACK))loadtest bench $(args)

instructions: packages-for-bench build ### Count the gateway's instructions per request, by callgrind: gateway=target/pgo/gateway
	@loadtest/bench/instructions.sh $(dir $(LOCAL_STACK))loadtest $(or $(gateway),$(dir $(LOCAL_STACK))gateway)

figures: ### Write the proxies' figures of a run of `bench` into the documentation: json=bench.json
	@$(call require,$(json),make figures json=bench.json)
	@$(dir $(LOCAL_STACK))loadtest figures $(json) --svg docs/proxies.svg --into docs/PERFORMANCE.md

# The same system in containers
compose-up: ## Build the images and start everything in containers: OVERLAYS='scale monitoring'
	@infra/compose/compose.sh up -d --build
	@infra/compose/compose.sh ps

compose-down: ## Stop the containers; the volumes with the data stay
	@infra/compose/compose.sh down

compose-roll: ### Replace the containers of a service one after the other: s=stateful-svc
	@$(call require,$(s),make compose-roll s=stateful-svc)
	@infra/compose/compose.sh roll $(s)

compose-test: ### Test the containers: health, API, load, scaling, replacing, down and up
	@cargo build --workspace --bins
	@infra/compose/test.sh

compose-test-ha: ### Test failovers in the containers of the ha overlay: Redis, a gateway, PostgreSQL
	@cargo build --workspace --bins
	@infra/compose/test-ha.sh

compose-test-monitoring: ### Test the monitoring overlay: scraping, dashboards, three alerts
	@cargo build --workspace --bins
	@infra/compose/test-monitoring.sh

# Addresses of Services and the owners of volumes take root.
k8s-test: $(PYTHON)/.installed ### Run the Pods of infra/k8s as containers without a cluster, and replace them under load: args='--steps gateway'; takes kubectl and sudo
	@cargo build --workspace --bins
	@infra/compose/compose.sh build $(COMPOSE_BUILD_ARGS)
	@$(if $(filter-out 0,$(shell id -u)),sudo --preserve-env=DOCKER_HOST )$(PYTHON)/python infra/k8s/test-pods.py $(args)

server-test: ### Set up a fresh Debian by infra/server/setup-server.sh, twice, and check it; takes root and debootstrap
	@cargo build --workspace --bins
	@infra/server/test-setup.sh

testssl: ### Have testssl look at the TLS of Nginx, and fail above low; takes the package testssl.sh
	@cargo build --workspace --bins
	@infra/server/testssl.sh

keepalived-test: ### Move an address between two hosts in network namespaces, and count lost sessions; takes root and keepalived
	@cargo build --workspace --bins
	@infra/server/test-keepalived.sh

deployment-test: ### Run every command of docs/DEPLOYMENT.md in a fresh clone
	@infra/compose/test-deployment.sh

# Development
openapi: ### Write the OpenAPI documents of docs/ from the tables of the APIs
	@WRITE_OPENAPI=1 cargo test -q -p proto-contracts --test it openapi

build-up: ### Build what `up` runs, and no more
	@cargo build --profile $(PROFILE) -p gateway -p stateful-svc -p stateless-svc -p local-stack $(if $(filter 0,$(DRIVER)),,-p loadtest) --bins

build: ### Build all binaries, loadtest too
	@cargo build --profile $(PROFILE) --workspace --bins

broken: ### Build the services with failpoints: make chaos args='--broken no-handover'
	@cargo build --profile $(PROFILE) --workspace --features stateful-svc/broken --bin stateful-svc-broken
	@cargo build --profile $(PROFILE) --workspace --features stateless-svc/broken --bin stateless-svc-broken

# The program of the gateway's integration tests, as `make test` has built it: `-p gateway` would build sixty crates again, with
# fewer features.
gateway_tests = "$$(cargo test --workspace --test it --no-run --message-format=json-render-diagnostics $(1) | \
    jq -r 'select(.target.name == "it" and (.manifest_path | endswith("/gateway/Cargo.toml"))) | .executable')"

# The end-to-end tests wait for more than half of their time, so more of them run at once than a machine for CI has processors.
test: packages-for-failover ## Run all tests, against real servers
	@infra/local/install-packages.sh --for-backup
	@cargo build --workspace --bins
	@$(MAKE) broken PROFILE=dev
	@INSTA_UPDATE=no cargo test --workspace --no-fail-fast --lib --bins --test it --test stack --test layers --test docs
	@INSTA_UPDATE=no cargo test --workspace --test e2e -- --test-threads=4
	@INSTA_UPDATE=no cargo test --workspace --doc
	@cd gateway && INSTA_UPDATE=no GATEWAY_TEST_ENGINE=pingora $(call gateway_tests)

# Those with Sentinels and clusters, and those of what has no TLS of its own, are left out.
tls-test: packages ### Run the end-to-end tests with TLS between all tiers: only=live for one module
	@cargo build --workspace --bins
	@$(MAKE) broken PROFILE=dev
	@TANDEM_TEST_TLS=1 cargo test --workspace --test e2e -- --test-threads=4 $(or $(only),$(foreach left,cluster sentinels redis_failover postgres_failover,--skip=$(left)))

# The tests of one package alone would be built again, with fewer features; `--workspace` takes what `make test` has built.
test-ui: packages $(UI_TESTS)/.package-lock.json ### Test the pages in Chromium: /docs, the start page, the errors; screenshots in target/ui
	@cargo build --workspace --bins
	@cargo test --workspace --test ui -- --ignored --nocapture

board-frames: packages $(UI_TESTS)/.package-lock.json ### Print how many frames/s the board keeps on the stream of 5,000 requests/s: s=10 seconds at each size
	@cargo build --workspace --bins
	@UI_ONLY='frames of the board' FRAMES_SECONDS=$(or $(s),10) cargo test --workspace --test ui -- --ignored --nocapture

# Each phone and page is shown what was acknowledged to it, while the strategy is switched and an instance is killed.
class-test: packages $(UI_TESTS)/.package-lock.json ### Talk as a class of 200 phones and two browsers, at 200 addresses and then at one, for s=120 seconds each
	@cargo build --workspace --bins
	@CLASS_SECONDS=$(or $(s),120) cargo test --workspace --test e2e classroom::ledger -- --ignored --nocapture

pictures: test-ui ### Take the pictures of the documents again
	@cp target/ui/board-laptop-light.png docs/images/board.png
	@for name in board-killed board-lesson board-class-light class-room-light; do cp target/ui/$$name.png docs/images/; done

# Each starts a stack of its own.
test-clients: packages $(API_TESTS)/.installed $(EXAMPLES)/.package-lock.json ### Run the clients of docs/examples while an instance crashes, and a generated client
	@cargo build --workspace --bins
	@rm -rf target/api-client
	@$(API_TESTS)/bin/openapi-python-client generate --config infra/api-tests/client.yaml --path docs/openapi.json --meta none --output-path target/api-client/tandem_client
	@cargo test --workspace --test clients -- --ignored --nocapture --test-threads=1 --skip schemathesis

fuzz-api: packages $(API_TESTS)/.installed ### Compare responses to generated requests with the OpenAPI document: 200 for each operation, or s=60 for 60 seconds
	@cargo build --workspace --bins
	@$(if $(s),FUZZ_SECONDS=$(s)) cargo test --workspace --test clients -- --ignored --nocapture schemathesis

plans: packages ### Print how long lists of products=1000000 and audit=10000000 entries take, and the plans of PostgreSQL
	@cargo build --workspace --bins
	@PLANS_PRODUCTS=$(or $(products),1000000) PLANS_AUDIT=$(or $(audit),10000000) cargo test --workspace --test e2e plans:: -- --ignored --nocapture --test-threads=1

lint-api: $(UI_TESTS)/.package-lock.json ### Lint the OpenAPI documents of docs/
	@REDOCLY_TELEMETRY=off REDOCLY_SUPPRESS_UPDATE_NOTICE=true $(UI_TESTS)/.bin/redocly lint --config infra/api-tests/redocly.yaml docs/openapi.json docs/openapi-control.json docs/openapi-agent.json

revocation-test: ### Disable 100 users under load, with an instance stopped meanwhile; fails if anything of theirs works a second later
	@cargo build --workspace --bins
	@cargo test --workspace --test e2e -- --ignored --nocapture hundred_disabled_users

fuzz: ### Test the gateway's HTTP parsers with random input: s=60 for 60 seconds each
	@FUZZ_SECONDS=$(or $(s),60) cargo test --workspace --lib http_strict::fuzz -- --nocapture

fuzz-engines: packages ### Send the same random bytes to both engines, and compare: s=60 for 60 seconds, or cases=1000000 (a release build, 1,000 a second)
	@cd gateway && $(if $(cases),FUZZ_CASES=$(cases),FUZZ_SECONDS=$(or $(s),60)) $(call gateway_tests,$(if $(cases),--release)) differential:: --nocapture

hostile-requests: packages ### Send 8,000 malformed requests to each engine and through Nginx, and check that no other client notices: cases=8000
	@cargo build --workspace --bins
	@cd gateway && FUZZ_CASES=$(or $(cases),8000) $(call gateway_tests) hostile_requests:: --nocapture
	@cd gateway && FUZZ_CASES=$(or $(cases),8000) GATEWAY_TEST_ENGINE=pingora $(call gateway_tests) hostile_requests:: --nocapture
	@FUZZ_CASES=$(or $(cases),8000) cargo test --workspace --test e2e hostile_edge:: -- --nocapture

upload-test: packages ### Upload n=200 files of mb=50 at once, and print the memory of Nginx, gateway and services
	@cargo build --workspace --bins
	@UPLOADS=$(or $(n),200) UPLOAD_MIB=$(or $(mb),50) cargo test --workspace --test e2e files::memory:: -- --ignored --nocapture

rollback-test: packages ### Roll a release out and back under load, with two builds and a migration between them: previous=REVISION for a build of that
	@infra/server/rollback-test.sh $(previous)

import-test: packages ### Import n=100000 users and as many products, again, and with a broken row, and print how long it takes
	@cargo build --workspace --bins
	@IMPORT_ROWS=$(or $(n),100000) cargo test --workspace --test e2e imports::many_rows -- --nocapture

drill-test: packages ### Back up n=100000 sessions and rows and files=1000, destroy everything, restore it, and compare with a ledger
	@infra/local/install-packages.sh --for-backup
	@cargo build --workspace --bins
	@BACKUP_ROWS=$(or $(n),100000) BACKUP_FILES=$(or $(files),1000) cargo test --workspace --test e2e backup:: -- --nocapture --test-threads=1

replica-test: packages ### Write and read n=10000 times through a replica whose replay is paused, and count stale reads
	@cargo build --workspace --bins
	@TANDEM_TEST_PAIRS=$(or $(n),10000) cargo test --workspace --test e2e replica::a_writer -- --nocapture

coverage: packages $(TOOLS)/bin/cargo-llvm-cov ### Measure the line coverage of the tests; fails below 85 %
	@infra/local/install-packages.sh --for-backup
	@infra/local/install-packages.sh --for-coverage
	@infra/coverage.sh $(TOOLS)/bin/cargo-llvm-cov

fmt: ### Format the code
	@cargo fmt --all

ci: ## Run exactly what CI runs: format, lints, documentation, infra files, tests, dependencies
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked -- -D warnings
	RUSTDOCFLAGS='-D warnings' cargo doc --workspace --no-deps --locked
	@$(MAKE) lint-infra
	@$(MAKE) test
	@$(MAKE) test-ui
	@$(MAKE) lint-api
	@$(MAKE) test-clients
	@$(MAKE) fuzz-api s=60
	@$(MAKE) deny

deny: $(TOOLS)/bin/cargo-deny ### Check the dependencies: licences, sources, bans
	@$(TOOLS)/bin/cargo-deny --workspace --locked check bans licenses sources

advisories: $(TOOLS)/bin/cargo-deny ### Check the dependencies for known vulnerabilities; fetches the database
	@$(TOOLS)/bin/cargo-deny --workspace --locked check advisories

sbom: $(TOOLS)/bin/cargo-cyclonedx ### Write the inventory of each program's crates (CycloneDX) into target/sbom
	@infra/release/sbom.sh $(TOOLS)/bin/cargo-cyclonedx target/sbom

licences: ### Write the licences of all crates into target/licences.html; fails on one that deny.toml does not allow
	@infra/release/licences.py target/licences.html

monitoring-test: packages ### Check that every rule and dashboard has data, with a local stack under load
	@cargo build --workspace --bins
	@infra/monitoring/test.sh

runbook-test: packages ### Run every command of docs/RUNBOOK.md under load, and check what each section promises: args='--sections Drain'
	@cargo build --workspace --bins
	@target/debug/loadtest runbook $(args)

alerts-test: packages ### Break a local stack step by step, and check that each alert fires for its cause alone
	@cargo build --workspace --bins
	@infra/monitoring/try-alerts.py

lint-infra: $(PYTHON)/.installed ### Check every file of infra/ with the tool for its format
	@infra/lint.sh $(PYTHON)

error-pages: ### Generate the pages about errors from the table of codes in proto-contracts
	@WRITE_ERROR_PAGES=1 cargo test -q -p proto-contracts --test it error_pages

docs-ui: ### Write Swagger UI's files of /docs again from the npm package, and check them
	@infra/nginx/swagger-ui.sh

dashboards: $(PYTHON)/.installed ### Generate the Grafana dashboards from infra/monitoring/grafana/dashboards.py
	@$(PYTHON)/python infra/monitoring/grafana/dashboards.py

kubernetes-rules: $(PYTHON)/.installed ### Generate the PrometheusRules of infra/k8s from infra/monitoring/prometheus/rules
	@$(PYTHON)/python infra/k8s/prometheus-rules.py

clean: down ### Stop everything; remove data, logs and builds
	@if [ -f .local/shared ]; then rm -rf -- "$$(<.local/shared)"; fi; rm -rf .local
	@cargo clean

packages: ### Install the packages that are missing
	@infra/local/install-packages.sh

packages-for-bench: ### Install the other proxies that `make bench` measures, too
	@infra/local/install-packages.sh --for-bench

packages-for-failover: packages $(TOOLS)/patroni/.installed ### Install what the `ha` overlay runs for PostgreSQL, too
	@infra/local/install-packages.sh --for-failover

# By Debian's Python, which other users can run.
$(TOOLS)/patroni/.installed: infra/compose/postgres/requirements.txt
	@infra/local/install-packages.sh --for-failover
	@/usr/bin/python3 -m venv $(TOOLS)/patroni
	@$(TOOLS)/patroni/bin/pip install --quiet --disable-pip-version-check --requirement $<
	@touch $@

# Without optimization: it builds in a third of the time and runs for a second.
$(TOOLS)/bin/cargo-deny:
	@cargo install cargo-deny --version $(CARGO_DENY) --locked --debug --root $(TOOLS) --target-dir $(TOOLS)/build
	@rm -rf $(TOOLS)/build

$(TOOLS)/bin/cargo-llvm-cov:
	@cargo install cargo-llvm-cov --version $(CARGO_LLVM_COV) --locked --debug --root $(TOOLS) --target-dir $(TOOLS)/build
	@rm -rf $(TOOLS)/build

$(TOOLS)/bin/cargo-cyclonedx:
	@cargo install cargo-cyclonedx --version $(CARGO_CYCLONEDX) --locked --debug --root $(TOOLS) --target-dir $(TOOLS)/build
	@rm -rf $(TOOLS)/build

$(UI_TESTS)/.package-lock.json: infra/ui-tests/package-lock.json
	@infra/local/install-packages.sh --for-ui
	@npm ci --prefix infra/ui-tests --no-audit --no-fund --silent
	@touch $@

$(EXAMPLES)/.package-lock.json: docs/examples/package-lock.json
	@infra/local/install-packages.sh --for-clients
	@npm ci --prefix docs/examples --no-audit --no-fund --silent
	@touch $@

$(API_TESTS)/.installed: infra/api-tests/requirements.txt
	@infra/local/install-packages.sh --for-clients
	@python3 -m venv $(API_TESTS)
	@$(API_TESTS)/bin/pip install --quiet --disable-pip-version-check --requirement infra/api-tests/requirements.txt
	@touch $@

$(PYTHON)/.installed: infra/requirements.txt
	@infra/local/install-packages.sh --for-lint
	@python3 -m venv $(TOOLS)/python
	@$(PYTHON)/pip install --quiet --disable-pip-version-check --requirement infra/requirements.txt
	@touch $@

# Runs local-stack, which `make up` builds.
local-stack = if [ -x $(LOCAL_STACK) ]; then $(LOCAL_STACK) $(1); else echo 'Nothing has been started here yet: make up'; fi
require = if [ -z '$(1)' ]; then echo 'error: an argument is missing; for example: $(2)' >&2; exit 2; fi
# Prints the targets whose help follows this marker.
targets = awk -F ':.* $(1) ' '/^[a-z0-9-]+:.* $(1) / { printf "  make %-24s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: instructions board-frames pictures compose-up compose-down compose-roll compose-test compose-test-ha compose-test-monitoring deployment-test k8s-test server-test testssl keepalived-test monitoring-test alerts-test runbook-test lint-infra dashboards kubernetes-rules error-pages docs-ui help help-all up down status scale kill stop start ctl roll upgrade-gateway revocation-test rollout abuse faults logins logs load routing bench figures chaos dist build build-up broken test test-ui test-clients openapi fuzz fuzz-api plans lint-api fuzz-engines hostile-requests coverage fmt ci deny advisories clean packages packages-for-bench packages-for-failover postgres-failover-test import-test replica-test drill-test backup backups restore drill sbom licences rollback-test tls-test
