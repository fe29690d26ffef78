/* What a benchmark found, as JSON or as text. */
#ifndef REPORT_H
#define REPORT_H

#include <stddef.h>

#include "args.h"
#include "session.h"
#include "state.h"
#include "stats.h"

enum { MAX_RAW = 1000 }; /* samples of a trial that are kept */

typedef struct {
    size_t samples;
    long long inferences;
    double started; /* Unix time */
    double wall;    /* seconds, as all that follow */
    stats_t stats;
    double raw[MAX_RAW];
    size_t kept;
} trial_t;

typedef struct {
    size_t samples;
    stats_t stats;
} step_times_t;

typedef struct {
    const args_t *args;
    const session_t *session;
    double first_inference, clock_overhead, finished;
    long warmup_calls;
    int calls_per_sample;
    long long peak_rss; /* bytes */
    char governor[GOVERNOR_ROOM];
    state_t before, after;
    trial_t *trials;     /* args->trials of them */
    step_times_t *steps; /* one for each, or NULL */
} report_t;

/* One object, as schemas/runner-perf.schema.json describes it. */
void report_json(const report_t *report);

/* Some lines for people. */
void report_text(const report_t *report);

#endif
