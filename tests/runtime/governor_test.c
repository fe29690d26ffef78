/* Every state of the governor, under every condition of a grid, for every table of a few costs. */
#include "governor.h"

#include <stdio.h>
#include <stdlib.h>

#define CHECK(condition) \
    do { \
        if (!(condition)) { \
            fprintf(stderr, "line %d: %s\n", __LINE__, #condition); \
            exit(1); \
        } \
    } while (0)
#define COUNT(array) (int)(sizeof(array) / sizeof *(array))

enum { MOST = 4, PATIENCE = 3 };
static const uint32_t COSTS[] = {MODEL_MOST_US, 70000, 900, 255, 1};
static const uint32_t DEADLINES[] = {0, 1, 254, 255, 256, 899, 900, 1801, 70000, 4294967295u};
static const uint32_t SLOWNESS[] = {256, 257, 511, 4096, 65535};
static const int16_t TEMPERATURES[] = {MODEL_UNKNOWN_C, -40, 60, 61, 70, 79, 80, 32767};
static const uint8_t BATTERIES[] = {0, 5, 6, 15, 20, 100}, LOADS[] = {0, 1, 50, 99, 100, 255};
static const uint32_t ENERGIES[] = {0, 10, 29, 30};

/* In 64 bits, from the definition: the p99, as slow as things are, meets the deadline. */
static int meets(const model_governor_t *g, const model_conditions_t *now, int point) {
    const model_cost_t *cost = &g->policy->costs[point];
    if (now->energy_uj && cost->energy_uj > now->energy_uj) return 0;
    if (!now->deadline_us) return 1;
    double slow = g->slowness, left = now->load_percent < 100 ? 100 - now->load_percent : 0;
    double factor = left > 0 && slow * 100 / left < 65535 ? slow * 100 / left : 65535;
    return cost->p99_us * factor / 256 <= now->deadline_us;
}

/* Meets it by what integers may be off: a two hundred and fifty-sixth of the slowness, one us. */
static int meets_clearly(const model_governor_t *g, const model_conditions_t *now, int point) {
    model_conditions_t tight = *now;
    if (now->deadline_us) {
        uint32_t room = g->policy->costs[point].p99_us / 256 + 2;
        if (now->deadline_us <= room) return 0;
        tight.deadline_us = now->deadline_us - room;
    }
    return meets(g, &tight, point);
}

static int allowed(const model_policy_t *p, const model_conditions_t *now, int point) {
    if (now->temperature_c != MODEL_UNKNOWN_C && now->temperature_c >= p->hot_c) {
        if (point < p->count - 1) return 0;
    }
    return now->battery_percent > p->empty_percent || point == p->count - 1;
}

static long long check(const model_policy_t *policy, const model_conditions_t *now, int point,
                       uint32_t slowness, int waited) {
    model_governor_t g;
    CHECK(model_governor_init(&g, policy) == 0);
    g.point = (uint8_t)point, g.slowness = slowness, g.allowed = (uint16_t)waited;
    int chosen = model_governor_choose(&g, now), last = policy->count - 1, any = 0, clear = 0;
    CHECK(chosen == g.point && 0 <= chosen && chosen <= last);
    CHECK(allowed(policy, now, chosen));
    for (int i = 0; i <= last; i++) {
        any |= allowed(policy, now, i) && meets(&g, now, i);
        clear |= allowed(policy, now, i) && meets_clearly(&g, now, i);
    }
    /* Never one that is too slow; the last one, and it says so, where all are. */
    if (g.fits) CHECK(meets(&g, now, chosen));
    if (!g.fits) CHECK(chosen == last && !clear);
    if (g.fits) CHECK(any);
    /* A dearer one by one step, and only after enough choices. */
    if (chosen < point) CHECK(chosen == point - 1 && waited + 1 >= PATIENCE);
    if (chosen != point) CHECK(g.allowed == 0);
    return 1;
}

static long long check_policy(const model_policy_t *policy) {
    long long cases = 0;
    for (int d = 0; d < COUNT(DEADLINES); d++)
    for (int t = 0; t < COUNT(TEMPERATURES); t++)
    for (int b = 0; b < COUNT(BATTERIES); b++)
    for (int l = 0; l < COUNT(LOADS); l++)
    for (int e = 0; e < COUNT(ENERGIES); e++)
    for (int s = 0; s < COUNT(SLOWNESS); s++)
    for (int point = 0; point < policy->count; point++)
    for (int waited = 0; waited < PATIENCE; waited += PATIENCE - 1) {
        model_conditions_t now = {DEADLINES[d], ENERGIES[e], TEMPERATURES[t], BATTERIES[b],
                                  LOADS[l]};
        cases += check(policy, &now, point, SLOWNESS[s], waited);
    }
    return cases;
}

/* Every falling row of costs. */
static long long check_tables(model_cost_t *costs, int count, int from) {
    if (count) {
        for (int i = 0; i < count; i++) costs[i].energy_uj = (uint32_t)(10 * (count - i));
        model_policy_t policy = {costs, count, 60, 80, 20, 5, PATIENCE};
        long long cases = check_policy(&policy);
        if (count == MOST) return cases;
        for (int i = from; i < COUNT(COSTS); i++) {
            costs[count].p50_us = costs[count].p99_us = COSTS[i];
            cases += check_tables(costs, count + 1, i + 2); /* every second: enough, and quicker */
        }
        return cases;
    }
    long long cases = 0;
    for (int i = 0; i < COUNT(COSTS); i++) {
        costs[0].p50_us = costs[0].p99_us = COSTS[i];
        cases += check_tables(costs, 1, i + 1);
    }
    return cases;
}

/* Whatever conditions follow each other, and however long runs take. */
static void check_switching(void) {
    static const model_cost_t costs[] = {{800, 900, 0}, {200, 255, 0}, {40, 60, 0}, {1, 1, 0}};
    model_policy_t policy = {costs, MOST, 60, 80, 20, 5, PATIENCE};
    model_governor_t g;
    CHECK(model_governor_init(&g, &policy) == 0);
    srand(1);
    int changes = 0, choices = 200000, before = g.point;
    for (int i = 0; i < choices; i++) {
        model_conditions_t now = MODEL_NOTHING_KNOWN;
        now.deadline_us = DEADLINES[rand() % COUNT(DEADLINES)];
        now.temperature_c = TEMPERATURES[rand() % COUNT(TEMPERATURES)];
        now.load_percent = LOADS[rand() % 3];
        int chosen = model_governor_choose(&g, &now);
        changes += chosen != before, before = chosen;
        model_governor_ran(&g, (uint32_t)rand() % 2000);
        CHECK(g.slowness >= 256 && g.slowness <= 65535);
    }
    CHECK(changes <= 2 * choices / PATIENCE && changes > 0);
}

static void check_learning(void) {
    static const model_cost_t costs[] = {{800, 900, 0}, {200, 255, 0}};
    model_policy_t policy = {.costs = costs, .count = 2};
    model_governor_t g;
    CHECK(model_governor_init(&g, &policy) == 0);
    CHECK(g.point == 1); /* the cheapest first */
    model_conditions_t now = MODEL_NOTHING_KNOWN;
    now.deadline_us = 1000;
    for (int i = 0; i < 7; i++) CHECK(model_governor_choose(&g, &now) == 1);
    CHECK(model_governor_choose(&g, &now) == 0); /* the eighth choice, by default */
    /* A machine that has become twice as slow is noticed, and when it is itself again, too. */
    for (int i = 0; i < 3; i++) model_governor_ran(&g, 1600);
    CHECK(model_governor_choose(&g, &now) == 1 && g.fits);
    for (int i = 0; i < 100; i++) model_governor_ran(&g, 190);
    CHECK(g.slowness == 256);
    /* What others' load explains is no slowness; what is beyond it, is. */
    now.load_percent = 50, now.deadline_us = 1000;
    CHECK(model_governor_choose(&g, &now) == 1 && g.fits);
    for (int i = 0; i < 100; i++) model_governor_ran(&g, 400);
    CHECK(g.slowness == 256);
    for (int i = 0; i < 100; i++) model_governor_ran(&g, 800);
    CHECK(g.slowness == 512);
    CHECK(model_governor_choose(&g, &now) == 1 && !g.fits); /* 255 us at a quarter of the speed */
    now.load_percent = 0;
    model_governor_choose(&g, &now);
    model_governor_ran(&g, 4294967295u);
    model_governor_ran(&g, 0);
    CHECK(g.slowness > 256);
}

static void check_refusals(void) {
    static const model_cost_t tables[][2] = {
        {{0, 1, 0}, {1, 1, 0}}, {{2, 1, 0}, {1, 1, 0}}, {{1, 2, 0}, {1, 3, 0}},
        {{2, 2, 5}, {1, 1, 6}}, {{1, MODEL_MOST_US + 1, 0}, {1, 1, 0}},
    };
    model_governor_t g;
    for (int i = 0; i < COUNT(tables); i++) {
        model_policy_t policy = {.costs = tables[i], .count = 2};
        CHECK(model_governor_init(&g, &policy) == MODEL_E_TABLE);
        policy.count = 0;
        CHECK(model_governor_init(&g, &policy) == MODEL_E_TABLE);
    }
    CHECK(sizeof g <= 64);
}

static void check_sureness(void) {
    static const int8_t codes[] = {-128, 127, 100};
    static const uint8_t bytes[] = {255, 255};
    float floats[] = {0.5f, 2.5f, 0.25f};
    CHECK(model_sure_i8(codes, 3, 27) && !model_sure_i8(codes, 3, 28));
    CHECK(model_sure_u8(bytes, 2, 0) && !model_sure_u8(bytes, 2, 1));
    CHECK(model_sure_f32(floats, 3, 2.0f) && !model_sure_f32(floats, 3, 2.5f));
    CHECK(model_sure_i8(codes, 1, 127));
    floats[2] = 0.0f / floats[0] - floats[0] * 0;
    volatile float zero = 0;
    floats[2] = zero / zero;
    CHECK(!model_sure_f32(floats, 3, 0.0f)); /* of what is no number nothing is sure */
}

int main(void) {
    model_cost_t costs[MOST];
    printf("%lld\n", check_tables(costs, 0, 0));
    check_switching();
    check_learning();
    check_refusals();
    check_sureness();
    return 0;
}
