/* The command line. */
#ifndef ARGS_H
#define ARGS_H

#include "pool.h"

enum { MAX_FILES = 16 };

typedef struct {
    const char *paths[MAX_FILES];
    int count;
} files_t;

typedef struct {
    const char *command;
    const char *trace; /* a file as trace.h describes it */
    const char *point; /* a number or a name; NULL: the first */
    files_t input, output, expect;
    int trials, threads;
    double min_seconds, warmup_seconds;
    int cpus[MAX_THREADS];
    int cpu_count; /* 0: roam */
    int profile, samples, json;
} args_t;

/* Exits with EXIT_USAGE on a mistake, with EXIT_OK after --help. */
args_t args_parse(int argc, char **argv);

#endif
