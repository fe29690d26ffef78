#include "accuracy.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "clock.h"
#include "exit_codes.h"
#include "json.h"
#include "model.h"
#include "session.h"

enum { SCHEMA_VERSION = 1, MAX_PATH = 4096 };

/* Predictions become a file when they are all there; until then they are in `part`. */
typedef struct {
    FILE *file;
    char part[MAX_PATH];
} output_t;

static FILE *open_samples(const char *path, size_t size, long long *count) {
    struct stat status;
    FILE *file = fopen(path, "rb");
    if (!file || fstat(fileno(file), &status) != 0) {
        fail(EXIT_INPUT, NULL, "cannot read %s: %s", path, strerror(errno));
    }
    long long bytes = status.st_size, tensor = (long long)size;
    if (bytes == 0 || bytes % tensor) {
        fail(EXIT_INPUT, "raw tensors in C order, one after the other",
             "%s: %lld bytes are not whole tensors of %lld", path, bytes, tensor);
    }
    if (*count && *count != bytes / tensor) {
        fail(EXIT_INPUT, "give as many for each input", "%s: holds %lld tensors, others %lld", path,
             bytes / tensor, *count);
    }
    *count = bytes / tensor;
    return file;
}

/* errno says why. */
static void cannot_write(output_t *outputs, int which, const char *path) {
    int error = errno;
    for (int i = 0; i <= which; i++) unlink(outputs[i].part);
    fail(EXIT_STORAGE, NULL, "cannot write %s: %s", path, strerror(error));
}

static void open_outputs(output_t *outputs, const files_t *files) {
    for (int i = 0; i < files->count; i++) {
        const char *path = files->paths[i];
        int length = snprintf(outputs[i].part, MAX_PATH, "%s.part", path);
        errno = ENAMETOOLONG;
        outputs[i].file = length < MAX_PATH ? fopen(outputs[i].part, "wb") : NULL;
        if (!outputs[i].file) cannot_write(outputs, i - 1, path);
    }
}

static void close_outputs(output_t *outputs, const files_t *files) {
    for (int i = 0; i < files->count; i++) {
        const char *path = files->paths[i];
        if (fclose(outputs[i].file) != 0 || rename(outputs[i].part, path) != 0) {
            cannot_write(outputs, files->count - 1, path);
        }
    }
}

static void read_inputs(FILE **samples, const session_t *session, const files_t *files) {
    for (int i = 0; i < files->count; i++) {
        void *data = (void *)(uintptr_t)session->in[i];
        if (fread(data, model_input_bytes[i], 1, samples[i]) != 1) {
            fail(EXIT_INPUT, NULL, "cannot read %s", files->paths[i]);
        }
    }
}

void accuracy(const args_t *args) {
    session_t session = session_open(&(files_t){.count = 0}, args->point);
    FILE *samples[MAX_FILES];
    output_t *outputs = calloc(MAX_FILES, sizeof *outputs);
    long long count = 0;
    if (!outputs) fail(EXIT_MEASUREMENT, NULL, "out of memory");
    for (int i = 0; i < args->input.count; i++) {
        samples[i] = open_samples(args->input.paths[i], model_input_bytes[i], &count);
    }
    session_use_threads(&session, args->threads, args->cpu_count ? args->cpus : NULL);
    open_outputs(outputs, &args->output);
    double started = unix_seconds(), start = clock_seconds();
    for (long long done = 0; done < count; done++) {
        read_inputs(samples, &session, &args->input);
        session_run(&session);
        for (int i = 0; i < args->output.count; i++) {
            if (fwrite(session.out[i], model_output_bytes[i], 1, outputs[i].file) != 1) {
                cannot_write(outputs, args->output.count - 1, args->output.paths[i]);
            }
        }
    }
    close_outputs(outputs, &args->output);
    double wall = clock_seconds() - start;
    for (int i = 0; i < args->input.count; i++) fclose(samples[i]);
    free(outputs);
    session_close(&session);

    json_open('{');
    json_integer("schema", SCHEMA_VERSION);
    json_integer("inferences", count);
    json_moment("started_s", started);
    json_number("wall_s", wall);
    json_close('}');
}
