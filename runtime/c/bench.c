#include "bench.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>

#include "clock.h"
#include "identity.h"
#include "json.h"
#include "model.h"
#include "session.h"
#include "state.h"
#include "stats.h"
#include "target.h"

enum {
    SCHEMA_VERSION = 3,
    MAX_RAW = 1000, /* samples of a trial that go into the JSON, evenly spread over it */
    PROFILE_RUNS = 2000, /* at most; fewer where they take longer than PROFILE_SECONDS */
    CLOCK_READS = 1001,
};
static const double PROFILE_SECONDS = 2;
/* A sample shorter than this would be the clock's time as much as the model's: batch calls. */
static const double MIN_SAMPLE_SECONDS = 10e-6;

static double clock_overhead(void) {
    samples_t samples = {0};
    for (int i = 0; i < CLOCK_READS; i++) {
        double start = clock_seconds();
        samples_add(&samples, clock_seconds() - start);
    }
    double median = stats_of(&samples).median;
    samples_free(&samples);
    return median;
}

static double sample(session_t *session, int calls) {
    double start = clock_seconds();
    for (int i = 0; i < calls; i++) session_run(session);
    return clock_seconds() - start;
}

/* Returns the number of calls. */
static long warm_up(session_t *session, double seconds) {
    long calls = 0;
    for (double start = clock_seconds(); calls == 0 || clock_seconds() - start < seconds; calls++) {
        session_run(session);
    }
    return calls;
}

static int choose_calls(session_t *session) {
    double least = sample(session, 1);
    for (int i = 0; i < 100 && least < MIN_SAMPLE_SECONDS; i++) {
        double again = sample(session, 1);
        if (again < least) least = again;
    }
    return least < MIN_SAMPLE_SECONDS ? (int)(MIN_SAMPLE_SECONDS / least) + 1 : 1;
}

static void print_stats(const stats_t *stats) {
    json_number("median_s", stats->median);
    json_number("p90_s", stats->p90);
    json_number("p99_s", stats->p99);
    json_number("min_s", stats->min);
    json_number("max_s", stats->max);
    json_number("mean_s", stats->mean);
}

static void print_raw(const samples_t *samples) {
    size_t kept = samples->count < MAX_RAW ? samples->count : MAX_RAW;
    double raw[MAX_RAW];
    for (size_t i = 0; i < kept; i++) raw[i] = samples->values[i * samples->count / kept];
    json_numbers("latencies_s", raw, kept);
}

/* One trial: samples until the time is over, printed as an element of "trials". */
static void run_trial(session_t *session, int calls, double min_seconds) {
    samples_t samples = {0};
    double started = unix_seconds(), start = clock_seconds(), wall;
    do {
        samples_add(&samples, sample(session, calls) / calls);
        wall = clock_seconds() - start;
    } while (wall < min_seconds);
    json_open('{');
    json_integer("samples", (long long)samples.count);
    json_integer("inferences", (long long)samples.count * calls);
    json_moment("started_s", started);
    json_number("wall_s", wall);
    print_raw(&samples);
    stats_t stats = stats_of(&samples);
    print_stats(&stats);
    json_close('}');
    samples_free(&samples);
}

/* Every step timed on its own, in order, net of the clock: an element each of "layers". */
static void profile(session_t *session, double overhead) {
    samples_t *steps = calloc((size_t)model_step_count, sizeof *steps);
    double end = clock_seconds() + PROFILE_SECONDS;
    for (int run = 0; run < PROFILE_RUNS && (run == 0 || clock_seconds() < end); run++) {
        for (int step = 0; step < model_step_count; step++) {
            double start = clock_seconds();
            session_step(session, step);
            samples_add(&steps[step], fmax(clock_seconds() - start - overhead, 0));
        }
    }
    for (int step = 0; step < model_step_count; step++) {
        json_open('{');
        json_string("name", model_steps[step].name);
        json_string("op", model_steps[step].op);
        json_integer("work", model_steps[step].work);
        json_integer("threads_share", session->split[step]);
        json_integer("samples", (long long)steps[step].count);
        stats_t stats = stats_of(&steps[step]);
        print_stats(&stats);
        json_close('}');
        samples_free(&steps[step]);
    }
    free(steps);
}

/* Linux counts into ru_maxrss what the process was before exec: a copy of a large Python, say. */
static long long peak_rss_bytes(void) {
    long long kilobytes = 0;
    FILE *status = fopen("/proc/self/status", "r");
    char line[128];
    while (status && kilobytes == 0 && fgets(line, sizeof line, status)) {
        if (sscanf(line, "VmHWM: %lld", &kilobytes) != 1) kilobytes = 0;
    }
    if (status) fclose(status);
    if (kilobytes > 0) return kilobytes * 1024;
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return (long long)usage.ru_maxrss * 1024;
}

static void print_setup(const args_t *args, const session_t *session, double overhead) {
    int shared = 0;
    for (int step = 0; step < model_step_count; step++) shared += session->split[step];
    json_integer("schema", SCHEMA_VERSION);
    json_string("edgekiln_version", edgekiln_version);
    json_string("model", model_name);
    json_string("model_sha256", model_sha256);
    json_string("target", TARGET_NAME);
    json_integer("threads", args->threads);
    json_integer("shared_steps", shared);
    json_open_key("cpus", '[');
    for (int i = 0; i < args->cpu_count; i++) json_element(args->cpus[i]);
    json_close(']');
    json_integer("arena_bytes", (long long)model_arena_bytes);
    json_string("clock", CLOCK_NAME);
    json_number("clock_overhead_s", overhead);
}

void bench(const args_t *args) {
    if (args->cpu_count) pin_thread(args->cpus[0]);
    session_t session = session_open(&args->input);
    double first = sample(&session, 1);
    session_use_threads(&session, args->threads, args->cpu_count ? args->cpus : NULL);
    long warmup_calls = warm_up(&session, args->warmup_seconds);
    int calls = choose_calls(&session);
    long long peak = peak_rss_bytes(); /* before our own samples fill memory */
    double overhead = clock_overhead();

    json_open('{');
    print_setup(args, &session, overhead);
    governor_print("governor", args->cpu_count ? args->cpus[0] : 0);
    state_print("before");
    json_number("first_inference_s", first);
    json_integer("warmup_calls", warmup_calls);
    json_integer("calls_per_sample", calls);
    json_integer("peak_rss_bytes", peak);
    json_open_key("trials", '[');
    for (int trial = 0; trial < args->trials; trial++) {
        run_trial(&session, calls, args->min_seconds);
    }
    json_close(']');
    json_open_key("layers", '[');
    if (args->profile) profile(&session, overhead);
    json_close(']');
    state_print("after");
    json_moment("finished_s", unix_seconds());
    json_close('}');
    session_close(&session);
}
