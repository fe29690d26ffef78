/* One executable for a model: measure, run, check it. Needs no library and no other file. */
#include <stdio.h>
#include <string.h>

#include "accuracy.h"
#include "args.h"
#include "bench.h"
#include "cpu.h"
#include "exit_codes.h"
#include "files.h"
#include "identity.h"
#include "json.h"
#include "model.h"
#include "session.h"
#include "target.h"
#include "trace.h"

/* An unknown instruction would kill the process without a word. */
static void check_cpu(void) {
    static const char *const features[] = TARGET_FEATURES;
    char missing[1024] = "";
    for (size_t i = 0; features[i]; i++) {
        if (cpu_has(features[i])) continue;
        size_t used = strlen(missing);
        snprintf(missing + used, sizeof missing - used, "%s%s", used ? ", " : "", features[i]);
    }
    if (*missing) {
        fail(EXIT_BUNDLE, "build it with a --target that fits this machine",
             "made for " TARGET_NAME ", this CPU lacks %s", missing);
    }
    for (size_t i = 0; features[i]; i++) {
        int error = cpu_request(features[i]);
        if (!error) continue;
        fail(EXIT_BUNDLE,
             "it takes Linux 5.16 and a virtual machine or container that passes it on; "
             "or build it with another --target",
             "made for " TARGET_NAME ", Linux refuses %s: %s", features[i], strerror(error));
    }
}

static void want_files(const files_t *files, int32_t wanted, const char *option) {
    if (files->count != wanted) {
        fail(EXIT_USAGE, "see --help", "%s: %d files for a model with %d %ss", option, files->count,
             (int)wanted, strcmp(option, "--input") ? "output" : "input");
    }
}

#ifdef MODEL_STATE_COUNT
/* The steps of a stream, as many as the files hold: as of samples, each behind the one before. */
static void run(const args_t *args) {
    want_files(&args->input, model_input_count, "--input");
    want_files(&args->output, model_output_count, "--output");
    accuracy(args);
}

static session_t infer_and_compare(const args_t *args) {
    want_files(&args->input, model_input_count, "--input");
    session_t session = session_open(&args->input, args->point);
    session_use_threads(&session, args->threads, args->cpu_count ? args->cpus : NULL);
    long steps = tensor_count(args->input.paths[0], model_input_bytes[0]);
    for (long step = 0; step < steps; step++) {
        for (int i = 0; i < model_input_count; i++) {
            void *data = (void *)(uintptr_t)session.in[i];
            tensor_read_at(args->input.paths[i], data, model_input_bytes[i], step);
        }
        session_run(&session);
        for (int i = 0; i < model_output_count; i++) {
            const char *path = args->expect.paths[i];
            tensor_compare_at(path, i, session.out[i], model_output_bytes[i], step);
        }
    }
    return session;
}
#else
static session_t infer(const args_t *args) {
    if (args->input.count == 0) fail(EXIT_USAGE, "see --help", "%s: no --input", args->command);
    session_t session = session_open(&args->input, args->point);
    session_use_threads(&session, args->threads, args->cpu_count ? args->cpus : NULL);
    session_run(&session);
    return session;
}

static void run(const args_t *args) {
    want_files(&args->output, model_output_count, "--output");
    session_t session = infer(args);
    for (int i = 0; i < model_output_count; i++) {
        tensor_write(args->output.paths[i], session.out[i], model_output_bytes[i]);
    }
    session_close(&session);
}

#endif

static void check(const args_t *args) {
    want_files(&args->expect, model_output_count, "--expect");
#ifdef MODEL_STATE_COUNT
    session_t session = infer_and_compare(args);
#else
    session_t session = infer(args);
    for (int i = 0; i < model_output_count; i++) {
        tensor_compare(args->expect.paths[i], i, session.out[i], model_output_bytes[i]);
    }
#endif
    json_open('{');
    json_integer("schema", 1);
    json_integer("outputs_equal", model_output_count);
    json_close('}');
    session_close(&session);
}

int main(int argc, char **argv) {
    args_t args = args_parse(argc, argv);
    check_executable();
    if (!strcmp(args.command, "info")) {
        fputs(program_json, stdout);
        return EXIT_OK;
    }
    check_cpu();
    if (!strcmp(args.command, "perf")) {
        bench(&args);
    } else if (!strcmp(args.command, "accuracy")) {
        want_files(&args.input, model_input_count, "--input");
        want_files(&args.output, model_output_count, "--output");
        accuracy(&args);
    } else if (!strcmp(args.command, "run")) {
        run(&args);
    } else if (!strcmp(args.command, "check")) {
        check(&args);
    } else if (!strcmp(args.command, "trace")) {
        trace(&args);
    } else {
        fail(EXIT_USAGE, "commands are: perf, accuracy, run, check, trace, info",
             "unknown command '%s'", args.command);
    }
    return EXIT_OK;
}
