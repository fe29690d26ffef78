/* Chooses the operating point of a model, run by run. Integers alone, no heap, no lock, no clock of
 * its own: whoever calls it says what is known, and how long the last run took.
 *
 *     static const model_cost_t costs[MODEL_POINT_COUNT] = {{9000, 9800, 0}, {3100, 3500, 0}};
 *     static const model_policy_t policy = {.costs = costs, .count = MODEL_POINT_COUNT};
 *     model_governor_t governor;
 *     if (model_governor_init(&governor, &policy) != 0) ...
 *
 *     model_conditions_t now = MODEL_NOTHING_KNOWN;
 *     now.deadline_us = 5000;
 *     model_set_point(arena, model_governor_choose(&governor, &now));
 *     model_run(in, out, arena);
 *     model_governor_ran(&governor, microseconds_it_took);
 *
 * What holds of a choice: where some point is expected to meet the deadline in 99 of 100 runs, and
 * to take no more energy than is allowed, so does the one that is chosen; where none is, it is the
 * last one, and `fits` is 0. A dearer point is taken only after `patience` choices in a row that
 * would have allowed it, and one step at a time, so points change at most twice in `patience`
 * choices, in the long run.
 */
#ifndef MODEL_GOVERNOR_H
#define MODEL_GOVERNOR_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define MODEL_MOST_US 16777215 /* of a cost: 16.7 s */
#define MODEL_E_TABLE 4        /* costs rise from a point to the next, or are 0 or over that */

/* What a run at a point takes, as `edgekiln bench --point` measures it on the device. */
typedef struct {
    uint32_t p50_us, p99_us;
    uint32_t energy_uj; /* 0: not measured */
} model_cost_t;

/* What shall happen. Costs fall from each point to the next; what is 0 changes nothing. */
typedef struct {
    const model_cost_t *costs; /* one for each point */
    int32_t count;
    int16_t warm_c, hot_c;        /* from warm on the dearest points are left out; at hot all but one */
    uint8_t low_percent;          /* the same as the battery falls from here ... */
    uint8_t empty_percent;        /* ... to here */
    uint16_t patience;            /* choices before a dearer point; 0: 8 */
} model_policy_t;

/* What is known now. */
typedef struct {
    uint32_t deadline_us;    /* for this run; 0: none */
    uint32_t energy_uj;      /* that it may take; 0: any */
    int16_t temperature_c;   /* MODEL_UNKNOWN_C where nobody measures */
    uint8_t battery_percent; /* 100 without a battery */
    uint8_t load_percent;    /* of the processor's time that others take */
} model_conditions_t;

#define MODEL_UNKNOWN_C (-32768)
#define MODEL_NOTHING_KNOWN {0, 0, MODEL_UNKNOWN_C, 100, 0}

/* 24 bytes at most. To be read: `point`, and `fits`, which is 0 where no point fits. */
typedef struct {
    const model_policy_t *policy;
    uint32_t slowness; /* of late, in 1/256 of what was measured; never below 256 */
    uint16_t allowed;  /* choices in a row that allowed a dearer point */
    uint8_t point, fits;
    uint8_t left; /* of the processor, in percent, as the last choice was told */
} model_governor_t;

/* Begin at the cheapest point. 0, or MODEL_E_TABLE. */
int model_governor_init(model_governor_t *governor, const model_policy_t *policy);

/* The point for the next run. */
int32_t model_governor_choose(model_governor_t *governor, const model_conditions_t *now);

/* How long the run at the point that was chosen last took, from outside. What the load of that
 * choice explains of it is no slowness: it would count twice. */
void model_governor_ran(model_governor_t *governor, uint32_t took_us);

/* For a cascade: whether the largest of some scores leads the next one by `margin` or more. Where a
 * cheap point's answer does not, ask a dearer point. */
int model_sure_i8(const int8_t *scores, int32_t count, int32_t margin);
int model_sure_u8(const uint8_t *scores, int32_t count, int32_t margin);
int model_sure_f32(const float *scores, int32_t count, float margin);

#ifdef __cplusplus
}
#endif
#endif
