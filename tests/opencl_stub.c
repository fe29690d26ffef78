/* A libOpenCL.so.1 whose device fails as the environment variable STUB says: "build", "memory",
   "run", or "none" for a machine with a loader and no device. With "two" a GPU stands behind it. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

typedef void *object;
static int thing, gpu;

static int fails(const char *how) {
    const char *stub = getenv("STUB");
    return stub && !strcmp(stub, how);
}

static object made(int32_t *error, int32_t code) {
    if (error) *error = code;
    return code ? NULL : &thing;
}

int32_t clGetPlatformIDs(uint32_t n, object *out, uint32_t *count) {
    (void)n;
    *count = fails("none") ? 0 : 1;
    *out = &thing;
    return fails("none") ? -1001 : 0;
}
int32_t clGetDeviceIDs(object p, uint64_t type, uint32_t n, object *out, uint32_t *count) {
    (void)p, (void)type;
    *count = fails("two") ? 2 : 1;
    out[0] = &thing;
    if (*count > 1 && n > 1) out[1] = &gpu;
    return 0;
}
int32_t clGetDeviceInfo(object d, uint32_t what, size_t bytes, void *out, size_t *size) {
    if (size) *size = 1;
    if (out) memset(out, 0, bytes);
    if (out && what == 0x102B) strcpy(out, d == &gpu ? "Stub GPU" : "Stub 1");
    if (out && what == 0x1000) *(uint64_t *)out = d == &gpu ? 4 : 2;
    return 0;
}
object clCreateContext(const void *p, uint32_t n, const object *d, void *f, void *u, int32_t *e) {
    (void)p, (void)n, (void)d, (void)f, (void)u;
    return made(e, 0);
}
object clCreateCommandQueue(object c, object d, uint64_t p, int32_t *e) {
    (void)c, (void)d, (void)p;
    return made(e, 0);
}
object clCreateBuffer(object c, uint64_t flags, size_t bytes, void *host, int32_t *e) {
    (void)c, (void)flags, (void)bytes, (void)host;
    return made(e, fails("memory") ? -4 : 0);
}
object clCreateProgramWithSource(object c, uint32_t n, const char **t, const size_t *l, int32_t *e) {
    (void)c, (void)n, (void)t, (void)l;
    return made(e, 0);
}
int32_t clBuildProgram(object p, uint32_t n, const object *d, const char *o, void *f, void *u) {
    (void)p, (void)n, (void)d, (void)o, (void)f, (void)u;
    return fails("build") ? -11 : 0;
}
int32_t clGetProgramBuildInfo(object p, object d, uint32_t what, size_t n, void *out, size_t *size) {
    (void)p, (void)d, (void)what, (void)size;
    strncpy(out, "line 1: no such word\nline 2", n);
    return 0;
}
object clCreateKernel(object p, const char *name, int32_t *e) {
    (void)p, (void)name;
    return made(e, 0);
}
int32_t clSetKernelArg(object k, uint32_t i, size_t n, const void *v) {
    (void)k, (void)i, (void)n, (void)v;
    return 0;
}
int32_t clEnqueueNDRangeKernel(object q, object k, uint32_t d, const size_t *o, const size_t *g,
                               const size_t *l, uint32_t n, const object *w, object *e) {
    (void)q, (void)k, (void)d, (void)o, (void)g, (void)l, (void)n, (void)w, (void)e;
    return fails("run") ? -9999 : 0;
}
int32_t clEnqueueWriteBuffer(object q, object m, uint32_t b, size_t o, size_t n, const void *p,
                             uint32_t c, const object *w, object *e) {
    (void)q, (void)m, (void)b, (void)o, (void)n, (void)p, (void)c, (void)w, (void)e;
    return 0;
}
int32_t clEnqueueReadBuffer(object q, object m, uint32_t b, size_t o, size_t n, void *p, uint32_t c,
                            const object *w, object *e) {
    (void)q, (void)m, (void)b, (void)o, (void)n, (void)p, (void)c, (void)w, (void)e;
    return 0;
}
int32_t clFinish(object q) { return q ? 0 : -36; }
int32_t clReleaseMemObject(object o) { return o ? 0 : -38; }
int32_t clReleaseKernel(object o) { return o ? 0 : -48; }
int32_t clReleaseProgram(object o) { return o ? 0 : -44; }
int32_t clReleaseCommandQueue(object o) { return o ? 0 : -36; }
int32_t clReleaseContext(object o) { return o ? 0 : -34; }
