# `make` alone lists the targets. Each installs what it lacks (Debian 12, as root).

.DEFAULT_GOAL := help
SHELL := /bin/bash
# Builds are kept outside the tree, so that a fresh clone is not a fresh build.
export CARGO_TARGET_DIR ?= $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/nfs-subdir-csi/target
HOST := $(shell rustc -vV 2>/dev/null | sed -n 's/^host: //p')
# The binary that ships: static, so that it runs in an empty image.
DRIVER := $(CARGO_TARGET_DIR)/$(HOST)/release/nfs-subdir-csi
EXAMPLES := $(CARGO_TARGET_DIR)/release/examples

.PHONY: help deps build demo test check unit vm-test kernel sanity fuzz bench

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: build ## play a volume's life on a real NFS export and show each step
	cargo build --release --example demo
	vm/run -t 120 -- $(EXAMPLES)/demo $(DRIVER)

test: check unit vm-test kernel sanity ## everything that can fail: format, lints, unit, gRPC, guest, kernel, csi-sanity

check: deps ## format, clippy, shellcheck, and proto/csi.proto against CSI 1.12
	cargo fmt --check
	cargo clippy --all-targets -- -D warnings
	shellcheck $$(git ls-files -co --exclude-standard | xargs grep -lE '^#!/bin/(ba)?sh')
	proto/check

unit: deps ## tests without root: parsers, decisions, the services over a socket
	cargo test --lib --bins --test grpc --test import --test layers

vm-test: deps ## tests of the guest that the next ones run in
	vm/test

kernel: deps build ## tests on the kernel's NFS client and server, in the guest
	NFS_SUBDIR_CSI_STATIC=$(DRIVER) cargo test --test kernel

sanity: deps build ## the whole of csi-sanity against the driver in the guest, on NFS 4.2 and NFS 3
	csi-sanity/build
	vm/run -t 300 -- csi-sanity/run $(DRIVER) 4.2
	vm/run -t 300 -- csi-sanity/run $(DRIVER) 3

fuzz: deps ## a minute of coverage-guided fuzzing of everything that reads untrusted text
	@type -P cargo-fuzz >/dev/null || cargo install --locked cargo-fuzz
	@type -P g++ >/dev/null || { apt-get update && apt-get install -y --no-install-recommends g++; }
	cargo fuzz run --sanitizer none untrusted -- -max_total_time=60

bench: build ## print NFS requests, tasks, times and sizes, each beside its floor
	cargo build --release --example bench
	vm/run -m 6G -t 1800 -- $(EXAMPLES)/bench $(DRIVER)

build: deps ## the static release binary
	RUSTFLAGS='-C target-feature=+crt-static' cargo build --release --target $(HOST) --bin nfs-subdir-csi
	@echo $(DRIVER): $$(stat -c %s $(DRIVER)) bytes

deps: ## install what is missing
	@vm/install
	@type -P shellcheck >/dev/null || { apt-get update && apt-get install -y --no-install-recommends shellcheck; }
	@type -P cargo >/dev/null || { echo 'no cargo here: install Rust 1.91 or newer (https://rustup.rs)' >&2; exit 1; }
