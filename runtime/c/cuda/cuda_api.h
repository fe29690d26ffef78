/* What of the CUDA driver's interface the driver calls (NVIDIA, cuda.h of 12.0), so that building needs
   no headers of CUDA's and linking no library. Names end as the symbols of that version do. */
#ifndef CUDA_API_H
#define CUDA_API_H

#include <stddef.h>
#include <stdint.h>

typedef int cu_result, cu_device;
typedef void *cu_object; /* a context, module, function, stream or graph */
typedef uint64_t cu_pointer;

enum {
    CUDA_SUCCESS = 0,
    CUDA_OUT_OF_MEMORY = 2,
    CUDA_NO_DEVICE = 100,
    CUDA_INVALID_IMAGE = 200,
    CUDA_NO_BINARY_FOR_GPU = 209,
    CUDA_UNSUPPORTED_PTX_VERSION = 222,
    CU_CAPABILITY_MAJOR = 75,
    CU_CAPABILITY_MINOR = 76,
    CU_STREAM_NON_BLOCKING = 1,
    CU_CAPTURE_THREAD_LOCAL = 1,
};

/* name, parameters; all give a cu_result */
#define CUDA_FUNCTIONS(F)                                                                          \
    F(cuInit, (unsigned))                                                                          \
    F(cuDriverGetVersion, (int *))                                                                 \
    F(cuGetErrorName, (cu_result, const char **))                                                  \
    F(cuDeviceGetCount, (int *))                                                                   \
    F(cuDeviceGet, (cu_device *, int))                                                             \
    F(cuDeviceGetName, (char *, int, cu_device))                                                   \
    F(cuDeviceGetAttribute, (int *, int, cu_device))                                               \
    F(cuDevicePrimaryCtxRetain, (cu_object *, cu_device))                                          \
    F(cuDevicePrimaryCtxRelease_v2, (cu_device))                                                   \
    F(cuCtxPushCurrent_v2, (cu_object))                                                            \
    F(cuCtxPopCurrent_v2, (cu_object *))                                                           \
    F(cuModuleLoadData, (cu_object *, const void *))                                               \
    F(cuModuleGetFunction, (cu_object *, cu_object, const char *))                                 \
    F(cuModuleUnload, (cu_object))                                                                 \
    F(cuMemAlloc_v2, (cu_pointer *, size_t))                                                       \
    F(cuMemFree_v2, (cu_pointer))                                                                  \
    F(cuMemAllocHost_v2, (void **, size_t))                                                        \
    F(cuMemFreeHost, (void *))                                                                     \
    F(cuMemcpyHtoD_v2, (cu_pointer, const void *, size_t))                                         \
    F(cuMemcpyHtoDAsync_v2, (cu_pointer, const void *, size_t, cu_object))                         \
    F(cuMemcpyDtoHAsync_v2, (void *, cu_pointer, size_t, cu_object))                               \
    F(cuStreamCreate, (cu_object *, unsigned))                                                     \
    F(cuStreamDestroy_v2, (cu_object))                                                             \
    F(cuStreamSynchronize, (cu_object))                                                            \
    F(cuStreamBeginCapture_v2, (cu_object, int))                                                   \
    F(cuStreamEndCapture, (cu_object, cu_object *))                                                \
    F(cuGraphInstantiateWithFlags, (cu_object *, cu_object, unsigned long long))                   \
    F(cuGraphLaunch, (cu_object, cu_object))                                                       \
    F(cuGraphExecDestroy, (cu_object))                                                             \
    F(cuGraphDestroy, (cu_object))                                                                 \
    F(cuLaunchKernel, (cu_object, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned,      \
                       unsigned, cu_object, void **, void **))

typedef struct {
#define DECLARE(name, parameters) cu_result(*name) parameters;
    CUDA_FUNCTIONS(DECLARE)
#undef DECLARE
} cuda_t;

#endif
