#include "governor.h"

/* 32 bits hold every product: costs are below 2^24, slowness is below 2^16. */
enum { AS_MEASURED = 256, SLOWEST = 65535, PATIENCE = 8, MOST_POINTS = 255 };

int model_governor_init(model_governor_t *governor, const model_policy_t *policy) {
    if (policy->count < 1 || policy->count > MOST_POINTS) return MODEL_E_TABLE;
    for (int32_t i = 0; i < policy->count; i++) {
        const model_cost_t *cost = &policy->costs[i];
        if (cost->p50_us == 0 || cost->p50_us > cost->p99_us) return MODEL_E_TABLE;
        if (cost->p99_us > MODEL_MOST_US) return MODEL_E_TABLE;
        if (i == 0) continue;
        const model_cost_t *dearer = &policy->costs[i - 1];
        if (cost->p99_us > dearer->p99_us || cost->energy_uj > dearer->energy_uj) {
            return MODEL_E_TABLE;
        }
    }
    governor->policy = policy;
    governor->slowness = AS_MEASURED;
    governor->allowed = 0;
    governor->point = (uint8_t)(policy->count - 1);
    governor->fits = 1;
    governor->left = 100;
    return 0;
}

/* How many of the dearest points are left out where `value` is between `from` and `to`: at `from`
 * none, at `to` all but one. */
static int32_t left_out(int32_t value, int32_t from, int32_t to, int32_t count) {
    if (from >= to || value <= from) return 0;
    if (value >= to) return count - 1;
    return ((value - from) * (count - 1) + (to - from) - 1) / (to - from);
}

/* The first point that temperature and battery allow. */
static int32_t dearest(const model_policy_t *policy, const model_conditions_t *now) {
    int32_t hot = 0, empty = 0;
    if (now->temperature_c != MODEL_UNKNOWN_C) {
        hot = left_out(now->temperature_c, policy->warm_c, policy->hot_c, policy->count);
    }
    empty = left_out(-now->battery_percent, -policy->low_percent, -policy->empty_percent,
                     policy->count);
    return hot > empty ? hot : empty;
}

/* In 1/256 of what was measured: as of late, and what is left of the processor. */
static uint32_t slowness_now(const model_governor_t *governor) {
    uint32_t left = governor->left;
    if (left == 0) return SLOWEST;
    uint32_t slow = (governor->slowness * 100 + left - 1) / left;
    return slow < SLOWEST ? slow : SLOWEST;
}

static int fits(const model_cost_t *cost, const model_conditions_t *now, uint32_t slow) {
    if (now->energy_uj && cost->energy_uj > now->energy_uj) return 0;
    if (now->deadline_us == 0) return 1;
    uint32_t high = cost->p99_us >> 8, low = cost->p99_us & 255;
    return high * slow + ((low * slow + 255) >> 8) <= now->deadline_us; /* rounded up */
}

int32_t model_governor_choose(model_governor_t *governor, const model_conditions_t *now) {
    const model_policy_t *policy = governor->policy;
    governor->left = (uint8_t)(now->load_percent < 100 ? 100 - now->load_percent : 0);
    uint32_t slow = slowness_now(governor);
    uint32_t patience = policy->patience ? policy->patience : PATIENCE;
    int32_t last = policy->count - 1, best = dearest(policy, now);
    while (best < last && !fits(&policy->costs[best], now, slow)) best++;
    governor->fits = (uint8_t)fits(&policy->costs[best], now, slow);
    if (best > governor->point) {
        governor->point = (uint8_t)best;
        governor->allowed = 0;
    } else if (best == governor->point) {
        governor->allowed = 0;
    } else if (++governor->allowed >= patience) {
        governor->point--; /* as costs fall, what lies between best and the point fits, too */
        governor->allowed = 0;
    }
    return governor->point;
}

void model_governor_ran(model_governor_t *governor, uint32_t took_us) {
    const model_cost_t *cost = &governor->policy->costs[governor->point];
    uint32_t took = took_us < MODEL_MOST_US ? took_us : MODEL_MOST_US;
    uint32_t slow = (took << 8) / cost->p50_us, before = governor->slowness;
    slow = slow / 100 * governor->left + slow % 100 * governor->left / 100;
    if (slow > SLOWEST) slow = SLOWEST;
    if (slow < AS_MEASURED) slow = AS_MEASURED;
    /* Up by quarters of the way, down by sixteenths, at least by one each. */
    governor->slowness = slow > before ? before + (slow - before + 3) / 4
                                       : before - (before - slow + 15) / 16;
}

#define SURE(name, type, difference) \
    int name(const type *scores, int32_t count, difference margin) { \
        int32_t best = 0; \
        for (int32_t i = 1; i < count; i++) { \
            if (scores[i] > scores[best]) best = i; \
        } \
        for (int32_t i = 0; i < count; i++) { \
            /* Written so that a score that is no number is never sure. */ \
            if (i != best && !(scores[best] - scores[i] >= margin)) return 0; \
        } \
        return 1; \
    }

SURE(model_sure_i8, int8_t, int32_t)
SURE(model_sure_u8, uint8_t, int32_t)
SURE(model_sure_f32, float, float)
