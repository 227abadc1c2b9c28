#include "server/store/internal.h"

/* Embedded by the Makefile: <name>_lua and <name>_lua_size for each .lua file of this folder. */
#define PART(name)                                                                                                     \
    extern const char name##_lua[];                                                                                    \
    extern const uint64_t name##_lua_size;
PART(slipway)
PART(commit)
PART(admit)
PART(page)
PART(append)
PART(lease)
#undef PART

bool store_library(struct buf *out)
{
    /* slipway.lua has the library's name and what the others use: first. */
    const struct {
        const char *text;
        uint64_t size;
    } parts[] = {
        {slipway_lua, slipway_lua_size}, {commit_lua, commit_lua_size}, {admit_lua, admit_lua_size},
        {page_lua, page_lua_size},       {append_lua, append_lua_size}, {lease_lua, lease_lua_size},
    };

    for (size_t i = 0; i < ARRAY_LEN(parts); i++)
        buf_add(out, parts[i].text, parts[i].size);
    return !out->failed;
}
