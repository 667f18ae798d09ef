# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# Builds vxs: `make help` lists the targets.

BUILD  ?= build
PREFIX ?= /usr/local
ifeq ($(origin CC),default)
CC = gcc
endif
CLANG  ?= clang
BPFTOOL ?= bpftool
FUZZ_SECONDS ?= 60

MAKEFLAGS += --no-builtin-rules
# make V=1 prints whole commands.
Q = $(if $(V),,@)
say = $(if $(V),@:,@echo)
.SUFFIXES:
.DELETE_ON_ERROR:
.SECONDARY:

# --- what must be there ------------------------------------------------------------------------
PACKAGES = libbpf >= 1.1, libxdp >= 1.2, liburcu-qsbr >= 0.12, json-c >= 0.15
comma := ,

ifeq ($(filter clean help format uninstall,$(or $(MAKECMDGOALS),all)),)
ifeq ($(shell command -v pkg-config),)
$(error pkg-config is missing: run `sudo scripts/setup`)
endif
MISSING := $(strip $(shell pkg-config --print-errors --exists '$(PACKAGES)' 2>&1))
ifneq ($(MISSING),)
$(error $(MISSING): run `sudo scripts/setup`)
endif
$(foreach tool,$(CLANG) $(BPFTOOL),$(if $(shell PATH="$$PATH:/usr/sbin:/sbin" command -v $(tool)),,\
	$(error $(tool) is missing: run `sudo scripts/setup`)))
endif
export PATH := $(PATH):/usr/sbin:/sbin

PC_CFLAGS := $(shell pkg-config --cflags libbpf libxdp liburcu-qsbr json-c 2>/dev/null)
PC_LIBS   := $(shell pkg-config --libs libxdp libbpf liburcu-qsbr json-c 2>/dev/null)

# --- how C is compiled -------------------------------------------------------------------------
WARN = -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wpointer-arith -Wvla -Werror
OPT  = -O2
ifeq ($(DEBUG),1)
OPT  = -O0
ifeq ($(BUILD),build)
BUILD := build/debug
endif
endif
ifneq ($(SAN),)
OPT  = $(if $(filter thread,$(SAN)),-O2,-O1)
SANFLAGS = -fsanitize=$(SAN) -fno-omit-frame-pointer
ifeq ($(SAN),thread)
# Fences only order what is atomic anyway; gcc says that TSan doesn't see them.
SANFLAGS += -Wno-tsan
endif
ifeq ($(BUILD),build)
BUILD := build/san-$(firstword $(subst $(comma), ,$(SAN)))
endif
endif
# One spelling of the directory, or dependency files of another would not match.
override BUILD := $(patsubst $(CURDIR)/%,%,$(BUILD))
INCLUDE = -Iinclude -Iuser -I$(BUILD)/bpf -Itests -Iheaders
CPPFLAGS += -D_GNU_SOURCE $(INCLUDE)
CFLAGS   ?= $(OPT) -g
VXS_CFLAGS = -std=gnu11 $(WARN) $(CFLAGS) -fstack-protector-strong $(SANFLAGS) $(PC_CFLAGS) -pthread
VXS_LDFLAGS = $(LDFLAGS) $(SANFLAGS) -pthread
ARCH := $(shell uname -m | sed -e s/x86_64/x86/ -e s/aarch64/arm64/)
BPF_CFLAGS = -O2 -g -target bpf -D__TARGET_ARCH_$(ARCH) -Wall -Wextra -Werror \
	-Iinclude -Iheaders -isystem /usr/include/$(shell $(CC) -print-multiarch)

# --- what is compiled --------------------------------------------------------------------------
PROGRAMS := user/vxsd.c user/vxsctl.c
LIB_SRC  := $(sort $(filter-out $(PROGRAMS) $(wildcard user/ctl/*.c),$(wildcard user/*.c user/*/*.c)))
CTL_SRC  := user/vxsctl.c $(sort $(wildcard user/ctl/*.c))
BPF_SRC  := $(sort $(wildcard bpf/*.bpf.c))
TEST_BPF_SRC := $(sort $(wildcard tests/bench/*.bpf.c tests/bpf/*.bpf.c tests/path/*.bpf.c))
SKELS    := $(BPF_SRC:bpf/%.bpf.c=$(BUILD)/bpf/%.skel.h) \
	$(foreach f,$(TEST_BPF_SRC),$(BUILD)/bpf/$(notdir $(f:.bpf.c=.skel.h)))

obj = $(addprefix $(BUILD)/obj/,$(1:.c=.o))
LIB_OBJ := $(call obj,$(LIB_SRC))
CTL_OBJ := $(call obj,$(CTL_SRC)) $(call obj,$(wildcard user/control/options*.c user/control/words.c user/control/log.c))

UNIT  := $(patsubst tests/%.c,$(BUILD)/tests/%,$(wildcard tests/unit/test_*.c))
BPFT  := $(patsubst tests/%.c,$(BUILD)/tests/%,$(wildcard tests/bpf/test_*.c))
PATHT := $(patsubst tests/%.c,$(BUILD)/tests/%,$(wildcard tests/path/test_*.c))
BENCH := $(patsubst tests/%.c,$(BUILD)/tests/%,$(filter-out %.bpf.c,$(wildcard tests/bench/*.c)))
E2E   := $(patsubst tests/%.c,$(BUILD)/tests/%,$(wildcard tests/e2e/*.c))
FUZZ  := $(patsubst tests/fuzz/fuzz_%.c,%,$(wildcard tests/fuzz/fuzz_*.c))
REPLAY := $(FUZZ:%=$(BUILD)/tests/fuzz/replay_%)
TEST_OBJ := $(call obj,$(wildcard tests/check.c tests/fake_vm*.c tests/child.c tests/mark.c tests/reference.c))
PATH_OBJ := $(call obj,$(filter-out tests/path/test_%,$(wildcard tests/path/*.c)))

.PHONY: all tests unit-tests check test bench bench-insn lint format fuzz mutants coverage install uninstall clean help
all: $(BUILD)/vxsd $(BUILD)/vxsctl ## the daemon and its control program (default)
tests: $(UNIT) $(BPFT) $(PATHT) $(BENCH) $(E2E) $(REPLAY) all ## every test program, without running any

# What the sanitizers look at. TSan also does at what two workers do with a NIC.
SAN_PATHT := $(filter %/test_nic_threads %/test_balance_nic %/test_nic_busy,$(PATHT))
unit-tests: $(UNIT) $(REPLAY) $(if $(filter thread,$(SAN)),$(SAN_PATHT)) all ## tests that need no root, without running any

$(BUILD)/vxsd: $(call obj,user/vxsd.c) $(BUILD)/libvxs.a
	$(say) "  LINK  $@"
	$(Q)$(CC) $(VXS_LDFLAGS) -o $@ $^ $(PC_LIBS)
$(BUILD)/vxsctl: $(CTL_OBJ)
	$(say) "  LINK  $@"
	$(Q)$(CC) $(VXS_LDFLAGS) -o $@ $^ $(PC_LIBS)
$(BUILD)/libvxs.a: $(LIB_OBJ)
	@rm -f $@
	$(say) "  AR    $@"
	$(Q)$(AR) rcs $@ $^

# C objects need the skeletons to be there before the first compilation; dependency files do the rest.
$(BUILD)/obj/%.o: %.c Makefile | $(SKELS)
	@mkdir -p $(@D)
	$(say) "  CC    $@"
	$(Q)$(CC) $(CPPFLAGS) $(VXS_CFLAGS) -MMD -MP -c -o $@ $<

# The three BPF rules: .bpf.c -> .bpf.o -> .skel.h (-> program, by the rule above).
vpath %.bpf.c bpf tests/bench tests/bpf tests/path
$(BUILD)/bpf/%.bpf.o: %.bpf.c Makefile
	@mkdir -p $(@D)
	$(say) "  BPF   $@"
	$(Q)$(CLANG) $(BPF_CFLAGS) -MMD -MP -MT $@ -MF $(@:.o=.d) -c -o $@ $<
$(BUILD)/bpf/%.skel.h: $(BUILD)/bpf/%.bpf.o
	$(say) "  SKEL  $@"
	$(Q)$(BPFTOOL) gen skeleton $< name $(subst -,_,$*)_bpf > $@

# --- tests -------------------------------------------------------------------------------------
$(UNIT) $(BPFT): $(BUILD)/tests/%: $(BUILD)/obj/tests/%.o $(TEST_OBJ) $(BUILD)/libvxs.a
	@mkdir -p $(@D)
	$(say) "  LINK  $@"
	$(Q)$(CC) $(VXS_LDFLAGS) $(WRAP) -o $@ $^ -lcunit $(PC_LIBS)
# What this test has fail.
$(BUILD)/tests/unit/test_starved: WRAP = $(addprefix -Wl$(comma)--wrap=,malloc calloc posix_memalign \
	mmap epoll_ctl eventfd accept4 timerfd_create memfd_create ftruncate)
# What vxsctl prints is not in the library.
$(BUILD)/tests/unit/test_print: $(call obj,user/control/words.c user/ctl/print.c user/ctl/print_vm.c user/ctl/workers.c user/ctl/columns.c)
$(PATHT): $(BUILD)/tests/%: $(BUILD)/obj/tests/%.o $(PATH_OBJ) $(TEST_OBJ) $(BUILD)/libvxs.a
	@mkdir -p $(@D)
	$(say) "  LINK  $@"
	$(Q)$(CC) $(VXS_LDFLAGS) -o $@ $^ -lcunit $(PC_LIBS)
$(BENCH) $(E2E): $(BUILD)/tests/%: $(BUILD)/obj/tests/%.o $(TEST_OBJ) $(BUILD)/libvxs.a
	@mkdir -p $(@D)
	$(say) "  LINK  $@"
	$(Q)$(CC) $(VXS_LDFLAGS) -o $@ $^ -lcunit $(PC_LIBS)
# Ports that a fuzzer asks for get a socket in its own directory.
$(BUILD)/tests/fuzz/replay_ctl $(BUILD)/fuzz_ctl: WRAP = -Wl,--wrap=daemon_add_vm
$(REPLAY): $(BUILD)/tests/fuzz/replay_%: $(BUILD)/obj/tests/fuzz/fuzz_%.o \
		$(BUILD)/obj/tests/fuzz/replay_main.o $(TEST_OBJ) $(BUILD)/libvxs.a
	@mkdir -p $(@D)
	$(say) "  LINK  $@"
	$(Q)$(CC) $(VXS_LDFLAGS) $(WRAP) -o $@ $^ -lcunit $(PC_LIBS)

check: all $(UNIT) $(REPLAY) ## tests that need no root, about a minute
	@BUILD=$(BUILD) scripts/check

test: ## every test; needs root (scripts/test)
	scripts/test

bench: all $(BENCH) ## compare with the peers; needs root (scripts/bench); ARGS="--rounds 1 ..."
	BUILD=$(BUILD) scripts/bench $(ARGS)

bench-insn: $(BUILD)/tests/bench/insn ## instructions per frame against their budget; BUDGET=update
	@BUILD=$(BUILD) tests/bench/insn.sh $(BUDGET)

# libFuzzer builds everything again with clang into a directory of its own. The names of functions
# are not asked for: that starts a symbolizer, whose pipes look like file descriptors that we leaked.
FUZZ_FLAGS = -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=undefined
fuzz: ## fuzz every parser for FUZZ_SECONDS (60) each
	$(MAKE) CC=clang BUILD=build/fuzz CFLAGS="-O1 -g $(FUZZ_FLAGS) -Wno-unknown-warning-option" \
		$(FUZZ:%=build/fuzz/fuzz_%)
	@for f in $(FUZZ); do \
		mkdir -p build/fuzz/new/$$f && \
		build/fuzz/fuzz_$$f -max_total_time=$(FUZZ_SECONDS) -timeout=10 -rss_limit_mb=2048 -print_funcs=0 \
			build/fuzz/new/$$f tests/fuzz/corpus/$$f || exit 1; \
	done
$(BUILD)/fuzz_%: $(BUILD)/obj/tests/fuzz/fuzz_%.o $(TEST_OBJ) $(BUILD)/libvxs.a
	$(say) "  LINK  $@"
	$(Q)$(CC) -fsanitize=fuzzer,address,undefined -pthread $(WRAP) -o $@ $^ -lcunit $(PC_LIBS)

mutants: ## take checks out, one at a time, and see a test fail for each (minutes); NAMES="..."
	@scripts/mutants $(NAMES)

coverage: ## lines of user/vm/ that the tests execute; with root more of them (minutes)
	@scripts/coverage

# --- the rest ----------------------------------------------------------------------------------
lint: all ## format, layers, hot objects, texts of mutants, shellcheck, cppcheck
	@BUILD=$(BUILD) scripts/lint

FORMATTED = $(shell git ls-files '*.c' '*.h' | grep -v '^headers/')
format: ## clang-format every file of ours
	clang-format -i $(FORMATTED)

# Where management tools look for vhost-user back-ends, below PREFIX (QEMU's vhost-user.json).
BACKENDS = $(PREFIX)/share/qemu/vhost-user
install: all ## into DESTDIR and PREFIX (/usr/local)
	install -D -m 755 $(BUILD)/vxsd $(DESTDIR)$(PREFIX)/sbin/vxsd
	install -D -m 755 $(BUILD)/vxsctl $(DESTDIR)$(PREFIX)/bin/vxsctl
	install -D -m 644 user/man/vxsd.8 $(DESTDIR)$(PREFIX)/share/man/man8/vxsd.8
	install -D -m 644 user/man/vxsctl.8 $(DESTDIR)$(PREFIX)/share/man/man8/vxsctl.8
	install -D -m 644 user/man/vxsctl.bash-completion \
		$(DESTDIR)$(PREFIX)/share/bash-completion/completions/vxsctl
	install -d $(DESTDIR)$(BACKENDS)
	sed 's,@BINARY@,$(abspath $(PREFIX))/sbin/vxsd,' user/share/50-vxs.json.in > $(DESTDIR)$(BACKENDS)/50-vxs.json
	chmod 644 $(DESTDIR)$(BACKENDS)/50-vxs.json
uninstall: ## what install put there
	rm -f $(DESTDIR)$(PREFIX)/sbin/vxsd $(DESTDIR)$(PREFIX)/bin/vxsctl
	rm -f $(DESTDIR)$(PREFIX)/share/man/man8/vxsd.8 $(DESTDIR)$(PREFIX)/share/man/man8/vxsctl.8
	rm -f $(DESTDIR)$(PREFIX)/share/bash-completion/completions/vxsctl
	rm -f $(DESTDIR)$(BACKENDS)/50-vxs.json
clean: ## remove build/
	rm -rf build
help: ## this list
	@echo 'make [TARGET] [DEBUG=1] [SAN=address,undefined | SAN=thread] [BUILD=DIR]'
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  \1\t\2/p' $(MAKEFILE_LIST) | expand -t 14

-include $(shell find $(BUILD) -name '*.d' 2>/dev/null)
