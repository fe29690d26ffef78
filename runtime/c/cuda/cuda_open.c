#include "cuda_open.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model.h"

static int load(cuda_t *cu) {
    void *library = dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);
    if (!library) {
        return gpu_failed(MODEL_E_NO_DRIVER,
                          "install NVIDIA's driver; a Jetson has it from JetPack, a container from "
                          "the NVIDIA Container Toolkit",
                          "libcuda.so.1 is not installed");
    }
#define LOAD(name, parameters)                                                                     \
    *(void **)&cu->name = dlsym(library, #name);                                                   \
    if (!cu->name) {                                                                               \
        return gpu_failed(MODEL_E_NO_DRIVER, "install a driver of CUDA 12.0 or newer",             \
                          "NVIDIA's driver is too old: it has no " #name);                         \
    }
    CUDA_FUNCTIONS(LOAD)
#undef LOAD
    return 0; /* it stays open: the driver starts threads that outlive any close */
}

static const char *name_of(const cuda_t *cu, cu_result error) {
    const char *name = NULL;
    return cu->cuGetErrorName(error, &name) || !name ? "of no name" : name;
}

int cuda_failed(const cuda_device_t *d, const char *what, cu_result error) {
    if (error == CUDA_OUT_OF_MEMORY) return gpu_out_of_memory(d->name, what);
    return gpu_lost(d->name, what, "CUDA", name_of(&d->cu, error));
}

/* Whether the driver is new enough for the machine code. */
static int check_version(const cuda_t *cu, const cuda_code_t *code) {
    int version = 0;
    if (cu->cuDriverGetVersion(&version)) version = 0;
    if (version >= code->driver) return 0;
    return gpu_failed(MODEL_E_NO_DRIVER, "update NVIDIA's driver; on a Jetson, JetPack",
                      "NVIDIA's driver is too old: it is of CUDA %d.%d, and the program takes %d.%d "
                      "or newer",
                      version / 1000, version % 1000 / 10, code->driver / 1000,
                      code->driver % 1000 / 10);
}

static int capability_of(const cuda_t *cu, cu_device device) {
    int major = 0, minor = 0;
    if (cu->cuDeviceGetAttribute(&major, CU_CAPABILITY_MAJOR, device)) return 0;
    if (cu->cuDeviceGetAttribute(&minor, CU_CAPABILITY_MINOR, device)) return 0;
    return 10 * major + minor;
}

/* The first GPU that the program was made for, or else the first one that is newer. */
static int find(cuda_device_t *d, const cuda_code_t *code) {
    int count = 0, found = 0;
    char seen[512] = "";
    cu_result error = d->cu.cuInit(0);
    if (!error) error = d->cu.cuDeviceGetCount(&count);
    if (error || !count) {
        return gpu_failed(MODEL_E_NO_DEVICE,
                          "`nvidia-smi` lists what the driver sees; CUDA_VISIBLE_DEVICES may hide "
                          "some, and a container has none unless it is started with them",
                          "NVIDIA's driver has no GPU here: CUDA error %s",
                          name_of(&d->cu, error ? error : CUDA_NO_DEVICE));
    }
    for (int i = 0; i < count; i++) {
        cu_device device = 0;
        char name[256] = "unnamed";
        if (d->cu.cuDeviceGet(&device, i)) continue;
        int capability = capability_of(&d->cu, device);
        if (d->cu.cuDeviceGetName(name, sizeof name - 1, device)) strcpy(name, "unnamed");
        size_t used = strlen(seen);
        snprintf(seen + used, sizeof seen - used, "%s%s (%d.%d)", used ? ", " : "", name,
                 capability / 10, capability % 10);
        int made_for = capability == code->capability;
        if (capability < code->capability || (found && !made_for)) continue;
        found = 1;
        d->number = device;
        d->capability = capability;
        strcpy(d->name, name);
        if (made_for) break;
    }
    if (found) return 0;
    return gpu_failed(MODEL_E_KERNELS, "build for this GPU: `edgekiln targets list` names them",
                      "the program is for GPUs of compute capability %d.%d and newer, and here is %s",
                      code->capability / 10, code->capability % 10, *seen ? seen : "none");
}

/* Machine code where it fits, else PTX, which the driver compiles, and keeps in a cache of its own. */
static cu_result load_kernel(cuda_device_t *d, const cuda_code_t *code, int32_t number) {
    const cuda_kernel_t *kernel = &code->kernels[number];
    cu_result error = CUDA_NO_BINARY_FOR_GPU;
    if (d->capability / 10 == code->capability / 10) {
        error = d->cu.cuModuleLoadData(&d->modules[number], code->images + kernel->cubin);
    }
    if (error == CUDA_NO_BINARY_FOR_GPU || error == CUDA_INVALID_IMAGE) {
        error = d->cu.cuModuleLoadData(&d->modules[number], code->images + kernel->ptx);
    }
    if (error) return error;
    return d->cu.cuModuleGetFunction(&d->functions[number], d->modules[number], kernel->name);
}

static int fill(cuda_device_t *d, const cuda_code_t *code) {
    cu_result error = d->cu.cuStreamCreate(&d->stream, CU_STREAM_NON_BLOCKING);
    if (error) return cuda_failed(d, "a stream", error);
    for (int32_t i = 0; i < code->kernel_count; i++) {
        error = load_kernel(d, code, i);
        if (error == CUDA_OUT_OF_MEMORY) return cuda_failed(d, "the kernels", error);
        if (error) {
            return gpu_failed(MODEL_E_KERNELS, "update NVIDIA's driver, or build for this GPU",
                              "%s cannot load the kernels: CUDA error %s", d->name,
                              name_of(&d->cu, error));
        }
    }
    return 0;
}

int cuda_open(cuda_device_t *d, const cuda_code_t *code) {
    memset(d, 0, sizeof *d);
    int status = load(&d->cu);
    if (!status) status = check_version(&d->cu, code);
    if (!status) status = find(d, code);
    if (status) return status;
    d->modules = calloc((size_t)code->kernel_count + 1, sizeof(cu_object));
    d->functions = calloc((size_t)code->kernel_count + 1, sizeof(cu_object));
    if (!d->modules || !d->functions) {
        status = gpu_failed(MODEL_E_MEMORY, NULL, "out of memory");
    } else {
        cu_result error = d->cu.cuDevicePrimaryCtxRetain(&d->context, d->number);
        if (error) d->context = NULL;
        if (error == CUDA_OUT_OF_MEMORY) {
            status = cuda_failed(d, "a context", error);
        } else if (error) {
            status = gpu_failed(MODEL_E_NO_DEVICE, "is another program holding it?",
                                "%s cannot be opened: CUDA error %s", d->name,
                                name_of(&d->cu, error));
        } else if ((error = d->cu.cuCtxPushCurrent_v2(d->context))) {
            status = cuda_failed(d, "its context", error);
        } else {
            status = fill(d, code);
            d->cu.cuCtxPopCurrent_v2(&(cu_object){NULL});
        }
    }
    if (status) cuda_close(d, code);
    return status;
}

void cuda_close(cuda_device_t *d, const cuda_code_t *code) {
    if (d->context && !d->cu.cuCtxPushCurrent_v2(d->context)) {
        for (int32_t i = 0; i < code->kernel_count; i++) {
            if (d->modules[i]) d->cu.cuModuleUnload(d->modules[i]);
        }
        if (d->stream) d->cu.cuStreamDestroy_v2(d->stream);
        d->cu.cuCtxPopCurrent_v2(&(cu_object){NULL});
    }
    if (d->context) d->cu.cuDevicePrimaryCtxRelease_v2(d->number);
    free(d->modules);
    free(d->functions);
    d->modules = d->functions = NULL;
    d->context = d->stream = NULL;
}
