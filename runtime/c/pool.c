#include "pool.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "exit_codes.h"

/* 0.1 to 0.3 ms, a pause being 40 to 140 cycles: longer than most serial steps between two shared
 * ones, short against a time slice. */
enum { SPINS = 5000 };

typedef struct {
    pthread_t thread;
    pool_t *pool;
    int index, cpu; /* cpu -1: roam */
} worker_t;

struct pool {
    int threads;
    worker_t workers[MAX_THREADS];
    /* Written by the caller before it raises `round`, read by workers after they see it raised. */
    job_t job;
    void *context;
    int32_t work;
    int stop;
    _Alignas(64) atomic_uint round;   /* of jobs given out */
    _Alignas(64) atomic_int running;  /* workers not yet done with this round */
    atomic_int status;
    atomic_int sleeping;
    pthread_mutex_t mutex;
    pthread_cond_t wake;
};

static void relax(void) {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

static int share(const pool_t *pool, int index) {
    int32_t begin = (int32_t)((int64_t)pool->work * index / pool->threads);
    int32_t end = (int32_t)((int64_t)pool->work * (index + 1) / pool->threads);
    return begin < end ? pool->job(pool->context, begin, end) : 0;
}

static void await_round(pool_t *pool, unsigned seen) {
    for (int i = 0; i < SPINS; i++) {
        if (atomic_load(&pool->round) != seen) return;
        relax();
    }
    pthread_mutex_lock(&pool->mutex);
    /* Counted before the last look: the caller looks at the count after raising `round`. */
    atomic_fetch_add(&pool->sleeping, 1);
    while (atomic_load(&pool->round) == seen) pthread_cond_wait(&pool->wake, &pool->mutex);
    atomic_fetch_sub(&pool->sleeping, 1);
    pthread_mutex_unlock(&pool->mutex);
}

static void begin_round(pool_t *pool) {
    atomic_store(&pool->running, pool->threads - 1);
    atomic_fetch_add(&pool->round, 1);
    if (atomic_load(&pool->sleeping) > 0) {
        pthread_mutex_lock(&pool->mutex);
        pthread_cond_broadcast(&pool->wake);
        pthread_mutex_unlock(&pool->mutex);
    }
}

static void *worker_main(void *argument) {
    worker_t *self = argument;
    pool_t *pool = self->pool;
    if (self->cpu >= 0) pin_thread(self->cpu);
    for (unsigned seen = 0;; seen++) {
        await_round(pool, seen);
        if (pool->stop) return NULL;
        int status = share(pool, self->index);
        if (status) atomic_store(&pool->status, status);
        atomic_fetch_sub(&pool->running, 1);
    }
}

pool_t *pool_start(int threads, const int *cpus) {
    pool_t *pool = aligned_alloc(64, sizeof *pool);
    if (!pool) fail(EXIT_MEASUREMENT, NULL, "out of memory for the threads");
    memset(pool, 0, sizeof *pool);
    pool->threads = threads;
    pthread_mutex_init(&pool->mutex, NULL);
    pthread_cond_init(&pool->wake, NULL);
    for (int i = 1; i < threads; i++) {
        worker_t *worker = &pool->workers[i];
        *worker = (worker_t){.pool = pool, .index = i, .cpu = cpus ? cpus[i] : -1};
        int error = pthread_create(&worker->thread, NULL, worker_main, worker);
        if (error) fail(EXIT_MEASUREMENT, NULL, "cannot start a thread: %s", strerror(error));
    }
    return pool;
}

int pool_run(pool_t *pool, job_t job, void *context, int32_t work) {
    pool->job = job;
    pool->context = context;
    pool->work = work;
    atomic_store(&pool->status, 0);
    begin_round(pool);
    int status = share(pool, 0);
    for (unsigned spins = 1; atomic_load(&pool->running) > 0; spins++) {
        /* Where threads outnumber free cores the others need this one. */
        if (spins % SPINS == 0) sched_yield();
        relax();
    }
    return status ? status : atomic_load(&pool->status);
}

void pool_stop(pool_t *pool) {
    pool->stop = 1;
    begin_round(pool);
    for (int i = 1; i < pool->threads; i++) pthread_join(pool->workers[i].thread, NULL);
    free(pool);
}

void pin_thread(int cpu) {
    cpu_set_t set;
    CPU_ZERO(&set);
    if (cpu < CPU_SETSIZE) CPU_SET((size_t)cpu, &set);
    if (sched_setaffinity(0, sizeof set, &set) != 0) {
        fail(EXIT_MEASUREMENT, "Cpus_allowed_list in /proc/self/status names the allowed ones",
             "cannot pin a thread to CPU %d: %s", cpu, strerror(errno));
    }
}
