# What one does with the platform. `make` alone lists it.
#
# There is no logic here: installing is install-all.sh, building is CMake's presets, the running
# stack is deploy/local/stack.py.
.DEFAULT_GOAL := help
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c

# Which stack the commands are about: STACK=native or STACK=docker. By default the one that the last make
# up started, or else containers where an engine answers.
stack := deploy/local/stack.py
PRESET ?= release
# How many compilers, tests or copies at once; the presets say two compilers. TESTS and LABEL choose tests.
build_options := $(if $(JOBS),--parallel $(JOBS))
test_options := $(if $(TESTS),-R "$(TESTS)") $(if $(LABEL),-L "$(LABEL)")

.PHONY: help
help:
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-14s %s\n", $$1, $$2} /^##@/{printf "\n%s\n", substr($$0, 5)}' makefile

##@ The stack
.PHONY: install env certs up stop down status logs log-level trace scale backup restore psql seed walkthrough collection topics events mails mails-refused mails-resend rotate-keys audit reconcile grpc
install: ## bring every package and tool (up and test do it too)
	./install-all.sh

env: ## make .env with secrets of its own, unless it is there
	@$(stack) init-env --out .env

certs: env ## make certificates for TLS=on, where they are missing or end within a month
	@$(stack) certs

# Without Python, which install brings, nobody has made containers here yet.
up: ## install, build, start everything, wait until it is ready; STACK=native, STACK=docker, TLS=on, PROFILE=observability
	@chosen=$$($(stack) which) || { [ $$? -ge 126 ]; chosen=native; }; \
	if [ "$$chosen" = native ]; then $(MAKE) --no-print-directory install build-release; \
	  $(if $(filter observability,$(PROFILE)),./install-all.sh --for=observability;) fi; \
	$(if $(JOBS),BUILD_JOBS=$(JOBS)) STACK=$$chosen $(stack) up

stop: ## stop everything, keep the data
	@$(stack) stop

down: ## clean slate: stop everything, remove data and logs
	@$(stack) down

status: ## which programs run, and whether they are ready
	@$(stack) status

logs: ## last lines of the logs; SERVICE=orders, FOLLOW=1; ORDER=7: all that they say of an order
	@$(stack) logs $(or $(SERVICE),all) $(if $(FOLLOW),--follow) $(if $(ORDER),--order $(ORDER))

log-level: ## what a process logs from now on; SERVICE=orders LEVEL=debug
	@$(stack) log-level $(SERVICE) $(LEVEL)

trace: ## what became of an order, as a tree with durations; ORDER=7 (after make up PROFILE=observability)
	@$(stack) trace $(ORDER)

scale: ## run a service several times, in containers; SERVICE=orders, N=3
	@$(stack) scale $(SERVICE) $(N)

backup: ## copy the data of a running stack; TO=folder
	@$(stack) backup $(if $(TO),--to "$(TO)")

restore: install build-release ## start an empty stack with the data of a copy; FROM=folder
	@$(stack) restore $(if $(FROM),--from "$(FROM)")

psql: ## a service's database; SERVICE=orders, SQL="select 1"
	@$(stack) psql $(SERVICE) $(if $(SQL),--sql "$(SQL)")

seed: ## put in a believable catalogue and a few users
	@$(stack) seed

walkthrough: ## run the Postman collection, in order
	@$(stack) walkthrough

collection: ## the walkthrough, whose answers are then saved in the collection
	@report=$$(mktemp); trap 'rm -f "$$report"' EXIT; \
	$(stack) walkthrough -- --reporters cli,json --reporter-json-export "$$report"; \
	tests/api/examples.py E-Commerce-API.postman_collection.json "$$report"

topics: ## Kafka's topics and how many events they hold
	@$(stack) topics

events: ## the events of a topic; TOPIC=orders, FOLLOW=1
	@$(stack) events $(or $(TOPIC),orders) $(if $(FOLLOW),--follow)

mails: ## the mails that were sent; N=3 shows the third
	@$(stack) mails $(N)

rotate-keys: ## make the next key that signs access tokens; it signs in ten minutes
	@$(stack) rotate-keys

audit: ## is the log of who did what whole? KNOWN=payments:17:HASH, as it was said before: and is that entry there?
	@$(stack) audit $(KNOWN)

mails-refused: ## the mails that were refused for good, or not to be sent, and why
	@$(stack) mails-refused

mails-resend: ## send refused mails again; ORDER=12, ORDER=all
	@$(stack) mails-resend $(ORDER)

reconcile: ## do all services, their topics and the payment provider say the same? a table of what they do not
	@$(stack) reconcile

grpc: ## a grpcurl example a service; SERVICE=orders
	@$(stack) grpc $(SERVICE)

##@ Messages that went wrong; APPLY=1 does what the others only show
.PHONY: dead redrive discard gaps republish resume
dead: ## dead letters, and what is in the retry queues; GROUP=stock
	@$(stack) dead $(GROUP)

redrive: ## handle a dead letter again; ID=stock-17, APPLY=1
	@$(stack) redrive $(ID) $(if $(APPLY),--apply)

discard: ## drop a dead letter for good; ID=stock-17, APPLY=1
	@$(stack) discard $(ID) $(if $(APPLY),--apply)

gaps: ## groups that stopped, because the events they need are gone
	@$(stack) gaps

republish: ## publish a topic's events again; TOPIC=orders, SINCE=2026-11-20, APPLY=1
	@$(stack) republish $(TOPIC) $(if $(SINCE),--since "$(SINCE)") $(if $(APPLY),--apply)

resume: ## have a group go on after its gaps; GROUP=stock, TOPIC=orders, FROM=time, APPLY=1
	@$(stack) resume $(GROUP) $(TOPIC) $(if $(FROM),--from "$(FROM)") $(if $(APPLY),--apply)

##@ Building and testing
.PHONY: build build-% install-for-tests test test-repeat test-faults chaos chaos-faults test-asan test-tsan fuzz test-long bench bench-compare simulation simulation-check sbom lint format
build: install build-$(PRESET) ## build the executables; PRESET=release, JOBS=2

# Ninja configures again by itself when a CMakeLists.txt changes; a changed preset it does not see.
build/%/build.ninja: CMakePresets.json
	cmake --preset $*
	@touch $@

build-release build-dev build-asan build-tsan: build-%: build/%/build.ninja
	cmake --build --preset $* $(build_options)

install-for-tests:
	@./install-all.sh --for=test

install-for-long:
	@./install-all.sh --for=long

test: install-for-tests build-dev ## every test but the long ones; TESTS=regex, LABEL=unit
	ctest --preset dev -LE long $(test_options)

test-repeat: install-for-tests build-dev ## every test N times, shuffled, half of them on busy cores; N=20, MODE=busy, TESTS=, LABEL=, SEED=, JOBS=3
	tests/repeat.py --rounds $(or $(N),20) --mode $(or $(MODE),mixed) \
	  $(if $(TESTS),--tests "$(TESTS)") $(if $(LABEL),--label "$(LABEL)") $(if $(SEED),--seed $(SEED)) $(if $(JOBS),--jobs $(JOBS))

test-faults: install-for-tests ## plant faults in a copy, one by one: is each caught by its test? AREA=orders, FAULTS=regex, JOBS=2
	tests/faults/run.py $(if $(AREA),--area "$(AREA)") $(if $(FAULTS),--faults "$(FAULTS)") $(if $(JOBS),--jobs $(JOBS))

chaos: install-for-tests build-dev ## orders while everything is killed, paused and repeated; MINUTES=5, SEED=7
	tests/chaos/run.py --seconds $$(( 60 * $(or $(MINUTES),5) )) $(if $(SEED),--seed $(SEED))

chaos-faults: install-for-tests ## plant faults that show only in the whole: does a run of chaos catch each? FAULTS=regex, ROUNDS=3
	tests/chaos/planted.py $(if $(FAULTS),--faults "$(FAULTS)") $(if $(ROUNDS),--rounds $(ROUNDS))

test-asan: install-for-tests build/asan/build.ninja ## unit tests with AddressSanitizer and UBSan
	cmake --build --preset asan --target unit_tests $(build_options)
	ctest --preset asan -L unit $(test_options)

# Not those whose threads hand things over inside gRPC: as that is not built with ThreadSanitizer either,
# each such handover is taken for a race. Nor process_metrics_test, which would see the sanitizer's own memory and thread.
test-tsan: install-for-tests build/tsan/build.ninja ## unit tests with ThreadSanitizer
	cmake --build --preset tsan --target unit_tests $(build_options)
	ctest --preset tsan -L unit -E '^(gateway_.*|server|streams|connection|header_guard|golden|tls|process_metrics)_test$$' $(test_options)

fuzz: install-for-long build/fuzz/build.ninja ## fuzz targets, a minute each; TIME=60
	cmake --build --preset fuzz $(build_options)
	tests/fuzz/run.sh build/fuzz $(or $(TIME),60)

# The integration tests and the attacks run with AddressSanitizer too, tests/lsan.supp names what leaks in libraries. Not
# with ThreadSanitizer: librdkafka, which is not built with it, crashes under it.
test-long: install-for-long test test-asan test-tsan fuzz ## all of these, and what takes long; some hours on two cores
	cmake --build --preset asan $(build_options)
	ctest --preset asan -L integration
	ctest --preset asan -R '^attack$$'
	ctest --preset dev -L long

bench: install build-release ## measures everything, writes docs/performance.md; half an hour; ONLY=orders,mixed prints a part, AGED=1000000
	tests/load/install.sh
	cmake --build --preset release --target bare_beast
	tests/load/bench.py $(if $(ONLY),--only "$(ONLY)",--write) $(if $(AGED),--aged $(AGED)) $(if $(ROUNDS),--rounds $(ROUNDS)) $(if $(SECONDS),--seconds $(SECONDS))

bench-compare: install build-release ## measures a commit and this tree in turn, says what differs; BASE=main, ONLY=orders,kept, ROUNDS=5, SECONDS=3
	@command -v wrk >/dev/null || tests/load/install.sh
	tests/load/compare.py $(or $(BASE),$(error which commit? BASE=main)) $(if $(ONLY),--only "$(ONLY)") \
	  $(if $(ROUNDS),--rounds $(ROUNDS)) $(if $(SECONDS),--seconds $(SECONDS)) $(if $(JOBS),--jobs $(JOBS))

simulation: install-for-tests ## what limits orders at 10, 100 and 1,000 times the measured rate, into docs/scale.md; half a minute
	tests/scale/scale.py --write

simulation-check: install-for-tests build-release ## is it right about one and two processes of each service on this machine? five minutes
	tests/load/install.sh
	tests/scale/check.py --write

sbom: build-release ## what every executable and the stack are made of, as CycloneDX in build/sbom
	@./install-all.sh --for=sbom
	deploy/local/sbom.py

lint: ## clang-format, clang-tidy, buf, shellcheck, hadolint, actionlint, Compose; FILES="a.cpp b.h", ALL=1
	@deploy/local/lint.sh $(if $(ALL),--all) $(FILES)

format: ## clang-format every C++ file
	git ls-files -z '*.cpp' '*.h' | xargs -0 -r clang-format-14 -i

# Each step needs the one before it to be through.
.NOTPARALLEL:
