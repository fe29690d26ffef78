#include <stdlib.h>
#include <string.h>

#include "cuda_open.h"
#include "model.h"

static cuda_device_t device;
static const gpu_program_t *program;
static int32_t *kernel_of;  /* each step */
static cu_pointer *values;  /* of all arguments, as `places` of the program lists them */
static void **arguments;    /* where each of them lies */

/* The program as a graph, which the driver launches as one. It copies from and to `staging`, memory that
   it may not move: inputs, outputs, and the arena where something in it stays from run to run. */
static struct {
    cu_object graph;
    uint8_t *staging;
    void **in, **out;
    uint8_t *arena;
} recorded;

static int32_t argument_count(void) {
    if (!program->step_count) return 0;
    const gpu_step_t *last = &program->steps[program->step_count - 1];
    return last->first + last->count;
}

static void free_tables(void) {
    free(kernel_of);
    free(values);
    free(arguments);
    kernel_of = NULL, values = NULL, arguments = NULL;
}

int device_open(const gpu_program_t *opened) {
    const cuda_code_t *code = opened->code;
    int status = cuda_open(&device, code);
    if (status) return status;
    program = opened;
    size_t count = (size_t)argument_count() + 1;
    kernel_of = calloc((size_t)program->step_count + 1, sizeof *kernel_of);
    values = calloc(count, sizeof *values);
    arguments = calloc(count, sizeof *arguments);
    if (!kernel_of || !values || !arguments) {
        free_tables();
        cuda_close(&device, code);
        return gpu_failed(MODEL_E_MEMORY, NULL, "out of memory");
    }
    for (int32_t step = 0; step < program->step_count; step++) {
        const char *name = program->steps[step].kernel;
        while (strcmp(name, code->kernels[kernel_of[step]].name)) kernel_of[step]++;
    }
    return 0;
}

static void forget(void) {
    if (recorded.graph) device.cu.cuGraphExecDestroy(recorded.graph);
    if (recorded.staging) device.cu.cuMemFreeHost(recorded.staging);
    free(recorded.in);
    free(recorded.out);
    memset(&recorded, 0, sizeof recorded);
}

void device_close(void) {
    if (!device_enter()) {
        forget();
        device_leave();
    }
    free_tables();
    cuda_close(&device, program->code);
}

int device_enter(void) {
    cu_result error = device.cu.cuCtxPushCurrent_v2(device.context);
    return error ? cuda_failed(&device, "its context", error) : 0;
}

void device_leave(void) { device.cu.cuCtxPopCurrent_v2(&(cu_object){NULL}); }

int device_buffer(gpu_buffer_t *buffer, size_t bytes, const void *content) {
    cu_pointer made = 0;
    cu_result error = device.cu.cuMemAlloc_v2(&made, bytes ? bytes : 1);
    if (error) return cuda_failed(&device, "a buffer", error);
    *buffer = (gpu_buffer_t)made;
    if (content && bytes) error = device.cu.cuMemcpyHtoD_v2(made, content, bytes);
    return error ? cuda_failed(&device, "a copy to it", error) : 0;
}

void device_release(gpu_buffer_t buffer) { device.cu.cuMemFree_v2(buffer); }

int device_arguments(int32_t step, const gpu_argument_t placed[]) {
    const gpu_step_t *s = &program->steps[step];
    for (int32_t i = 0; i < s->count; i++) {
        values[s->first + i] = placed[i].buffer + placed[i].offset;
        arguments[s->first + i] = &values[s->first + i];
    }
    return 0;
}

int device_upload(gpu_buffer_t to, size_t offset, size_t bytes, const void *from) {
    cu_result error = device.cu.cuMemcpyHtoDAsync_v2(to + offset, from, bytes, device.stream);
    return error ? cuda_failed(&device, "a copy to it", error) : 0;
}

int device_download(gpu_buffer_t from, size_t offset, size_t bytes, void *to) {
    cu_result error = device.cu.cuMemcpyDtoHAsync_v2(to, from + offset, bytes, device.stream);
    return error ? cuda_failed(&device, "a copy from it", error) : 0;
}

int device_start(int32_t step) {
    const gpu_step_t *s = &program->steps[step];
    cu_result error = device.cu.cuLaunchKernel(device.functions[kernel_of[step]], s->groups, 1, 1,
                                               s->threads, 1, 1, 0, device.stream,
                                               &arguments[s->first], NULL);
    return error ? cuda_failed(&device, s->kernel, error) : 0;
}

int device_finish(void) {
    cu_result error = device.cu.cuStreamSynchronize(device.stream);
    return error ? cuda_failed(&device, "the program", error) : 0;
}

/* Pieces of memory behind each other, each at a multiple of 64 bytes. */
static size_t placed(void **list, const size_t *bytes, int32_t count, uint8_t *from) {
    size_t at = 0;
    for (int32_t i = 0; i < count; i++) {
        if (list) list[i] = from + at;
        at += (bytes[i] + 63) / 64 * 64;
    }
    return at;
}

static int stage(void) {
    size_t inputs = placed(NULL, program->input_bytes, program->input_count, NULL);
    size_t outputs = placed(NULL, program->output_bytes, program->output_count, NULL);
    size_t arena = program->state_count ? program->arena_bytes : 0;
    recorded.in = calloc((size_t)program->input_count + 1, sizeof(void *));
    recorded.out = calloc((size_t)program->output_count + 1, sizeof(void *));
    if (!recorded.in || !recorded.out) return gpu_failed(MODEL_E_MEMORY, NULL, "out of memory");
    void *made = NULL;
    cu_result error = device.cu.cuMemAllocHost_v2(&made, inputs + outputs + arena + 64);
    if (error) return cuda_failed(&device, "memory for copies", error);
    recorded.staging = made;
    placed(recorded.in, program->input_bytes, program->input_count, recorded.staging);
    placed(recorded.out, program->output_bytes, program->output_count, recorded.staging + inputs);
    recorded.arena = recorded.staging + inputs + outputs;
    return 0;
}

static int record(void) {
    int status = stage();
    if (status) return status;
    cu_object graph = NULL;
    cu_result error = device.cu.cuStreamBeginCapture_v2(device.stream, CU_CAPTURE_THREAD_LOCAL);
    if (error) return cuda_failed(&device, "a recording", error);
    status = gpu_enqueue((const void *const *)recorded.in, recorded.out, recorded.arena);
    /* Even after an error: the stream is of no use until then. */
    error = device.cu.cuStreamEndCapture(device.stream, &graph);
    if (!status && error) status = cuda_failed(&device, "a recording", error);
    if (!status) {
        error = device.cu.cuGraphInstantiateWithFlags(&recorded.graph, graph, 0);
        if (error) status = cuda_failed(&device, "a graph", error);
    }
    if (graph) device.cu.cuGraphDestroy(graph);
    return status;
}

static void keep(uint8_t *to, const uint8_t *from) {
    for (int32_t i = 0; i < program->state_count; i++) {
        const gpu_state_t *s = &program->states[i];
        memcpy(to + s->offset, from + s->offset, s->bytes);
    }
}

int device_run(const void *const in[], void *const out[], void *arena) {
    if (!recorded.graph) {
        int status = record();
        if (status) {
            forget();
            return status;
        }
    }
    for (int32_t i = 0; i < program->input_count; i++) {
        memcpy(recorded.in[i], in[i], program->input_bytes[i]);
    }
    keep(recorded.arena, arena);
    cu_result error = device.cu.cuGraphLaunch(recorded.graph, device.stream);
    int status = error ? cuda_failed(&device, "the program", error) : device_finish();
    if (status) return status;
    keep(arena, recorded.arena);
    for (int32_t i = 0; i < program->output_count; i++) {
        memcpy(out[i], recorded.out[i], program->output_bytes[i]);
    }
    return 0;
}
