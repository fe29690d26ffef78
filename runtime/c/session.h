/* A model with its memory and its threads. */
#ifndef SESSION_H
#define SESSION_H

#include "args.h"
#include "model.h"
#include "pool.h"

/* Begin a stream: what a program with states remembers is zero again. */
#ifdef MODEL_STATE_COUNT
#define session_reset(session) model_reset((session)->arena)
#else
#define session_reset(session) ((void)0)
#endif

typedef struct {
    int first_step, end_step; /* of model_steps, those of the operating point */
    const void **in;
    void **out;
    void *arena;
    pool_t *pool;         /* NULL: one thread */
    unsigned char *split; /* by step: do the threads share it? */
} session_t;

/* Allocate everything and read the inputs; zeros when no file is named. Files of a program with
 * states hold the steps of a stream, of which the first is read. `point` names the operating point;
 * NULL: the first. */
session_t session_open(const files_t *inputs, const char *point);

#ifdef MODEL_POINT_COUNT
/* Let this operating point, which there is, run from now on. */
void session_choose(session_t *session, int point);
#endif

/* Start threads and find out, by running the model, which steps gain from them. None does: one
 * thread stays. A stream begins behind it. Of a model with several operating points that is found
 * out of the current one; call it at each. */
void session_use_threads(session_t *session, int threads, const int *cpus);

/* One inference; exits with EXIT_BUG if the model reports an error. */
void session_run(session_t *session);

/* One step of it, shared or not as session_use_threads found. */
void session_step(session_t *session, int step);

void session_close(session_t *session);

#endif
