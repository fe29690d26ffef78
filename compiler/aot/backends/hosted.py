"""A program for an operating system: a shared library and the runner, a static executable."""

from dataclasses import replace
from importlib import metadata

from edgekiln.compiler.aot import emit
from edgekiln.compiler.aot.backends.backend import ARCHIVE, HEADER, OBJECT, write_spec
from edgekiln.compiler.aot.backends.native import write_program
from edgekiln.compiler.aot.codegen import compile_function
from edgekiln.compiler.aot.toolchain import Compiler
from edgekiln.compiler.ir.program import Program
from edgekiln.runtime.bundle import LIBRARY, PROGRAM, RUNNER, with_checksum
from edgekiln.runtime.manifest import ProgramSpec
from edgekiln.targets.profile import TargetProfile

__all__ = [
    "EDGES_IN_ARENA", "EXPORTS", "FILES", "compile_function", "finish",
    "linked", "make_library", "write_program",
]  # fmt: skip

EDGES_IN_ARENA = False
FILES: tuple[str, ...] = (LIBRARY, ARCHIVE, HEADER, RUNNER, PROGRAM)
EXPORTS: tuple[str, ...] = ()

_RUNNER_SOURCES = (
    "runner.c", "accuracy.c", "args.c", "bench.c", "checksum.c", "cpu.c", "files.c", "json.c",
    "pool.c", "report_json.c", "report_text.c", "session.c", "state.c", "stats.c",
    "trace.c",
)  # fmt: skip


def finish(
    compiler: Compiler,
    program: Program,
    profile: TargetProfile,  # noqa: ARG001 what it asks for is in the compiler's flags
    spec: ProgramSpec,
) -> ProgramSpec:
    """Link library and runner, as `Backend.finish` asks."""
    return linked(compiler, program, spec, LIBRARY_FLAGS, ("-static",))


def linked(
    compiler: Compiler,
    program: Program,
    spec: ProgramSpec,
    of_library: tuple[str, ...],
    of_runner: tuple[str, ...],
) -> ProgramSpec:
    """Link both with the linker's flags for each, and write the description between."""
    spec = replace(spec, code_bytes=make_library(compiler, of_library))
    write_spec(compiler.home, spec)
    # After program.json, which the runner holds (`program.S`).
    _make_runner(compiler, program, of_runner)
    return spec


# libc and libm enter only where a kernel uses memcpy, expf and the like.
LIBRARY_FLAGS = ("-nostdlib", "-Wl,--as-needed", "-lm", "-lc")


def make_library(compiler: Compiler, flags: tuple[str, ...] = LIBRARY_FLAGS) -> int:
    """Link libmodel.so from the archive's object; returns the bytes of machine code."""
    # noseparate-code: code shares pages with read-only data, where it would begin one of its own.
    shared = ("-shared", "-s", f"-Wl,-soname,{LIBRARY}", "-Wl,-z,noseparate-code")
    compiler.link(LIBRARY, [OBJECT], *shared, *flags)
    return _section_bytes(compiler.tool("size", "-A", "-d", LIBRARY), ".text")


def _section_bytes(table: str, section: str) -> int:
    rows = (line.split() for line in table.splitlines())
    return next(int(row[1]) for row in rows if row[:1] == [section])


def _make_runner(compiler: Compiler, program: Program, flags: tuple[str, ...]) -> None:
    """Link the benchmark executable, which holds model and program.json."""
    identity = emit.identity(program, metadata.version("edgekiln"))
    (compiler.home / "identity.c").write_text(identity, encoding="utf-8")
    # For any machine of this architecture: it must be able to say that this one is not enough.
    sources = (*_RUNNER_SOURCES, "identity.c", "program.S")
    objects = compiler.compile(sources, "-D_GNU_SOURCE", "-pthread", baseline=True)
    common = ("-pthread", "-s", "-Wl,--gc-sections", "-lm")
    compiler.link(RUNNER, [*objects, ARCHIVE], *common, *flags)
    # Last of all: the sum is over the executable as it is linked.
    runner = compiler.home / RUNNER
    runner.write_bytes(with_checksum(runner.read_bytes()))
