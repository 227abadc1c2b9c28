#include "server/docs.h"

#include "server/limits.h"
#include "server/oauth/scopes.h"
#include "server/permission.h"
#include "server/router.h"

#include <stdio.h>

static void text(struct buf *b, const char *z)
{
    for (; z != NULL && *z != '\0'; z++)
        switch (*z) {
        case '<':
            buf_z(b, "&lt;");
            break;
        case '>':
            buf_z(b, "&gt;");
            break;
        case '&':
            buf_z(b, "&amp;");
            break;
        case '"':
            buf_z(b, "&quot;");
            break;
        default:
            buf_char(b, *z);
        }
}

static void cell(struct buf *b, const char *z)
{
    buf_z(b, "<td>");
    text(b, z);
    buf_z(b, "</td>");
}

static void table(struct buf *b, const char *title, const char *const *heads)
{
    buf_printf(b, "<h2>%s</h2>\n<table><tr>", title);
    for (; *heads != NULL; heads++)
        buf_printf(b, "<th>%s</th>", *heads);
    buf_z(b, "</tr>\n");
}

static void write_operations(struct buf *b, const struct dialect *d)
{
    static const char *const heads[] = {"Method", "Path", "Permission", "", NULL};
    table(b, "Operations", heads);
    for (const struct resource *const *r = d->resources; *r != NULL; r++)
        for (const struct route *route = (*r)->routes; route != NULL && route->path != NULL; route++) {
            if ((route->flags & ROUTE_HIDDEN) != 0)
                continue;
            buf_z(b, "<tr><td>");
            method_list(b, route->method);
            buf_z(b, "</td><td><code>");
            text(b, d->base);
            text(b, route->path);
            buf_z(b, "</code></td>");
            cell(b, route->permission == NULL ? "none" : route->permission);
            cell(b, route->doc);
            buf_z(b, "</tr>\n");
        }
    buf_z(b, "</table>\n");
}

static void write_codes(struct buf *b)
{
    static const char *const heads[] = {"Status", "Code", "", NULL};
    table(b, "Error codes", heads);
    for (size_t c = OK + 1; c < CODES; c++) {
        buf_printf(b, "<tr><td>%d</td>", code_status((enum code)c));
        cell(b, code_name((enum code)c));
        cell(b, code_text((enum code)c));
        buf_z(b, "</tr>\n");
    }
    buf_z(b, "</table>\n");
}

static void write_faults(struct buf *b)
{
    static const char *const heads[] = {"Code", "", NULL};
    table(b, "Codes of validationErrors, beside those above", heads);
    for (const struct fault_code *f = fault_codes; f->code != NULL; f++) {
        buf_z(b, "<tr>");
        cell(b, f->code);
        cell(b, f->doc);
        buf_z(b, "</tr>\n");
    }
    buf_z(b, "</table>\n");
}

static void write_roles(struct buf *b)
{
    buf_z(
        b,
        "<h2>Roles and permissions</h2>\n<p>A permission given singly may be narrowed to one environment, by its id or "
        "name: <code>promotion:request@prod</code>. It holds for what belongs to that environment, and for the "
        "environment itself; lists show what can be seen.</p>\n<table><tr><th>Permission</th>");
    for (size_t role = 0; role < role_count(); role++)
        buf_printf(b, "<th>%s</th>", role_name(role));
    buf_z(b, "<th></th></tr>\n");
    for (size_t bit = 0; bit < permission_count(); bit++) {
        buf_z(b, "<tr>");
        cell(b, permission_name(bit));
        for (size_t role = 0; role < role_count(); role++) {
            struct permission_set set = {{0}};
            role_find(str_z(role_name(role)), &set);
            cell(b, permission_has(&set, bit) ? "yes" : "");
        }
        cell(b, permission_doc(bit));
        buf_z(b, "</tr>\n");
    }
    buf_z(b, "</table>\n");
}

static void write_scopes(struct buf *b)
{
    static const char *const heads[] = {"Scope", "Permissions", "", NULL};
    const char *name, *grants, *doc;
    table(b, "Scopes of OAuth clients, beside every permission", heads);
    for (size_t i = 0; scopes_row(i, &name, &grants, &doc); i++) {
        buf_z(b, "<tr>");
        cell(b, name);
        cell(b, grants);
        cell(b, doc);
        buf_z(b, "</tr>\n");
    }
    buf_z(b, "</table>\n");
}

static void write_limits(struct buf *b)
{
    static const char *const heads[] = {"Limit", "Value", "Setting", "Code", "", NULL};
    struct limit_row row;
    table(b, "Limits", heads);
    for (size_t i = 0; limits_row(i, &row); i++) {
        buf_z(b, "<tr>");
        cell(b, row.name);
        cell(b, row.value);
        cell(b, row.configurable ? "yes" : "");
        cell(b, row.code);
        cell(b, row.doc);
        buf_z(b, "</tr>\n");
    }
    buf_z(b, "</table>\n");
}

void docs_write(struct buf *b)
{
    buf_z(b,
          "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>Slipway API</title>\n<style>"
          "body{font:15px/1.5 system-ui,sans-serif;margin:2em auto;max-width:75em;padding:0 1em}"
          "table{border-collapse:collapse}td,th{border:1px solid #ccc;padding:.2em .6em;text-align:left}"
          "</style></head><body>\n<h1>Slipway API</h1>\n<p>For programs: <a href=\"/openapi.json\">openapi.json</a>, "
          "<a href=\"/asyncapi.json\">asyncapi.json</a>.</p>\n");
    for (const struct dialect *const *d = dialects; *d != NULL; d++)
        write_operations(b, *d);
    write_codes(b);
    write_faults(b);
    write_roles(b);
    write_scopes(b);
    write_limits(b);
    buf_z(b, "</body></html>\n");
}
