# The commands of this repository:
#   make demo       build, run a murder on this machine, drain a backend under load, account for all mail
#   make test       install what the tests need and run all of them
#   make demo-k8s   the same as demo on a real Kubernetes of three nodes, made here without a container engine
#   make e2e        all scenarios on that Kubernetes (E2E_KUBECONFIG=file: on yours); e2e-smoke: the short ones
#   make e2e-scale  a thousand Backends under the real operator; kubelets and nodes are played (root, minutes)
#   make cluster-up, cluster-down, cluster-build, images   that Kubernetes and the container images alone
# Variables: MAIL=path (mail to deliver in the demo), KEEP=1 (leave the murder up), JOBS=2,
#   IMAGE_PROFILE=image|release|dev (how the programs in the images are compiled)

SHELL := /bin/bash
JOBS ?= 2
export CARGO_TARGET_DIR ?= $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/murder/target
CARGO_FLAGS := --locked -j $(JOBS)

.PHONY: help demo demo-k8s test charts check-tools test-packages lint unit fuzz deny sim-mutants clean \
  cluster-build cluster-build-start cluster-build-wait cluster-up cluster-down images e2e e2e-scale e2e-smoke

help:
	@sed -n '1,9s/^# \{0,1\}//p' $(firstword $(MAKEFILE_LIST))

check-tools:
	@for tool in cargo gcc git; do \
	  command -v $$tool >/dev/null || { echo "make: $$tool is missing; see 'Before you start' in README.md" >&2; exit 1; }; \
	done

demo: check-tools
	cargo build $(CARGO_FLAGS) --release -p murder-node -p murder-operator -p murder-e2e --bins
	$(CARGO_TARGET_DIR)/release/murder-demo $(if $(MAIL),--mail "$(MAIL)") $(if $(KEEP),--keep)

# Kubernetes compiles for minutes the first time: that begins before all else, beside the rest.
test: check-tools cluster-build-start
	$(MAKE) --no-print-directory test-packages lint unit sim-mutants fuzz deny
	$(MAKE) --no-print-directory cluster-build-wait
	$(MAKE) --no-print-directory e2e-smoke

# Real clients and real Cyrus programs that the tests drive.
TEST_PACKAGES := curl isync cyrus-clients cyrus-murder libsasl2-modules python3
test-packages:
	@missing=; for package in $(TEST_PACKAGES); do \
	  dpkg-query -W -f '$${Status}' $$package 2>/dev/null | grep -q 'ok installed' || missing="$$missing $$package"; \
	done; \
	if [ -n "$$missing" ]; then \
	  [ "$$(id -u)" = 0 ] || { echo "make: these packages are missing and only root can install them:$$missing" >&2; exit 1; }; \
	  apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $$missing >/dev/null; \
	fi

lint:
	cargo fmt --all --check
	cargo clippy $(CARGO_FLAGS) --workspace --all-targets -- -D warnings
	cargo clippy $(CARGO_FLAGS) -p murder-e2e --test kubernetes -- -D warnings
	e2e/checks/dependencies.sh

unit:
	cargo test $(CARGO_FLAGS) --workspace

# Each fault on purpose must be found by a simulation within 2,000 seeds; without one 200 are clean.
sim-mutants:
	cargo run $(CARGO_FLAGS) -p murder-sim --features mutants --bin sim-mutants

# Some seconds a target, on stable Rust; the corpus holds what was found before.
FUZZ_SECONDS ?= 5
fuzz:
	CARGO_TARGET_DIR=$(CARGO_TARGET_DIR)/fuzz cargo run -j $(JOBS) --manifest-path node/fuzz/Cargo.toml --bin smoke -- --seconds $(FUZZ_SECONDS)

# Charts, alerts and dashboards; helm is in the path or built by cluster-build.
charts:
	e2e/checks/charts.sh

DENY_VERSION := 0.20.2
deny:
	@command -v cargo-deny >/dev/null || cargo install --locked -j $(JOBS) --version $(DENY_VERSION) cargo-deny
	cargo deny --log-level error check licenses bans sources

# A real Kubernetes on this machine: see e2e/cluster/README.md.
CLUSTER := e2e/cluster
NODES ?= 3
BUILD_STATE := $(CARGO_TARGET_DIR)/cluster-build

cluster-build:
	$(CLUSTER)/build

# The packages first and in the foreground: two apt at once refuse each other.
cluster-build-start:
	@$(CLUSTER)/build --packages
	@mkdir -p $(BUILD_STATE) && rm -f $(BUILD_STATE)/code
	@( $(CLUSTER)/build >$(BUILD_STATE)/log 2>&1 </dev/null; echo $$? >$(BUILD_STATE)/code ) & echo $$! >$(BUILD_STATE)/pid

cluster-build-wait:
	@while [ ! -s $(BUILD_STATE)/code ]; do \
	  kill -0 "$$(cat $(BUILD_STATE)/pid)" 2>/dev/null || [ -s $(BUILD_STATE)/code ] || \
	    { echo "make: the build of the cluster was killed; its log: $(BUILD_STATE)/log" >&2; exit 1; }; \
	  sleep 0.2; done
	@[ "$$(cat $(BUILD_STATE)/code)" = 0 ] || { tail -n 30 $(BUILD_STATE)/log >&2; echo "make: the cluster could not be built" >&2; exit 1; }

cluster-up: cluster-build
	$(CLUSTER)/up $(NODES)

cluster-down:
	$(CLUSTER)/down

# image: as the Dockerfile says (link-time optimisation, minutes); release: what `make demo` builds too.
IMAGE_PROFILE ?= image
IMAGES := $(CARGO_TARGET_DIR)/images
images: check-tools
	@mkdir -p $(IMAGES)
	$(CLUSTER)/image node --profile $(IMAGE_PROFILE) --tag murder.local/node:dev --out $(IMAGES)/node.tar
	$(CLUSTER)/image operator --profile $(IMAGE_PROFILE) --tag murder.local/operator:dev --out $(IMAGES)/operator.tar

# With E2E_KUBECONFIG the scenarios run on that cluster, else on ours, started for them unless it is up. One after
# another: they kill nodes and operators.
e2e-smoke: check-tools cluster-build
	$(CLUSTER)/with-cluster test smoke --test-threads 1

e2e: check-tools cluster-build
	$(CLUSTER)/with-cluster test --test-threads 1

# SCALE='--backends 100 --frontends 10' for a small one.
e2e-scale: check-tools cluster-build
	$(CLUSTER)/scale $(SCALE)

demo-k8s: check-tools cluster-build
	$(CLUSTER)/with-cluster demo $(if $(MAIL),--mail "$(abspath $(MAIL))")

clean:
	cargo clean
