/* Latency of a model, measured and printed. */
#ifndef BENCH_H
#define BENCH_H

#include "args.h"

void bench(const args_t *args);

#endif
