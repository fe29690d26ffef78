#include "files.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "exit_codes.h"
#include "model.h"

void fail(enum exit_code code, const char *hint, const char *format, ...) {
    va_list args;
    va_start(args, format);
    fputs("error: ", stderr);
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
    va_end(args);
    if (hint) fprintf(stderr, " hint: %s\n", hint);
    exit(code);
}

void *tensor_alloc(size_t size) {
    size_t room = (size + MODEL_OVERREAD_BYTES + MODEL_ALIGN - 1) / MODEL_ALIGN * MODEL_ALIGN;
    void *data = aligned_alloc(MODEL_ALIGN, room);
    if (!data) fail(EXIT_MEASUREMENT, NULL, "out of memory: %zu bytes", room);
    return memset(data, 0, room);
}

void tensor_read(const char *path, void *data, size_t size) {
    FILE *file = fopen(path, "rb");
    if (!file) fail(EXIT_INPUT, NULL, "cannot read %s: %s", path, strerror(errno));
    size_t got = fread(data, 1, size, file);
    int more = got == size && fgetc(file) != EOF;
    if (ferror(file)) fail(EXIT_INPUT, NULL, "cannot read %s: %s", path, strerror(errno));
    fclose(file);
    if (got < size || more) {
        fail(EXIT_INPUT, "raw bytes in C order, as in the bundle's example/",
             "%s: holds %s than the tensor's %zu bytes", path, more ? "more" : "less", size);
    }
}

void tensor_compare(const char *path, int index, const void *data, size_t size) {
    const unsigned char *got = data;
    unsigned char *expected = malloc(size);
    if (!expected) fail(EXIT_MEASUREMENT, NULL, "out of memory: %zu bytes", size);
    tensor_read(path, expected, size);
    size_t differing = 0, first = 0;
    for (size_t i = 0; i < size; i++) {
        if (got[i] == expected[i]) continue;
        if (differing++ == 0) first = i;
    }
    free(expected);
    if (differing) {
        fail(EXIT_MISMATCH, NULL,
             "output %d differs from %s in %zu of %zu bytes, first at byte %zu", index, path,
             differing, size, first);
    }
}

#ifdef MODEL_STATE_COUNT
static FILE *open_at(const char *path, long offset, int from) {
    FILE *file = fopen(path, "rb");
    if (!file || fseek(file, offset, from) != 0) {
        fail(EXIT_INPUT, NULL, "cannot read %s: %s", path, strerror(errno));
    }
    return file;
}

long tensor_count(const char *path, size_t size) {
    FILE *file = open_at(path, 0, SEEK_END);
    long bytes = ftell(file);
    fclose(file);
    if (bytes <= 0 || bytes % (long)size) {
        fail(EXIT_INPUT, "raw tensors in C order, a step of the stream each",
             "%s: %ld bytes are not whole tensors of %zu", path, bytes, size);
    }
    return bytes / (long)size;
}

void tensor_read_at(const char *path, void *data, size_t size, long place) {
    FILE *file = open_at(path, place * (long)size, SEEK_SET);
    if (fread(data, 1, size, file) != size) {
        fail(EXIT_INPUT, "give as many for each input", "%s: has no tensor %ld", path, place);
    }
    fclose(file);
}

void tensor_compare_at(const char *path, int index, const void *data, size_t size, long place) {
    unsigned char *expected = malloc(size);
    if (!expected) fail(EXIT_MEASUREMENT, NULL, "out of memory: %zu bytes", size);
    tensor_read_at(path, expected, size, place);
    int same = memcmp(expected, data, size) == 0;
    free(expected);
    if (!same) {
        fail(EXIT_MISMATCH, NULL, "output %d of step %ld differs from %s", index, place, path);
    }
}
#endif

void tensor_write(const char *path, const void *data, size_t size) {
    size_t length = strlen(path) + sizeof ".part";
    char *part = malloc(length);
    if (!part) fail(EXIT_STORAGE, NULL, "out of memory");
    snprintf(part, length, "%s.part", path);
    FILE *file = fopen(part, "wb");
    int done = file && fwrite(data, 1, size, file) == size && fflush(file) == 0;
    int error = errno;
    if (file && fclose(file) != 0) done = 0;
    if (done && rename(part, path) != 0) {
        error = errno;
        done = 0;
    }
    if (!done) {
        if (file) unlink(part);
        fail(EXIT_STORAGE, NULL, "cannot write %s: %s", path, strerror(error));
    }
    free(part);
}
