# Thin targets; the logic is in xtask/ and scripts/. `make help` lists them.
SHELL := /bin/bash
export CARGO_TARGET_DIR ?= $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/mainstay/target
BIN := $(CARGO_TARGET_DIR)/release
FILE ?= examples/exchange/platform.yaml
, := ,
XTASK ?= cargo run --quiet --locked --package xtask --

.PHONY: help setup build tests up down status flow audit test lint sim bench demo-loop bench-failover bench-respond bench-watch test-faults test-calm test-chaos test-rehearse test-rebuild deny fmt

help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

setup: ## install what is missing from the system
	@scripts/setup

build: setup ## the programs, optimised
	cargo build --release --locked --bins

up: build ## start the example platform and show its status; Ctrl-C stops it
	$(BIN)/mainstay up $(FILE)

down: build ## stop the example platform
	$(BIN)/mainstay down

status: build ## what runs, and why anything is not green
	$(BIN)/mainstay status

flow: build ## a minute of orders through all three gateways, audited afterwards
	$(XTASK) flow

audit: build ## has everything audited that was sent through the running platform
	$(XTASK) audit

test: setup ## everything that must hold, bounded: unit, golden, simulation, real processes
	$(XTASK) test

tests: setup ## every program and every test, built
	cargo build --workspace --all-targets --locked

lint: setup ## format, clippy, tidy, licences
	$(XTASK) lint

deny: ## licences, bans and sources of the dependencies
	$(XTASK) deny

fmt: ## format the code
	cargo fmt --all

sim: setup ## 100,000 schedules of the keeper and every planted bug
	$(XTASK) sim

test-faults: build ## ten minutes of orders through every fault, audited, at 0 and 80 ms; ETCD=1: with the journal in etcd; DB=1: 500 random faults, database checked; BACKUP=1: on backups, and planted bugs
	$(if $(BACKUP),$(XTASK) faults-backup --planted$(if $(ROUNDS), --rounds $(ROUNDS))$(if $(SEED), --seed $(SEED)),$(if $(DB),$(XTASK) faults-db $(if $(FAULTS),--faults $(FAULTS)) $(if $(SEED),--seed $(SEED)),$(XTASK) faults --rate 500 --seconds 600 --distance-ms 0$(,)80$(if $(ETCD), --coordination etcd)))

test-calm: build ## both cores oversubscribed four times for ten minutes: nobody may be promoted
	$(XTASK) calm --seconds 600

test-chaos: build ## the example's chaos documents: what is heard of, refused, aborted, and left behind by a killed experimenter
	$(XTASK) chaos

test-rehearse: build ## the drill of the corrupted backup, signed; its evidence verified by us and by others, refused with any byte flipped
	$(XTASK) rehearse

test-rebuild: build ## every host lost at once under orders; rebuilt from file, backups and keys; every order looked for
	$(XTASK) rebuild

demo-loop: build ## five minutes, told on the terminal: fault, alert, incident, playbook, report; drill, evidence, a flipped byte
	$(XTASK) demo-loop

bench: build ## the figures of docs/BENCHMARKS.md
	$(XTASK) bench

bench-failover: build ## what each fault costs a client, beside Patroni where patroni, etcd-server and haproxy are installed
	$(XTASK) bench-failover --repetitions 20 $(if $(DISTANCES),--distance-ms $(DISTANCES))

bench-respond: build ## the same faults with a playbook and with a simulated person (REACTION=300 seconds): minutes saved
	$(XTASK) bench-respond$(if $(REACTION), --reaction $(REACTION))

bench-watch: build ## processor time per sample and memory per series of a watch, beside Prometheus where it is installed
	$(XTASK) bench-watch
