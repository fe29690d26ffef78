/* The device of a program: found, with the kernels loaded. */
#ifndef CUDA_OPEN_H
#define CUDA_OPEN_H

#include "cuda_api.h"
#include "cuda_code.h"
#include "gpu_device.h"

typedef struct {
    cuda_t cu;
    char name[256];
    int capability; /* 87 for 8.7 */
    cu_device number;
    cu_object context, stream, *modules, *functions; /* of each kernel */
} cuda_device_t;

/* 0, or MODEL_E_* with its text told by `gpu_failed`. Nothing stays open after an error. */
int cuda_open(cuda_device_t *device, const cuda_code_t *code);
void cuda_close(cuda_device_t *device, const cuda_code_t *code);

/* The error of a call; returns MODEL_E_MEMORY or MODEL_E_LOST. */
int cuda_failed(const cuda_device_t *device, const char *what, cu_result error);

#endif
