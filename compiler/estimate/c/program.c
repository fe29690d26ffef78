/* One inference of a model, each of its steps a section. Arguments: a file for each input. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "mark.h"
#include "model.h"

/* Not aligned_alloc, which newlib declares and does not have. */
static void *room(size_t bytes) {
    uintptr_t start = (uintptr_t)malloc(bytes + MODEL_OVERREAD_BYTES + MODEL_ALIGN);
    if (!start) exit(1);
    return (void *)((start + MODEL_ALIGN - 1) / MODEL_ALIGN * MODEL_ALIGN);
}

int main(int argc, char **argv) {
    const void *in[MODEL_INPUT_COUNT];
    void *out[MODEL_OUTPUT_COUNT], *arena = room(MODEL_ARENA_BYTES);
    if (argc != 1 + MODEL_INPUT_COUNT) return 1;
    for (int i = 0; i < MODEL_INPUT_COUNT; i++) {
        void *data = room(model_input_bytes[i]);
        FILE *file = fopen(argv[1 + i], "rb");
        if (!file || fread(data, 1, model_input_bytes[i], file) != model_input_bytes[i]) return 1;
        fclose(file);
        in[i] = data;
    }
    for (int i = 0; i < MODEL_OUTPUT_COUNT; i++) out[i] = room(model_output_bytes[i]);
    for (int step = 0; step < MODEL_STEP_COUNT; step++) {
        mark(step);
        if (model_step(step, in, out, arena, 0, model_steps[step].work)) return 1;
    }
    mark(MARK_END);
    return 0;
}
