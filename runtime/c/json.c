#include "json.h"

#include <stdio.h>

enum { MAX_DEPTH = 8 };

static int depth;
static int filled[MAX_DEPTH]; /* does the container at this depth hold an element yet? */

static void quoted(const char *text) {
    putchar('"');
    for (const unsigned char *c = (const unsigned char *)text; *c; c++) {
        if (*c == '"' || *c == '\\') {
            printf("\\%c", *c);
        } else if (*c < 0x20) {
            printf("\\u%04x", *c);
        } else {
            putchar(*c); /* the rest of UTF-8 needs no escape */
        }
    }
    putchar('"');
}

static void next(void) {
    if (depth > 0) {
        if (filled[depth - 1]) putchar(',');
        filled[depth - 1] = 1;
        printf("\n%*s", 2 * depth, "");
    }
}

static void next_key(const char *key) {
    next();
    quoted(key);
    fputs(": ", stdout);
}

static void enter(char bracket) {
    putchar(bracket);
    filled[depth++] = 0;
}

void json_open(char bracket) {
    next();
    enter(bracket);
}

void json_open_key(const char *key, char bracket) {
    next_key(key);
    enter(bracket);
}

void json_close(char bracket) {
    depth--;
    printf("\n%*s%c", 2 * depth, "", bracket);
    if (depth == 0) putchar('\n');
}

void json_string(const char *key, const char *text) {
    next_key(key);
    quoted(text);
}

void json_integer(const char *key, long long value) {
    next_key(key);
    printf("%lld", value);
}

void json_number(const char *key, double value) {
    next_key(key);
    printf("%.9g", value);
}

/* Unix time: %g would cut it to whole seconds. */
void json_moment(const char *key, double seconds) {
    next_key(key);
    printf("%.6f", seconds);
}

void json_null(const char *key) {
    next_key(key);
    fputs("null", stdout);
}

void json_element(long long value) {
    next();
    printf("%lld", value);
}

void json_numbers(const char *key, const double *values, size_t count) {
    next_key(key);
    putchar('[');
    for (size_t i = 0; i < count; i++) printf("%s%.6g", i ? ", " : "", values[i]);
    putchar(']');
}
