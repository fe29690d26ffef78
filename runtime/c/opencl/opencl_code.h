/* A program's kernels, which the device's driver compiles. */
#ifndef OPENCL_CODE_H
#define OPENCL_CODE_H

#include <stddef.h>

typedef struct {
    const char *text;
    size_t bytes;
} opencl_code_t;

#endif
