/* The device of `cuda_stub.c`: its memory, what waits on its stream, and what was counted. */
#ifndef CUDA_STUB_DEVICE_H
#define CUDA_STUB_DEVICE_H

#include <dlfcn.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef int result;
typedef uint64_t pointer;

enum { MOST = 4096, GUARD = 256, MOST_ARGUMENTS = 64, NOISE = 0xAA };
/* The address space of the device: of the processor's, nothing lies there. */
#define DEVICE (UINT64_C(1) << 60)

static void misuse(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    fputs("stub: ", stderr);
    vfprintf(stderr, format, arguments);
    fputs("\n", stderr);
    _exit(99);
}

static int fails(const char *how) {
    const char *stub = getenv("STUB");
    return stub && !strcmp(stub, how);
}

typedef struct {
    uint8_t *memory; /* with a guard before and behind */
    size_t bytes;
} block;
typedef struct {
    int is_ptx, loaded;
} module;
typedef struct {
    char name[256];
    void (*twin)(unsigned, unsigned, void **);
    int arguments;
} function;
typedef struct {
    enum { UPLOAD, DOWNLOAD, KERNEL } kind;
    pointer device;
    void *host;
    size_t bytes;
    const function *kernel;
    unsigned groups, threads;
    pointer arguments[MOST_ARGUMENTS];
} operation;
typedef struct {
    operation *list;
    int count;
} operations;

static block blocks[MOST], pinned[MOST];
static module modules[MOST];
static int module_count, initialized, retained, entered, streams, capturing, graphs, executables;
static operations queue, recording;
static struct {
    long kernels, launches, graph_launches, graph_kernels, cubins, ptx, uploads, downloads;
} counted;
static __thread int depth;

static void need_context(const char *who) {
    if (!depth) misuse("%s without a context", who);
}

static block *block_of(pointer at, size_t bytes) {
    for (int i = 0; i < MOST; i++) {
        pointer begin = (pointer)(uintptr_t)blocks[i].memory + GUARD + DEVICE;
        if (blocks[i].memory && at >= begin && at + bytes <= begin + blocks[i].bytes) {
            return &blocks[i];
        }
    }
    misuse("no memory of the device: %zu bytes at %#lx", bytes, (unsigned long)at);
    return NULL;
}

static uint8_t *real(pointer at, size_t bytes) {
    block_of(at, bytes);
    return (uint8_t *)(uintptr_t)(at - DEVICE);
}

static int is_pinned(const uint8_t *at, size_t bytes) {
    for (int i = 0; i < MOST; i++) {
        const block *b = &pinned[i];
        if (b->memory && at >= b->memory && at + bytes <= b->memory + b->bytes) return 1;
    }
    return 0;
}

static void check_guards(const char *who) {
    for (int i = 0; i < MOST; i++) {
        for (int k = 0; blocks[i].memory && k < GUARD; k++) {
            if (blocks[i].memory[k] != NOISE ||
                blocks[i].memory[GUARD + blocks[i].bytes + (size_t)k] != NOISE) {
                misuse("%s wrote outside of a buffer", who);
            }
        }
    }
}

static void append(operations *to, operation what) {
    to->list = realloc(to->list, (size_t)(to->count + 1) * sizeof what);
    to->list[to->count++] = what;
}

static void submit(operation what) { append(capturing ? &recording : &queue, what); }

static void execute(const operation *o) {
    if (o->kind == UPLOAD) {
        memcpy(real(o->device, o->bytes), o->host, o->bytes);
    } else if (o->kind == DOWNLOAD) {
        memcpy(o->host, real(o->device, o->bytes), o->bytes);
    } else {
        void *arguments[MOST_ARGUMENTS];
        for (int i = 0; i < o->kernel->arguments; i++) arguments[i] = real(o->arguments[i], 1);
        counted.kernels++;
        o->kernel->twin(o->groups, o->threads, arguments);
        check_guards(o->kernel->name);
    }
}

#endif
