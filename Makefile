# SPDX-License-Identifier: GPL-2.0-or-later
#
# make                 module for KDIR, daemon, CLI (all below build/)
# make deps            install the Debian packages all this needs (as root)
# make demo            the product on a real Blob mount, in a virtual machine
# make test            unit tests, lint, kernel matrix, VM tests; test-full: all tests on all kernels
# make unit [T=name]   unit tests only
# make fuzz [T=name] [RUNS=n]   fuzzers, n inputs for each (a million)
# make crash [IMAGES=n]   what a power cut may leave of a recorded run: n images (5000)
# make vm K=6.1|6.12|7|debug|kcsan [T=name]   VM tests on one kernel, or one of them; debug: KASAN,
#                      lockdep, kmemleak; kcsan: data races; both: fault injection (built on
#                      first use, 10 to 20 minutes each)
# make kunit           the suites of kmod/kunit/, in the debug kernel
# make lint            checkpatch, sparse, cppcheck, shellcheck, codespell
# make bench B=name    a benchmark: hit, disk, files, cost, in a VM; replay, of eviction and index in userspace
# make bench-gate      do reads take over 3 % more instructions than tests/bench/baseline.json says?
# make install         daemon, CLI, their manual, and the module's sources for DKMS
# make install-module  the module for KVERSION, without DKMS
#                      DESTDIR and PREFIX are heeded
# make clean

VERSION := $(shell sed -n 's/^.define BC_MODULE_VERSION "\(.*\)"/\1/p' kmod/netlink.h)
KVERSION ?= $(shell uname -r)
KDIR ?= /lib/modules/$(KVERSION)/build
K ?= 6.12
PREFIX ?= /usr/local

CC ?= gcc
CFLAGS ?= -O2 -g
PKG_CONFIG ?= pkg-config
warnings := -Wall -Wextra -Werror
defines := -D_GNU_SOURCE -DBLOBCACHE_VERSION='"$(VERSION)"'
pkgs := libcurl libcrypto jansson libnl-3.0 libnl-genl-3.0 expat smartcols libsystemd mount blkid
pkgflags := $(shell $(PKG_CONFIG) --cflags $(pkgs) 2>/dev/null)
flags = -std=gnu11 $(CFLAGS) $(warnings) $(defines) -Iuapi -Idaemon -Itools/cachectl $(pkgflags) -MMD -MP
libs = $(if $(strip $(1)),$(shell $(PKG_CONFIG) --libs $(1))) -pthread

# The record codec is the module's: one definition of the format, compiled for
# userspace too.
daemon_src := $(sort $(wildcard daemon/*.c daemon/*/*.c))
cachectl_src := $(sort $(wildcard tools/cachectl/*.c))
cachectl_src += $(if $(cachectl_src),$(wildcard kmod/record.c))
# What it uploads it uploads as the daemon does, with its configuration.
cachectl_src += $(sort $(wildcard daemon/upload/*.c daemon/store/*.c)) \
	$(addprefix daemon/,config.c json_line.c log.c secret.c source.c util.c volumes.c)
helpers_src := $(sort $(wildcard tests/vm/helpers/*.c))

# make V=1 shows the commands.
Q := $(if $(V),,@)
say = $(if $(V),,@echo "  $(1) $@")

obj = $(patsubst %.c,build/obj/%.o,$(1))

all: user module
user: daemon cli
daemon: $(if $(daemon_src),build/blobcached)
cli: $(if $(cachectl_src),build/cachectl)

build/blobcached: $(call obj,$(daemon_src))
	$(call say,LD  )
	$(Q)$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $^ $(call libs,libcurl libcrypto jansson libnl-3.0 libnl-genl-3.0 expat libsystemd)

build/cachectl: $(call obj,$(cachectl_src))
	$(call say,LD  )
	$(Q)$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $^ $(call libs,libcurl expat libcrypto jansson libnl-3.0 libnl-genl-3.0 smartcols mount blkid)

build/obj/%.o: %.c
	@mkdir -p $(@D)
	$(call say,CC  )
	$(Q)$(CC) $(flags) -c -o $@ $<

build/obj/kmod/%.o build/obj/tools/%.o: flags += -Ikmod

# Programs that VM tests run inside the guest.
helpers: $(patsubst tests/vm/helpers/%.c,build/helpers/%,$(helpers_src)) build/helpers/crash
build/helpers/%: tests/vm/helpers/%.c
	@mkdir -p $(@D)
	$(call say,CC  )
	$(Q)$(CC) $(flags) -o $@ $< -pthread

module:
	tools/build-module $(KDIR) build/module

# --- tests

# A unit test names its further sources and libraries in its first lines:
#   /* sources: kmod/index.c kmod/record.c */
#   /* libs: jansson */
unit_c := $(sort $(wildcard tests/unit/test_*.c))
unit_py := $(sort $(wildcard tests/unit/test_*.py tests/unit/test_*.t))
unit_bin := $(patsubst tests/unit/%.c,build/unit/%,$(unit_c))
unit_h := $(wildcard $(addsuffix /*.h,uapi kmod daemon daemon/store daemon/upload daemon/flush tools/cachectl tests/unit) tests/unit/shim/*/*.h)
named = $(call named_in,tests/unit/$(1).c,$(2))
named_in = $(shell sed -nE '1,10s|^/\* $(2): (.*) \*/|\1|p' $(1))

.SECONDEXPANSION:
build/unit/%: tests/unit/%.c $$(call named,$$*,sources) $(unit_h) | build/unit
	$(call say,TEST)
	$(Q)$(CC) -std=gnu11 -O1 -g $(warnings) $(defines) -Itests/unit/shim -Iuapi -Ikmod -Idaemon -Itools/cachectl $(pkgflags) \
		-fsanitize=address,undefined -fno-sanitize-recover=undefined \
		-o $@ $(filter %.c,$^) $(call libs,cmocka $(call named,$*,libs))

build/unit:
	@mkdir -p $@

# What tests/unit/test_upload.py runs, with the same sanitizers.
build/unit/upload_file: tests/upload/upload_file.c $(call named_in,tests/upload/upload_file.c,sources) $(unit_h) | build/unit
	$(call say,TEST)
	$(Q)$(CC) -std=gnu11 -O1 -g $(warnings) $(defines) -Iuapi -Idaemon $(pkgflags) \
		-fsanitize=address,undefined -fno-sanitize-recover=undefined \
		-o $@ $(filter %.c,$^) $(call libs,$(call named_in,$<,libs))

unit_all := $(if $(T),$(filter %/$(T) %/test_$(T) %/$(T).py %/test_$(T).py %/$(T).t %/test_$(T).t,$(unit_bin) $(unit_py)),$(unit_bin) $(unit_py))
unit-build: $(unit_bin) build/unit/upload_file
unit: $(filter build/%,$(unit_all)) $(if $(filter %/test_upload.py,$(unit_all)),build/unit/upload_file)
	@$(if $(unit_all),prove -j$$(nproc) --exec tests/lib/run-unit $(unit_all),echo no unit tests)

# A fuzzer is tests/fuzz/fuzz_NAME.c, whose first lines say the same, and its flags.
# With clang, since libFuzzer is its.
CLANG ?= clang
RUNS ?= 1000000
fuzz_bin := $(patsubst tests/fuzz/fuzz_%.c,build/fuzz/%,$(sort $(wildcard tests/fuzz/fuzz_*.c)))
build/fuzz/%: tests/fuzz/fuzz_%.c $$(call named_in,tests/fuzz/fuzz_$$*.c,sources) tests/fuzz/fuzz.h $(unit_h)
	@mkdir -p $(@D)
	$(call say,FUZZ)
	$(Q)$(CLANG) -std=gnu11 -O2 -g $(warnings) $(defines) -Iuapi -Ikmod -Idaemon $(pkgflags) \
		-fsanitize=fuzzer,address,undefined -fno-sanitize-recover=undefined \
		-o $@ $< $(call named_in,$<,sources) $(call libs,$(call named_in,$<,libs))
build/fuzz/netlink: daemon/kernel.c	# which it includes

fuzz_all := $(if $(T),$(filter %/$(T),$(fuzz_bin)),$(fuzz_bin))
fuzz-build: $(fuzz_bin)
fuzz: $(fuzz_all)
	@$(if $(fuzz_all),prove -v --exec "tests/fuzz/run --runs $(RUNS)" $(notdir $(fuzz_all)),echo no such fuzzer)

# What an attach makes of a tier after a power cut, by the module's own code.
crash_kmod := $(addprefix kmod/,record.c recover.c pending.c frame.c index.c evict.c \
	dirty_table.c dirty_recover.c name.c key.c)
build/helpers/crash: $(wildcard tests/crash/*.[ch]) $(crash_kmod) $(wildcard kmod/*.h uapi/*.h)
	@mkdir -p $(@D)
	$(call say,CC  )
	$(Q)$(CC) -std=gnu11 -O2 -g $(warnings) $(defines) -Iuapi -Ikmod -o $@ $(filter %.c,$^)

IMAGES ?= 5000
crash: user helpers
	tests/lib/build-module $(K)
	tests/vm/run -k $(K) --env KEEP_LOG=1 crash_images
	build/helpers/crash --base build/vm/$(K)/crash_images/out/base \
		--log build/vm/$(K)/crash_images/out/log --images $(IMAGES)

vm: user helpers
	tests/lib/build-module $(K)
	tests/vm/run -k $(K) $(if $(T),$(T),$(sort $(wildcard tests/vm/*.t)))

# make soak SECONDS=3600: the VM's time limit is 240 s.
SECONDS ?= 600
soak: user helpers
	tests/lib/build-module $(K)
	BLOBCACHE_TIMEOUT_SCALE=$$(($(SECONDS) / 120 + 2)) tests/vm/run -k $(K) --env SECONDS=$(SECONDS) soak

kunit:
	tests/lib/build-module debug
	tests/vm/run -k debug kunit

test:
	tests/run

test-full:
	tests/run --full

lint:
	tests/lib/lint

demo:
	tools/demo

deps:
	tools/deps

B ?= hit
bench-gate: user helpers
	GATE="--gate tests/bench/baseline.json" tests/bench/run -k 6.12 cost

bench: user helpers $(if $(wildcard tests/bench/$(B)/*.c),build/bench/$(B))
	tests/bench/run -k $(K) $(B)

# A benchmark in userspace: the module's pure logic as it is, optimised.
bench_kmod := $(addprefix kmod/,index.c evict.c frame.c)
build/bench/replay: $(wildcard tests/bench/replay/*.[ch]) $(bench_kmod) $(wildcard kmod/*.h uapi/*.h)
	@mkdir -p $(@D)
	$(call say,CC  )
	$(Q)$(CC) -std=gnu11 -O2 -g $(warnings) $(defines) -Iuapi -Ikmod -Itests/bench/replay \
		-o $@ $(filter %.c,$^) -lm -pthread

# --- installation

man := $(patsubst docs/man/%.scd,build/man/%,$(if $(shell command -v scdoc),$(sort $(wildcard docs/man/*.scd))))
man: $(man)
build/man/%: docs/man/%.scd
	@mkdir -p $(@D)
	$(call say,MAN )
	$(Q)scdoc <$< >$@

install: user man install-dkms
	install -D -m 755 build/blobcached $(DESTDIR)$(PREFIX)/sbin/blobcached
	install -D -m 755 build/cachectl $(DESTDIR)$(PREFIX)/bin/cachectl
	for f in $(man); do \
		install -D -m 644 $$f $(DESTDIR)$(PREFIX)/share/man/man$${f##*.}/$${f##*/} || exit; done
	$(if $(man),,@echo "no scdoc: no manual pages")
	install -D -m 644 tools/completions/cachectl.bash \
		$(DESTDIR)$(PREFIX)/share/bash-completion/completions/cachectl
	install -D -m 644 -t $(DESTDIR)$(PREFIX)/lib/systemd/system tools/systemd/*
	sed -i 's|/usr/sbin/|$(PREFIX)/sbin/|' $(patsubst tools/systemd/%,$(DESTDIR)$(PREFIX)/lib/systemd/system/%,$(wildcard tools/systemd/*))

# The sources, where `dkms install blobcache/$(VERSION)` looks for them.
dkms_src := $(DESTDIR)/usr/src/blobcache-$(VERSION)
install-dkms:
	rm -rf $(dkms_src)
	for f in $$(find Kbuild kmod uapi dkms.conf tools/build-module LICENSE -type f); do \
		install -D -m $$(stat -c %a $$f) $$f $(dkms_src)/$$f || exit; done

install-module: module
	install -D -m 644 build/module/blobcache.ko $(DESTDIR)/lib/modules/$(KVERSION)/updates/blobcache.ko
	$(if $(DESTDIR),,depmod -a $(KVERSION))

version:
	@echo $(VERSION)

clean:
	rm -rf build

.PHONY: all user daemon cli helpers module unit unit-build fuzz fuzz-build crash vm kunit test test-full lint demo deps bench bench-gate man install install-dkms install-module version clean
.DELETE_ON_ERROR:

-include $(patsubst %.o,%.d,$(call obj,$(daemon_src) $(cachectl_src)))
