"""The C text of a program that its compiler reads: `model.c` and `weights.S`."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from edgekiln.compiler.aot import code_templates
from edgekiln.compiler.aot.planner import ALIGN, nbytes
from edgekiln.compiler.ir.memory import Launch
from edgekiln.compiler.ir.program import Point, Program
from edgekiln.runtime import amx_permission
from edgekiln.runtime.manifest import StateSpec, TensorSpec
from edgekiln.targets.profile import TargetProfile

# What a library offers; every other symbol is local to it.
FUNCTIONS = ("model_run", "model_step")
PLACES = ("model_input_offsets", "model_output_offsets")  # only of microcontrollers
RESET = "model_reset"  # only of programs with states
# Only of programs with several points; the governor's are in runtime/c/governor.h.
POINTS = ("model_points", "model_point_count", "model_point", "model_set_point")
GOVERNOR = (
    "model_governor_init", "model_governor_choose", "model_governor_ran",
    "model_sure_i8", "model_sure_u8", "model_sure_f32",
)  # fmt: skip
CLASS_NAMES = "model_class_names"  # only of programs whose classes have names
EXPORTS = (
    *FUNCTIONS, "model_steps", "model_arena_bytes", "model_input_count", "model_output_count",
    "model_step_count", "model_input_bytes", "model_output_bytes",
)  # fmt: skip
# Hidden, for it lies in another file than its users and is no one else's business.
WEIGHTS = "model_weights"


@dataclass(frozen=True, kw_only=True)
class PlacedCall:
    """One call of a kernel, with the C expressions of its pointer arguments."""

    name: str
    op: str
    symbol: str
    pointers: tuple[str, ...]
    workspace: tuple[str, ...] = ()  # pointers that follow the scalars
    work: int = 0
    writes: int = 1  # of its pointers, the last ones
    written_bytes: int = 0  # from each of those in the arena to its buffer's end
    launch: Launch | None = None  # of a GPU's kernel
    macs: int = 0


@dataclass(frozen=True, kw_only=True)
class PlacedProgram:
    """A program with every address decided."""

    name: str
    inputs: Sequence[TensorSpec]
    outputs: Sequence[TensorSpec]
    steps: Sequence[PlacedCall]
    arena_bytes: int
    places: "Places | None" = None
    states: "Sequence[PlacedState]" = ()
    more_exports: tuple[str, ...] = ()  # of its kind of device
    points: Sequence[Point] = ()
    point_offset: int = 0  # where the number of the current one lies in the arena

    @property
    def exports(self) -> tuple[str, ...]:
        """What its library offers."""
        places = PLACES if self.places else ()
        points = (*POINTS, *GOVERNOR) if self.points else ()
        reset = (RESET,) if self.states else ()
        classes = (CLASS_NAMES,) if self.labels else ()
        return (*EXPORTS, *places, *points, *reset, *classes, *self.more_exports)

    @property
    def labels(self) -> Sequence[str]:
        """The names of the classes that the first output is about."""
        return self.outputs[0].labels


@dataclass(frozen=True, kw_only=True)
class Places:
    """Where in the arena inputs and outputs may lie: byte offsets, multiples of 64."""

    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class PlacedState:
    """A state: where it lies in the arena, and the byte that all of it is after a reset."""

    spec: StateSpec
    bytes: int  # of its memory, a border included

    @property
    def zero(self) -> int:
        """The code of zero."""
        return (self.spec.tensor.zero_point or 0) & 0xFF


def arena(offset: int) -> str:
    """The C expression of a place in the arena."""
    return f"ARENA({offset})"


def constant(offset: int) -> str:
    """The C expression of a place in the weights."""
    return f"WEIGHT({offset})"


def code(source: PlacedProgram, features: Collection[str] = ()) -> str:
    """The text of `model.c`: straight calls in order, then the same calls by number. `features` are
    the CPU's that the calls need.
    """
    ready = code_templates.NEEDS_TILES if amx_permission.TILES in features else ""
    return code_templates.CODE.format(
        facts=facts(source),
        reset=reset_code(source),
        includes="#include <string.h>\n\n" if source.states else "",
        declarations="\n".join(_declarations(source.steps)),
        request=_request() if ready else "",
        ready=ready,
        weights=WEIGHTS,
        points=_points_code(source) if source.points else "",
        run=_run(source, ready),
        cases="\n".join(
            f"    case {index}: return STATUS({_call(s, 'begin', 'end')});"
            for index, s in enumerate(source.steps)
        ),
    )


def _request() -> str:
    return code_templates.ASK_FOR_TILES.format(
        call=amx_permission.SYS_ARCH_PRCTL,
        request=amx_permission.REQ_XCOMP_PERM,
        tiles=amx_permission.XTILEDATA,
    )


def facts(source: PlacedProgram) -> str:
    """C definitions of what a library says of itself, and the check of pointers."""
    places = ""
    if source.places:
        places = code_templates.PLACES_CODE.format(
            inputs=", ".join(map(str, source.places.inputs)),
            outputs=", ".join(map(str, source.places.outputs)),
        )
    names = "\n".join(f"    {string(label)}," for label in source.labels)
    return code_templates.FACTS.format(
        places=places,
        classes=code_templates.CLASSES_CODE.format(names=names) if source.labels else "",
        input_bytes=", ".join(str(nbytes(spec)) for spec in source.inputs),
        output_bytes=", ".join(str(nbytes(spec)) for spec in source.outputs),
        table="\n".join(
            f"    {{{string(s.name)}, {string(s.op)}, {s.work}}}," for s in source.steps
        ),
    )


def _run(source: PlacedProgram, ready: str) -> str:
    """The function `model_run`: straight calls, or those of the current point, behind `ready`."""
    if not source.points:
        return code_templates.RUN.format(calls=_straight(source.steps), ready=ready)
    functions = [
        code_templates.RUN_POINT.format(
            number=number, calls=_straight(source.steps[point.calls.start : point.calls.stop])
        )
        for number, point in enumerate(source.points)
    ]
    cases = "\n".join(
        f"    case {number}: return run_{number}(in, out, arena);"
        for number in range(len(source.points))
    )
    return "\n".join((*functions, code_templates.RUN_POINTS.format(cases=cases, ready=ready)))


def _straight(steps: Sequence[PlacedCall]) -> str:
    return "\n".join(f"    CALL({_call(s, '0', str(s.work))});" for s in steps)


def reset_code(source: PlacedProgram) -> str:
    """The C definition of `model_reset`, of a program with states; empty of any other."""
    if not source.states:
        return ""
    lines = (
        f"    memset((uint8_t *)arena + {s.spec.offset}, {s.zero}, {s.bytes});"
        for s in source.states
    )
    return code_templates.RESET_CODE.format(states="\n".join(lines))


def _points_code(source: PlacedProgram) -> str:
    rows = (
        f"    {{{string(point.name)}, {point.calls.start}, {len(point.calls)}, {macs}}},"
        for point in source.points
        for macs in [sum(step.macs for step in source.steps[point.calls.start : point.calls.stop])]
    )
    return code_templates.POINTS_CODE.format(table="\n".join(rows), offset=source.point_offset)


def weights_assembly() -> str:
    """The text of `weights.S`, which holds the file weights.bin as read-only data."""
    return code_templates.ASSEMBLY.format(symbol=WEIGHTS, align=ALIGN, file="weights.bin")


def program_assembly() -> str:
    """The text of `program.S`: the file program.json as a C string, for the runner's `info`."""
    return code_templates.ASSEMBLY.format(symbol="program_json", align=1, file="program.json")


def identity(program: Program, edgekiln_version: str) -> str:
    """The text of `identity.c`: what the runner says of itself."""
    texts = {
        "model_name": program.name,
        "model_sha256": program.model_sha256,
        "edgekiln_version": edgekiln_version,
    }
    lines = (f"const char {name}[] = {string(text)};" for name, text in texts.items())
    return "\n".join(('#include "identity.h"', *lines, ""))


def target_header(profile: TargetProfile) -> str:
    """The text of `target.h`: what the runner checks before it runs the first kernel."""
    features = "".join(f"{string(feature)}, " for feature in profile.features)
    return f"#define TARGET_NAME {string(profile.name)}\n#define TARGET_FEATURES {{{features}0}}\n"


def _declarations(steps: Iterable[PlacedCall]) -> Iterable[str]:
    for step in {s.symbol: s for s in steps}.values():
        # Buffers, then begin and end, then scratch: the order in which `codegen` makes parameters.
        types = ["void *"] * len(step.pointers)
        types += ["int32_t", "int32_t"] if step.work else []
        types += ["void *"] * len(step.workspace)
        yield f"int32_t {step.symbol}({', '.join(types)});"


def _call(step: PlacedCall, begin: str, end: str) -> str:
    span = (begin, end) if step.work else ()
    return f"{step.symbol}({', '.join((*step.pointers, *span, *step.workspace))})"


def string(text: str) -> str:
    """A C string literal. Octal escapes end after three digits, unlike hexadecimal ones."""
    plain = frozenset(range(32, 127)) - frozenset(b'"\\?')  # ?: no trigraphs
    return '"' + "".join(chr(b) if b in plain else f"\\{b:03o}" for b in text.encode()) + '"'
