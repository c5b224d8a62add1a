# `make` alone lists the targets. Each installs what it needs and does not find (on Debian 12, as root).

.DEFAULT_GOAL := help
SHELL := /bin/bash
# Builds are kept outside the tree, so that a fresh clone does not compile everything again.
CACHE := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/nfs-subdir-csi
export CARGO_TARGET_DIR ?= $(CACHE)/target
HOST := $(shell rustc -vV 2>/dev/null | sed -n 's/^host: //p')
# The binary that ships is static, so that it runs in an empty image.
DRIVER := $(CARGO_TARGET_DIR)/$(HOST)/release/nfs-subdir-csi
EXAMPLES := $(CARGO_TARGET_DIR)/release/examples
SBOM := $(CACHE)/nfs-subdir-csi.cdx.json
NOTES := /dev/stdout

.PHONY: help deps build image demo test check deny manifests monitoring workflows doc unit vm-test kernel options sanity cluster e2e conformance fuzz bench \
	faults faults-some soak msrv advisories versions release-check release-notes sbom manual

help: ## this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: build ## play a volume's life on a real NFS export and show each step
	cargo build --release --example demo
	vm/run -t 120 -- $(EXAMPLES)/demo $(DRIVER)

test: ## everything that can fail: check, rustdoc, unit and gRPC tests, the guest, kernel tests, csi-sanity, some faults
	@for phase in check doc unit vm-test kernel sanity faults-some; do \
	  begin=$$SECONDS; $(MAKE) --no-print-directory $$phase || exit; echo "make $$phase: $$((SECONDS - begin)) s"; \
	done

check: deps deny manifests monitoring workflows versions ## format, clippy, shellcheck, dependencies, manifests, workflows, version numbers, proto/
	cargo fmt --check
	cargo clippy --all-targets -- -D warnings
	shellcheck $$(git ls-files -co --exclude-standard | xargs grep -lE '^#!(/bin/|/usr/bin/env )(ba)?sh|^# shellcheck shell=')
	proto/check

deny: ## the dependencies' licences, sources and duplicates; their advisories too, if the database is here
	release/deny

monitoring: ## the metrics and the alerts: promtool
	deploy/monitoring/check

manifests: ## deploy/: the schemas of Kubernetes, a linter; the Helm chart makes the same objects
	deploy/check
	deploy/check-chart
	deploy/check-gitops

workflows: ## .github/: actionlint, and the schemas of GitHub
	.github/check

doc: ## rustdoc of everything, private items too; a warning is an error
	RUSTDOCFLAGS='-D warnings' cargo doc --lib --no-deps --document-private-items

unit: deps ## tests without root: parsers, decisions, the services over a socket
	cargo test --lib --bins --test grpc --test import --test layers --test docs

vm-test: deps ## tests of the guest that the next ones run in
	vm/test

kernel: deps build ## tests on the kernel's NFS client and server, in several guests at once
	NFS_SUBDIR_CSI_STATIC=$(DRIVER) cargo test --test kernel

options: deps ## mount options compared with those of mount.nfs(8), as a table
	NFS_SUBDIR_CSI_TABLE=1 cargo test --test kernel -- options::same_as_mount_nfs

sanity: deps build ## the whole of csi-sanity against the driver in the guest: on NFS 4.2, on NFS 3, and with two controllers
	csi-sanity/build
	cargo build --example alternate
	vm/at-once 'vm/run -t 600 -- csi-sanity/run $(DRIVER) 4.2' 'vm/run -t 600 -- csi-sanity/run $(DRIVER) 3' \
	  'vm/run -t 600 -- csi-sanity/run $(DRIVER) 4.2 $(CARGO_TARGET_DIR)/debug/examples/alternate'

cluster: ## a Kubernetes with the driver installed, on this machine; leaves it running and says how to use it
	deploy/build-image --if-changed
	e2e/cluster

e2e: ## the driver on a real Kubernetes: every example, restarts, 50 pods at once, uninstall
	deploy/build-image --if-changed
	e2e/run

conformance: ## Kubernetes' own tests of storage drivers, all of them; TESTS=REGEX selects some
	deploy/build-image --if-changed
	e2e/conformance/run $(if $(TESTS),'$(TESTS)')

fuzz: deps ## a minute of coverage-guided fuzzing of everything that reads untrusted text
	@type -P cargo-fuzz >/dev/null || cargo install --locked cargo-fuzz
	@type -P g++ >/dev/null || { apt-get update && apt-get install -y --no-install-recommends g++; }
	cargo fuzz run --sanitizer none untrusted -- -max_total_time=60

bench: build ## print NFS requests, tasks, times and sizes, each beside its floor
	cargo build --release --example bench
	vm/run -m 6G -t 1800 -- $(EXAMPLES)/bench $(DRIVER)

# The program is not optimized: the driver is what is tried, and the debug build shares what the tests have compiled.
FAULTS := $(CARGO_TARGET_DIR)/debug/examples/faults
faults: build ## what every call answers while the NFS server fails, for every fault; writes docs/FAULTS.md
	cargo build --example faults
	vm/at-once '$(FAULTS) $(DRIVER) 4.2 matrix' '$(FAULTS) $(DRIVER) 3 matrix' '$(FAULTS) $(DRIVER) 4.2 scenes' '$(FAULTS) $(DRIVER) 3 scenes'

# A part of the matrix for `make test`: faults of different kinds, and each moment.
SOME_FAULTS := killed-rst@cold dropped-one-way@during port-closed@warm restarted@warm disk-full@warm root-squash@warm
faults-some: build ## some of the faults of `make faults`, in three minutes
	cargo build --example faults
	vm/at-once '$(FAULTS) $(DRIVER) 4.2 matrix $(SOME_FAULTS)' '$(FAULTS) $(DRIVER) 3 matrix $(SOME_FAULTS)'

soak: build ## half an hour of random faults, calls and restarts against a model
	cargo build --example faults
	vm/at-once '$(FAULTS) $(DRIVER) 4.2 soak 1800' '$(FAULTS) $(DRIVER) 3 soak 1800'

msrv: ## compile with the oldest Rust that Cargo.toml allows; fails if that Rust is not installed
	release/msrv

advisories: ## fetch the database of advisories and compare the dependencies with it; needs github.com
	release/deny --fetch

versions: ## the version number is the same wherever it stands
	release/versions

release-check: versions image sbom ## what can be tried of a release without publishing anything
	cargo test --test docs --test layers

release-notes: ## what CHANGELOG.md says about this version; NOTES=FILE writes it there
	release/notes >$(NOTES)

sbom: ## the list of packages that are in the binary, as CycloneDX; SBOM=FILE writes it there
	release/sbom $(SBOM)

MANUAL := $(CACHE)/manual
manual: ## shell completions and man pages of the command line, as a tree for /usr/local/share; MANUAL=DIR writes them there
	cargo run --example manual -- $(MANUAL)

image: ## the container image, by buildah; BUILDER=IMAGE compiles in that image instead of on this machine's toolchain
	deploy/build-image $(BUILDER)

build: deps ## the static release binary
	RUSTFLAGS='-C target-feature=+crt-static' cargo build --release --target $(HOST) --bin nfs-subdir-csi
	@echo $(DRIVER): $$(stat -c %s $(DRIVER)) bytes

deps: ## install what is missing
	@vm/install
	@type -P shellcheck >/dev/null || { apt-get update && apt-get install -y --no-install-recommends shellcheck; }
	@type -P cargo >/dev/null || { echo 'no cargo here: install Rust 1.91 or newer (https://rustup.rs)' >&2; exit 1; }
	@{ cargo fmt --version && cargo clippy --version; } >/dev/null 2>&1 || rustup component add rustfmt clippy
