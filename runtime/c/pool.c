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

/* A thread's part of a job, claimed by raising `round`: by its own thread or, where that one is
 * late because its core is busy with something else, by the caller. */
typedef struct {
    _Alignas(64) atomic_uint round;
} share_t;

struct pool {
    int threads;
    worker_t workers[MAX_THREADS];
    /* Written by the caller before it raises `round`, read by whoever has claimed a share of it. */
    job_t job;
    void *context;
    int32_t work;
    atomic_int stop;
    share_t shares[MAX_THREADS];
    _Alignas(64) atomic_uint round;  /* of jobs given out */
    _Alignas(64) atomic_int pending; /* shares not yet done in this round */
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
#elif defined(__riscv)
    __asm__ volatile(".insn i 0x0f, 0, x0, x0, 0x010"); /* pause; a fence where it is unknown */
#endif
}

/* Do a share unless someone else has begun it. A thread that comes late to an old round finds its
 * shares claimed: no round ends before all of them are done. */
static void try_share(pool_t *pool, int index, unsigned round) {
    unsigned before = round - 1;
    if (!atomic_compare_exchange_strong(&pool->shares[index].round, &before, round)) return;
    int32_t begin = (int32_t)((int64_t)pool->work * index / pool->threads);
    int32_t end = (int32_t)((int64_t)pool->work * (index + 1) / pool->threads);
    int status = begin < end ? pool->job(pool->context, begin, end) : 0;
    if (status) atomic_store(&pool->status, status);
    atomic_fetch_sub(&pool->pending, 1);
}

/* Wait for a round other than `seen`, and return it. */
static unsigned await_round(pool_t *pool, unsigned seen) {
    unsigned round;
    for (int i = 0; i < SPINS; i++) {
        if ((round = atomic_load(&pool->round)) != seen) return round;
        relax();
    }
    pthread_mutex_lock(&pool->mutex);
    /* Counted before the last look: the caller looks at the count after raising `round`. */
    atomic_fetch_add(&pool->sleeping, 1);
    while ((round = atomic_load(&pool->round)) == seen) {
        pthread_cond_wait(&pool->wake, &pool->mutex);
    }
    atomic_fetch_sub(&pool->sleeping, 1);
    pthread_mutex_unlock(&pool->mutex);
    return round;
}

static unsigned begin_round(pool_t *pool) {
    unsigned round = atomic_fetch_add(&pool->round, 1) + 1;
    if (atomic_load(&pool->sleeping) > 0) {
        pthread_mutex_lock(&pool->mutex);
        pthread_cond_broadcast(&pool->wake);
        pthread_mutex_unlock(&pool->mutex);
    }
    return round;
}

static void *worker_main(void *argument) {
    worker_t *self = argument;
    pool_t *pool = self->pool;
    if (self->cpu >= 0) pin_thread(self->cpu);
    for (unsigned seen = 0;;) {
        seen = await_round(pool, seen);
        if (atomic_load(&pool->stop)) return NULL;
        try_share(pool, self->index, seen);
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
    atomic_store(&pool->pending, pool->threads);
    unsigned round = begin_round(pool);
    for (int i = 0; i < pool->threads; i++) try_share(pool, i, round);
    for (unsigned spins = 1; atomic_load(&pool->pending) > 0; spins++) {
        /* A thread lost its core in the middle of a share: it may need this one. */
        if (spins % SPINS == 0) sched_yield();
        relax();
    }
    return atomic_load(&pool->status);
}

void pool_stop(pool_t *pool) {
    atomic_store(&pool->stop, 1);
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
