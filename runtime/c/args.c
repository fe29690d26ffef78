#include "args.h"

#include <errno.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "exit_codes.h"

static const char HELP[] =
    "usage: runner perf     [--input FILE] [--trials N] [--min-seconds S] [--warmup-seconds S]\n"
    "                       [--threads N] [--cpu N[,N]...] [--profile] [--samples] [--json]\n"
    "       runner accuracy --input FILE --output FILE [--threads N] [--cpu N[,N]...]\n"
    "       runner run      --input FILE --output FILE [--threads N] [--cpu N[,N]...]\n"
    "       runner check    --input FILE --expect FILE [--threads N] [--cpu N[,N]...]\n"
    "       runner trace    --trace FILE [--input FILE] [--threads N] [--cpu N[,N]...]\n"
    "       runner info\n"
    "Of a model with several operating points each but trace, which runs them all, takes\n"
    "--point N, a number or a name.\n"
    "\n"
    "perf      measure latency, and say it in a few lines\n"
    "accuracy  a data set: its samples in, their predictions out\n"
    "run       one inference\n"
    "check     one inference, its outputs compared byte by byte\n"
    "trace     the governor's choices under the conditions of a file, and each point beside it\n"
    "info      print program.json\n"
    "\n"
    "Files hold one tensor each, raw, in C order; those of accuracy one after the other. Without\n"
    "--input perf uses zeros. Options that name a file are given once for each input or output.\n"
    "  --trials N          independent trials (5)\n"
    "  --min-seconds S     length of a trial (10)\n"
    "  --warmup-seconds S  before the first trial (1)\n"
    "  --threads N         threads, this one included (1)\n"
    "  --cpu N[,N]...      pin the threads, one CPU for each\n"
    "  --profile           also time every layer, in a run of its own\n"
    "  --samples           also print raw latencies, up to 1000 of each trial\n"
    "  --json              print JSON, times in seconds\n"
    "\n"
    "exit codes: 0 done, 1 bug in the model's code, 2 usage, 3 input file, 7 outputs differ,\n"
    "            8 damaged, or made for another CPU, 9 cannot write, 12 cannot measure\n";

static const char SEE_HELP[] = "see --help";

static double number(const char *option, const char *text, double low, double high) {
    char *end;
    double value = strtod(text, &end);
    if (end == text || *end || !(value >= low && value <= high)) {
        fail(EXIT_USAGE, SEE_HELP, "%s: '%s' is not a number from %g to %g", option, text, low,
             high);
    }
    return value;
}

static int whole(const char *option, const char *text, int low, int high) {
    double value = number(option, text, low, high);
    if (value != floor(value)) {
        fail(EXIT_USAGE, SEE_HELP, "%s: '%s' is not a whole number", option, text);
    }
    return (int)value;
}

static void add_file(files_t *files, const char *option, const char *path) {
    if (files->count == MAX_FILES) fail(EXIT_USAGE, NULL, "%s: too many files", option);
    files->paths[files->count++] = path;
}

static void parse_cpus(args_t *args, const char *option, char *list) {
    for (char *item = strtok(list, ","); item; item = strtok(NULL, ",")) {
        if (args->cpu_count == MAX_THREADS) fail(EXIT_USAGE, NULL, "%s: too many CPUs", option);
        args->cpus[args->cpu_count++] = whole(option, item, 0, INT_MAX);
    }
}

static void parse_value(args_t *args, const char *option, char *value) {
    if (!strcmp(option, "--input")) {
        add_file(&args->input, option, value);
    } else if (!strcmp(option, "--output")) {
        add_file(&args->output, option, value);
    } else if (!strcmp(option, "--expect")) {
        add_file(&args->expect, option, value);
    } else if (!strcmp(option, "--trace")) {
        args->trace = value;
    } else if (!strcmp(option, "--trials")) {
        args->trials = whole(option, value, 1, 1000);
    } else if (!strcmp(option, "--threads")) {
        args->threads = whole(option, value, 1, MAX_THREADS);
    } else if (!strcmp(option, "--min-seconds")) {
        args->min_seconds = number(option, value, 0, 86400);
    } else if (!strcmp(option, "--warmup-seconds")) {
        args->warmup_seconds = number(option, value, 0, 86400);
    } else if (!strcmp(option, "--point")) {
        args->point = value;
    } else if (!strcmp(option, "--cpu")) {
        parse_cpus(args, option, value);
    } else {
        fail(EXIT_USAGE, SEE_HELP, "unknown option '%s'", option);
    }
}

args_t args_parse(int argc, char **argv) {
    args_t args = {.trials = 5, .threads = 1, .min_seconds = 10, .warmup_seconds = 1};
    if (argc < 2) fail(EXIT_USAGE, SEE_HELP, "no command");
    args.command = argv[1];
    for (int i = 1; i < argc; i++) {
        if (!strcmp(argv[i], "--help") || !strcmp(argv[i], "-h")) {
            fputs(HELP, stdout);
            exit(EXIT_OK);
        }
    }
    for (int i = 2; i < argc; i++) {
        if (!strcmp(argv[i], "--profile")) {
            args.profile = 1;
        } else if (!strcmp(argv[i], "--samples")) {
            args.samples = 1;
        } else if (!strcmp(argv[i], "--json")) {
            args.json = 1;
        } else if (i + 1 < argc) {
            parse_value(&args, argv[i], argv[i + 1]);
            i++;
        } else {
            fail(EXIT_USAGE, SEE_HELP, "%s: unknown, or its value is missing", argv[i]);
        }
    }
    if (args.cpu_count && args.cpu_count != args.threads) {
        fail(EXIT_USAGE, "name one CPU for each thread", "--cpu: %d CPUs for %d threads",
             args.cpu_count, args.threads);
    }
    return args;
}
