#include "session.h"

#include <stdlib.h>
#include <string.h>

#include "clock.h"
#include "exit_codes.h"
#include "files.h"
#include "model.h"
#include "sample_text.h"
#include "stats.h"

/* Long enough for another process to let go of the second core for a moment. */
enum { PLAN_RUNS = 10, MAX_PLAN_RUNS = 2000 };
static const double PLAN_SECONDS = 0.2;

typedef struct {
    session_t *session;
    int step;
} step_job_t;

static void *allocate(size_t count, size_t size) {
    void *data = calloc(count, size);
    if (!data) fail(EXIT_MEASUREMENT, NULL, "out of memory");
    return data;
}

#ifdef MODEL_POINT_COUNT
/* By name, else by number; -1 where there is no such point. */
static int point_number(const char *point) {
    for (int i = 0; i < MODEL_POINT_COUNT; i++) {
        if (!strcmp(point, model_points[i].name)) return i;
    }
    char *end;
    long number = strtol(point, &end, 10);
    return *point && !*end && number >= 0 && number < MODEL_POINT_COUNT ? (int)number : -1;
}
#endif

#ifdef MODEL_POINT_COUNT
void session_choose(session_t *session, int point) {
    model_set_point(session->arena, point);
    session->first_step = model_points[point].first_step;
    session->end_step = session->first_step + model_points[point].step_count;
}
#endif

/* The steps of a model are those of all its operating points, behind each other. */
static void choose_point(session_t *session, const char *point) {
    session->first_step = 0, session->end_step = model_step_count;
#ifdef MODEL_POINT_COUNT
    int chosen = point ? point_number(point) : 0;
    if (chosen < 0) {
        fail(EXIT_USAGE, "`runner info` shows which there are", "--point: no point '%s'", point);
    }
    session_choose(session, chosen);
#else
    if (point) fail(EXIT_USAGE, NULL, "--point: the model has one point only");
#endif
}

session_t session_open(const files_t *inputs, const char *point) {
    if (inputs->count && inputs->count != model_input_count) {
        fail(EXIT_USAGE, NULL, "--input: %d files for a model with %d inputs", inputs->count,
             (int)model_input_count);
    }
    session_t session = {
        .in = allocate((size_t)model_input_count, sizeof *session.in),
        .out = allocate((size_t)model_output_count, sizeof *session.out),
        .arena = tensor_alloc(model_arena_bytes),
        .split = allocate((size_t)model_step_count, 1),
    };
    for (int i = 0; i < model_input_count; i++) {
        void *data = tensor_alloc(model_input_bytes[i]);
#ifdef MODEL_STATE_COUNT
        if (inputs->count) tensor_read_at(inputs->paths[i], data, model_input_bytes[i], 0);
#else
        if (inputs->count) tensor_read(inputs->paths[i], data, model_input_bytes[i]);
#endif
#ifdef MODEL_INPUT_0_TEXT
        if (i == 0 && !inputs->count) fill_with_text(data, model_input_bytes[i]);
#endif
        session.in[i] = data;
    }
    for (int i = 0; i < model_output_count; i++) {
        session.out[i] = tensor_alloc(model_output_bytes[i]);
    }
    session_reset(&session);
    choose_point(&session, point);
    return session;
}

/* End with what went wrong in a run. */
static _Noreturn void failed(const char *what, int status) {
#ifdef MODEL_E_NO_DRIVER
    /* By MODEL_E_* from 3 on, as in edgekiln/runtime/library.py. */
    static const enum exit_code codes[] = {EXIT_TOOL, EXIT_DEVICE, EXIT_BUNDLE, EXIT_DEVICE,
                                           EXIT_DEVICE};
    if (status >= MODEL_E_NO_DRIVER && status <= MODEL_E_LOST) {
        const char *hint = model_error_hint();
        fail(codes[status - MODEL_E_NO_DRIVER], *hint ? hint : NULL, "%s", model_error());
    }
#endif
    fail(EXIT_BUG, NULL, "%s failed: %d", what, status);
}

static int run_items(void *context, int32_t begin, int32_t end) {
    step_job_t *job = context;
    session_t *s = job->session;
    return model_step(job->step, s->in, s->out, s->arena, begin, end);
}

void session_step(session_t *session, int step) {
    step_job_t job = {session, step};
    int32_t work = model_steps[step].work;
    int status = session->split[step] ? pool_run(session->pool, run_items, &job, work)
                                      : run_items(&job, 0, work);
    if (status) failed(model_steps[step].name, status);
}

void session_run(session_t *session) {
    if (session->pool) {
        for (int step = session->first_step; step < session->end_step; step++) {
            session_step(session, step);
        }
        return;
    }
    int status = model_run(session->in, session->out, session->arena);
    if (status) failed("model_run", status);
}

static double step_seconds(session_t *session, int step) {
    double start = clock_seconds();
    session_step(session, step);
    return clock_seconds() - start;
}

/* Share the steps that then take less time: the shortest of some runs in their place counts. */
static void choose_steps(session_t *session) {
    double *best[2] = {allocate((size_t)model_step_count, sizeof **best),
                       allocate((size_t)model_step_count, sizeof **best)};
    double end = clock_seconds() + PLAN_SECONDS;
    for (int run = 0; run < PLAN_RUNS || clock_seconds() < end; run++) {
        for (int shared = 0; shared < 2; shared++) {
            for (int step = session->first_step; step < session->end_step; step++) {
                session->split[step] = shared && model_steps[step].work > 1;
                double seconds = step_seconds(session, step);
                double *least = &best[shared][step];
                if (run == 0 || seconds < *least) *least = seconds;
            }
        }
    }
    for (int step = session->first_step; step < session->end_step; step++) {
        session->split[step] = model_steps[step].work > 1 && best[1][step] < best[0][step];
    }
    free(best[0]);
    free(best[1]);
}

static double run_seconds(session_t *session, pool_t *pool) {
    pool_t *own = session->pool;
    session->pool = pool;
    double start = clock_seconds();
    session_run(session);
    double seconds = clock_seconds() - start;
    session->pool = own;
    return seconds;
}

/* Are threads faster in the median of whole runs, taken in turn with runs of one thread? */
static int threads_pay(session_t *session) {
    samples_t alone = {0}, shared = {0};
    double end = clock_seconds() + PLAN_SECONDS;
    for (int run = 0; run < PLAN_RUNS || (run < MAX_PLAN_RUNS && clock_seconds() < end); run++) {
        samples_add(&alone, run_seconds(session, NULL));
        samples_add(&shared, run_seconds(session, session->pool));
    }
    int pay = stats_of(&shared).median < stats_of(&alone).median;
    samples_free(&alone);
    samples_free(&shared);
    return pay;
}

void session_use_threads(session_t *session, int threads, const int *cpus) {
    if (threads == 1) return;
    if (!session->pool) session->pool = pool_start(threads, cpus);
    choose_steps(session);
    int pay = threads_pay(session);
    session_reset(session);
    if (pay) return;
    memset(session->split + session->first_step, 0,
           (size_t)(session->end_step - session->first_step));
    if (memchr(session->split, 1, (size_t)model_step_count)) return; /* another point's */
    pool_stop(session->pool);
    session->pool = NULL;
}

void session_close(session_t *session) {
    if (session->pool) pool_stop(session->pool);
    for (int i = 0; i < model_input_count; i++) free((void *)(uintptr_t)session->in[i]);
    for (int i = 0; i < model_output_count; i++) free(session->out[i]);
    free(session->in);
    free(session->out);
    free(session->arena);
    free(session->split);
}
