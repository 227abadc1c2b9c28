# Slipway. `make help` lists the targets. Everything built goes to build/ (BUILD=dir for another place or profile).

BUILD ?= build
CC ?= gcc
OPT ?= -O2 -g
WARN := -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wold-style-definition -Wcast-qual \
        -Wwrite-strings -Wpointer-arith -Wundef -Wvla -Wformat=2 -Wimplicit-fallthrough -Wsign-compare \
        -Wno-missing-field-initializers
HARDEN := -fno-omit-frame-pointer -fstack-protector-strong -D_FORTIFY_SOURCE=2 -fPIE
CPPFLAGS += -D_GNU_SOURCE -I. -isystem /usr/share/include/llhttp -DLLHTTP_STRICT_MODE=1
CFLAGS += -std=gnu17 $(OPT) $(WARN) $(WERROR) $(HARDEN) $(SANITIZE) -pthread
LDFLAGS += -pie -Wl,-z,relro,-z,now $(SANITIZE) -pthread
LDLIBS := -luv -lhiredis -ljansson -lsodium -lcurl -larchive -lz -lm
WERROR ?= -Werror
Q := $(if $(V),,@)

SOURCES := $(sort $(filter-out server/main.c,$(wildcard lib/*.c proto/*.c server/*.c server/*/*.c server/*/*/*.c)))
LUA := $(sort $(wildcard server/store/*.lua))
OBJECTS := $(SOURCES:%.c=$(BUILD)/%.o) $(LUA:%.lua=$(BUILD)/%.lua.o)
LLHTTP := $(patsubst /usr/share/llhttp/%.c,$(BUILD)/llhttp/%.o,$(wildcard /usr/share/llhttp/*.c))
ARCHIVE := $(BUILD)/slipway.a
UNIT := $(patsubst test/unit/%.c,$(BUILD)/test/unit/%,$(wildcard test/unit/*_test.c))

all: $(BUILD)/slipway

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

$(BUILD)/test/unit/%: $(BUILD)/test/unit/%.o $(ARCHIVE)
	@echo "  link  $@"
	$(Q)$(CC) $(LDFLAGS) -o $@ $(filter %.o %.a,$^) $(LDLIBS) -lcmocka

unit: $(UNIT) ## Build and run the unit tests
	$(Q)for t in $(UNIT); do $$t || exit 1; done

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

clean: ## Remove everything built
	$(Q)rm -rf build

.PHONY: all unit help clean
.SECONDARY:
-include $(shell find $(BUILD) -name '*.d' 2>/dev/null)
