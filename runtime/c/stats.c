#include "stats.h"

#include <math.h>
#include <stdlib.h>

#include "exit_codes.h"

void samples_add(samples_t *samples, double value) {
    if (samples->count == samples->room) {
        samples->room = samples->room ? 2 * samples->room : 1024;
        samples->values = realloc(samples->values, samples->room * sizeof *samples->values);
        if (!samples->values) fail(EXIT_MEASUREMENT, NULL, "out of memory for the samples");
    }
    samples->values[samples->count++] = value;
}

void samples_free(samples_t *samples) {
    free(samples->values);
    *samples = (samples_t){0};
}

static int ascending(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double nearest_rank(const samples_t *sorted, double share) {
    size_t rank = (size_t)ceil(share * (double)sorted->count);
    return sorted->values[rank - 1];
}

stats_t stats_of(samples_t *samples) {
    size_t n = samples->count;
    double *v = samples->values;
    qsort(v, n, sizeof *v, ascending);
    double sum = 0;
    for (size_t i = 0; i < n; i++) sum += v[i];
    return (stats_t){
        .median = (v[(n - 1) / 2] + v[n / 2]) / 2,
        .p90 = nearest_rank(samples, 0.90),
        .p99 = nearest_rank(samples, 0.99),
        .min = v[0],
        .max = v[n - 1],
        .mean = sum / (double)n,
    };
}
