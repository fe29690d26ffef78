#include "gpu_driver.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "gpu_device.h"
#include "model.h"

static _Thread_local char message[2400], hint[256];

int gpu_failed(int code, const char *what_to_do, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(message, sizeof message, format, arguments);
    va_end(arguments);
    snprintf(hint, sizeof hint, "%s", what_to_do ? what_to_do : "");
    return code;
}

int gpu_out_of_memory(const char *device, const char *what) {
    return gpu_failed(MODEL_E_MEMORY, "close what else uses the GPU, or take a smaller model",
                      "%s has not enough memory: %s", device, what);
}

int gpu_lost(const char *device, const char *what, const char *interface, const char *error) {
    return gpu_failed(MODEL_E_LOST,
                      "if it happens again, the driver's log (`dmesg`) says more",
                      "%s failed: %s, %s error %s", device, what, interface, error);
}

const char *gpu_error(void) { return message; }
const char *gpu_hint(void) { return hint; }

/* One program a library, and one device: opened at the first run, by whichever thread. */
static pthread_mutex_t turn = PTHREAD_MUTEX_INITIALIZER;
static struct {
    const gpu_program_t *program;
    pid_t process; /* that opened it; 0: nobody did */
    gpu_buffer_t arena, weights, *inputs, *outputs;
} gpu;

static gpu_buffer_t *buffers(int32_t count) {
    return calloc((size_t)(count ? count : 1), sizeof(gpu_buffer_t));
}

static void release(gpu_buffer_t *list, int32_t count) {
    for (int32_t i = 0; list && i < count; i++) {
        if (list[i]) device_release(list[i]);
    }
    free(list);
}

static void close_gpu(void) {
    /* A child of fork has the handles and not the driver's threads. */
    if (!gpu.process || gpu.process != getpid()) return;
    if (!device_enter()) {
        release(gpu.inputs, gpu.program->input_count);
        release(gpu.outputs, gpu.program->output_count);
        if (gpu.arena) device_release(gpu.arena);
        if (gpu.weights) device_release(gpu.weights);
        device_leave();
    }
    gpu.inputs = gpu.outputs = NULL;
    gpu.arena = gpu.weights = 0;
    device_close();
    gpu.process = 0;
}

static int make_buffers(gpu_buffer_t *list, const size_t *bytes, int32_t count, size_t more) {
    int status = 0;
    for (int32_t i = 0; !status && i < count; i++) {
        status = device_buffer(&list[i], bytes[i] + more, NULL);
    }
    return status;
}

static gpu_buffer_t memory_of(const gpu_place_t *place) {
    switch (place->memory) {
    case GPU_INPUT: return gpu.inputs[place->index];
    case GPU_OUTPUT: return gpu.outputs[place->index];
    case GPU_ARENA: return gpu.arena;
    default: return gpu.weights;
    }
}

/* A step's arguments stay: a run has nothing to do but start the kernels. */
static int place_arguments(const gpu_program_t *program, int32_t step) {
    const gpu_step_t *s = &program->steps[step];
    gpu_argument_t arguments[GPU_MOST_ARGUMENTS];
    for (int32_t i = 0; i < s->count; i++) {
        const gpu_place_t *place = &program->places[s->first + i];
        arguments[i] = (gpu_argument_t){memory_of(place), place->offset};
    }
    return device_arguments(step, arguments);
}

static int fill_gpu(const gpu_program_t *program) {
    size_t more = program->overread_bytes;
    gpu.inputs = buffers(program->input_count);
    gpu.outputs = buffers(program->output_count);
    if (!gpu.inputs || !gpu.outputs) return gpu_failed(MODEL_E_MEMORY, NULL, "out of memory");
    int status = device_buffer(&gpu.weights, program->weights_bytes, program->weights);
    if (!status) status = device_buffer(&gpu.arena, program->arena_bytes, NULL);
    if (!status) {
        status = make_buffers(gpu.inputs, program->input_bytes, program->input_count, more);
    }
    if (!status) {
        status = make_buffers(gpu.outputs, program->output_bytes, program->output_count, more);
    }
    for (int32_t step = 0; !status && step < program->step_count; step++) {
        status = place_arguments(program, step);
    }
    return status;
}

static int open_gpu(const gpu_program_t *program) {
    if (gpu.process == getpid()) return 0;
    if (gpu.process) {
        return gpu_failed(MODEL_E_LOST, "start processes anew, as `spawn` does",
                          "the GPU was opened before this process was forked: no driver allows that");
    }
    int status = device_open(program);
    if (status) return status;
    gpu.process = getpid();
    gpu.program = program;
    static int registered;
    if (!registered) registered = !atexit(close_gpu);
    status = device_enter();
    if (!status) {
        status = fill_gpu(program);
        device_leave();
    }
    if (status) close_gpu();
    return status;
}

static int upload(gpu_buffer_t to, size_t offset, size_t bytes, const void *from) {
    return bytes ? device_upload(to, offset, bytes, from) : 0;
}

static int download(gpu_buffer_t from, size_t offset, size_t bytes, void *to) {
    return bytes ? device_download(from, offset, bytes, to) : 0;
}

static int upload_inputs(const gpu_program_t *program, const void *const in[]) {
    int status = 0;
    for (int32_t i = 0; !status && i < program->input_count; i++) {
        status = upload(gpu.inputs[i], 0, program->input_bytes[i], in[i]);
    }
    return status;
}

int gpu_enqueue(const void *const in[], void *const out[], void *arena) {
    const gpu_program_t *program = gpu.program;
    int status = upload_inputs(program, in);
    for (int32_t i = 0; !status && i < program->state_count; i++) {
        const gpu_state_t *s = &program->states[i];
        status = upload(gpu.arena, s->offset, s->bytes, (char *)arena + s->offset);
    }
    for (int32_t step = 0; !status && step < program->step_count; step++) {
        status = device_start(step);
    }
    for (int32_t i = 0; !status && i < program->state_count; i++) {
        const gpu_state_t *s = &program->states[i];
        status = download(gpu.arena, s->offset, s->bytes, (char *)arena + s->offset);
    }
    for (int32_t i = 0; !status && i < program->output_count; i++) {
        status = download(gpu.outputs[i], 0, program->output_bytes[i], out[i]);
    }
    return status;
}

/* A step, on what lies in the caller's memory, which he may have changed; and what it wrote. */
static int run_step(const gpu_program_t *program, int32_t step, const void *const in[],
                    void *const out[], void *arena) {
    const gpu_step_t *s = &program->steps[step];
    int status = upload(gpu.arena, 0, program->arena_bytes, arena);
    for (int32_t i = 0; !status && i < s->count - s->writes; i++) {
        const gpu_place_t *place = &program->places[s->first + i];
        if (place->memory == GPU_OUTPUT) {
            status = upload(gpu.outputs[place->index], 0, program->output_bytes[place->index],
                            out[place->index]);
        }
    }
    if (!status) status = upload_inputs(program, in);
    if (!status) status = device_start(step);
    for (int32_t i = s->count - s->writes; !status && i < s->count; i++) {
        const gpu_place_t *place = &program->places[s->first + i];
        if (place->memory == GPU_OUTPUT) {
            status = download(gpu.outputs[place->index], 0, program->output_bytes[place->index],
                              out[place->index]);
        } else {
            status = download(gpu.arena, place->offset, s->written, (char *)arena + place->offset);
        }
    }
    /* Even after an error: the copies that were begun use the caller's memory. */
    int end = device_finish();
    return status ? status : end;
}

/* All steps, or the one of this number. */
static int on_gpu(const gpu_program_t *program, int32_t step, const void *const in[],
                  void *const out[], void *arena) {
    pthread_mutex_lock(&turn);
    int status = open_gpu(program);
    if (!status) status = device_enter();
    if (!status) {
        status = step < 0 ? device_run(in, out, arena) : run_step(program, step, in, out, arena);
        device_leave();
    }
    pthread_mutex_unlock(&turn);
    return status;
}

int gpu_run(const gpu_program_t *program, const void *const in[], void *const out[], void *arena) {
    return on_gpu(program, -1, in, out, arena);
}

int gpu_step(const gpu_program_t *program, int step, const void *const in[], void *const out[],
             void *arena) {
    if (step < 0 || step >= program->step_count) return MODEL_E_STEP;
    return on_gpu(program, step, in, out, arena);
}
