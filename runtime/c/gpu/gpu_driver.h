/* Runs a program's steps on a GPU: what the generated model.c tells, and what it calls. */
#ifndef GPU_DRIVER_H
#define GPU_DRIVER_H

#include <stddef.h>
#include <stdint.h>

/* Where an argument of a kernel lies. */
enum gpu_memory { GPU_INPUT, GPU_OUTPUT, GPU_ARENA, GPU_WEIGHTS };
typedef struct {
    enum gpu_memory memory;
    int32_t index;   /* of the input or output */
    uint32_t offset; /* bytes, in the arena or the weights */
} gpu_place_t;

enum { GPU_MOST_ARGUMENTS = 64 };
typedef struct {
    const char *kernel;
    int32_t first, count; /* of its places in `places`; the last ones are written */
    int32_t writes;
    uint32_t groups, threads; /* of a group */
    uint32_t written;         /* bytes, from where each written place of the arena begins */
} gpu_step_t;

/* What a program keeps from one run to the next, in the arena. */
typedef struct {
    uint32_t offset, bytes;
} gpu_state_t;

typedef struct {
    const void *code; /* of all kernels, as the interface's part of the driver takes it */
    const void *weights;
    size_t weights_bytes, arena_bytes, overread_bytes;
    int32_t input_count, output_count, step_count, state_count;
    const size_t *input_bytes, *output_bytes;
    const gpu_step_t *steps;
    const gpu_place_t *places;
    const gpu_state_t *states;
} gpu_program_t;

/* 0, or MODEL_E_* of model.h. Threads take turns. */
int gpu_run(const gpu_program_t *program, const void *const in[], void *const out[], void *arena);
int gpu_step(const gpu_program_t *program, int step, const void *const in[], void *const out[],
             void *arena);

/* Of the calling thread's last error: what is wrong, and what to do. */
const char *gpu_error(void);
const char *gpu_hint(void);

#endif
