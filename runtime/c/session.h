/* A model with its memory and its threads. */
#ifndef SESSION_H
#define SESSION_H

#include "args.h"
#include "pool.h"

typedef struct {
    const void **in;
    void **out;
    void *arena;
    pool_t *pool;         /* NULL: one thread */
    unsigned char *split; /* by step: do the threads share it? */
} session_t;

/* Allocate everything and read the inputs; zeros when no file is named. */
session_t session_open(const files_t *inputs);

/* Start threads and find out, by running the model, which steps gain from them. None does: one
 * thread stays. */
void session_use_threads(session_t *session, int threads, const int *cpus);

/* One inference; exits with EXIT_BUG if the model reports an error. */
void session_run(session_t *session);

/* One step of it, shared or not as session_use_threads found. */
void session_step(session_t *session, int step);

void session_close(session_t *session);

#endif
