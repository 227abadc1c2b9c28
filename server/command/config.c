/* `slipway config`: what the server would run with, and where each value comes from. */
#include "server/commands.h"
#include "server/limits.h"
#include "server/settings.h"

struct options {
    bool json, limits;
};

static const struct config_row rows[] = {
    {"json", CONFIG_BOOL, offsetof(struct options, json), "false", .flags = CONFIG_LOCAL, .doc = "Print JSON."},
    {"limits", CONFIG_BOOL, offsetof(struct options, limits), "false", .flags = CONFIG_LOCAL,
     .doc = "Print every limit, its value (its default where a setting of that name changes it), and the code that is "
            "answered where it is reached; `-`: the connection "
            "ends, `none`: nothing is refused, something is cut or kept out."},
    {0},
};

int config_main(int argc, char **argv)
{
    struct settings s;
    struct options o = {0};
    int status =
        settings_read(&s, "config",
                      "Print every setting with its value and source. Takes the options of `slipway serve`, so that "
                      "the effect of a file, the environment and flags can be seen before a start.",
                      rows, &o, argc, argv);
    if (status == CONFIG_READ && s.config.rest_count > 0)
        status = config_usage(&s.config, "unexpected '%s'", s.config.rest[0]);
    if (status == CONFIG_READ) {
        if (o.limits)
            limits_print(stdout, o.json);
        else
            config_print(&s.config, stdout, o.json);
        status = 0;
    }
    settings_fini(&s);
    return status;
}
