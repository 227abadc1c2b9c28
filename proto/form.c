#include "proto/form.h"

bool form_is(struct str content_type)
{
    struct str rest = content_type, media = str_trim(str_cut(&rest, ';'));
    bool utf8 = true;
    while (rest.p != NULL) {
        struct str value = str_trim(str_cut(&rest, ';')), name = str_trim(str_cut(&value, '='));
        if (str_ieq(name, S("charset")))
            utf8 = str_ieq(str_trim(value), S("utf-8")) || str_ieq(str_trim(value), S("\"utf-8\""));
    }
    return utf8 && str_ieq(media, S("application/x-www-form-urlencoded"));
}

/* Sizes, and no name twice. */
static enum form_fault check(const struct query *q)
{
    if (q->n > FORM_PARAMS_MAX)
        return FORM_COUNT;
    for (size_t i = 0; i < q->n; i++) {
        if (q->params[i].name.n > FORM_NAME_MAX || q->params[i].value.n > FORM_VALUE_MAX)
            return FORM_LONG;
        for (size_t j = 0; j < i; j++)
            if (str_eq(q->params[j].name, q->params[i].name))
                return FORM_TWICE;
    }
    return FORM_OK;
}

enum form_fault form_parse(struct arena *a, struct str body, struct form *out)
{
    static const enum form_fault faults[] = {[QUERY_OK] = FORM_OK,
                                             [QUERY_ESCAPE] = FORM_ESCAPE,
                                             [QUERY_TEXT] = FORM_TEXT,
                                             [QUERY_COUNT] = FORM_COUNT,
                                             [QUERY_MEMORY] = FORM_MEMORY};
    struct query q;
    if (body.n > FORM_LENGTH_MAX)
        return FORM_LONG;
    enum form_fault fault = faults[query_parse(a, body, &q)];
    if (fault == FORM_OK)
        fault = check(&q);
    if (fault == FORM_OK)
        out->parameters = q;
    return fault;
}

const char *form_why(enum form_fault f)
{
    static const char *const why[] = {
        [FORM_OK] = "fine",
        [FORM_ESCAPE] = "a per cent sign is not followed by two hexadecimal digits",
        [FORM_TEXT] = "a name or value is not UTF-8 text",
        [FORM_COUNT] = "there are too many parameters",
        [FORM_LONG] = "the form, or a name or value in it, is too long",
        [FORM_TWICE] = "a parameter is given more than once",
        [FORM_MEMORY] = "no memory for the parameters",
    };
    return why[f];
}

struct str form_get(const struct form *f, struct str name)
{
    struct str value = f == NULL ? STR_NONE : query_get(&f->parameters, name);
    return value.n == 0 ? STR_NONE : value;
}
