#include "trace.h"

#include "exit_codes.h"
#include "model.h"

#ifdef MODEL_POINT_COUNT

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "clock.h"
#include "governor.h"
#include "json.h"
#include "session.h"

enum {
    SCHEMA_VERSION = 1,
    /* Runs before the next one's turn: a drifting machine treats all alike, and caches are warm as
     * they are where nothing else runs. */
    TURN_RUNS = 64,
};

typedef struct {
    long runs;
    model_conditions_t now;
} span_t;

/* What became of a span. */
typedef struct {
    long misses;
    double busy; /* seconds that its runs took */
} outcome_t;

/* What the governor did in a span, besides. */
typedef struct {
    long unfit;    /* runs for which no point fits */
    long switches; /* to another point than the run's before */
    long runs[MODEL_POINT_COUNT];
} governed_t;

typedef struct {
    model_policy_t policy;
    model_cost_t costs[MODEL_POINT_COUNT];
    span_t *spans;
    size_t count;
    governed_t *governed;
    outcome_t *outcomes[MODEL_POINT_COUNT + 1]; /* at each point, and as governed */
} replay_t;

static void *allocate(size_t count, size_t size) {
    void *data = calloc(count ? count : 1, size);
    if (!data) fail(EXIT_MEASUREMENT, NULL, "out of memory");
    return data;
}

/* 0 at the end of the file, where that is allowed. */
static int next(FILE *file, const char *path, long long low, long long high, long long *value) {
    int found = fscanf(file, "%lld", value);
    if (found == EOF && !ferror(file)) return 0;
    if (found != 1 || *value < low || *value > high) {
        fail(EXIT_INPUT, "`edgekiln bench --trace` writes it", "%s: not a trace", path);
    }
    return 1;
}

static long long wanted(FILE *file, const char *path, long long low, long long high) {
    long long value;
    if (!next(file, path, low, high, &value)) fail(EXIT_INPUT, NULL, "%s: cut short", path);
    return value;
}

static void read_policy(replay_t *replay, FILE *file, const char *path) {
    model_policy_t *policy = &replay->policy;
    policy->warm_c = (int16_t)wanted(file, path, INT16_MIN + 1, INT16_MAX);
    policy->hot_c = (int16_t)wanted(file, path, INT16_MIN + 1, INT16_MAX);
    policy->low_percent = (uint8_t)wanted(file, path, 0, 100);
    policy->empty_percent = (uint8_t)wanted(file, path, 0, 100);
    policy->patience = (uint16_t)wanted(file, path, 0, UINT16_MAX);
    for (int i = 0; i < MODEL_POINT_COUNT; i++) {
        replay->costs[i].p50_us = (uint32_t)wanted(file, path, 1, MODEL_MOST_US);
        replay->costs[i].p99_us = (uint32_t)wanted(file, path, 1, MODEL_MOST_US);
        replay->costs[i].energy_uj = (uint32_t)wanted(file, path, 0, UINT32_MAX);
    }
    policy->costs = replay->costs, policy->count = MODEL_POINT_COUNT;
}

static int read_span(span_t *span, FILE *file, const char *path) {
    long long runs;
    if (!next(file, path, 1, 1000000000, &runs)) return 0;
    span->runs = (long)runs;
    span->now.deadline_us = (uint32_t)wanted(file, path, 0, UINT32_MAX);
    span->now.energy_uj = (uint32_t)wanted(file, path, 0, UINT32_MAX);
    span->now.temperature_c = (int16_t)wanted(file, path, MODEL_UNKNOWN_C, INT16_MAX);
    span->now.battery_percent = (uint8_t)wanted(file, path, 0, 100);
    span->now.load_percent = (uint8_t)wanted(file, path, 0, 99);
    return 1;
}

static void read_trace(replay_t *replay, const char *path) {
    size_t room = 0;
    span_t span;
    FILE *file = fopen(path, "r");
    if (!file) fail(EXIT_INPUT, NULL, "cannot read %s: %s", path, strerror(errno));
    read_policy(replay, file, path);
    while (read_span(&span, file, path)) {
        if (replay->count == room) {
            room = room ? 2 * room : 256;
            replay->spans = realloc(replay->spans, room * sizeof *replay->spans);
            if (!replay->spans) fail(EXIT_MEASUREMENT, NULL, "out of memory");
        }
        replay->spans[replay->count++] = span;
    }
    fclose(file);
    if (!replay->count) fail(EXIT_INPUT, NULL, "%s: cut short", path);
}

/* In seconds, as long as it takes where others leave so much of the processor. */
static double timed(session_t *session, const model_conditions_t *now) {
    double start = clock_seconds();
    session_run(session);
    return (clock_seconds() - start) * 100 / (100 - now->load_percent);
}

static void count(outcome_t *outcome, double took, const model_conditions_t *now) {
    outcome->busy += took;
    outcome->misses += now->deadline_us && took > now->deadline_us * 1e-6;
}

static void run_at(replay_t *replay, session_t *session, int point, size_t begin, size_t end) {
    session_choose(session, point);
    session_run(session);
    for (size_t i = begin; i < end; i++) {
        const span_t *span = &replay->spans[i];
        for (long run = 0; run < span->runs; run++) {
            count(&replay->outcomes[point][i], timed(session, &span->now), &span->now);
        }
    }
}

static void run_governed(replay_t *replay, session_t *session, model_governor_t *governor,
                         size_t begin, size_t end) {
    session_choose(session, governor->point);
    session_run(session);
    for (size_t i = begin; i < end; i++) {
        const span_t *span = &replay->spans[i];
        governed_t *governed = &replay->governed[i];
        for (long run = 0; run < span->runs; run++) {
            int before = governor->point, point = model_governor_choose(governor, &span->now);
            session_choose(session, point);
            double took = timed(session, &span->now);
            model_governor_ran(governor, (uint32_t)fmin(ceil(took * 1e6), MODEL_MOST_US));
            count(&replay->outcomes[MODEL_POINT_COUNT][i], took, &span->now);
            governed->runs[point]++;
            governed->switches += point != before;
            governed->unfit += !governor->fits;
        }
    }
}

static void replay_all(replay_t *replay, session_t *session) {
    model_governor_t governor;
    if (model_governor_init(&governor, &replay->policy)) {
        fail(EXIT_INPUT, NULL, "the points' costs do not fall from one to the next");
    }
    for (size_t begin = 0, end = 0; begin < replay->count; begin = end) {
        for (long runs = 0; end < replay->count && runs < TURN_RUNS; end++) {
            runs += replay->spans[end].runs;
        }
        run_governed(replay, session, &governor, begin, end);
        for (int i = 0; i < MODEL_POINT_COUNT; i++) run_at(replay, session, i, begin, end);
    }
}

/* A number of each span, under a name. */
#define COLUMN(replay, name, expression) \
    do { \
        json_open_key(name, '['); \
        for (size_t i = 0; i < (replay)->count; i++) json_element(expression); \
        json_close(']'); \
    } while (0)

static void print_outcomes(const replay_t *replay, int who) {
    const outcome_t *outcomes = replay->outcomes[who];
    COLUMN(replay, "misses", outcomes[i].misses);
    COLUMN(replay, "busy_ns", (long long)(outcomes[i].busy * 1e9));
}

static void print(const replay_t *replay) {
    json_open('{');
    json_integer("schema", SCHEMA_VERSION);
    json_open_key("governed", '{');
    print_outcomes(replay, MODEL_POINT_COUNT);
    COLUMN(replay, "unfit", replay->governed[i].unfit);
    COLUMN(replay, "switches", replay->governed[i].switches);
    json_open_key("runs", '[');
    for (int point = 0; point < MODEL_POINT_COUNT; point++) {
        json_open('[');
        for (size_t i = 0; i < replay->count; i++) json_element(replay->governed[i].runs[point]);
        json_close(']');
    }
    json_close(']');
    json_close('}');
    json_open_key("points", '[');
    for (int point = 0; point < MODEL_POINT_COUNT; point++) {
        json_open('{');
        print_outcomes(replay, point);
        json_close('}');
    }
    json_close(']');
    json_moment("finished_s", unix_seconds());
    json_close('}');
}

void trace(const args_t *args) {
    if (!args->trace) fail(EXIT_USAGE, "see --help", "trace: no --trace");
    if (args->point) fail(EXIT_USAGE, "see --help", "trace: --point: it runs all points");
    replay_t replay = {0};
    read_trace(&replay, args->trace);
    replay.governed = allocate(replay.count, sizeof *replay.governed);
    for (int i = 0; i <= MODEL_POINT_COUNT; i++) {
        replay.outcomes[i] = allocate(replay.count, sizeof *replay.outcomes[i]);
    }
    if (args->cpu_count) pin_thread(args->cpus[0]);
    session_t session = session_open(&args->input, NULL);
    for (int i = 0; i < MODEL_POINT_COUNT; i++) {
        session_choose(&session, i);
        session_run(&session);
        session_use_threads(&session, args->threads, args->cpu_count ? args->cpus : NULL);
    }
    replay_all(&replay, &session);
    print(&replay);
    for (int i = 0; i <= MODEL_POINT_COUNT; i++) free(replay.outcomes[i]);
    free(replay.governed);
    free(replay.spans);
    session_close(&session);
}

#else

void trace(const args_t *args) {
    (void)args;
    fail(EXIT_USAGE, NULL, "trace: the model has one point only");
}

#endif
