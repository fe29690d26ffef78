"""The C text of a program: `model.h` for its user, `model.c` for the compiler, `weights.S`."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from edgekiln.compiler.aot.planner import ALIGN
from edgekiln.compiler.kernels.spec import OVERREAD_BYTES
from edgekiln.compiler.program import Program
from edgekiln.runtime.manifest import TensorSpec
from edgekiln.targets.profile import TargetProfile

# What a library offers; every other symbol is local to it.
FUNCTIONS = ("model_run", "model_step")
PLACES = ("model_input_offsets", "model_output_offsets")  # only of microcontrollers
EXPORTS = (
    *FUNCTIONS, "model_steps", "model_arena_bytes", "model_input_count", "model_output_count",
    "model_step_count", "model_input_bytes", "model_output_bytes",
)  # fmt: skip
# Hidden, for it lies in another file than its users and is no one else's business.
WEIGHTS = "model_weights"


@dataclass(frozen=True, kw_only=True)
class Step:
    """One call: its kernel and the C expressions of its pointer arguments."""

    name: str
    op: str
    symbol: str
    pointers: tuple[str, ...]
    workspace: tuple[str, ...] = ()  # pointers that follow the scalars
    work: int = 0


@dataclass(frozen=True, kw_only=True)
class Source:
    """A program with every address decided."""

    name: str
    inputs: Sequence[TensorSpec]
    outputs: Sequence[TensorSpec]
    steps: Sequence[Step]
    arena_bytes: int
    places: "Places | None" = None


@dataclass(frozen=True, kw_only=True)
class Places:
    """Where in the arena inputs and outputs may lie: byte offsets, multiples of 64."""

    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


def arena(offset: int) -> str:
    """The C expression of a place in the arena."""
    return f"ARENA({offset})"


def constant(offset: int) -> str:
    """The C expression of a place in the weights."""
    return f"WEIGHT({offset})"


def header(source: Source, profile: TargetProfile) -> str:
    """`model.h`."""
    sizes = [
        f"#define MODEL_{kind}_{index}_BYTES {nbytes(spec)} /* {_describe(spec)} */"
        for kind, specs in (("INPUT", source.inputs), ("OUTPUT", source.outputs))
        for index, spec in enumerate(specs)
    ]
    places = ""
    if source.places:
        offsets = [
            f"#define MODEL_{kind}_{index}_OFFSET {offset}"
            for kind, given in (("INPUT", source.places.inputs), ("OUTPUT", source.places.outputs))
            for index, offset in enumerate(given)
        ]
        places = _PLACES.format(offsets="\n".join(offsets))
    return _HEADER.format(
        places=places, needs=_NEEDS[bool(source.places)].format(
            features=" ".join(profile.features), cflags=" ".join(profile.toolchain.cflags)
        ),
        name=_comment(source.name), target=profile.name,
        request=_REQUEST if "amx_tile" in profile.features else "",
        align=ALIGN, overread=OVERREAD_BYTES, arena=source.arena_bytes,
        inputs=len(source.inputs), outputs=len(source.outputs), steps=len(source.steps),
        sizes="\n".join(sizes),
    )  # fmt: skip


def code(source: Source) -> str:
    """`model.c`: straight calls in order; then the same calls by number."""
    places = ""
    if source.places:
        places = _PLACES_CODE.format(
            inputs=", ".join(map(str, source.places.inputs)),
            outputs=", ".join(map(str, source.places.outputs)),
        )
    return _CODE.format(
        places=places,
        declarations="\n".join(_declarations(source.steps)),
        weights=WEIGHTS,
        input_bytes=", ".join(str(nbytes(spec)) for spec in source.inputs),
        output_bytes=", ".join(str(nbytes(spec)) for spec in source.outputs),
        table="\n".join(
            f"    {{{_string(s.name)}, {_string(s.op)}, {s.work}}}," for s in source.steps
        ),
        run="\n".join(f"    CALL({_call(s, '0', str(s.work))});" for s in source.steps),
        cases="\n".join(
            f"    case {index}: return STATUS({_call(s, 'begin', 'end')});"
            for index, s in enumerate(source.steps)
        ),
    )


def weights_assembly() -> str:
    """`weights.S`: the file weights.bin as read-only data."""
    return _ASSEMBLY.format(symbol=WEIGHTS, align=ALIGN, file="weights.bin")


def program_assembly() -> str:
    """`program.S`: the file program.json as a C string, for the runner's `info`."""
    return _ASSEMBLY.format(symbol="program_json", align=1, file="program.json")


def identity(program: Program, edgekiln_version: str) -> str:
    """`identity.c`: what the runner reports of itself."""
    texts = {
        "model_name": program.name,
        "model_sha256": program.model_sha256,
        "edgekiln_version": edgekiln_version,
    }
    lines = (f"const char {name}[] = {_string(text)};" for name, text in texts.items())
    return "\n".join(('#include "identity.h"', *lines, ""))


def target_header(profile: TargetProfile) -> str:
    """`target.h`: what the runner checks before it runs the first kernel."""
    features = "".join(f"{_string(feature)}, " for feature in profile.features)
    return f"#define TARGET_NAME {_string(profile.name)}\n#define TARGET_FEATURES {{{features}0}}\n"


def nbytes(spec: TensorSpec) -> int:
    return math.prod(spec.shape) * np.dtype(spec.dtype).itemsize


def _declarations(steps: Iterable[Step]) -> Iterable[str]:
    for step in {s.symbol: s for s in steps}.values():
        types = ["void *"] * len(step.pointers)
        types += ["int32_t", "int32_t"] if step.work else []
        types += ["void *"] * len(step.workspace)
        yield f"int32_t {step.symbol}({', '.join(types)});"


def _call(step: Step, begin: str, end: str) -> str:
    span = (begin, end) if step.work else ()
    return f"{step.symbol}({', '.join((*step.pointers, *span, *step.workspace))})"


def _describe(spec: TensorSpec) -> str:
    shape = "x".join(map(str, spec.shape)) or "scalar"
    text = f"{spec.name}: {spec.dtype} {shape}"
    if spec.scale is not None:
        text += f", real = (q - {spec.zero_point}) * {spec.scale!r}"
    return _comment(text)


def _comment(text: str) -> str:
    """Names come from the user's model: they must not end the comment."""
    return text.replace("*/", "* /").replace("/*", "/ *").replace("\n", " ").replace("\\", "/")


def _string(text: str) -> str:
    """A C string literal. Octal escapes end after three digits, unlike hexadecimal ones."""
    plain = frozenset(range(32, 127)) - frozenset(b'"\\?')  # ?: no trigraphs
    return '"' + "".join(chr(b) if b in plain else f"\\{b:03o}" for b in text.encode()) + '"'


_REQUEST = """\
 *
 * Linux gives a process the AMX tiles when it asks for them, once, before the first run; without
 * that the first kernel is an illegal instruction. Threads started later have them, too:
 *
 *     #include <sys/syscall.h>
 *     #include <unistd.h>
 *     if (syscall(SYS_arch_prctl, 0x1023, 18) != 0) perror("ARCH_REQ_XCOMP_PERM, XTILEDATA");
"""

_HEADER = """\
/* {name} for {target}. Made by EdgeKiln.
 *
 * The library allocates nothing, prints nothing, keeps no state and takes no lock: one thread per
 * arena may run it, any number of threads with an arena each. All memory is the caller's:
 *
 *     static _Alignas(MODEL_ALIGN) unsigned char arena[MODEL_ARENA_BYTES];
 *
 * Every input, every output and the arena start at a multiple of MODEL_ALIGN bytes. The library may
 * read, and ignores, up to MODEL_OVERREAD_BYTES past the end of an input or output. Nothing has to
 * be initialized and nothing in the arena has to survive between two runs.
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

# Of a machine with an operating system, and of a microcontroller.
_NEEDS = (
    " * CPU features needed: {features}",
    """\
 *
 * Compile with {cflags}
 * and link libmodel.a, the C library and -lm with -Wl,--gc-sections: weights are read-only data and
 * stay in flash, no heap and no variable is used. The floating-point unit must be switched on and
 * round to nearest, as after reset; interrupts may come at any time.""",
)

_PLACES = """\

/* Where inputs and outputs may lie in the arena, so that they take no memory of their own, e.g.
 * in[0] = arena + MODEL_INPUT_0_OFFSET. A run overwrites its inputs. */
{offsets}
extern const size_t model_input_offsets[MODEL_INPUT_COUNT];
extern const size_t model_output_offsets[MODEL_OUTPUT_COUNT];
"""

_PLACES_CODE = """\
const size_t model_input_offsets[MODEL_INPUT_COUNT] = {{{inputs}}};
const size_t model_output_offsets[MODEL_OUTPUT_COUNT] = {{{outputs}}};
"""

_CODE = """\
#include "model.h"

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

int model_step(int step, const void *const in[], void *const out[], void *arena, int32_t begin,
               int32_t end) {{
    (void)in, (void)out, (void)arena, (void)begin, (void)end;
    switch (step) {{
{cases}
    default: return MODEL_E_STEP;
    }}
}}
"""

_ASSEMBLY = """\
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
