"""The text of `model.h`, which `header` fills in; C's own braces are doubled.

Arrays are declared without their sizes, which stand beside them: so the runner's code is the same
for most models, and its objects are kept.
"""

from collections.abc import Mapping

from edgekiln.targets.profile import DeviceKind

# For `model.h` of a program that runs on AMX.
REQUEST = """\
 *
 * Linux gives a process the AMX tiles when it asks for them. The library does, as it is loaded.
 * Where Linux refuses (before 5.16, in a virtual machine or a sandbox that keeps them, or while a
 * thread has an alternate signal stack below getauxval(AT_MINSIGSTKSZ)) a run is MODEL_E_TILES.
"""

NO_TILES = "#define MODEL_E_TILES 8 /* Linux refuses the tiles of AMX */\n"

HEADER = """\
/* {name} for {target}. Made by EdgeKiln.
 *
 * {conduct} All memory is the caller's:
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
{errors}
/* One inference, start to end, on the calling thread. 0, or MODEL_E_*. */
int model_run(const void *const in[], void *const out[], void *arena);
{points}{reset}{classes}
/* The same inference step by step, in order, for profiles and for threads of your own: items
 * begin..end-1 of a step's `work` independent items; where work is 0 begin and end are ignored.
 * A step must be done before the next one begins. Pointers are not checked. 0, or MODEL_E_STEP. */
#define MODEL_STEP_COUNT {steps}
typedef struct {{
    const char *name; /* the tensor it computes, as the ONNX model names it */
    const char *op;
    int32_t work;
}} model_step_t;
extern const model_step_t model_steps[]; /* MODEL_STEP_COUNT of them */
int model_step(int step, const void *const in[], void *const out[], void *arena, int32_t begin,
               int32_t end);

/* The numbers above, for those who load the library without this file. */
extern const size_t model_arena_bytes;
extern const int32_t model_input_count, model_output_count, model_step_count;
extern const size_t model_input_bytes[], model_output_bytes[];

#ifdef __cplusplus
}}
#endif
#endif
"""

# How a library behaves, by the kind of device.
CONDUCT: Mapping[DeviceKind, str] = {
    "hosted": """\
The library allocates nothing, prints nothing, {keeps} and takes no lock: one thread per
 * arena may run it, any number of threads with an arena each.""",
    "opencl": """\
The first run opens the GPU, builds the kernels there and copies the weights to it; it stays
 * open until the library is unloaded. The library prints nothing and {keeps}.
 * Threads with an arena each may run it, and take turns; a process that was forked after the
 * first run may not. Where there are several devices, a part of the wanted one's name stands in the
 * environment variable EDGEKILN_OPENCL_DEVICE.""",
    "cuda": """\
The first run opens the GPU and copies kernels and weights to it; it stays open until the
 * library is unloaded. The library prints nothing and {keeps}.
 * Threads with an arena each may run it, and take turns; a process that was forked after the
 * first run may not. Of several GPUs it takes the first that it was made for, else the first newer
 * one; CUDA_VISIBLE_DEVICES hides the others.""",
}

_GPU_ERRORS = """\
#define MODEL_E_NO_DRIVER 3 /* {library} is not installed, or too old */
#define MODEL_E_NO_DEVICE 4 /* no device, or none that can be opened */
#define MODEL_E_KERNELS 5   /* the driver cannot {take} the kernels */
#define MODEL_E_MEMORY 6    /* the GPU, or this machine, has not enough memory */
#define MODEL_E_LOST 7      /* the GPU failed while it ran */

/* Of the calling thread's last error from 3 on: what is wrong, and what to do. */
const char *model_error(void);
const char *model_error_hint(void);
"""

# What may go wrong besides, by the kind of device.
ERRORS: Mapping[DeviceKind, str] = {
    "opencl": _GPU_ERRORS.format(library="libOpenCL.so.1", take="build"),
    "cuda": _GPU_ERRORS.format(library="libcuda.so.1", take="load"),
}

# What `model.h` asks of its user, by the kind of device.
NEEDS: Mapping[DeviceKind, str] = {
    "hosted": " * CPU features needed: {features}\n * Stack of a thread: up to {stack} KiB",
    "opencl": """\
 * It takes a GPU and its driver of OpenCL 1.2 or newer, which the first run loads. Link libmodel.a
 * with -ldl -pthread.""",
    "cuda": """\
 * It takes an NVIDIA GPU and its driver, which the first run loads. Link libmodel.a with
 * -ldl -pthread.""",
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

SURVIVES_POINTS = """\
The arena
 * keeps the number of the point that runs: zero it once, or call model_set_point before the first
 * run; nothing else in it has to survive between two runs."""

POINTS = """\

/* Operating points: networks of different cost in one library, which take and give the same. They
 * share the arena and, where their bytes are equal, the weights. Point 0 runs until another one is
 * chosen; each arena has a choice of its own. The points are:
{points} */
#define MODEL_POINT_COUNT {count}
#define MODEL_E_POINT 3 /* no such operating point */
typedef struct {{
    const char *name;
    int32_t first_step, step_count; /* of model_steps */
    int64_t macs;                   /* multiplications of an inference */
}} model_point_t;
extern const model_point_t model_points[]; /* MODEL_POINT_COUNT of them */
extern const int32_t model_point_count;

/* From now on model_run runs this point in the arena. A store, at any time between two runs:
 * nothing is allocated or moved. 0, or MODEL_E_POINT or MODEL_E_ALIGN; the choice then stays.
 * governor.h has one who chooses, by deadlines and what else is known. */
int model_set_point(void *arena, int32_t point);

/* The point that model_run would run. */
int32_t model_point(const void *arena);
"""

RESET = """\

/* Begin a stream: what the program remembers in `arena`, which starts at a multiple of MODEL_ALIGN
 * bytes, becomes zero. It remembers:
{states} */
#define MODEL_STATE_COUNT {count}
void model_reset(void *arena);
"""

CLASSES = """\

/* The classes that the first output is about, in their order. */
#define MODEL_CLASS_COUNT {count}
extern const char *const model_class_names[]; /* MODEL_CLASS_COUNT of them */
"""

DETECTIONS = """\

/* A row of the first output: what was found, best first, in pixels of the picture that the program
 * takes, if it takes one. The second output says how many there are; the rows behind them hold -1
 * everywhere. */
#define MODEL_DETECTION_COUNT {count}
typedef struct {{
    float left, top, right, bottom, score;
    float class_number; /* a whole number */
}} model_detection_t;
"""

SYMBOLS = """\

/* A row of the first output: numbers of classes in the order of what they say. The second output
 * says how many there are; behind them is -1. */
#define MODEL_SYMBOL_COUNT {count} /* of a row, at most */
"""

# Behind what says that an input is text.
TEXT = """\
/* UTF-8; a sample ends with a byte of zero, or where its room does. Any bytes
                               * are taken: what is no UTF-8 is left out. */"""

# Likewise, of columns of a table.
COLUMNS = {
    "value": "/* a number as a table has it; its bucket is found here, of NaN the last one */",
    "id": "/* any whole number; it is hashed here */",
}

PLACES = """\

/* Where inputs and outputs may lie in the arena, so that they take no memory of their own, e.g.
 * in[0] = arena + MODEL_INPUT_0_OFFSET. A run overwrites its inputs. */
{offsets}
extern const size_t model_input_offsets[], model_output_offsets[];
"""
