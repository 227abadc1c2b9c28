# Slipway. `make help` lists the targets. Everything built goes to build/ (BUILD=dir for another place or profile);
# V=1 shows the commands.

BUILD ?= build
CC ?= gcc
OPT ?= -O2 -g
WERROR ?= -Werror
FORTIFY ?= -D_FORTIFY_SOURCE=2
FUZZ_CC ?= clang
PREFIX ?= /usr/local
export BUILD

WARN := -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wold-style-definition -Wcast-qual \
        -Wwrite-strings -Wpointer-arith -Wundef -Wvla -Wformat=2 -Wimplicit-fallthrough -Wsign-compare \
        -Wno-missing-field-initializers
HARDEN := -fno-omit-frame-pointer -fstack-protector-strong -fPIE $(FORTIFY)
CPPFLAGS += -D_GNU_SOURCE -I. -isystem /usr/share/include/llhttp -DLLHTTP_STRICT_MODE=1
CFLAGS += -std=gnu17 $(OPT) $(WARN) $(WERROR) $(HARDEN) $(SANITIZE) -pthread
LDFLAGS += -pie -Wl,-z,relro,-z,now $(SANITIZE) -pthread
LDLIBS := -lmbedtls -lmbedx509 -lmbedcrypto -luv -lhiredis -lyajl -lsodium -lnettle -lcurl -larchive -lz -lm
Q := $(if $(V),,@)
ifeq ($(MAKELEVEL)$(findstring -j,$(MAKEFLAGS)),0)
MAKEFLAGS += -j$(shell nproc)
endif

# What there is. Programs of a test folder are the files called *_test.c; its other files, and those of test/lib, are at
# their service, and allocations go through test/lib/fault.c.
SOURCES := $(sort $(filter-out server/main.c,$(wildcard lib/*.c proto/*.c server/*.c server/*/*.c server/*/*/*.c)))
LUA := $(sort $(wildcard server/store/*.lua))
OBJECTS := $(SOURCES:%.c=$(BUILD)/%.o) $(LUA:%.lua=$(BUILD)/%.lua.o)
LLHTTP := $(patsubst /usr/share/llhttp/%.c,$(BUILD)/llhttp/%.o,$(wildcard /usr/share/llhttp/*.c))
ARCHIVE := $(BUILD)/slipway.a
TESTS := $(sort $(wildcard test/unit/*_test.c test/store/*_test.c test/sim/*_test.c test/whole/*_test.c))
HELPERS := $(filter-out $(TESTS),$(sort $(wildcard test/lib/*.c test/unit/*.c test/store/*.c test/sim/*.c test/whole/*.c)))
PROGRAMS := $(TESTS:%.c=$(BUILD)/%)
helpers = $(patsubst %.c,$(BUILD)/%.o,$(filter test/lib/% $(1:$(BUILD)/%=%)/%,$(HELPERS)))
WRAP := -Wl,--wrap=malloc,--wrap=calloc,--wrap=realloc
FUZZERS := $(patsubst test/fuzz/%.c,%,$(sort $(wildcard test/fuzz/*.c)))

.PHONY: all
all: $(BUILD)/slipway ## Build build/slipway (the default)

# --- build

$(BUILD)/slipway: $(BUILD)/server/main.o $(ARCHIVE)
	@echo "  link  $@"
	$(Q)$(CC) $(LDFLAGS) -o $@ $^ $(LDLIBS)

$(ARCHIVE): $(OBJECTS) $(LLHTTP)
	@echo "  ar    $@"
	$(Q)rm -f $@ && ar rcs $@ $^

$(BUILD)/%.o: %.c
	@mkdir -p $(@D)
	@echo "  cc    $<"
	$(Q)$(CC) $(CPPFLAGS) $(CFLAGS) -MMD -MP -c -o $@ $<

# A Lua file becomes an object with the symbols <name>_lua and <name>_lua_size, so that one binary carries its store functions.
$(BUILD)/%.lua.o: %.lua
	@mkdir -p $(@D)
	@echo "  embed $<"
	$(Q)printf '.section .rodata\n.global %s_lua\n.global %s_lua_size\n%s_lua:\n.incbin "%s"\n1:\n.byte 0\n.balign 8\n%s_lua_size: .quad 1b-%s_lua\n.section .note.GNU-stack,"",@progbits\n' \
	  $(basename $(notdir $<)) $(basename $(notdir $<)) $(basename $(notdir $<)) $< $(basename $(notdir $<)) $(basename $(notdir $<)) > $(@:.o=.s)
	$(Q)$(CC) -c -o $@ $(@:.o=.s)

$(BUILD)/llhttp/%.o: /usr/share/llhttp/%.c
	@mkdir -p $(@D)
	@echo "  cc    llhttp/$*.c"
	$(Q)$(CC) $(CPPFLAGS) -std=gnu17 $(OPT) $(HARDEN) $(SANITIZE) -c -o $@ $<

.SECONDEXPANSION:
$(PROGRAMS): $(BUILD)/%: $(BUILD)/%.o $$(@D)/helpers.a $(ARCHIVE)
	@echo "  link  $@"
	$(Q)$(CC) $(LDFLAGS) $(WRAP) -o $@ $< -Wl,--start-group $(filter %.a,$^) -Wl,--end-group $(LDLIBS) -lcmocka

# An archive, so that each program gets those helpers alone that it refers to, and what they need.
$(BUILD)/test/%/helpers.a: $$(call helpers,$$(@D))
	$(Q)rm -f $@ && ar rcs $@ $^

.PHONY: install compile_commands.json clean
install: all ## Install to $(DESTDIR)$(PREFIX)/bin
	install -D -m 755 $(BUILD)/slipway $(DESTDIR)$(PREFIX)/bin/slipway

compile_commands.json: ## For editors and language servers
	$(Q)for f in $(SOURCES) server/main.c $(TESTS) $(HELPERS); do \
	  printf '{"directory":"%s","file":"%s","command":"cc %s -c %s"}\n' "$(CURDIR)" $$f '$(CPPFLAGS) -std=gnu17 $(WARN)' $$f; \
	done | sed '1s/^/[/; $$!s/$$/,/; $$s/$$/]/' > $@

clean: ## Remove everything built
	$(Q)rm -rf build

# --- run

.PHONY: run demo bench profile
run: ## Install what is missing, build, start the server with its own Redis in ./data and one agent
	+$(Q)scripts/run

demo: ## The whole story over HTTP and WebSocket, step by step, with what was observed
	$(Q)scripts/setup build test
	+$(Q)$(MAKE) --no-print-directory -s all && node scripts/demo.mjs

bench: ## Slipway and its peers at the same work, one table; ARGS="--only get,authed --peers uws --seconds 3"
	$(Q)scripts/setup build test
	$(Q)scripts/setup nchan || echo "make bench: nginx has no nchan here; it is left out"
	$(Q)scripts/setup bench || echo "make bench: the peers from npm are not to be had; they are left out"
	+$(Q)$(MAKE) --no-print-directory -s all $(BUILD)/bench && node scripts/bench.mjs $(ARGS)

profile: ## Where the time goes under one row of the benchmark: make profile ROW=authed
	$(Q)scripts/setup build test
	$(Q)scripts/setup profile || echo "make profile: perf cannot be installed here"
	+$(Q)$(MAKE) --no-print-directory -s all $(BUILD)/bench && node scripts/bench.mjs --profile $(or $(ROW),authed) $(ARGS)

$(BUILD)/bench: $(patsubst %.c,$(BUILD)/%.o,$(wildcard test/bench/*.c)) $(ARCHIVE)
	@echo "  link  $@"
	$(Q)$(CC) $(LDFLAGS) -o $@ $^ $(LDLIBS)

# --- tests; `make test` runs them all, one suite after another

.PHONY: bare
bare: ## Try scripts/setup on a bare Debian in a temporary folder: install, build, test (root, minutes)
	$(Q)scripts/bare

.PHONY: test unit store sim api browser leaks scenario torture torture-build torture-smoke fuzz-smoke fuzz fuzz-minimise fuzz-planted asan
test: ## Install what is missing and run every test
	$(Q)scripts/setup build test
	+$(Q)scripts/suites unit store sim api browser scenario torture-smoke fuzz-smoke

unit: $(filter $(BUILD)/test/unit/%,$(PROGRAMS)) ## Functions and parsers, without a loop
	$(Q)scripts/suite $@ $^

store: $(filter $(BUILD)/test/store/%,$(PROGRAMS)) ## Each store function against a private redis-server
	$(Q)scripts/suite $@ $^

SIMULATIONS := $(filter $(BUILD)/test/sim/% $(BUILD)/test/whole/%,$(PROGRAMS))
sim: $(SIMULATIONS) ## Engine, jobs, hub and agents' protocol under a fake clock, network and store, with random faults
	$(Q)SHOW=1 LIMIT=900 scripts/suite $@ $^

.PHONY: simulate
simulate: $(SIMULATIONS) ## The same for longer, other seeds each time: make simulate RUNS=100000 SEED=1; a failing seed is told and replays
	$(Q)scripts/simulate "$(SEED)" "$(RUNS)" $^

api: all ## The HTTP contract, by a real server
	$(Q)scripts/suite $@ $(sort $(wildcard test/api/*.test.mjs))

browser: all ## The pages that people see, in a real browser
	$(Q)scripts/suite $@ $(sort $(wildcard test/browser/*.test.mjs))

leaks: all ## Agents, tasks and watchers from start to orderly end; what make asan looks for leaks in
	$(Q)scripts/suite $@ test/scenario/agent_deploy.test.mjs test/scenario/watch.test.mjs

scenario: all ## The real processes: kills, restarts, streams, the whole story
	$(Q)LIMIT=540 scripts/suite $@ $(sort $(wildcard test/scenario/*.test.mjs))

ASAN := BUILD=build/asan OPT="-O1 -g" FORTIFY= WERROR= SANITIZE="-fsanitize=address,undefined -fno-sanitize-recover=all"

asan: ## The quick suites under AddressSanitizer and UndefinedBehaviorSanitizer
	$(Q)scripts/setup build test
	+$(Q)export $(ASAN); scripts/suites unit store api leaks torture-smoke

torture: ## Fail each allocation and operation of each scenario in turn (an hour): ARGS="--only get --seconds 10"
	$(Q)scripts/setup build test
	+$(Q)$(MAKE) --no-print-directory all torture-build $(ASAN)
	$(Q)BUILD=build/asan node test/torture/torture.mjs $(ARGS)

torture-smoke: torture-build ## A sample of it, seconds
	$(Q)LIMIT=600 scripts/suite $@ test/torture/smoke.test.mjs

# The program with a way to fail each call that may fail (test/torture/point.h). Its hooks are older than the sanitizers'
# start, so they are built without.
torture-build: all $(BUILD)/torture

$(BUILD)/test/torture/%.o: override SANITIZE =

$(BUILD)/torture: $(BUILD)/server/main.o $(patsubst %.c,$(BUILD)/%.o,$(wildcard test/torture/*.c)) $(ARCHIVE)
	@echo "  link  $@"
	$(Q)$(CC) $(LDFLAGS) -rdynamic -o $@ $^ $(LDLIBS)

FUZZ := OPT="-O1 -g -w -DFUZZING_BUILD_MODE_UNSAFE_FOR_PRODUCTION" FORTIFY= WERROR= BUILD=build/fuzz CC="$(FUZZ_CC)" \
        SANITIZE="-fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=all"

fuzz-smoke: ## 100,000 inputs for each fuzz target, from its corpus on
	+$(Q)$(MAKE) --no-print-directory fuzzers $(FUZZ)
	$(Q)LIMIT=600 scripts/suite $@ $(FUZZERS:%=build/fuzz/fuzz/%)

fuzz: ## One target for longer: make fuzz T=http S=60; what it finds of use goes to its corpus
	+$(Q)$(MAKE) --no-print-directory fuzzers $(FUZZ)
	$(Q)mkdir -p test/fuzz/corpus/$(T) && build/fuzz/fuzz/$(T) -max_total_time=$(or $(S),60) -timeout=20 -rss_limit_mb=2048 test/fuzz/corpus/$(T)

fuzz-minimise: ## Keep of each corpus what adds coverage; T="http ws": of these alone
	+$(Q)$(MAKE) --no-print-directory fuzzers $(FUZZ)
	$(Q)BUILD=build/fuzz scripts/fuzz-minimise $(T)

fuzz-planted: ## Whether each fuzz target finds a bug that is planted for it (minutes; not part of make test)
	+$(Q)$(MAKE) --no-print-directory fuzzers $(FUZZ)
	$(Q)BUILD=build/fuzz FUZZ_CC="$(FUZZ_CC)" LDLIBS="$(LDLIBS)" scripts/fuzz-planted $(T)

.PHONY: chaos soak
chaos: ## Faults on the real thing under load, one by one, and what was promised of them (minutes; CHAOS="--only redis --seed 2")
	$(Q)scripts/setup build test
	+$(Q)$(MAKE) --no-print-directory -s all && node test/chaos/main.mjs $(CHAOS)

soak: ## The mixed load for SOAK_MINUTES (30) with a fault a minute: memory and descriptors
	$(Q)scripts/setup build test
	+$(Q)$(MAKE) --no-print-directory -s all && node test/chaos/soak.mjs

.PHONY: fuzzers
fuzzers: $(FUZZERS:%=$(BUILD)/fuzz/%)

$(BUILD)/fuzz/%: $(BUILD)/test/fuzz/%.o $(ARCHIVE)
	@mkdir -p $(@D)
	@echo "  link  $@"
	$(Q)$(CC) $(LDFLAGS) -fsanitize=fuzzer -o $@ $^ $(LDLIBS)

# --- checks

.PHONY: tls-scan
tls-scan: ## testssl.sh against the TLS listener of a server on loopback (minutes; not part of make test)
	$(Q)scripts/setup build test scan
	+$(Q)$(MAKE) --no-print-directory -s all && node scripts/tls-scan.mjs

.PHONY: lint format tidy
lint: ## Format, layers, faces, style, clang-tidy, cppcheck, Lua, JavaScript and shell
	$(Q)scripts/setup build test lint
	+$(Q)scripts/lint

format: ## Format the C sources in place
	$(Q)git ls-files '*.[ch]' | xargs clang-format -i

tidy: $(SOURCES:%.c=$(BUILD)/tidy/%) $(BUILD)/tidy/server/main

# The object stands for everything a file includes. The analyzer looks at single functions: fast, and few false alarms.
SHALLOW := --extra-arg=-Xclang --extra-arg=-analyzer-config --extra-arg=-Xclang --extra-arg=mode=shallow
$(BUILD)/tidy/%: %.c $(BUILD)/%.o .clang-tidy
	@mkdir -p $(@D)
	$(Q)clang-tidy --quiet $(SHALLOW) $< -- $(CPPFLAGS) -std=gnu17 > $@.log 2>/dev/null && touch $@ || { grep -A 1 ': error:' $@.log; exit 1; }

.PHONY: help
help: ## List the targets
	@awk -F ':.*## ' '/^[a-zA-Z_.-]+:.*## /{printf "  %-22s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.SECONDARY:
-include $(shell find $(BUILD) -name '*.d' 2>/dev/null)
