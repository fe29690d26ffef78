"""The C and assembler texts that `emit` fills in; C's own braces are doubled."""

POINTS_CODE = """\
#define POINT ((int32_t *)ARENA({offset}))

const model_point_t model_points[MODEL_POINT_COUNT] = {{
{table}
}};
const int32_t model_point_count = MODEL_POINT_COUNT;

int model_set_point(void *arena, int32_t point) {{
    if (point < 0 || point >= MODEL_POINT_COUNT) return MODEL_E_POINT;
    if ((uintptr_t)arena % MODEL_ALIGN != 0) return MODEL_E_ALIGN;
    *POINT = point;
    return 0;
}}

int32_t model_point(const void *arena) {{ return *(const int32_t *)ARENA({offset}); }}
"""

RUN = """\
int model_run(const void *const in[], void *const out[], void *arena) {{
    if (misaligned(in, out, arena)) return MODEL_E_ALIGN;
{ready}{calls}
    return 0;
}}
"""

RUN_POINT = """\
static int run_{number}(const void *const in[], void *const out[], void *arena) {{
    (void)in, (void)out, (void)arena;
{calls}
    return 0;
}}
"""

RUN_POINTS = """\
int model_run(const void *const in[], void *const out[], void *arena) {{
    if (misaligned(in, out, arena)) return MODEL_E_ALIGN;
{ready}    switch (*POINT) {{
{cases}
    default: return MODEL_E_POINT;
    }}
}}
"""

RESET_CODE = """\

void model_reset(void *arena) {{
{states}
}}
"""

CLASSES_CODE = """\

const char *const model_class_names[MODEL_CLASS_COUNT] = {{
{names}
}};
"""

PLACES_CODE = """\
const size_t model_input_offsets[MODEL_INPUT_COUNT] = {{{inputs}}};
const size_t model_output_offsets[MODEL_OUTPUT_COUNT] = {{{outputs}}};
"""

# Of a program that runs on AMX: Linux's Documentation/arch/x86/xstate.rst. No C library is needed.
ASK_FOR_TILES = """
static int tiles_given;

/* As the library is loaded, before its first kernel; threads and forks have them, too. */
__attribute__((constructor)) static void ask_for_tiles(void) {{
    long call = {call} /* arch_prctl */, request = {request} /* ARCH_REQ_XCOMP_PERM */;
    long tiles = {tiles};
    __asm__ volatile("syscall"
                     : "+a"(call)
                     : "D"(request), "S"(tiles)
                     : "rcx", "r11", "memory");
    tiles_given = call == 0;
}}

/* What stood in the way may be gone by now. */
static int no_tiles(void) {{
    if (!tiles_given) ask_for_tiles();
    return !tiles_given;
}}
"""

NEEDS_TILES = "    if (no_tiles()) return MODEL_E_TILES;\n"

CODE = """\
{includes}#include "model.h"

/* Inputs and constants are only read; the cast spares a declaration that tells them apart. */
#define IN(i) ((void *)(uintptr_t)in[i])
#define OUT(i) (out[i])
#define ARENA(offset) ((void *)((uint8_t *)arena + (offset)))
#define WEIGHT(offset) ((void *)(uintptr_t)({weights} + (offset)))
#define STATUS(call) ((call) == 0 ? 0 : MODEL_E_STEP)
#define CALL(call) \\
    do {{ \\
        if ((call) != 0) return MODEL_E_STEP; \\
    }} while (0)

extern const uint8_t {weights}[] __attribute__((visibility("hidden")));
{declarations}
{request}
{facts}
{points}
{run}{reset}
int model_step(int step, const void *const in[], void *const out[], void *arena, int32_t begin,
               int32_t end) {{
    (void)in, (void)out, (void)arena, (void)begin, (void)end;
{ready}    switch (step) {{
{cases}
    default: return MODEL_E_STEP;
    }}
}}
"""

# What a library says of itself, and how it looks at pointers: of every kind of device.
FACTS = """\
const size_t model_arena_bytes = MODEL_ARENA_BYTES;
const int32_t model_input_count = MODEL_INPUT_COUNT;
const int32_t model_output_count = MODEL_OUTPUT_COUNT;
const int32_t model_step_count = MODEL_STEP_COUNT;
const size_t model_input_bytes[MODEL_INPUT_COUNT] = {{{input_bytes}}};
const size_t model_output_bytes[MODEL_OUTPUT_COUNT] = {{{output_bytes}}};
{places}
const model_step_t model_steps[MODEL_STEP_COUNT] = {{
{table}
}};
{classes}
static int misaligned(const void *const in[], void *const out[], const void *arena) {{
    uintptr_t bits = (uintptr_t)arena;
    for (int i = 0; i < MODEL_INPUT_COUNT; i++) bits |= (uintptr_t)in[i];
    for (int i = 0; i < MODEL_OUTPUT_COUNT; i++) bits |= (uintptr_t)out[i];
    return bits % MODEL_ALIGN != 0;
}}
"""

# Of a program that a GPU runs: tables for the driver (`runtime/c/gpu`).
GPU_CODE = """\
{includes}#include "gpu_driver.h"
#include "model.h"
#include "{interface}_code.h"

#define IN(i) {{GPU_INPUT, i, 0}}
#define OUT(i) {{GPU_OUTPUT, i, 0}}
#define ARENA(offset) {{GPU_ARENA, 0, offset}}
#define WEIGHT(offset) {{GPU_WEIGHTS, 0, offset}}

extern const uint8_t {weights}[] __attribute__((visibility("hidden")));
{code}

{facts}
static const gpu_place_t PLACES[] = {{
{places}
}};
static const gpu_step_t STEPS[] = {{
{steps}
}};
static const gpu_state_t STATES[] = {{{states}}};
static const gpu_program_t PROGRAM = {{
    .code = &CODE,
    .weights = {weights},
    .weights_bytes = {weights_bytes},
    .arena_bytes = MODEL_ARENA_BYTES,
    .overread_bytes = MODEL_OVERREAD_BYTES,
    .input_count = MODEL_INPUT_COUNT,
    .output_count = MODEL_OUTPUT_COUNT,
    .step_count = MODEL_STEP_COUNT,
    .state_count = {state_count},
    .input_bytes = model_input_bytes,
    .output_bytes = model_output_bytes,
    .steps = STEPS,
    .places = PLACES,
    .states = STATES,
}};

int model_run(const void *const in[], void *const out[], void *arena) {{
    if (misaligned(in, out, arena)) return MODEL_E_ALIGN;
    return gpu_run(&PROGRAM, in, out, arena);
}}
{reset}
int model_step(int step, const void *const in[], void *const out[], void *arena, int32_t begin,
               int32_t end) {{
    (void)begin, (void)end;
    return gpu_step(&PROGRAM, step, in, out, arena);
}}

const char *model_error(void) {{ return gpu_error(); }}
const char *model_error_hint(void) {{ return gpu_hint(); }}
"""

ASSEMBLY = """\
.section .rodata.{symbol}, "a"
.balign {align}
.global {symbol}
.hidden {symbol}
{symbol}:
.incbin "{file}"
.byte 0
#ifdef __ELF__
.section .note.GNU-stack, "", %progbits
#endif
"""
