#include <stdio.h>
#include <stdlib.h>

#include "model.h"
#include "opencl_open.h"

enum { OUT_OF_DEVICE_MEMORY = -4, OUT_OF_RESOURCES = -5, OUT_OF_HOST_MEMORY = -6,
       TOO_LARGE_A_BUFFER = -61 };

static opencl_device_t device;
static const gpu_program_t *program;
static cl_object *kernels; /* one for each step, for its arguments stay */

static int failed(const char *what, cl_int error) {
    if (error == OUT_OF_DEVICE_MEMORY || error == OUT_OF_HOST_MEMORY ||
        error == TOO_LARGE_A_BUFFER) {
        return gpu_out_of_memory(device.name, what);
    }
    char number[16];
    snprintf(number, sizeof number, "%d", (int)error);
    return gpu_lost(device.name, what, "OpenCL", number);
}

int device_open(const gpu_program_t *opened) {
    int status = opencl_open(&device, opened->code);
    if (status) return status;
    program = opened;
    kernels = calloc((size_t)program->step_count + 1, sizeof *kernels);
    if (kernels) return 0;
    opencl_close(&device);
    return gpu_failed(MODEL_E_MEMORY, NULL, "out of memory");
}

void device_close(void) {
    for (int32_t i = 0; i < program->step_count; i++) {
        if (kernels[i]) device.cl.clReleaseKernel(kernels[i]);
    }
    free(kernels);
    kernels = NULL;
    opencl_close(&device);
}

int device_enter(void) { return 0; }
void device_leave(void) {}

int device_buffer(gpu_buffer_t *buffer, size_t bytes, const void *content) {
    cl_int error = 0;
    cl_bits flags = content ? CL_MEM_READ_ONLY | CL_MEM_COPY_HOST_PTR : CL_MEM_READ_WRITE;
    *buffer = (gpu_buffer_t)device.cl.clCreateBuffer(device.context, flags, bytes ? bytes : 1,
                                                     (void *)(uintptr_t)content, &error);
    return error ? failed("a buffer", error) : 0;
}

void device_release(gpu_buffer_t buffer) { device.cl.clReleaseMemObject((cl_object)buffer); }

int device_arguments(int32_t step, const gpu_argument_t arguments[]) {
    const gpu_step_t *s = &program->steps[step];
    cl_int error = 0;
    kernels[step] = device.cl.clCreateKernel(device.program, s->kernel, &error);
    for (int32_t i = 0; !error && i < s->count; i++) {
        const gpu_argument_t *a = &arguments[i];
        cl_uint number = (cl_uint)(2 * i);
        error = device.cl.clSetKernelArg(kernels[step], number, sizeof a->buffer, &a->buffer);
        if (error) break;
        error = device.cl.clSetKernelArg(kernels[step], number + 1, sizeof a->offset, &a->offset);
    }
    return error ? failed(s->kernel, error) : 0;
}

int device_upload(gpu_buffer_t to, size_t offset, size_t bytes, const void *from) {
    cl_int error = device.cl.clEnqueueWriteBuffer(device.queue, (cl_object)to, 0, offset, bytes,
                                                  from, 0, NULL, NULL);
    return error ? failed("a copy to it", error) : 0;
}

int device_download(gpu_buffer_t from, size_t offset, size_t bytes, void *to) {
    cl_int error = device.cl.clEnqueueReadBuffer(device.queue, (cl_object)from, 0, offset, bytes,
                                                 to, 0, NULL, NULL);
    return error ? failed("a copy from it", error) : 0;
}

int device_start(int32_t step) {
    const gpu_step_t *s = &program->steps[step];
    size_t threads = s->threads, all = threads * s->groups;
    cl_int error = device.cl.clEnqueueNDRangeKernel(device.queue, kernels[step], 1, NULL, &all,
                                                    &threads, 0, NULL, NULL);
    return error ? failed(s->kernel, error) : 0;
}

int device_finish(void) {
    cl_int error = device.cl.clFinish(device.queue);
    return error ? failed("the program", error) : 0;
}

int device_run(const void *const in[], void *const out[], void *arena) {
    int status = gpu_enqueue(in, out, arena);
    /* Even after an error: the copies that were begun use the caller's memory. */
    int end = device_finish();
    return status ? status : end;
}
