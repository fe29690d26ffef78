/* Time that no one adjusts, and Unix time, which other programs have, too. */
#ifndef CLOCK_H
#define CLOCK_H

#include <time.h>

#define CLOCK_NAME "CLOCK_MONOTONIC_RAW"

static inline double clock_seconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC_RAW, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

static inline double unix_seconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

#endif
