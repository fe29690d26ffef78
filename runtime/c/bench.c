#include "bench.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>

#include "clock.h"
#include "exit_codes.h"
#include "model.h"
#include "report.h"
#include "session.h"

enum {
    PROFILE_RUNS = 2000, /* at most; fewer where they take longer than PROFILE_SECONDS */
    CLOCK_READS = 1001,
};
static const double PROFILE_SECONDS = 2;
/* A sample shorter than this would be the clock's time as much as the model's: batch calls. */
static const double MIN_SAMPLE_SECONDS = 10e-6;

static void *allocate(size_t count, size_t size) {
    void *data = calloc(count ? count : 1, size);
    if (!data) fail(EXIT_MEASUREMENT, NULL, "out of memory");
    return data;
}

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

/* At most MAX_RAW of the samples, evenly spread over the trial. */
static void keep_raw(trial_t *trial, const samples_t *samples) {
    trial->kept = samples->count < MAX_RAW ? samples->count : MAX_RAW;
    for (size_t i = 0; i < trial->kept; i++) {
        trial->raw[i] = samples->values[i * samples->count / trial->kept];
    }
}

/* Samples until the time is over. */
static void run_trial(session_t *session, int calls, double min_seconds, trial_t *trial) {
    samples_t samples = {0};
    session_reset(session);
    trial->started = unix_seconds();
    double start = clock_seconds();
    do {
        samples_add(&samples, sample(session, calls) / calls);
        trial->wall = clock_seconds() - start;
    } while (trial->wall < min_seconds);
    trial->samples = samples.count;
    trial->inferences = (long long)samples.count * calls;
    keep_raw(trial, &samples);
    trial->stats = stats_of(&samples);
    samples_free(&samples);
}

/* Every step timed on its own, in order, net of the clock. */
static step_times_t *profile(session_t *session, double overhead) {
    samples_t *steps = allocate((size_t)model_step_count, sizeof *steps);
    step_times_t *times = allocate((size_t)model_step_count, sizeof *times);
    double end = clock_seconds() + PROFILE_SECONDS;
    for (int run = 0; run < PROFILE_RUNS && (run == 0 || clock_seconds() < end); run++) {
        for (int step = session->first_step; step < session->end_step; step++) {
            double start = clock_seconds();
            session_step(session, step);
            samples_add(&steps[step], fmax(clock_seconds() - start - overhead, 0));
        }
    }
    for (int step = session->first_step; step < session->end_step; step++) {
        times[step].samples = steps[step].count;
        times[step].stats = stats_of(&steps[step]);
        samples_free(&steps[step]);
    }
    free(steps);
    return times;
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

void bench(const args_t *args) {
    if (args->cpu_count) pin_thread(args->cpus[0]);
    session_t session = session_open(&args->input, args->point);
    report_t report = {.args = args, .session = &session};
    report.first_inference = sample(&session, 1);
    session_use_threads(&session, args->threads, args->cpu_count ? args->cpus : NULL);
    report.warmup_calls = warm_up(&session, args->warmup_seconds);
    report.calls_per_sample = choose_calls(&session);
    report.peak_rss = peak_rss_bytes(); /* before our own samples fill memory */
    report.clock_overhead = clock_overhead();
    governor_of(args->cpu_count ? args->cpus[0] : 0, report.governor);
    report.trials = allocate((size_t)args->trials, sizeof *report.trials);
    report.before = state_now();
    for (int trial = 0; trial < args->trials; trial++) {
        run_trial(&session, report.calls_per_sample, args->min_seconds, &report.trials[trial]);
    }
    if (args->profile) report.steps = profile(&session, report.clock_overhead);
    report.after = state_now();
    report.finished = unix_seconds();

    if (args->json) {
        report_json(&report);
    } else {
        report_text(&report);
    }
    free(report.trials);
    free(report.steps);
    session_close(&session);
}
