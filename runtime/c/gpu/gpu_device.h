/* What one interface of GPUs' drivers does for `gpu_driver.c`: runtime/c/opencl, runtime/c/cuda.
   There is one device a library. Each gives 0, or MODEL_E_* with its text told by `gpu_failed`. */
#ifndef GPU_DEVICE_H
#define GPU_DEVICE_H

#include "gpu_driver.h"

typedef uintptr_t gpu_buffer_t; /* memory of the device; 0: none */

/* Find a device and load the program's kernels. Nothing stays open after an error. */
int device_open(const gpu_program_t *program);
void device_close(void);

/* Around whatever else a thread asks for. */
int device_enter(void);
void device_leave(void);

/* Memory, with a copy of `content`, which is then only read, or with nothing known in it. */
int device_buffer(gpu_buffer_t *buffer, size_t bytes, const void *content);
void device_release(gpu_buffer_t buffer);

/* Where each of a step's arguments lies; it stays so. */
typedef struct {
    gpu_buffer_t buffer;
    uint32_t offset;
} gpu_argument_t;
int device_arguments(int32_t step, const gpu_argument_t arguments[]);

/* Copies and kernels are done in this order, some time before `device_finish` is back. */
int device_upload(gpu_buffer_t to, size_t offset, size_t bytes, const void *from);
int device_download(gpu_buffer_t from, size_t offset, size_t bytes, void *to);
int device_start(int32_t step);
int device_finish(void);

/* The whole program, by `gpu_enqueue` and whatever is faster than calling it each time. */
int device_run(const void *const in[], void *const out[], void *arena);

/* All copies and kernels of an inference. */
int gpu_enqueue(const void *const in[], void *const out[], void *arena);

/* Keep the texts of an error for `gpu_error` and `gpu_hint`; returns `code`. */
int gpu_failed(int code, const char *hint, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* The errors that any device may have: not enough memory, and whatever ends a program. */
int gpu_out_of_memory(const char *device, const char *what);
int gpu_lost(const char *device, const char *what, const char *interface, const char *error);

#endif
