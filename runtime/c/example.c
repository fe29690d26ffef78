#include <stdio.h>

#include "model.h"

static _Alignas(MODEL_ALIGN) unsigned char arena[MODEL_ARENA_BYTES];
static _Alignas(MODEL_ALIGN) float image[(MODEL_INPUT_0_BYTES + MODEL_OVERREAD_BYTES) / 4];
static _Alignas(MODEL_ALIGN) float scores[(MODEL_OUTPUT_0_BYTES + MODEL_OVERREAD_BYTES) / 4];

int main(void) {
    const void *in[] = {image};
    void *out[] = {scores};
    if (fread(image, 1, MODEL_INPUT_0_BYTES, stdin) != MODEL_INPUT_0_BYTES) return 1;
    if (model_run(in, out, arena) != 0) return 1;

    size_t best = 0;
    for (size_t i = 1; i < MODEL_OUTPUT_0_ELEMENTS; i++) {
        if (scores[i] > scores[best]) best = i;
    }
    printf("class %zu, score %g\n", best, (double)scores[best]);
    return 0;
}
