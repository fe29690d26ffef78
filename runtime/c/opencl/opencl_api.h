/* What of OpenCL 1.2 the driver calls (Khronos, opencl.h of 1.2), so that building needs no headers
   of OpenCL's and linking no library. */
#ifndef OPENCL_API_H
#define OPENCL_API_H

#include <stddef.h>
#include <stdint.h>

typedef void *cl_object; /* a platform, device, context, queue, memory, program or kernel */
typedef int32_t cl_int;
typedef uint32_t cl_uint, cl_bool;
typedef uint64_t cl_bits;

enum {
    CL_PROGRAM_BUILD_LOG = 0x1183,
    CL_DEVICE_TYPE = 0x1000,
    CL_DEVICE_MAX_WORK_GROUP_SIZE = 0x1004,
    CL_DEVICE_SINGLE_FP_CONFIG = 0x101B,
    CL_DEVICE_NAME = 0x102B,
    CL_DEVICE_EXTENSIONS = 0x1030,
    CL_DEVICE_TYPE_GPU = 1 << 2,
    CL_FP_CORRECTLY_ROUNDED_DIVIDE_SQRT = 1 << 7,
    CL_MEM_READ_WRITE = 1 << 0,
    CL_MEM_READ_ONLY = 1 << 2,
    CL_MEM_COPY_HOST_PTR = 1 << 5,
};
#define CL_DEVICE_TYPE_ALL ((cl_bits)0xFFFFFFFF)

/* name, result, parameters */
#define OPENCL_FUNCTIONS(F)                                                                        \
    F(clGetPlatformIDs, cl_int, (cl_uint, cl_object *, cl_uint *))                                 \
    F(clGetDeviceIDs, cl_int, (cl_object, cl_bits, cl_uint, cl_object *, cl_uint *))               \
    F(clGetDeviceInfo, cl_int, (cl_object, cl_uint, size_t, void *, size_t *))                     \
    F(clCreateContext, cl_object,                                                                  \
      (const intptr_t *, cl_uint, const cl_object *,                                               \
       void (*)(const char *, const void *, size_t, void *), void *, cl_int *))                    \
    F(clCreateCommandQueue, cl_object, (cl_object, cl_object, cl_bits, cl_int *))                  \
    F(clCreateBuffer, cl_object, (cl_object, cl_bits, size_t, void *, cl_int *))                   \
    F(clCreateProgramWithSource, cl_object,                                                        \
      (cl_object, cl_uint, const char **, const size_t *, cl_int *))                               \
    F(clBuildProgram, cl_int,                                                                      \
      (cl_object, cl_uint, const cl_object *, const char *, void (*)(cl_object, void *), void *))  \
    F(clGetProgramBuildInfo, cl_int, (cl_object, cl_object, cl_uint, size_t, void *, size_t *))    \
    F(clCreateKernel, cl_object, (cl_object, const char *, cl_int *))                              \
    F(clSetKernelArg, cl_int, (cl_object, cl_uint, size_t, const void *))                          \
    F(clEnqueueNDRangeKernel, cl_int,                                                              \
      (cl_object, cl_object, cl_uint, const size_t *, const size_t *, const size_t *, cl_uint,     \
       const cl_object *, cl_object *))                                                            \
    F(clEnqueueWriteBuffer, cl_int,                                                                \
      (cl_object, cl_object, cl_bool, size_t, size_t, const void *, cl_uint, const cl_object *,    \
       cl_object *))                                                                               \
    F(clEnqueueReadBuffer, cl_int,                                                                 \
      (cl_object, cl_object, cl_bool, size_t, size_t, void *, cl_uint, const cl_object *,          \
       cl_object *))                                                                               \
    F(clFinish, cl_int, (cl_object))                                                               \
    F(clReleaseMemObject, cl_int, (cl_object))                                                     \
    F(clReleaseKernel, cl_int, (cl_object))                                                        \
    F(clReleaseProgram, cl_int, (cl_object))                                                       \
    F(clReleaseCommandQueue, cl_int, (cl_object))                                                  \
    F(clReleaseContext, cl_int, (cl_object))

#define DECLARE(name, result, parameters) result(*name) parameters;
typedef struct {
    OPENCL_FUNCTIONS(DECLARE)
} opencl_t;
#undef DECLARE

#endif
