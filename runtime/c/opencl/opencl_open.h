/* The device of a program: found, with the kernels built for it. */
#ifndef OPENCL_OPEN_H
#define OPENCL_OPEN_H

#include "gpu_driver.h"
#include "opencl_api.h"

typedef struct {
    opencl_t cl;
    char name[256];
    cl_object device, context, queue, program;
} opencl_device_t;

/* 0, or MODEL_E_* with its text told by `gpu_failed`. Nothing stays open after an error. */
int opencl_open(opencl_device_t *device, const gpu_program_t *program);
void opencl_close(opencl_device_t *device);

/* Keep the texts of an error for `gpu_error` and `gpu_hint`; returns `code`. */
int gpu_failed(int code, const char *hint, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

#endif
