#include <math.h>
#include <stdio.h>
#include <string.h>

#include "identity.h"
#include "model.h"
#include "report.h"
#include "target.h"

typedef double (*figure_t)(const trial_t *trial);

static double median_of(const trial_t *trial) { return trial->stats.median; }
static double p90_of(const trial_t *trial) { return trial->stats.p90; }
static double p99_of(const trial_t *trial) { return trial->stats.p99; }
static double min_of(const trial_t *trial) { return trial->stats.min; }

/* Of a figure that every trial has: the statistics over the trials. */
static stats_t over_trials(const report_t *report, figure_t figure) {
    samples_t values = {0};
    for (int i = 0; i < report->args->trials; i++) {
        samples_add(&values, figure(&report->trials[i]));
    }
    stats_t stats = stats_of(&values);
    samples_free(&values);
    return stats;
}

static void print_us(const char *label, double seconds) {
    printf("%s %.*f us", label, seconds < 100e-6 ? 3 : 1, seconds * 1e6);
}

static void print_setup(const report_t *report) {
    const args_t *args = report->args;
    long long inferences = 0;
    for (int i = 0; i < args->trials; i++) inferences += report->trials[i].inferences;
    printf("%s for %s, by EdgeKiln %s\n", model_name, TARGET_NAME, edgekiln_version);
    printf("%d %s, ", args->threads, args->threads == 1 ? "thread" : "threads");
    if (args->cpu_count) {
        printf("pinned to CPU");
        for (int i = 0; i < args->cpu_count; i++) printf("%s %d", i ? "," : "", args->cpus[i]);
    } else {
        printf("not pinned");
    }
    printf("; %d %s of %.3g s, %lld inferences\n", args->trials,
           args->trials == 1 ? "trial" : "trials", args->min_seconds, inferences);
}

static void print_latency(const report_t *report) {
    stats_t medians = over_trials(report, median_of);
    print_us("latency: median", medians.median);
    print_us(", p90", over_trials(report, p90_of).median);
    print_us(", p99", over_trials(report, p99_of).median);
    print_us(", least", over_trials(report, min_of).min);
    double spread = medians.median > 0 ? (medians.max - medians.min) / medians.median : 0;
    printf("; trials differ by %.1f %%\n", 100 * spread);
    print_us("first inference", report->first_inference);
    printf("; arena %.1f KiB, peak memory %.1f KiB\n", (double)model_arena_bytes / 1024,
           (double)report->peak_rss / 1024);
}

/* What is told of the machine after the trials, if anything. */
static void print_machine(const report_t *report) {
    const state_t *state = &report->after;
    if (*report->governor) printf("governor %s\n", report->governor);
    if (!isnan(state->frequency_hz)) printf("CPU 0 at %.0f MHz\n", state->frequency_hz / 1e6);
    if (!isnan(state->temperature_c)) printf("hottest zone %.1f C\n", state->temperature_c);
    if (report->before.throttled > 0 || state->throttled > 0) {
        printf("warning: the CPU is being slowed, by heat or power\n");
    }
}

static void print_steps(const report_t *report) {
    int names = 0, ops = 0;
    double total = 0;
    const session_t *session = report->session;
    for (int step = session->first_step; step < session->end_step; step++) {
        names = (int)fmax(names, (double)strlen(model_steps[step].name));
        ops = (int)fmax(ops, (double)strlen(model_steps[step].op));
        total += report->steps[step].stats.median;
    }
    putchar('\n');
    for (int step = session->first_step; step < session->end_step; step++) {
        double median = report->steps[step].stats.median;
        printf("%-*s  %-*s  %10.2f us  %5.1f %%%s\n", names, model_steps[step].name, ops,
               model_steps[step].op, median * 1e6, total > 0 ? 100 * median / total : 0,
               session->split[step] ? "  shared" : "");
    }
}

static void print_samples(const report_t *report) {
    for (int i = 0; i < report->args->trials; i++) {
        const trial_t *trial = &report->trials[i];
        printf("\ntrial %d, us:", i + 1);
        for (size_t each = 0; each < trial->kept; each++) printf(" %.3f", trial->raw[each] * 1e6);
        putchar('\n');
    }
}

void report_text(const report_t *report) {
    print_setup(report);
    print_latency(report);
    print_machine(report);
    if (report->steps) print_steps(report);
    if (report->args->samples) print_samples(report);
}
