#include "opencl_open.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model.h"

enum { MOST_PLATFORMS = 16, MOST_DEVICES = 16, MOST_LOG = 2000 };

/* A part of a device's name, where there are several. */
#define CHOICE "EDGEKILN_OPENCL_DEVICE"

static int load(opencl_t *cl) {
    void *library = dlopen("libOpenCL.so.1", RTLD_NOW | RTLD_LOCAL);
    if (!library) library = dlopen("libOpenCL.so", RTLD_NOW | RTLD_LOCAL);
    if (!library) {
        return gpu_failed(MODEL_E_NO_DRIVER,
                          "install the GPU's OpenCL driver; on Debian its loader is "
                          "ocl-icd-libopencl1, and pocl-opencl-icd runs on any processor",
                          "libOpenCL.so.1 is not installed");
    }
#define LOAD(name, result, parameters)                                                             \
    *(void **)&cl->name = dlsym(library, #name);                                                   \
    if (!cl->name) {                                                                               \
        return gpu_failed(MODEL_E_NO_DRIVER, "install a driver of OpenCL 1.2 or newer",            \
                          "libOpenCL.so.1 has no " #name);                                         \
    }
    OPENCL_FUNCTIONS(LOAD)
#undef LOAD
    return 0; /* it stays open: drivers start threads that outlive any close */
}

static cl_bits bits_of(const opencl_device_t *d, cl_object device, cl_uint what) {
    cl_bits bits = 0;
    return d->cl.clGetDeviceInfo(device, what, sizeof bits, &bits, NULL) ? 0 : bits;
}

static void read_name(const opencl_device_t *d, cl_object device, char name[256]) {
    if (d->cl.clGetDeviceInfo(device, CL_DEVICE_NAME, 255, name, NULL)) strcpy(name, "unnamed");
    name[255] = 0;
}

/* The first GPU, or the first device of any kind; or the one that the user named. */
static int find(opencl_device_t *d) {
    const char *wanted = getenv(CHOICE);
    if (wanted && !*wanted) wanted = NULL; /* as where it is not set */
    cl_object platforms[MOST_PLATFORMS], found = NULL;
    cl_uint count = 0;
    char seen[512] = "";
    if (d->cl.clGetPlatformIDs(MOST_PLATFORMS, platforms, &count)) count = 0;
    if (count > MOST_PLATFORMS) count = MOST_PLATFORMS;
    for (cl_uint p = 0; p < count; p++) {
        cl_object devices[MOST_DEVICES];
        cl_uint of_platform = 0;
        if (d->cl.clGetDeviceIDs(platforms[p], CL_DEVICE_TYPE_ALL, MOST_DEVICES, devices,
                                 &of_platform)) {
            continue;
        }
        if (of_platform > MOST_DEVICES) of_platform = MOST_DEVICES;
        for (cl_uint i = 0; i < of_platform; i++) {
            char name[256];
            read_name(d, devices[i], name);
            size_t used = strlen(seen);
            snprintf(seen + used, sizeof seen - used, "%s%s", used ? ", " : "", name);
            if (wanted && !strstr(name, wanted)) continue;
            int is_gpu = (bits_of(d, devices[i], CL_DEVICE_TYPE) & CL_DEVICE_TYPE_GPU) != 0;
            if (found && !(is_gpu && !wanted)) continue;
            found = devices[i];
            strcpy(d->name, name);
            if (is_gpu) goto done;
        }
    }
done:
    d->device = found;
    if (found) return 0;
    if (wanted && *seen) {
        return gpu_failed(MODEL_E_NO_DEVICE, "name a part of one of these, or unset " CHOICE,
                          "no OpenCL device is called '%s': there are %s", wanted, seen);
    }
    return gpu_failed(MODEL_E_NO_DEVICE,
                      "`clinfo -l` lists what drivers offer; /dev/dri or /dev/mali0 may be another "
                      "group's: see `ls -l`",
                      "OpenCL has no device here");
}

/* The dot products there are, best first: what of the device's extensions promises each, and how
   the kernels are told. A promise may not hold, so that the next one is tried. */
static const struct {
    const char *extension, *options;
} DOTS[] = {
    {"cl_khr_integer_dot_product", "-cl-std=CL3.0 -DEK_DOT_KHR"},
    {"cl_arm_integer_dot_product_accumulate_int8", "-cl-std=CL1.2 -DEK_DOT_ARM"},
    {"cl_qcom_dot_product8", "-cl-std=CL1.2 -DEK_DOT_QCOM"},
    {"", "-cl-std=CL1.2"},
};

static int has(const char *extensions, const char *name) {
    size_t length = strlen(name);
    for (const char *at = extensions; length && (at = strstr(at, name)); at += length) {
        if ((at == extensions || at[-1] == ' ') && (at[length] == ' ' || !at[length])) return 1;
    }
    return !length;
}

static char *extensions_of(const opencl_device_t *d) {
    size_t bytes = 0;
    d->cl.clGetDeviceInfo(d->device, CL_DEVICE_EXTENSIONS, 0, NULL, &bytes);
    char *text = calloc(bytes + 1, 1);
    if (text) d->cl.clGetDeviceInfo(d->device, CL_DEVICE_EXTENSIONS, bytes, text, NULL);
    return text;
}

static int build(opencl_device_t *d, const opencl_code_t *code) {
    char *extensions = extensions_of(d);
    if (!extensions) return gpu_failed(MODEL_E_MEMORY, NULL, "out of memory");
    int exact = (bits_of(d, d->device, CL_DEVICE_SINGLE_FP_CONFIG) &
                 CL_FP_CORRECTLY_ROUNDED_DIVIDE_SQRT) != 0;
    char log[MOST_LOG] = "";
    cl_int error = 0;
    for (size_t i = 0; i < sizeof DOTS / sizeof *DOTS; i++) {
        if (!has(extensions, DOTS[i].extension)) continue;
        char options[256];
        snprintf(options, sizeof options, "%s%s", DOTS[i].options,
                 exact ? " -cl-fp32-correctly-rounded-divide-sqrt -DEK_EXACT" : "");
        d->program = d->cl.clCreateProgramWithSource(d->context, 1, (const char *[]){code->text},
                                                     &code->bytes, &error);
        if (!error) error = d->cl.clBuildProgram(d->program, 1, &d->device, options, NULL, NULL);
        if (!error) break;
        if (!d->program) break;
        if (d->cl.clGetProgramBuildInfo(d->program, d->device, CL_PROGRAM_BUILD_LOG, sizeof log - 1,
                                        log, NULL)) {
            strcpy(log, "its compiler says no more");
        }
        d->cl.clReleaseProgram(d->program);
        d->program = NULL;
    }
    free(extensions);
    if (!error) return 0;
    log[strcspn(log, "\r\n")] = 0;
    return gpu_failed(MODEL_E_KERNELS, "update the GPU's driver, or report this line",
                      "%s cannot build the kernels (OpenCL error %d): %s", d->name, (int)error,
                      log);
}

int opencl_open(opencl_device_t *d, const opencl_code_t *code) {
    memset(d, 0, sizeof *d);
    int status = load(&d->cl);
    if (!status) status = find(d);
    if (status) return status;
    cl_int error = 0;
    d->context = d->cl.clCreateContext(NULL, 1, &d->device, NULL, NULL, &error);
    if (!error) d->queue = d->cl.clCreateCommandQueue(d->context, d->device, 0, &error);
    if (error) {
        status = gpu_failed(MODEL_E_NO_DEVICE, "is another program holding it?",
                            "%s cannot be opened: OpenCL error %d", d->name, (int)error);
    }
    if (!status) status = build(d, code);
    if (status) opencl_close(d);
    return status;
}

void opencl_close(opencl_device_t *d) {
    if (d->program) d->cl.clReleaseProgram(d->program);
    if (d->queue) d->cl.clReleaseCommandQueue(d->queue);
    if (d->context) d->cl.clReleaseContext(d->context);
    d->program = d->queue = d->context = NULL;
}
