/* A program's kernels: machine code for one kind of GPU, and PTX for those after it. */
#ifndef CUDA_CODE_H
#define CUDA_CODE_H

#include <stdint.h>

typedef struct {
    const char *name;
    uint32_t cubin, ptx; /* where they begin in `images` */
} cuda_kernel_t;

typedef struct {
    const uint8_t *images;
    const cuda_kernel_t *kernels;
    int32_t kernel_count;
    int32_t capability; /* of the GPU, 87 for 8.7 */
    int32_t driver;     /* the oldest interface that loads the machine code, 12000 for 12.0 */
} cuda_code_t;

#endif
