#include "gpu_driver.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "model.h"
#include "opencl_open.h"

enum { OUT_OF_DEVICE_MEMORY = -4, OUT_OF_RESOURCES = -5, OUT_OF_HOST_MEMORY = -6,
       TOO_LARGE_A_BUFFER = -61 };

static _Thread_local char message[2400], hint[256];

int gpu_failed(int code, const char *what_to_do, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(message, sizeof message, format, arguments);
    va_end(arguments);
    snprintf(hint, sizeof hint, "%s", what_to_do ? what_to_do : "");
    return code;
}

const char *gpu_error(void) { return message; }
const char *gpu_hint(void) { return hint; }

/* One program a library, and one device: opened at the first run, by whichever thread. */
static pthread_mutex_t turn = PTHREAD_MUTEX_INITIALIZER;
static struct {
    opencl_device_t device;
    pid_t process; /* that opened it; 0: nobody did */
    cl_object arena, weights, *inputs, *outputs, *kernels;
} gpu;

static int device_failed(const char *what, cl_int error) {
    if (error == OUT_OF_DEVICE_MEMORY || error == OUT_OF_HOST_MEMORY ||
        error == TOO_LARGE_A_BUFFER) {
        return gpu_failed(MODEL_E_MEMORY, "close what else uses the GPU, or take a smaller model",
                          "%s has not enough memory: %s", gpu.device.name, what);
    }
    return gpu_failed(MODEL_E_LOST,
                      "if it happens again, the driver's log (`dmesg`) says more",
                      "%s failed: %s, OpenCL error %d", gpu.device.name, what, (int)error);
}

static cl_object *objects(int32_t count) {
    return calloc((size_t)(count ? count : 1), sizeof(cl_object));
}

static void release(cl_object *list, int32_t count, cl_int (*free_one)(cl_object)) {
    for (int32_t i = 0; list && i < count; i++) {
        if (list[i]) free_one(list[i]);
    }
    free(list);
}

static const gpu_program_t *opened;

static void close_gpu(void) {
    /* A child of fork has the handles and not the driver's threads. */
    if (!gpu.process || gpu.process != getpid()) return;
    const opencl_t *cl = &gpu.device.cl;
    release(gpu.kernels, opened->step_count, cl->clReleaseKernel);
    release(gpu.inputs, opened->input_count, cl->clReleaseMemObject);
    release(gpu.outputs, opened->output_count, cl->clReleaseMemObject);
    if (gpu.arena) cl->clReleaseMemObject(gpu.arena);
    if (gpu.weights) cl->clReleaseMemObject(gpu.weights);
    gpu.kernels = gpu.inputs = gpu.outputs = NULL;
    gpu.arena = gpu.weights = NULL;
    opencl_close(&gpu.device);
    gpu.process = 0;
}

static int make_buffer(cl_object *buffer, size_t bytes, const void *content) {
    cl_int error = 0;
    cl_bits flags = content ? CL_MEM_READ_ONLY | CL_MEM_COPY_HOST_PTR : CL_MEM_READ_WRITE;
    *buffer = gpu.device.cl.clCreateBuffer(gpu.device.context, flags, bytes ? bytes : 1,
                                           (void *)(uintptr_t)content, &error);
    return error ? device_failed("a buffer", error) : 0;
}

static int make_buffers(cl_object *buffers, const size_t *bytes, int32_t count, size_t more) {
    for (int32_t i = 0; i < count; i++) {
        int status = make_buffer(&buffers[i], bytes[i] + more, NULL);
        if (status) return status;
    }
    return 0;
}

static cl_object memory_of(const gpu_place_t *place) {
    switch (place->memory) {
    case GPU_INPUT: return gpu.inputs[place->index];
    case GPU_OUTPUT: return gpu.outputs[place->index];
    case GPU_ARENA: return gpu.arena;
    default: return gpu.weights;
    }
}

/* A kernel for each step, for its arguments stay: a run has nothing to do but start them. */
static int make_kernel(const gpu_program_t *program, int step) {
    const gpu_step_t *s = &program->steps[step];
    const opencl_t *cl = &gpu.device.cl;
    cl_int error = 0;
    gpu.kernels[step] = cl->clCreateKernel(gpu.device.program, s->kernel, &error);
    for (int32_t i = 0; !error && i < s->count; i++) {
        const gpu_place_t *place = &program->places[s->first + i];
        cl_object memory = memory_of(place);
        error = cl->clSetKernelArg(gpu.kernels[step], (cl_uint)(2 * i), sizeof memory, &memory);
        if (!error) {
            error = cl->clSetKernelArg(gpu.kernels[step], (cl_uint)(2 * i + 1),
                                       sizeof place->offset, &place->offset);
        }
    }
    return error ? device_failed(s->kernel, error) : 0;
}

static int open_gpu(const gpu_program_t *program) {
    if (gpu.process == getpid()) return 0;
    if (gpu.process) {
        return gpu_failed(MODEL_E_LOST, "start processes anew, as `spawn` does",
                          "the GPU was opened before this process was forked: no driver allows that");
    }
    int status = opencl_open(&gpu.device, program);
    if (status) return status;
    gpu.process = getpid();
    opened = program;
    static int registered;
    if (!registered) registered = !atexit(close_gpu);
    size_t more = program->overread_bytes;
    gpu.inputs = objects(program->input_count);
    gpu.outputs = objects(program->output_count);
    gpu.kernels = objects(program->step_count);
    if (!gpu.inputs || !gpu.outputs || !gpu.kernels) {
        status = gpu_failed(MODEL_E_MEMORY, NULL, "out of memory");
    }
    if (!status) status = make_buffer(&gpu.weights, program->weights_bytes, program->weights);
    if (!status) status = make_buffer(&gpu.arena, program->arena_bytes, NULL);
    if (!status) {
        status = make_buffers(gpu.inputs, program->input_bytes, program->input_count, more);
    }
    if (!status) {
        status = make_buffers(gpu.outputs, program->output_bytes, program->output_count, more);
    }
    for (int step = 0; !status && step < program->step_count; step++) {
        status = make_kernel(program, step);
    }
    if (status) close_gpu();
    return status;
}

static int upload(cl_object to, size_t offset, size_t bytes, const void *from) {
    if (!bytes) return 0;
    cl_int error = gpu.device.cl.clEnqueueWriteBuffer(gpu.device.queue, to, 0, offset, bytes, from,
                                                      0, NULL, NULL);
    return error ? device_failed("a copy to it", error) : 0;
}

static int download(cl_object from, size_t offset, size_t bytes, void *to) {
    if (!bytes) return 0;
    cl_int error = gpu.device.cl.clEnqueueReadBuffer(gpu.device.queue, from, 0, offset, bytes, to,
                                                     0, NULL, NULL);
    return error ? device_failed("a copy from it", error) : 0;
}

static int start(const gpu_program_t *program, int step) {
    const gpu_step_t *s = &program->steps[step];
    size_t threads = s->threads, all = threads * s->groups;
    cl_int error = gpu.device.cl.clEnqueueNDRangeKernel(
        gpu.device.queue, gpu.kernels[step], 1, NULL, &all, &threads, 0, NULL, NULL);
    return error ? device_failed(s->kernel, error) : 0;
}

static int finish(int status) {
    /* Even after an error: the copies that were begun use the caller's memory. */
    cl_int error = gpu.device.cl.clFinish(gpu.device.queue);
    return !status && error ? device_failed("the program", error) : status;
}

static int upload_inputs(const gpu_program_t *program, const void *const in[]) {
    int status = 0;
    for (int32_t i = 0; !status && i < program->input_count; i++) {
        status = upload(gpu.inputs[i], 0, program->input_bytes[i], in[i]);
    }
    return status;
}

static int run(const gpu_program_t *program, const void *const in[], void *const out[],
               void *arena) {
    int status = upload_inputs(program, in);
    for (int32_t i = 0; !status && i < program->state_count; i++) {
        const gpu_state_t *s = &program->states[i];
        status = upload(gpu.arena, s->offset, s->bytes, (char *)arena + s->offset);
    }
    for (int step = 0; !status && step < program->step_count; step++) status = start(program, step);
    for (int32_t i = 0; !status && i < program->state_count; i++) {
        const gpu_state_t *s = &program->states[i];
        status = download(gpu.arena, s->offset, s->bytes, (char *)arena + s->offset);
    }
    for (int32_t i = 0; !status && i < program->output_count; i++) {
        status = download(gpu.outputs[i], 0, program->output_bytes[i], out[i]);
    }
    return finish(status);
}

int gpu_run(const gpu_program_t *program, const void *const in[], void *const out[], void *arena) {
    pthread_mutex_lock(&turn);
    int status = open_gpu(program);
    if (!status) status = run(program, in, out, arena);
    pthread_mutex_unlock(&turn);
    return status;
}

/* A step, on what lies in the caller's memory, which he may have changed; and what it wrote. */
static int run_step(const gpu_program_t *program, int step, const void *const in[],
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
    if (!status) status = start(program, step);
    for (int32_t i = s->count - s->writes; !status && i < s->count; i++) {
        const gpu_place_t *place = &program->places[s->first + i];
        if (place->memory == GPU_OUTPUT) {
            status = download(gpu.outputs[place->index], 0, program->output_bytes[place->index],
                              out[place->index]);
        } else {
            status = download(gpu.arena, place->offset, s->written, (char *)arena + place->offset);
        }
    }
    return finish(status);
}

int gpu_step(const gpu_program_t *program, int step, const void *const in[], void *const out[],
             void *arena) {
    if (step < 0 || step >= program->step_count) return MODEL_E_STEP;
    pthread_mutex_lock(&turn);
    int status = open_gpu(program);
    if (!status) status = run_step(program, step, in, out, arena);
    pthread_mutex_unlock(&turn);
    return status;
}
