/* A microcontroller's program on an emulated board: the `run` and `check` of the runner, and `stack`,
 * which measures what model_run needs. Inputs and outputs lie in the arena, as model.h offers. */
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "exit_codes.h"
#include "files.h"
#include "model.h"

enum { PAINTED_BYTES = 1 << 16, PAINT = 0xa5 };

static _Alignas(MODEL_ALIGN) unsigned char arena[MODEL_ARENA_BYTES];
static const void *in[MODEL_INPUT_COUNT];
static void *out[MODEL_OUTPUT_COUNT];

static void place_tensors(void) {
    for (int i = 0; i < MODEL_INPUT_COUNT; i++) in[i] = arena + model_input_offsets[i];
    for (int i = 0; i < MODEL_OUTPUT_COUNT; i++) out[i] = arena + model_output_offsets[i];
}

static void infer(void) {
    int status = model_run(in, out, arena);
    if (status) fail(EXIT_BUG, NULL, "model_run failed: %d", status);
}

/* The files that follow `option`, in order; exactly `count` of them. */
static void files_of(int argc, char **argv, const char *option, int count, const char **paths) {
    int found = 0;
    for (int i = 2; i + 1 < argc; i += 2) {
        if (strcmp(argv[i], option)) continue;
        if (found < count) paths[found] = argv[i + 1];
        found++;
    }
    if (found != count) fail(EXIT_USAGE, NULL, "%s: %d files, not %d", option, found, count);
}

static void infer_files(int argc, char **argv) {
    const char *inputs[MODEL_INPUT_COUNT];
    files_of(argc, argv, "--input", MODEL_INPUT_COUNT, inputs);
    for (int i = 0; i < MODEL_INPUT_COUNT; i++) {
        tensor_read(inputs[i], arena + model_input_offsets[i], model_input_bytes[i]);
    }
    infer();
}

/* Semihosting cannot rename, so not by files.h. */
static void write_file(const char *path, const void *data, size_t size) {
    FILE *file = fopen(path, "wb");
    int done = file && fwrite(data, 1, size, file) == size;
    if (file && fclose(file)) done = 0;
    if (!done) fail(EXIT_STORAGE, NULL, "cannot write %s", path);
}

static void run(int argc, char **argv) {
    const char *outputs[MODEL_OUTPUT_COUNT];
    files_of(argc, argv, "--output", MODEL_OUTPUT_COUNT, outputs);
    infer_files(argc, argv);
    for (int i = 0; i < MODEL_OUTPUT_COUNT; i++) {
        write_file(outputs[i], out[i], model_output_bytes[i]);
    }
}

static void check(int argc, char **argv) {
    const char *expected[MODEL_OUTPUT_COUNT];
    files_of(argc, argv, "--expect", MODEL_OUTPUT_COUNT, expected);
    infer_files(argc, argv);
    for (int i = 0; i < MODEL_OUTPUT_COUNT; i++) {
        tensor_compare(expected[i], i, out[i], model_output_bytes[i]);
    }
}

/* Paint what is free below this function's own frame, and see how far down the colour is gone. */
static void stack(void) {
    unsigned char *here;
    __asm volatile("mov %0, sp" : "=r"(here));
    volatile unsigned char *lowest = here - PAINTED_BYTES;
    for (volatile unsigned char *p = lowest; p < here; p++) *p = PAINT;
    infer();
    while (lowest < here && *lowest == PAINT) lowest++;
    printf("%d\n", (int)(here - lowest));
}

int main(int argc, char **argv) {
    const char *command = argc > 1 ? argv[1] : "";
    place_tensors();
    if (!strcmp(command, "run")) {
        run(argc, argv);
    } else if (!strcmp(command, "check")) {
        check(argc, argv);
    } else if (!strcmp(command, "stack")) {
        stack();
    } else {
        fail(EXIT_USAGE, "commands are: run, check, stack", "unknown command '%s'", command);
    }
    return EXIT_OK;
}
