#include <math.h>

#include "clock.h"
#include "identity.h"
#include "json.h"
#include "model.h"
#include "report.h"
#include "target.h"

enum { SCHEMA_VERSION = 4 };

static void print_known(const char *key, double value) {
    if (isnan(value)) {
        json_null(key);
    } else {
        json_number(key, value);
    }
}

static void print_state(const char *key, const state_t *state) {
    json_open_key(key, '{');
    print_known("frequency_hz", state->frequency_hz);
    print_known("temperature_c", state->temperature_c);
    print_known("throttled", state->throttled);
    json_close('}');
}

static void print_stats(const stats_t *stats) {
    json_number("median_s", stats->median);
    json_number("p90_s", stats->p90);
    json_number("p99_s", stats->p99);
    json_number("min_s", stats->min);
    json_number("max_s", stats->max);
    json_number("mean_s", stats->mean);
}

static void print_trial(const trial_t *trial, int raw) {
    json_open('{');
    json_integer("samples", (long long)trial->samples);
    json_integer("inferences", trial->inferences);
    json_moment("started_s", trial->started);
    json_number("wall_s", trial->wall);
    json_numbers("latencies_s", trial->raw, raw ? trial->kept : 0);
    print_stats(&trial->stats);
    json_close('}');
}

static void print_step(const report_t *report, int step) {
    json_open('{');
    json_string("name", model_steps[step].name);
    json_string("op", model_steps[step].op);
    json_integer("work", model_steps[step].work);
    json_integer("threads_share", report->session->split[step]);
    json_integer("samples", (long long)report->steps[step].samples);
    print_stats(&report->steps[step].stats);
    json_close('}');
}

static void print_setup(const report_t *report) {
    const args_t *args = report->args;
    int shared = 0;
    for (int i = 0; i < model_step_count; i++) shared += report->session->split[i];
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
    json_number("clock_overhead_s", report->clock_overhead);
    if (*report->governor) {
        json_string("governor", report->governor);
    } else {
        json_null("governor");
    }
}

void report_json(const report_t *report) {
    json_open('{');
    print_setup(report);
    print_state("before", &report->before);
    json_number("first_inference_s", report->first_inference);
    json_integer("warmup_calls", report->warmup_calls);
    json_integer("calls_per_sample", report->calls_per_sample);
    json_integer("peak_rss_bytes", report->peak_rss);
    json_open_key("trials", '[');
    for (int i = 0; i < report->args->trials; i++) {
        print_trial(&report->trials[i], report->args->samples);
    }
    json_close(']');
    json_open_key("layers", '[');
    int end = report->steps ? report->session->end_step : 0;
    for (int step = report->session->first_step; step < end; step++) print_step(report, step);
    json_close(']');
    print_state("after", &report->after);
    json_moment("finished_s", report->finished);
    json_close('}');
}
