"""A program for a GPU with OpenCL: a library that loads the GPU's driver when it first runs."""

from importlib.resources import files
from pathlib import Path

from edgekiln.compiler.aot import code_templates, emit
from edgekiln.compiler.aot.backends import hosted
from edgekiln.compiler.aot.backends.backend import LibrarySources
from edgekiln.compiler.aot.emit import PlacedCall, PlacedProgram
from edgekiln.compiler.aot.functions import Functions
from edgekiln.compiler.aot.opencl import compile_function, program_text
from edgekiln.compiler.aot.toolchain import Compiler
from edgekiln.compiler.ir.program import Program
from edgekiln.runtime.manifest import ProgramSpec
from edgekiln.targets.profile import TargetProfile

EDGES_IN_ARENA = False
FILES = hosted.FILES
EXPORTS: tuple[str, ...] = ("model_error", "model_error_hint")

__all__ = ["EDGES_IN_ARENA", "EXPORTS", "FILES", "compile_function", "finish", "write_program"]

_KERNELS = "gpu_kernels"  # the kernels' text, hidden as the weights are
_SOURCES = ("model.c", "kernels.S", "gpu_driver.c", "opencl_open.c")
# Drivers need a C library that they share with the program: no static executable can load one.
# `dlopen` and threads are libraries of their own in C libraries before glibc 2.34.
_FLAGS = ("-Wl,--as-needed", "-ldl", "-lpthread", "-lc")


def write_program(
    home: Path,
    source: PlacedProgram,
    profile: TargetProfile,  # noqa: ARG001 what it asks for is in the compiler's flags
    compiled: Functions,
) -> LibrarySources:
    """Write the driver, its tables and the kernels' text; see `Backend.write_program`."""
    for entry in (files("edgekiln.runtime") / "c" / "opencl").iterdir():
        if entry.name.endswith((".c", ".h")):
            (home / entry.name).write_bytes(entry.read_bytes())
    text = program_text(each.object for each in compiled.compiled.values())
    (home / "kernels.cl").write_bytes(text)
    assembly = code_templates.ASSEMBLY.format(symbol=_KERNELS, align=1, file="kernels.cl")
    (home / "kernels.S").write_text(assembly, encoding="utf-8")
    code = _code(source, len(text), (home / "weights.bin").stat().st_size)
    (home / "model.c").write_text(code, encoding="utf-8")
    return LibrarySources(sources=_SOURCES)


def finish(
    compiler: Compiler,
    program: Program,
    profile: TargetProfile,  # noqa: ARG001 what it asks for is in the compiler's flags
    spec: ProgramSpec,
) -> ProgramSpec:
    """Link library and runner, as `Backend.finish` asks."""
    return hosted.linked(compiler, program, spec, _FLAGS, _FLAGS)


def _code(source: PlacedProgram, text_bytes: int, weights_bytes: int) -> str:
    """The text of `model.c`."""
    states = [f"{{{state.spec.offset}, {state.bytes}}}" for state in source.states]
    firsts = [0]
    for step in source.steps:
        firsts.append(firsts[-1] + len(step.pointers))
    return code_templates.GPU_CODE.format(
        includes="#include <string.h>\n\n" if source.states else "",
        kernels=_KERNELS,
        weights=emit.WEIGHTS,
        facts=emit.facts(source),
        places="\n".join(f"    {pointer}," for s in source.steps for pointer in s.pointers),
        steps="\n".join(map(_step, source.steps, firsts)),
        states=", ".join(states or ["{0, 0}"]),  # no array of C's is empty
        state_count=len(states),
        text_bytes=text_bytes,
        weights_bytes=weights_bytes,
        reset=emit.reset_code(source),
    )


def _step(step: PlacedCall, first: int) -> str:
    """A row of the table of steps."""
    assert step.launch is not None, f"{step.name}: a kernel that no GPU launches"
    numbers = (
        first, len(step.pointers), step.writes, step.launch.groups, step.launch.threads,
        step.written_bytes,
    )  # fmt: skip
    return f"    {{{emit.string(step.symbol)}, {', '.join(map(str, numbers))}}},"
