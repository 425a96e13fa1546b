# The two commands of this repository:
#   make demo   build, run a murder on this machine, drain a backend under load, account for all mail
#   make test   install what the tests need and run all of them
# Variables: MAIL=path (mail to deliver in the demo), KEEP=1 (leave the murder up), JOBS=2

SHELL := /bin/bash
JOBS ?= 2
export CARGO_TARGET_DIR ?= $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/murder/target
CARGO_FLAGS := --locked -j $(JOBS)

.PHONY: help demo test check-tools test-packages lint unit fuzz deny sim-mutants clean

help:
	@sed -n '1,5s/^# \{0,1\}//p' $(firstword $(MAKEFILE_LIST))

check-tools:
	@for tool in cargo gcc git; do \
	  command -v $$tool >/dev/null || { echo "make: $$tool is missing; see 'Before you start' in README.md" >&2; exit 1; }; \
	done

demo: check-tools
	cargo build $(CARGO_FLAGS) --release -p murder-node -p murder-operator -p murder-e2e --bins
	$(CARGO_TARGET_DIR)/release/murder-demo $(if $(MAIL),--mail "$(MAIL)") $(if $(KEEP),--keep)

test: check-tools test-packages lint unit sim-mutants fuzz deny

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

DENY_VERSION := 0.20.2
deny:
	@command -v cargo-deny >/dev/null || cargo install --locked -j $(JOBS) --version $(DENY_VERSION) cargo-deny
	cargo deny --log-level error check licenses bans sources

clean:
	cargo clean
