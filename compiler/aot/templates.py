"""The C and assembler texts that `emit` fills in; C's own braces are doubled."""

from collections.abc import Mapping

from edgekiln.targets.profile import DeviceKind

# For `model.h` of a program that runs on AMX.
REQUEST = """\
 *
 * Linux gives a process the AMX tiles when it asks for them, once, before the first run; without
 * that the first kernel is an illegal instruction. Threads started later have them, too:
 *
 *     #include <sys/syscall.h>
 *     #include <unistd.h>
 *     if (syscall(SYS_arch_prctl, 0x1023, 18) != 0) perror("ARCH_REQ_XCOMP_PERM, XTILEDATA");
"""

HEADER = """\
/* {name} for {target}. Made by EdgeKiln.
 *
 * The library allocates nothing, prints nothing, {keeps} and takes no lock: one thread per
 * arena may run it, any number of threads with an arena each. All memory is the caller's:
 *
 *     static _Alignas(MODEL_ALIGN) unsigned char arena[MODEL_ARENA_BYTES];
 *
 * Every input, every output and the arena start at a multiple of MODEL_ALIGN bytes. The library may
 * read, and ignores, up to MODEL_OVERREAD_BYTES past the end of an input or output. {survives}
{needs}
{request} */
#ifndef MODEL_H
#define MODEL_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {{
#endif

#define MODEL_ALIGN {align}
#define MODEL_OVERREAD_BYTES {overread}
#define MODEL_ARENA_BYTES {arena}

#define MODEL_INPUT_COUNT {inputs}
#define MODEL_OUTPUT_COUNT {outputs}
{sizes}
{places}
#define MODEL_E_ALIGN 1 /* a pointer is not a multiple of MODEL_ALIGN */
#define MODEL_E_STEP 2  /* no such step, or the kernel failed */

/* One inference, start to end, on the calling thread. 0, or MODEL_E_*. */
int model_run(const void *const in[], void *const out[], void *arena);
{reset}{classes}
/* The same inference step by step, in order, for profiles and for threads of your own: items
 * begin..end-1 of a step's `work` independent items; where work is 0 begin and end are ignored.
 * A step must be done before the next one begins. Pointers are not checked. 0, or MODEL_E_STEP. */
#define MODEL_STEP_COUNT {steps}
typedef struct {{
    const char *name; /* the tensor it computes, as the ONNX model names it */
    const char *op;
    int32_t work;
}} model_step_t;
extern const model_step_t model_steps[MODEL_STEP_COUNT];
int model_step(int step, const void *const in[], void *const out[], void *arena, int32_t begin,
               int32_t end);

/* The numbers above, for those who load the library without this file. */
extern const size_t model_arena_bytes;
extern const int32_t model_input_count, model_output_count, model_step_count;
extern const size_t model_input_bytes[MODEL_INPUT_COUNT], model_output_bytes[MODEL_OUTPUT_COUNT];

#ifdef __cplusplus
}}
#endif
#endif
"""

# What `model.h` asks of its user, by the kind of device.
NEEDS: Mapping[DeviceKind, str] = {
    "hosted": " * CPU features needed: {features}\n * Stack of a thread: up to {stack} KiB",
    "microcontroller": """\
 *
 * Compile with {cflags}
 * and link libmodel.a, the C library and -lm with -Wl,--gc-sections: weights are read-only data and
 * stay in flash, no heap and no variable is used. The floating-point unit must be switched on and
 * round to nearest, as after reset; interrupts may come at any time.""",
}

# By whether the program has states.
KEEPS = {False: "keeps no state", True: "keeps its state in the arena"}
SURVIVES = {
    False: """\
Nothing has to
 * be initialized and nothing in the arena has to survive between two runs.""",
    True: """\
Each run is
 * a step of a stream: the arena keeps what the next one has to know. Call model_reset before the
 * first one, and leave the arena alone until the stream is over; a second stream takes another.""",
}

RESET = """\

/* Begin a stream: what the program remembers in `arena`, which starts at a multiple of MODEL_ALIGN
 * bytes, becomes zero. It remembers:
{states} */
#define MODEL_STATE_COUNT {count}
void model_reset(void *arena);
"""

RESET_CODE = """\

void model_reset(void *arena) {{
{states}
}}
"""

CLASSES = """\

/* The classes that the first output is about, in their order. */
#define MODEL_CLASS_COUNT {count}
extern const char *const model_class_names[MODEL_CLASS_COUNT];
"""

CLASSES_CODE = """\

const char *const model_class_names[MODEL_CLASS_COUNT] = {{
{names}
}};
"""

PLACES = """\

/* Where inputs and outputs may lie in the arena, so that they take no memory of their own, e.g.
 * in[0] = arena + MODEL_INPUT_0_OFFSET. A run overwrites its inputs. */
{offsets}
extern const size_t model_input_offsets[MODEL_INPUT_COUNT];
extern const size_t model_output_offsets[MODEL_OUTPUT_COUNT];
"""

PLACES_CODE = """\
const size_t model_input_offsets[MODEL_INPUT_COUNT] = {{{inputs}}};
const size_t model_output_offsets[MODEL_OUTPUT_COUNT] = {{{outputs}}};
"""

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

int model_run(const void *const in[], void *const out[], void *arena) {{
    if (misaligned(in, out, arena)) return MODEL_E_ALIGN;
{run}
    return 0;
}}
{reset}
int model_step(int step, const void *const in[], void *const out[], void *arena, int32_t begin,
               int32_t end) {{
    (void)in, (void)out, (void)arena, (void)begin, (void)end;
    switch (step) {{
{cases}
    default: return MODEL_E_STEP;
    }}
}}
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
