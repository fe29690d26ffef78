"""Program in, files of a lib artifact out: libmodel.a, model.h, libmodel.so, runner.

A microcontroller has neither shared libraries nor files: it gets libmodel.a, model.h and an image
for an emulated board, and a footprint.
"""

import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from importlib import metadata
from importlib.resources import files
from pathlib import Path

from edgekiln.compiler.aot import emit, functions, microcontroller, planner, weights
from edgekiln.compiler.aot.cache import NO_CACHE, ObjectCache
from edgekiln.compiler.aot.functions import Functions
from edgekiln.compiler.aot.planner import Interval, Plan
from edgekiln.compiler.aot.toolchain import Compiler
from edgekiln.compiler.aot.weights import Weights
from edgekiln.compiler.ir.memory import NO_HALO, OVERREAD_BYTES
from edgekiln.compiler.ir.program import Call, Const, In, Out, Program, Ref
from edgekiln.runtime import manifest
from edgekiln.runtime.bundle import IMAGE, LIBRARY, PROGRAM, RUNNER, with_checksum
from edgekiln.runtime.errors import StorageError
from edgekiln.runtime.manifest import Layer, ProgramSpec
from edgekiln.targets.profile import TargetProfile

ARCHIVE, HEADER, OBJECT = "libmodel.a", "model.h", "model.o"

_RUNNER_SOURCES = (
    "runner.c", "accuracy.c", "args.c", "bench.c", "checksum.c", "cpu.c", "files.c", "json.c",
    "pool.c", "report_json.c", "report_text.c", "session.c", "state.c", "stats.c",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Built:
    """A lib artifact's files, program.json among them, and how good the arena's plan is."""

    files: dict[str, bytes]
    spec: ProgramSpec
    arena_bound_bytes: int  # no plan can need less


def build(program: Program, profile: TargetProfile, cache: ObjectCache = NO_CACHE) -> Built:
    """Compile and link a program. Equal programs and profiles give equal bytes, cached or not.

    Raises:
        MissingToolError: the profile's C compiler, or the C library for it, is missing.
        GateError: the program does not fit a microcontroller's memories.
        StorageError: no room for temporary files.
    """
    compiled = functions.compile_functions(program, profile.tvm, cache)
    constants = weights.pack(program)
    edges = _edges(program) if profile.memory else {}
    intervals = [*planner.lifetimes(program), *_workspaces(program, compiled)]
    plan = planner.plan([*intervals, *planner.edges(program, edges)])
    source = emit.Source(
        name=program.name,
        inputs=program.inputs,
        outputs=program.outputs,
        steps=list(_steps(program, compiled, constants, plan)),
        arena_bytes=plan.peak + OVERREAD_BYTES,
        places=_places(program, plan) if edges else None,
    )
    try:
        with tempfile.TemporaryDirectory(prefix="edgekiln-aot-") as directory:
            home = Path(directory)
            compiler = Compiler(profile.toolchain, home, cache)
            _write_sources(home, source, profile, compiled, constants)
            _make_archive(compiler, list(compiled.compiled), source)
            spec = _spec(program, profile, source, tuple(_layers(program, compiled, plan)))
            spec = replace(spec, weights_bytes=len(constants.blob))
            if profile.memory:
                spec = microcontroller.finish(compiler, profile, spec)
                (home / PROGRAM).write_text(manifest.to_json(spec), encoding="utf-8")
                names: tuple[str, ...] = (ARCHIVE, HEADER, IMAGE, PROGRAM)
            else:
                spec = replace(spec, code_bytes=_make_library(compiler))
                (home / PROGRAM).write_text(manifest.to_json(spec), encoding="utf-8")
                _make_runner(compiler, program)
                names = (LIBRARY, ARCHIVE, HEADER, RUNNER, PROGRAM)
            made = {name: (home / name).read_bytes() for name in names}
    except OSError as error:
        where = tempfile.gettempdir()
        raise StorageError(
            f"cannot work in {where}: {error.strerror}", "free some space, or set TMPDIR"
        ) from error
    return Built(files=made, spec=spec, arena_bound_bytes=plan.bound + OVERREAD_BYTES)


def _edges(program: Program) -> dict[In | Out, int]:
    """The bytes of each input and output."""
    inputs = {In(index=i): emit.nbytes(spec) for i, spec in enumerate(program.inputs)}
    return inputs | {Out(index=i): emit.nbytes(spec) for i, spec in enumerate(program.outputs)}


def _places(program: Program, plan: Plan) -> emit.Places:
    return emit.Places(
        inputs=tuple(plan.offsets[str(In(index=i))] for i in range(len(program.inputs))),
        outputs=tuple(plan.offsets[str(Out(index=i))] for i in range(len(program.outputs))),
    )


def _spec(
    program: Program, profile: TargetProfile, source: emit.Source, layers: tuple[Layer, ...]
) -> ProgramSpec:
    """Without the sizes of what is not linked yet."""
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
        layers=layers,
        model_sha256=program.model_sha256,
    )


def _workspaces(program: Program, compiled: Functions) -> Iterator[Interval]:
    """Scratch memory a function asks for: alive during its call only."""
    for index, symbol in enumerate(compiled.symbols):
        for slot, size in enumerate(compiled.compiled[symbol].workspace):
            name = _workspace(program.calls[index], slot)
            yield Interval(name=name, bytes=size, first=index, last=index)


def _workspace(call: Call, slot: int) -> str:
    return f"{call.name}: workspace {slot}"


def _steps(
    program: Program, compiled: Functions, constants: Weights, plan: Plan
) -> Iterator[emit.Step]:
    offsets = iter(constants.offsets)
    for call, symbol in zip(program.calls, compiled.symbols, strict=True):
        pointers = []
        for arg in call.args:
            match arg:
                case In(index=index):
                    pointers.append(f"IN({index})")
                case Out(index=index):
                    pointers.append(f"OUT({index})")
                case Ref(buffer=buffer, offset=offset):
                    pointers.append(emit.arena(plan.offsets[buffer] + offset))
                case Const():
                    pointers.append(emit.constant(next(offsets)))
        scratch = range(len(compiled.compiled[symbol].workspace))
        yield emit.Step(
            name=call.name,
            op=call.op,
            symbol=symbol,
            pointers=tuple(pointers),
            workspace=tuple(emit.arena(plan.offsets[_workspace(call, slot)]) for slot in scratch),
            work=call.work,
        )


def _layers(program: Program, compiled: Functions, plan: Plan) -> Iterator[Layer]:
    for call, symbol in zip(program.calls, compiled.symbols, strict=True):
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


def _write_sources(
    home: Path, source: emit.Source, profile: TargetProfile, compiled: Functions, constants: Weights
) -> None:
    (home / HEADER).write_text(emit.header(source, profile), encoding="utf-8")
    (home / "model.c").write_text(emit.code(source), encoding="utf-8")
    (home / "weights.S").write_text(emit.weights_assembly(), encoding="utf-8")
    (home / "weights.bin").write_bytes(constants.blob)
    (home / "target.h").write_text(emit.target_header(profile), encoding="utf-8")
    (home / "program.S").write_text(emit.program_assembly(), encoding="utf-8")
    for symbol, function in compiled.compiled.items():
        (home / f"{symbol}.kernel.o").write_bytes(function.object)
    sources = files("edgekiln.runtime") / "c"
    for entry in sources.iterdir():
        if entry.name.endswith((".c", ".h")):
            with entry.open("rb") as reader, (home / entry.name).open("wb") as writer:
                shutil.copyfileobj(reader, writer)


def _make_archive(compiler: Compiler, symbols: list[str], source: emit.Source) -> None:
    """libmodel.a."""
    code, constants = compiler.compile(["model.c", "weights.S"])
    objects = [code, *(f"{symbol}.kernel.o" for symbol in symbols), constants]
    exports = (*emit.EXPORTS, *(emit.PLACES if source.places else ()))
    # One relocatable object, so that kernels are no one's symbols but the library's own, without
    # the half-precision helpers TVM adds to each of its objects (sections nothing refers to).
    roots = [f"-Wl,--undefined={name}" for name in exports]
    compiler.link("all.o", objects, "-r", "-nostdlib", "-Wl,--gc-sections", *roots)
    keep = [f"--keep-global-symbol={name}" for name in exports]
    compiler.tool("objcopy", "--strip-debug", *keep, "all.o", OBJECT)
    compiler.tool("ar", "rcsD", ARCHIVE, OBJECT)


def _make_library(compiler: Compiler) -> int:
    """libmodel.so; returns the bytes of machine code."""
    # libc and libm enter only where a kernel uses memcpy, expf and the like.
    libraries = ("-Wl,--as-needed", "-lm", "-lc")
    shared = ("-shared", "-nostdlib", "-s", f"-Wl,-soname,{LIBRARY}", "-Wl,-z,noseparate-code")
    compiler.link(LIBRARY, [OBJECT], *shared, *libraries)
    return _section_bytes(compiler.tool("size", "-A", "-d", LIBRARY), ".text")


def _section_bytes(table: str, section: str) -> int:
    rows = (line.split() for line in table.splitlines())
    return next(int(row[1]) for row in rows if row[:1] == [section])


def _make_runner(compiler: Compiler, program: Program) -> None:
    """The benchmark executable, with the model and its program.json inside. Needs no library."""
    identity = emit.identity(program, metadata.version("edgekiln"))
    (compiler.home / "identity.c").write_text(identity, encoding="utf-8")
    # For any machine of this architecture: it must be able to say that this one is not enough.
    sources = (*_RUNNER_SOURCES, "identity.c", "program.S")
    objects = compiler.compile(sources, "-D_GNU_SOURCE", "-pthread", baseline=True)
    flags = ("-static", "-pthread", "-s", "-Wl,--gc-sections", "-lm")
    compiler.link(RUNNER, [*objects, ARCHIVE], *flags)
    runner = compiler.home / RUNNER
    runner.write_bytes(with_checksum(runner.read_bytes()))
