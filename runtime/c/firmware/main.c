/* A microcontroller's program on an emulated board: `run`, `accuracy` and `check` as of the runner,
 * and `stack`, which measures what model_run needs. Inputs and outputs lie in the arena, as model.h
 * offers. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "exit_codes.h"
#include "files.h"
#include "model.h"
#include "sample_text.h"

enum { PAINTED_BYTES = 1 << 16, PAINT = 0xa5 };

/* Begin a stream, where the program remembers anything. */
#ifdef MODEL_STATE_COUNT
#define RESET() model_reset(arena)
#else
#define RESET() ((void)0)
#endif

static _Alignas(MODEL_ALIGN) unsigned char arena[MODEL_ARENA_BYTES];
static const void *in[MODEL_INPUT_COUNT];
static void *out[MODEL_OUTPUT_COUNT];

static void place_tensors(void) {
    for (int i = 0; i < MODEL_INPUT_COUNT; i++) in[i] = arena + model_input_offsets[i];
    for (int i = 0; i < MODEL_OUTPUT_COUNT; i++) out[i] = arena + model_output_offsets[i];
}

/* The input of a run that only costs: a run overwrites its inputs. */
static void fill_inputs(void) {
#ifdef MODEL_INPUT_0_TEXT
    fill_with_text(arena + model_input_offsets[0], model_input_bytes[0]);
#endif
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

static FILE *open_file(const char *path, const char *mode) {
    FILE *file = fopen(path, mode);
    if (!file) fail(*mode == 'r' ? EXIT_INPUT : EXIT_STORAGE, NULL, "cannot open %s", path);
    return file;
}

/* The next sample of each file; 0 behind the last. */
static int read_inputs(FILE *const *files, const char *const *paths) {
    for (int i = 0; i < MODEL_INPUT_COUNT; i++) {
        size_t size = model_input_bytes[i];
        size_t got = fread(arena + model_input_offsets[i], 1, size, files[i]);
        if (i == 0 && got == 0) return 0;
        if (got < size) {
            fail(EXIT_INPUT, "raw tensors in C order, one after the other",
                 "%s: not whole tensors of %zu bytes, or fewer than of others", paths[i], size);
        }
    }
    return 1;
}

/* The operating point that `--point NUMBER` names; the first without it. */
static void choose_point(int argc, char **argv) {
    int point = 0;
    for (int i = 2; i + 1 < argc; i += 2) {
        if (!strcmp(argv[i], "--point")) point = atoi(argv[i + 1]);
    }
#ifdef MODEL_POINT_COUNT
    if (model_set_point(arena, point)) fail(EXIT_USAGE, NULL, "--point: no point %d", point);
#else
    if (point) fail(EXIT_USAGE, NULL, "--point: the model has one point only");
#endif
}

/* As many inferences as the files hold samples; semihosting cannot rename, so not by files.h. */
static void run(int argc, char **argv) {
    const char *inputs[MODEL_INPUT_COUNT], *outputs[MODEL_OUTPUT_COUNT];
    FILE *samples[MODEL_INPUT_COUNT], *results[MODEL_OUTPUT_COUNT];
    files_of(argc, argv, "--input", MODEL_INPUT_COUNT, inputs);
    files_of(argc, argv, "--output", MODEL_OUTPUT_COUNT, outputs);
    for (int i = 0; i < MODEL_INPUT_COUNT; i++) samples[i] = open_file(inputs[i], "rb");
    for (int i = 0; i < MODEL_OUTPUT_COUNT; i++) results[i] = open_file(outputs[i], "wb");
    RESET();
    while (read_inputs(samples, inputs)) {
        infer();
        for (int i = 0; i < MODEL_OUTPUT_COUNT; i++) {
            fwrite(out[i], 1, model_output_bytes[i], results[i]);
        }
    }
    for (int i = 0; i < MODEL_OUTPUT_COUNT; i++) {
        int failed = ferror(results[i]);
        if (fclose(results[i]) || failed) fail(EXIT_STORAGE, NULL, "cannot write %s", outputs[i]);
    }
}

static void check(int argc, char **argv) {
    const char *inputs[MODEL_INPUT_COUNT], *expected[MODEL_OUTPUT_COUNT];
    files_of(argc, argv, "--input", MODEL_INPUT_COUNT, inputs);
    files_of(argc, argv, "--expect", MODEL_OUTPUT_COUNT, expected);
#ifdef MODEL_STATE_COUNT
    RESET();
    long steps = tensor_count(inputs[0], model_input_bytes[0]);
    for (long step = 0; step < steps; step++) {
        for (int i = 0; i < MODEL_INPUT_COUNT; i++) {
            void *data = arena + model_input_offsets[i];
            tensor_read_at(inputs[i], data, model_input_bytes[i], step);
        }
        infer();
        for (int i = 0; i < MODEL_OUTPUT_COUNT; i++) {
            tensor_compare_at(expected[i], i, out[i], model_output_bytes[i], step);
        }
    }
#else
    for (int i = 0; i < MODEL_INPUT_COUNT; i++) {
        tensor_read(inputs[i], arena + model_input_offsets[i], model_input_bytes[i]);
    }
    infer();
    for (int i = 0; i < MODEL_OUTPUT_COUNT; i++) {
        tensor_compare(expected[i], i, out[i], model_output_bytes[i]);
    }
#endif
    /* As the runner says it. */
    printf("{\"schema\": 1, \"outputs_equal\": %d}\n", MODEL_OUTPUT_COUNT);
}

/* Paint what is free below this function's own frame, and see how far down the colour is gone, once
 * every operating point has run. */
static void stack(void) {
    unsigned char *here;
    __asm volatile("mov %0, sp" : "=r"(here));
    RESET();
    volatile unsigned char *lowest = here - PAINTED_BYTES;
    for (volatile unsigned char *p = lowest; p < here; p++) *p = PAINT;
#ifdef MODEL_POINT_COUNT
    for (int point = 0; point < MODEL_POINT_COUNT; point++) {
        model_set_point(arena, point);
        fill_inputs();
        infer();
    }
#else
    fill_inputs();
    infer();
#endif
    while (lowest < here && *lowest == PAINT) lowest++;
    printf("%d\n", (int)(here - lowest));
}

int main(int argc, char **argv) {
    const char *command = argc > 1 ? argv[1] : "";
    place_tensors();
    choose_point(argc, argv);
    if (!strcmp(command, "run") || !strcmp(command, "accuracy")) {
        run(argc, argv);
    } else if (!strcmp(command, "check")) {
        check(argc, argv);
    } else if (!strcmp(command, "stack")) {
        stack();
    } else {
        fail(EXIT_USAGE, "commands are: run, accuracy, check, stack", "unknown command '%s'", command);
    }
    return EXIT_OK;
}
