/* Threads that share the work of one step. They spin for a moment between steps, then sleep. */
#ifndef POOL_H
#define POOL_H

#include <stdint.h>

enum { MAX_THREADS = 64 };

/* Items begin..end-1 of a job; returns 0 or an error. */
typedef int (*job_t)(void *context, int32_t begin, int32_t end);

typedef struct pool pool_t;

/* `threads` in all, the caller's included. cpus: one for each thread, or NULL to let them roam. */
pool_t *pool_start(int threads, const int *cpus);

/* Run a job on all threads, split evenly, and wait for it. Returns 0 or one thread's error. */
int pool_run(pool_t *pool, job_t job, void *context, int32_t work);

void pool_stop(pool_t *pool);

/* Pin the calling thread; exits with EXIT_MEASUREMENT where it may not. */
void pin_thread(int cpu);

#endif
