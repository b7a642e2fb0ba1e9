# RdmaMesh: two commands for people (`make demo`, `make test`), the rest serves them.
# On a fresh Debian or Ubuntu machine everything needed is installed by `make deps`, which the others call;
# Rust (rustup) and Go come with the machine. Builds and downloads go to target/.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

LOGS := target/test-logs
RUNGS := T1,T2,T3
SUDO := $(shell [ "$$(id -u)" = 0 ] || echo sudo)
RIG  := target/release/rig
# Debian packages: to build (verbs, kernel initramfs) and to run (QEMU, the guest's user space, peers to measure against).
PACKAGES := build-essential ca-certificates clang libclang-dev cmake pkg-config libibverbs-dev ibverbs-providers libnl-3-dev \
	libnl-route-3-dev qemu-system-x86 busybox-static iproute2 kmod cpio xz-utils zstd rdma-core ibverbs-utils perftest \
	tcpdump nftables procps binutils openssl curl socat debian-archive-keyring libseccomp-dev containernetworking-plugins tinyproxy
# The optimised programs are what is tested and shown, also when a debug build is newer.
export RDMAMESH_PROFILE := release

# GiB that a first `make test` fills in target/ and in the caches of cargo and Go.
SPACE := 16

.PHONY: help deps tools build images demo down test lint t0 t1 t2 scenarios t3 rights bench score clean

help: ## list the targets
	@grep -hE '^[a-z0-9]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z0-9]+):.*## /  make \1\t/' | expand -t 20

deps: ## install the Debian packages that are missing; check Rust and Go
	@missing=$$(for p in $(PACKAGES); do dpkg-query -W -f='$${Status}' $$p 2>/dev/null | grep -q 'ok installed' || echo $$p; done); \
	if [ -n "$$missing" ]; then echo "deps: installing" $$missing; mkdir -p target; \
	  { $(SUDO) apt-get update && DEBIAN_FRONTEND=noninteractive $(SUDO) apt-get install -y --no-install-recommends $$missing; } \
	    >target/apt.log 2>&1 || { tail -20 target/apt.log; echo "deps: apt-get failed, see target/apt.log"; exit 1; }; fi
	@free=$$(df --output=avail -BG . | tail -1 | tr -dc 0-9); [ -x $(RIG) ] || [ $$free -ge $(SPACE) ] || \
	  echo "deps: only $$free GiB are free here; a first build with its tests fills up to $(SPACE) (target/, Go's caches): make room, or it ends with 'No space left on device'"
	@command -v cargo >/dev/null || { echo "deps: no cargo: install Rust with rustup (rust-toolchain.toml pins the version)"; exit 1; }
	@command -v go >/dev/null || { echo "deps: no go: install Go 1.26 or newer (it builds Kubernetes for the tests)"; exit 1; }

build: deps ## operator, agent and rig, optimised
	@echo "build: operator, agent and rig"; cargo build --release --locked -q -p rdmamesh-operator -p rdmamesh-agent -p rdmamesh-e2e --bins --examples

tools: build ## kernel, Kubernetes, etcd and collector for the rig (cached in target/rig)
	@$(RIG) tools

images: build ## operator, agent and pause as OCI archives in target/images, without a container engine
	@$(RIG) images

demo: tools images ## the product in one sitting: four nodes on a fabric, helm install, healthy, fault, verdict, healthy (KEEP=1 leaves it up)
	@$(RIG) demo $(if $(KEEP),--keep)

down: ## end what `KEEP=1 make demo` or `rig up` left running
	@[ ! -x $(RIG) ] || $(RIG) down --all

lint: deps ## format, clippy and documentation, warnings are errors
	cargo fmt --all --check
	cargo clippy --locked --workspace --all-targets -q -- -D warnings
	RUSTDOCFLAGS='-D warnings' cargo doc --locked --workspace --no-deps -q

# Each rung writes a log; the tally at the end counts them all and names what was skipped.
test: deps ## everything: lint, T0 (hermetic), T1 (real API server), T2 (real RoCE fabric in a VM), T3 (four kubelets on it)
	@rm -rf $(LOGS) target/rig/audit; mkdir -p $(LOGS); \
	failed=0; for rung in lint t0 t1 t2 t3 rights; do \
	  start=$$SECONDS; $(MAKE) --no-print-directory $$rung || failed=1; echo "== $$rung took $$((SECONDS - start)) s"; done; \
	$(RIG) tally $(LOGS)/*.log || failed=1; exit $$failed

t0: deps ## hermetic tests: no root, no network, no device
	@mkdir -p $(LOGS); cargo test --locked --workspace --no-fail-fast 2>&1 | tee $(LOGS)/t0.log | grep -vE '^(test .* ok|running 0 tests|)$$'

t1: tools ## against a real kube-apiserver and etcd
	@mkdir -p $(LOGS); RDMAMESH_RUNGS=T1 cargo test --locked --workspace --test api_rules --test chart --test operator_t1 --no-fail-fast 2>&1 | tee $(LOGS)/t1.log

t2: tools ## agents on a real leaf-spine RoCE fabric in a VM
	@mkdir -p $(LOGS); failed=0; \
	RDMAMESH_RUNGS=T2 cargo test --locked --workspace --test fabric --test fabric_vm --no-fail-fast 2>&1 | tee $(LOGS)/t2.log || failed=1; \
	RDMAMESH_DEVICE_TESTS=1 cargo --config "target.'cfg(unix)'.runner = ['$(CURDIR)/$(RIG)', 'in-vm', '--']" \
	  test --locked --workspace --test device --no-fail-fast 2>&1 | tee $(LOGS)/t2-device.log || failed=1; exit $$failed

scenarios: tools images ## every shipped scenario on the real fabric, also those that `make test` leaves out for want of time; the faults on kubelets, too
	RDMAMESH_RUNGS=T2,SCENARIOS cargo test --locked --workspace --test fabric -- scenario::
	for scenario in four-hosts starved-hosts; do $(RIG) run e2e/scenarios/diagnosis/$$scenario.yaml --world cluster; done

t3: tools images ## the chart on four kubelets over the fabric: install, upgrade, reboots, drains, lost devices, uninstall
	@mkdir -p $(LOGS); RDMAMESH_RUNGS=T3 cargo test --locked --workspace --test cluster --no-fail-fast 2>&1 | tee $(LOGS)/t3.log

rights: tools ## the chart's roles against what the rungs in RUNGS really asked of the API server; run it after them
	@mkdir -p $(LOGS); RDMAMESH_RUNGS=RIGHTS,$(RUNGS) cargo test --locked --workspace --test rights --no-fail-fast 2>&1 | tee $(LOGS)/rights.log

bench: tools ## measure; prints a table and writes target/bench.json
	@cargo bench --locked -q -p rdmamesh-fabric >target/bench-plan.log 2>&1 || { tail -20 target/bench-plan.log; exit 1; }
	@$(RIG) bench --json target/bench.json

POPULATION := e2e/populations/default.yaml
score: build ## how right the diagnosis is: five seeds of simulated cases (POPULATION=file, CASES=n; 1,000 cases take minutes)
	@for seed in 1 2 3 4 5; do echo "== $(POPULATION), seed $$seed"; \
	  $(RIG) score $(POPULATION) --seed $$seed $(if $(CASES),--cases $(CASES)) --json target/score-$$seed.json; done

clean: down ## remove everything that was built or downloaded
	cargo clean
