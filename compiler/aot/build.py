"""Program in, files of a lib artifact out: libmodel.so, libmodel.a, model.h, runner."""

import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from importlib.resources import files
from pathlib import Path

from edgekiln.compiler.aot import emit, functions, planner, weights
from edgekiln.compiler.aot.cache import NO_CACHE, ObjectCache
from edgekiln.compiler.aot.functions import Functions
from edgekiln.compiler.aot.planner import Interval, Plan
from edgekiln.compiler.aot.toolchain import Compiler
from edgekiln.compiler.aot.weights import Weights
from edgekiln.compiler.kernels.spec import NO_HALO, OVERREAD_BYTES
from edgekiln.compiler.program import Call, Const, In, Out, Program, Ref
from edgekiln.runtime import manifest
from edgekiln.runtime.bundle import LIBRARY, PROGRAM, RUNNER, with_checksum
from edgekiln.runtime.errors import StorageError
from edgekiln.runtime.manifest import Layer, ProgramSpec
from edgekiln.targets.profile import TargetProfile

ARCHIVE, HEADER = "libmodel.a", "model.h"
_MADE = (LIBRARY, ARCHIVE, HEADER, RUNNER, PROGRAM)

_RUNNER_SOURCES = (
    "runner.c", "accuracy.c", "args.c", "bench.c", "checksum.c", "cpu.c", "files.c", "json.c",
    "pool.c", "session.c", "state.c", "stats.c",
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
        StorageError: no room for temporary files.
    """
    compiled = functions.compile_functions(program, profile.tvm, cache)
    constants = weights.pack(program)
    plan = planner.plan([*planner.lifetimes(program), *_workspaces(program, compiled)])
    source = emit.Source(
        name=program.name,
        inputs=program.inputs,
        outputs=program.outputs,
        steps=list(_steps(program, compiled, constants, plan)),
        arena_bytes=plan.peak + OVERREAD_BYTES,
    )
    try:
        with tempfile.TemporaryDirectory(prefix="edgekiln-aot-") as directory:
            home = Path(directory)
            compiler = Compiler(profile.toolchain, home, cache)
            _write_sources(home, source, profile, compiled, constants)
            code_bytes = _make_library(compiler, list(compiled.compiled))
            spec = _spec(
                program,
                profile,
                source,
                tuple(_layers(program, compiled, plan)),
                weights_bytes=len(constants.blob),
                code_bytes=code_bytes,
            )
            _make_runner(compiler, program, spec)
            made = {name: (home / name).read_bytes() for name in _MADE}
    except OSError as error:
        where = tempfile.gettempdir()
        raise StorageError(
            f"cannot work in {where}: {error.strerror}", "free some space, or set TMPDIR"
        ) from error
    return Built(files=made, spec=spec, arena_bound_bytes=plan.bound + OVERREAD_BYTES)


def _spec(
    program: Program, profile: TargetProfile, source: emit.Source, layers: tuple[Layer, ...], *,
    weights_bytes: int, code_bytes: int,
) -> ProgramSpec:  # fmt: skip
    return ProgramSpec(
        name=program.name,
        target=profile.name,
        machine=profile.machine,
        features=profile.features,
        isa=profile.isa,
        inputs=program.inputs,
        outputs=program.outputs,
        arena_bytes=source.arena_bytes,
        weights_bytes=weights_bytes,
        code_bytes=code_bytes,
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
        target = call.args[-1]
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


def _make_library(compiler: Compiler, symbols: list[str]) -> int:
    """libmodel.a and libmodel.so; returns the bytes of machine code."""
    code, constants = compiler.compile(["model.c", "weights.S"])
    objects = [code, *(f"{symbol}.kernel.o" for symbol in symbols), constants]
    # One relocatable object, so that kernels are no one's symbols but the library's own, without
    # the half-precision helpers TVM adds to each of its objects (sections nothing refers to).
    roots = [f"-Wl,--undefined={name}" for name in emit.EXPORTS]
    compiler.link("all.o", objects, "-r", "-nostdlib", "-Wl,--gc-sections", *roots)
    keep = [f"--keep-global-symbol={name}" for name in emit.EXPORTS]
    compiler.tool("objcopy", "--strip-debug", *keep, "all.o", "model.o")
    compiler.tool("ar", "rcsD", ARCHIVE, "model.o")
    # libc and libm enter only where a kernel uses memcpy, expf and the like.
    libraries = ("-Wl,--as-needed", "-lm", "-lc")
    shared = ("-shared", "-nostdlib", "-s", f"-Wl,-soname,{LIBRARY}", "-Wl,-z,noseparate-code")
    compiler.link(LIBRARY, ["model.o"], *shared, *libraries)
    return _section_bytes(compiler.tool("size", "-A", "-d", LIBRARY), ".text")


def _section_bytes(table: str, section: str) -> int:
    rows = (line.split() for line in table.splitlines())
    return next(int(row[1]) for row in rows if row[:1] == [section])


def _make_runner(compiler: Compiler, program: Program, spec: ProgramSpec) -> None:
    """The benchmark executable, with the model and its program.json inside. Needs no library."""
    identity = emit.identity(program, metadata.version("edgekiln"))
    (compiler.home / "identity.c").write_text(identity, encoding="utf-8")
    (compiler.home / PROGRAM).write_text(manifest.to_json(spec), encoding="utf-8")
    # For any machine of this architecture: it must be able to say that this one is not enough.
    sources = (*_RUNNER_SOURCES, "identity.c", "program.S")
    objects = compiler.compile(sources, "-D_GNU_SOURCE", "-pthread", baseline=True)
    flags = ("-static", "-pthread", "-s", "-Wl,--gc-sections", "-lm")
    compiler.link(RUNNER, [*objects, ARCHIVE], *flags)
    runner = compiler.home / RUNNER
    runner.write_bytes(with_checksum(runner.read_bytes()))
