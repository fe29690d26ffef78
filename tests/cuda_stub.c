/* A libcuda.so.1 without a GPU, for tests. It executes kernels by their twins (STUB_TWINS names their
   library), when the stream is waited for and not before, in memory whose addresses no processor can
   read. What no driver would take, or what is left behind at the end, ends the process with code 99.
   STUB says what fails: "old", "none", "other" (an older GPU), "newer", "busy", "memory", "pinned",
   "kernels", "lost". STUB_LOG names a file for what was counted. */
#define _GNU_SOURCE
#include "cuda_stub_device.h"

result cuInit(unsigned flags) {
    if (flags) misuse("cuInit takes no flags");
    initialized = 1;
    return fails("none") ? 100 : 0;
}
result cuDriverGetVersion(int *version) {
    *version = fails("old") ? 11040 : 13000;
    return 0;
}
result cuGetErrorName(result error, const char **name) {
    *name = error == 2     ? "CUDA_ERROR_OUT_OF_MEMORY"
            : error == 46  ? "CUDA_ERROR_DEVICE_UNAVAILABLE"
            : error == 100 ? "CUDA_ERROR_NO_DEVICE"
            : error == 222 ? "CUDA_ERROR_UNSUPPORTED_PTX_VERSION"
            : error == 719 ? "CUDA_ERROR_LAUNCH_FAILED"
                           : NULL;
    return *name ? 0 : 1;
}
result cuDeviceGetCount(int *count) {
    if (!initialized) return 3;
    *count = 1;
    return 0;
}
result cuDeviceGet(int *device, int ordinal) {
    *device = 7;
    return ordinal ? 101 : 0;
}
result cuDeviceGetName(char *name, int bytes, int device) {
    if (device != 7) return 101;
    snprintf(name, (size_t)bytes, "Stub 1");
    return 0;
}
result cuDeviceGetAttribute(int *value, int what, int device) {
    if (device != 7 || (what != 75 && what != 76)) return 1;
    const char *told = getenv("STUB_CAPABILITY");
    int capability = fails("other") ? 61 : fails("newer") ? 120 : told ? atoi(told) : 86;
    *value = what == 75 ? capability / 10 : capability % 10;
    return 0;
}
result cuDevicePrimaryCtxRetain(void **context, int device) {
    if (device != 7) return 101;
    if (fails("busy")) return 46;
    retained++;
    *context = &retained;
    return 0;
}
result cuDevicePrimaryCtxRelease_v2(int device) {
    if (device != 7 || !retained) misuse("a context that nobody holds is released");
    retained--;
    return 0;
}
result cuCtxPushCurrent_v2(void *context) {
    if (context != &retained || !retained) misuse("no context: %p", context);
    depth++, entered++;
    return 0;
}
result cuCtxPopCurrent_v2(void **context) {
    if (!depth) misuse("more contexts popped than pushed");
    depth--, entered--;
    *context = &retained;
    return 0;
}
result cuModuleLoadData(void **loaded, const void *image) {
    need_context("cuModuleLoadData");
    int is_elf = !memcmp(image, "\177ELF", 4);
    if (!is_elf && !strstr(image, ".target sm_")) misuse("neither machine code nor PTX");
    if (fails("kernels")) return is_elf ? 209 : 222;
    if (module_count == MOST) misuse("too many modules");
    module *m = &modules[module_count++];
    *m = (module){!is_elf, 1};
    *(is_elf ? &counted.cubins : &counted.ptx) += 1;
    *loaded = m;
    return 0;
}
result cuModuleGetFunction(void **found, void *m, const char *name) {
    need_context("cuModuleGetFunction");
    static void *twins;
    if (!((module *)m)->loaded) misuse("a function of a module that is unloaded");
    if (!twins) twins = dlopen(getenv("STUB_TWINS"), RTLD_NOW | RTLD_LOCAL);
    if (!twins) misuse("no twins: %s", dlerror());
    function *f = calloc(1, sizeof *f);
    snprintf(f->name, sizeof f->name, "arguments_%s", name);
    const int *arguments = dlsym(twins, f->name);
    snprintf(f->name, sizeof f->name, "twin_%s", name);
    *(void **)&f->twin = dlsym(twins, f->name);
    if (!f->twin || !arguments) misuse("no twin of %s", name);
    f->arguments = *arguments;
    *found = f;
    return 0;
}
result cuModuleUnload(void *m) {
    need_context("cuModuleUnload");
    if (!((module *)m)->loaded) misuse("a module is unloaded twice");
    ((module *)m)->loaded = 0;
    return 0;
}
result cuMemAlloc_v2(pointer *made, size_t bytes) {
    need_context("cuMemAlloc");
    if (!bytes) return 1;
    if (fails("memory")) return 2;
    int i = 0;
    while (blocks[i].memory) i++;
    blocks[i] = (block){aligned_alloc(GUARD, (bytes + 3 * GUARD) / GUARD * GUARD), bytes};
    memset(blocks[i].memory, NOISE, bytes + 2 * GUARD);
    *made = (pointer)(uintptr_t)blocks[i].memory + GUARD + DEVICE;
    return 0;
}
result cuMemFree_v2(pointer at) {
    need_context("cuMemFree");
    block *b = block_of(at, 1);
    if (b->memory + GUARD != real(at, 1)) misuse("not the beginning of a buffer is freed");
    free(b->memory);
    *b = (block){NULL, 0};
    return 0;
}
result cuMemAllocHost_v2(void **made, size_t bytes) {
    need_context("cuMemAllocHost");
    if (fails("pinned")) return 2;
    int i = 0;
    while (pinned[i].memory) i++;
    pinned[i] = (block){aligned_alloc(4096, (bytes + 4095) / 4096 * 4096), bytes};
    memset(pinned[i].memory, NOISE, bytes);
    *made = pinned[i].memory;
    return 0;
}
result cuMemFreeHost(void *at) {
    need_context("cuMemFreeHost");
    for (int i = 0; i < MOST; i++) {
        if (pinned[i].memory != at) continue;
        free(at);
        pinned[i] = (block){NULL, 0};
        return 0;
    }
    misuse("no pinned memory is freed");
    return 1;
}
result cuMemcpyHtoD_v2(pointer to, const void *from, size_t bytes) {
    need_context("cuMemcpyHtoD");
    memcpy(real(to, bytes), from, bytes);
    return 0;
}
static result copy(operation what, const char *who) {
    need_context(who);
    if (capturing && !is_pinned(what.host, what.bytes)) misuse("%s of memory that may move", who);
    block_of(what.device, what.bytes);
    submit(what);
    return 0;
}
result cuMemcpyHtoDAsync_v2(pointer to, const void *from, size_t bytes, void *stream) {
    if (stream != &streams) misuse("not the stream");
    counted.uploads++;
    return copy((operation){.kind = UPLOAD, .device = to, .host = (void *)(uintptr_t)from,
                            .bytes = bytes}, "cuMemcpyHtoDAsync");
}
result cuMemcpyDtoHAsync_v2(void *to, pointer from, size_t bytes, void *stream) {
    if (stream != &streams) misuse("not the stream");
    counted.downloads++;
    return copy((operation){.kind = DOWNLOAD, .device = from, .host = to, .bytes = bytes},
                "cuMemcpyDtoHAsync");
}
result cuStreamCreate(void **stream, unsigned flags) {
    need_context("cuStreamCreate");
    if (flags != 1) misuse("a stream that waits for others");
    streams++;
    *stream = &streams;
    return 0;
}
result cuStreamDestroy_v2(void *stream) {
    need_context("cuStreamDestroy");
    if (stream != &streams || !streams) misuse("no stream is destroyed");
    streams--;
    return 0;
}
result cuStreamSynchronize(void *stream) {
    need_context("cuStreamSynchronize");
    if (stream != &streams) misuse("not the stream");
    if (capturing) misuse("a stream is waited for while it is recorded");
    if (fails("lost")) return 719;
    for (int i = 0; i < queue.count; i++) execute(&queue.list[i]);
    queue.count = 0;
    return 0;
}
result cuStreamBeginCapture_v2(void *stream, int mode) {
    need_context("cuStreamBeginCapture");
    if (stream != &streams || mode != 1 || capturing) misuse("a recording cannot begin");
    capturing = 1;
    recording = (operations){NULL, 0};
    return 0;
}
result cuStreamEndCapture(void *stream, void **graph) {
    if (stream != &streams || !capturing) misuse("no recording to end");
    capturing = 0;
    graphs++;
    *graph = &recording;
    return 0;
}
result cuGraphInstantiateWithFlags(void **made, void *graph, unsigned long long flags) {
    if (graph != &recording || flags) misuse("no graph is instantiated");
    executables++;
    operations *copied = malloc(sizeof *copied);
    *copied = recording;
    *made = copied;
    return 0;
}
result cuGraphDestroy(void *graph) {
    if (graph != &recording || !graphs) misuse("no graph is destroyed");
    graphs--;
    return 0;
}
result cuGraphExecDestroy(void *made) {
    executables--;
    free(((operations *)made)->list);
    free(made);
    return 0;
}
result cuGraphLaunch(void *made, void *stream) {
    need_context("cuGraphLaunch");
    if (stream != &streams) misuse("not the stream");
    const operations *graph = made;
    counted.graph_launches++;
    counted.graph_kernels = 0;
    for (int i = 0; i < graph->count; i++) {
        counted.graph_kernels += graph->list[i].kind == KERNEL;
        append(&queue, graph->list[i]);
    }
    return 0;
}
result cuLaunchKernel(void *f, unsigned gx, unsigned gy, unsigned gz, unsigned tx, unsigned ty,
                      unsigned tz, unsigned shared, void *stream, void **arguments, void **extra) {
    need_context("cuLaunchKernel");
    if (stream != &streams || gy != 1 || gz != 1 || ty != 1 || tz != 1 || shared || extra) {
        misuse("a launch that no kernel of ours has");
    }
    if (!gx || !tx || tx > 1024) return 1;
    operation what = {.kind = KERNEL, .kernel = f, .groups = gx, .threads = tx};
    if (what.kernel->arguments > MOST_ARGUMENTS) misuse("too many arguments");
    for (int i = 0; i < what.kernel->arguments; i++) {
        what.arguments[i] = *(pointer *)arguments[i];
        block_of(what.arguments[i], 1);
    }
    counted.launches++;
    submit(what);
    return 0;
}

__attribute__((destructor)) static void end(void) {
    int left = retained + entered + streams + graphs + executables;
    for (int i = 0; i < MOST; i++) {
        left += (blocks[i].memory != NULL) + (pinned[i].memory != NULL) + modules[i].loaded;
    }
    if (getenv("STUB_LOG")) {
        FILE *log = fopen(getenv("STUB_LOG"), "w");
        fprintf(log, "{\"kernels\": %ld, \"launches\": %ld, \"graph_launches\": %ld, "
                     "\"graph_kernels\": %ld, \"cubins\": %ld, \"ptx\": %ld, \"uploads\": %ld, "
                     "\"downloads\": %ld, \"left\": %d}\n",
                counted.kernels, counted.launches, counted.graph_launches, counted.graph_kernels,
                counted.cubins, counted.ptx, counted.uploads, counted.downloads, left);
        fclose(log);
    }
    if (left) misuse("%d things are left behind", left);
}
