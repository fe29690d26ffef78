/* Samples of a quantity, all kept, and exact statistics of them. */
#ifndef STATS_H
#define STATS_H

#include <stddef.h>

typedef struct {
    double *values; /* in the order they were taken, until stats_of sorts them */
    size_t count, room;
} samples_t;

typedef struct {
    double median, p90, p99, min, max, mean;
} stats_t;

void samples_add(samples_t *samples, double value);
void samples_free(samples_t *samples);

/* Sorts the samples. At least one. p90 and p99 by nearest rank. */
stats_t stats_of(samples_t *samples);

#endif
