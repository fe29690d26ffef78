"""Program in, files of a lib artifact out: libmodel.a and model.h, and what the back end adds.

Each kind of device has a back end (`edgekiln.compiler.aot.backends`), which says whether inputs and
outputs lie in the arena, and links what the device can load.
"""

import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib.resources import files
from pathlib import Path

from edgekiln.compiler.aot import emit, functions, header, planner, weights
from edgekiln.compiler.aot.backends import gpu, hosted
from edgekiln.compiler.aot.backends.backend import (
    ARCHIVE,
    GOVERNOR_HEADER,
    HEADER,
    OBJECT,
    LibrarySources,
)
from edgekiln.compiler.aot.backends.table import BACKENDS
from edgekiln.compiler.aot.functions import Functions
from edgekiln.compiler.aot.planner import ArenaPlan, Interval
from edgekiln.compiler.aot.toolchain import Compiler
from edgekiln.compiler.aot.weights import WeightsBlob
from edgekiln.compiler.ir.memory import NO_HALO, OVERREAD_BYTES
from edgekiln.compiler.ir.program import Call, Const, In, Out, Program, Ref
from edgekiln.compiler.pipeline.object_cache import NO_CACHE, ObjectCache
from edgekiln.runtime.bundle import LIBRARY
from edgekiln.runtime.errors import StorageError
from edgekiln.runtime.manifest import Layer, PointSpec, ProgramSpec, StateSpec
from edgekiln.targets.profile import TargetProfile

# Where buffers lie in the arena.
Placement = Callable[[Sequence[Interval]], ArenaPlan]


@dataclass(frozen=True, kw_only=True)
class Built:
    """A lib artifact's files, program.json among them, and how good the arena's plan is."""

    files: dict[str, bytes]
    spec: ProgramSpec
    arena_bound_bytes: int  # no plan can need less


@dataclass(frozen=True, kw_only=True)
class _Archived:
    """A program whose libmodel.a lies in the compiler's directory."""

    compiler: Compiler
    spec: ProgramSpec  # without the sizes of what is not linked yet
    bound_bytes: int  # no plan of the arena can need less


def build(program: Program, profile: TargetProfile, cache: ObjectCache = NO_CACHE) -> Built:
    """Compile and link a program. Equal programs and profiles give equal bytes, cached or not.

    Raises:
        MissingToolError: the profile's C compiler, or the C library for it, is missing.
        GateError: the program does not fit a microcontroller's memories.
        StorageError: no room for temporary files.
    """
    backend = BACKENDS[profile.kind]
    with _archived(program, profile, cache, planner.plan) as made:
        spec = backend.finish(made.compiler, program, profile, made.spec)
        names = (*backend.FILES, *((GOVERNOR_HEADER,) if program.points else ()))
        linked = {name: (made.compiler.home / name).read_bytes() for name in names}
    return Built(files=linked, spec=spec, arena_bound_bytes=made.bound_bytes)


def build_library(
    program: Program, profile: TargetProfile, cache: ObjectCache, place: Placement
) -> tuple[ProgramSpec, bytes]:
    """The shared library alone of a program for an operating system, with a plan of one's own for
    the arena. Raises as `build`.
    """
    with _archived(program, profile, cache, place) as made:
        hosted.make_library(made.compiler, gpu.FLAGS if profile.gpu else hosted.LIBRARY_FLAGS)
        return made.spec, (made.compiler.home / LIBRARY).read_bytes()


@contextmanager
def _archived(
    program: Program, profile: TargetProfile, cache: ObjectCache, place: Placement
) -> Iterator[_Archived]:
    backend = BACKENDS[profile.kind]
    compiled = functions.compile_functions(program, profile.tvm, backend.compile_function, cache)
    constants = weights.pack(program)
    # Scratch memory is planned with the buffers: it may lie where one that is dead lay.
    intervals = [*planner.lifetimes(program), *_workspaces(program, compiled)]
    if backend.EDGES_IN_ARENA:
        intervals += planner.edges(program)
    plan = place(intervals)
    source = emit.PlacedProgram(
        name=program.name,
        inputs=program.inputs,
        outputs=program.outputs,
        steps=list(_steps(program, compiled, constants, plan)),
        # Vectors may read, and drop, some bytes behind the last buffer.
        arena_bytes=plan.peak + OVERREAD_BYTES,
        more_exports=backend.EXPORTS,
        points=program.points,
        # Among those bytes, which nobody writes.
        point_offset=plan.peak,
        places=_places(program, plan) if backend.EDGES_IN_ARENA else None,
        states=tuple(_states(program, plan)),
    )
    try:
        with tempfile.TemporaryDirectory(prefix="edgekiln-aot-") as directory:
            home = Path(directory)
            compiler = Compiler(profile.toolchain, home, cache)
            _write_common(home, source, profile, constants)
            made = backend.write_program(home, source, profile, compiled)
            _make_archive(compiler, made, source)
            spec = _spec(program, profile, source, tuple(_layers(program, compiled, plan)))
            spec = replace(spec, weights_bytes=len(constants.blob))
            bound = plan.bound + OVERREAD_BYTES
            yield _Archived(compiler=compiler, spec=spec, bound_bytes=bound)
    except OSError as error:
        where = tempfile.gettempdir()
        raise StorageError(
            f"cannot work in {where}: {error.strerror}", "free some space, or set TMPDIR"
        ) from error


def _places(program: Program, plan: ArenaPlan) -> emit.Places:
    return emit.Places(
        inputs=tuple(plan.offsets[str(In(index=i))] for i in range(len(program.inputs))),
        outputs=tuple(plan.offsets[str(Out(index=i))] for i in range(len(program.outputs))),
    )


def _states(program: Program, plan: ArenaPlan) -> Iterator[emit.PlacedState]:
    sizes = {buffer.name: buffer.bytes for buffer in program.buffers}
    for state in program.states:
        offset = plan.offsets[state.buffer]
        spec = StateSpec(tensor=state.tensor, output=state.output, offset=offset)
        yield emit.PlacedState(spec=spec, bytes=sizes[state.buffer])


def _spec(
    program: Program, profile: TargetProfile, source: emit.PlacedProgram, layers: tuple[Layer, ...]
) -> ProgramSpec:
    """The program's description, without the sizes of what is not linked yet."""
    own, *others = (layers[calls.start : calls.stop] for calls in program.runs)
    return ProgramSpec(
        name=program.name,
        target=profile.name,
        machine=profile.machine,
        features=profile.features,
        isa=profile.isa,
        inputs=program.inputs,
        outputs=program.outputs,
        arena_bytes=source.arena_bytes,
        weights_bytes=0,
        code_bytes=0,
        layers=own,
        model_sha256=program.model_sha256,
        states=tuple(state.spec for state in source.states),
        point=program.owner(0),
        further_points=tuple(
            PointSpec(
                name=point.name,
                outputs=point.outputs,
                layers=theirs,
                model_sha256=point.model_sha256,
            )
            for point, theirs in zip(program.points[1:], others, strict=True)
        ),
    )


def _workspaces(program: Program, compiled: Functions) -> Iterator[Interval]:
    """The scratch memory that each function asks for, alive during its call only."""
    for index, symbol in enumerate(compiled.symbols):
        for slot, size in enumerate(compiled.workspace(symbol)):
            name = _workspace(program, index, slot)
            yield Interval(name=name, bytes=size, first=index, last=index)


def _workspace(program: Program, index: int, slot: int) -> str:
    """The name of a call's scratch memory; points may have calls of one name."""
    owner = program.owner(index)
    return f"{owner}: " * bool(owner) + f"{program.calls[index].name}: workspace {slot}"


def _steps(
    program: Program, compiled: Functions, constants: WeightsBlob, plan: ArenaPlan
) -> Iterator[emit.PlacedCall]:
    # One for each Const, in the order of this walk: `weights.pack` went through the calls likewise.
    offsets = iter(constants.offsets)
    for index, (call, symbol) in enumerate(zip(program.calls, compiled.symbols, strict=True)):
        pointers = []
        for arg in call.args:
            match arg:
                case In(index=which):
                    pointers.append(f"IN({which})")
                case Out(index=which):
                    pointers.append(f"OUT({which})")
                case Ref(buffer=buffer, offset=offset):
                    pointers.append(emit.arena(plan.offsets[buffer] + offset))
                case Const():
                    pointers.append(emit.constant(next(offsets)))
        scratch = range(len(compiled.workspace(symbol)))
        yield emit.PlacedCall(
            name=call.name,
            op=call.op,
            symbol=symbol,
            pointers=tuple(pointers),
            workspace=tuple(
                emit.arena(plan.offsets[_workspace(program, index, slot)]) for slot in scratch
            ),
            work=call.work,
            writes=call.writes,
            written_bytes=max(_written(program, call), default=0),
            launch=call.code.launch,
            macs=call.macs,
        )


def _written(program: Program, call: Call) -> Iterator[int]:
    """The bytes from each place of the arena that a call writes to its buffer's end."""
    sizes = {buffer.name: buffer.bytes for buffer in program.buffers}
    for arg in call.args[len(call.args) - call.writes :]:
        if isinstance(arg, Ref):
            yield sizes[arg.buffer] - arg.offset


def _layers(program: Program, compiled: Functions, plan: ArenaPlan) -> Iterator[Layer]:
    for call, symbol in zip(program.calls, compiled.symbols, strict=True):
        # A part of a concatenation is looked at as a part of the whole.
        target = call.where or call.args[-1]
        halo = call.halo or NO_HALO
        yield Layer(
            name=call.name,
            op=call.op,
            kernel=symbol,
            macs=call.macs,
            integer=call.integer,
            reason=call.reason,
            offset=plan.offsets[target.buffer] + target.offset if isinstance(target, Ref) else None,
            output=call.output,
            layout=call.layout,
            halo=(halo.top, halo.left, halo.bottom, halo.right),
            work=call.work,
        )


def _write_common(
    home: Path, source: emit.PlacedProgram, profile: TargetProfile, constants: WeightsBlob
) -> None:
    """Write what programs of every kind have."""
    (home / HEADER).write_text(header.header(source, profile), encoding="utf-8")
    (home / "weights.S").write_text(emit.weights_assembly(), encoding="utf-8")
    (home / "weights.bin").write_bytes(constants.blob)
    (home / "target.h").write_text(emit.target_header(profile), encoding="utf-8")
    (home / "program.S").write_text(emit.program_assembly(), encoding="utf-8")
    # By a name the fingerprint follows: these files are in every program.
    sources = files("edgekiln.runtime") / "c"
    for entry in sources.iterdir():
        if entry.name.endswith((".c", ".h")):
            with entry.open("rb") as reader, (home / entry.name).open("wb") as writer:
                shutil.copyfileobj(reader, writer)


def _make_archive(compiler: Compiler, made: LibrarySources, source: emit.PlacedProgram) -> None:
    """Make libmodel.a, which holds one object file."""
    *code, constants = compiler.compile([*made.sources, "weights.S"])
    # In sections of its own: whoever chooses points himself links none of it.
    governor = compiler.compile(["governor.c"], "-ffunction-sections") if source.points else []
    objects = [*code, *governor, *made.objects, constants]
    exports = source.exports
    # One relocatable object, so that kernels are no one's symbols but the library's own, without
    # the half-precision helpers TVM adds to each of its objects (sections nothing refers to).
    roots = [f"-Wl,--undefined={name}" for name in exports]
    compiler.link("all.o", objects, "-r", "-nostdlib", "-Wl,--gc-sections", *roots)
    keep = [f"--keep-global-symbol={name}" for name in exports]
    compiler.tool("objcopy", "--strip-debug", *keep, "all.o", OBJECT)
    # D: no times, owners or modes, so that equal objects make equal archives.
    compiler.tool("ar", "rcsD", ARCHIVE, OBJECT)
