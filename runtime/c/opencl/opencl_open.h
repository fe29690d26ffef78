/* The device of a program: found, with the kernels built for it. */
#ifndef OPENCL_OPEN_H
#define OPENCL_OPEN_H

#include "gpu_device.h"
#include "opencl_api.h"
#include "opencl_code.h"

typedef struct {
    opencl_t cl;
    char name[256];
    cl_object device, context, queue, program;
} opencl_device_t;

/* 0, or MODEL_E_* with its text told by `gpu_failed`. Nothing stays open after an error. */
int opencl_open(opencl_device_t *device, const opencl_code_t *code);
void opencl_close(opencl_device_t *device);

#endif
