"""What programs for GPUs share: files, errors, and the tables that the driver walks."""

from importlib.resources import files
from pathlib import Path

from edgekiln.compiler.aot import code_templates, emit
from edgekiln.compiler.aot.backends import hosted
from edgekiln.compiler.aot.backends.backend import LibrarySources
from edgekiln.compiler.aot.emit import PlacedCall, PlacedProgram
from edgekiln.compiler.aot.toolchain import Compiler
from edgekiln.compiler.ir.program import Program
from edgekiln.runtime.manifest import ProgramSpec
from edgekiln.targets.profile import TargetProfile

EDGES_IN_ARENA = False
FILES = hosted.FILES
EXPORTS: tuple[str, ...] = ("model_error", "model_error_hint")

KERNELS = "gpu_kernels"  # what the device runs or compiles, hidden as the weights are
_SOURCES = ("model.c", "kernels.S", "gpu_driver.c")
# Drivers need a C library that they share with the program: no static executable can load one.
# `dlopen` and threads are libraries of their own in C libraries before glibc 2.34.
FLAGS = ("-Wl,--as-needed", "-ldl", "-lpthread", "-lc")
_MOST_ARGUMENTS = 64  # GPU_MOST_ARGUMENTS of gpu_driver.h


def write_sources(
    home: Path, source: PlacedProgram, interface: str, kernels: bytes, code: str
) -> LibrarySources:
    """Write driver, tables and kernels.

    Args:
        interface: of the drivers: its folder beside `runtime/c/gpu`.
        kernels: a block of bytes, in whatever form the device takes them.
        code: C declarations that end in one of `CODE`, which says what lies in the block.
    """
    sources = list(_SOURCES)
    for room in ("gpu", interface):
        for entry in (files("edgekiln.runtime") / "c" / room).iterdir():
            if entry.name.endswith((".c", ".h")):
                (home / entry.name).write_bytes(entry.read_bytes())
            if entry.name.endswith(".c") and entry.name not in sources:
                sources.append(entry.name)
    (home / "kernels.bin").write_bytes(kernels)
    assembly = code_templates.ASSEMBLY.format(symbol=KERNELS, align=64, file="kernels.bin")
    (home / "kernels.S").write_text(assembly, encoding="utf-8")
    text = _code(source, interface, code, (home / "weights.bin").stat().st_size)
    (home / "model.c").write_text(text, encoding="utf-8")
    return LibrarySources(sources=(*_SOURCES, *sorted(sources[len(_SOURCES) :])))


def finish(
    compiler: Compiler,
    program: Program,
    profile: TargetProfile,  # noqa: ARG001 what it asks for is in the compiler's flags
    spec: ProgramSpec,
) -> ProgramSpec:
    """Link library and runner, as `Backend.finish` asks."""
    return hosted.linked(compiler, program, spec, FLAGS, FLAGS)


def _code(source: PlacedProgram, interface: str, code: str, weights_bytes: int) -> str:
    """The text of `model.c`."""
    states = [f"{{{state.spec.offset}, {state.bytes}}}" for state in source.states]
    firsts = [0]
    for step in source.steps:
        firsts.append(firsts[-1] + len(step.pointers))
    return code_templates.GPU_CODE.format(
        includes="#include <string.h>\n\n" if source.states else "",
        interface=interface,
        code=code,
        weights=emit.WEIGHTS,
        facts=emit.facts(source),
        places="\n".join(f"    {pointer}," for s in source.steps for pointer in s.pointers),
        steps="\n".join(map(_step, source.steps, firsts)),
        states=", ".join(states or ["{0, 0}"]),  # no array of C's is empty
        state_count=len(states),
        weights_bytes=weights_bytes,
        reset=emit.reset_code(source),
    )


def _step(step: PlacedCall, first: int) -> str:
    """A row of the table of steps."""
    assert step.launch is not None, f"{step.name}: a kernel that no GPU launches"
    assert len(step.pointers) <= _MOST_ARGUMENTS, f"{step.name}: too many arguments"
    numbers = (
        first, len(step.pointers), step.writes, step.launch.groups, step.launch.threads,
        step.written_bytes,
    )  # fmt: skip
    return f"    {{{emit.string(step.symbol)}, {', '.join(map(str, numbers))}}},"
