"""Link a program that marks its sections, run it, and count what they execute."""

from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path

from edgekiln.compiler.aot.toolchain import Compiler
from edgekiln.compiler.estimate import qemu, steps
from edgekiln.compiler.estimate.executed import Executed
from edgekiln.runtime.errors import UnsupportedError
from edgekiln.targets.detect import runs_here
from edgekiln.targets.profile import TargetProfile

_EXECUTABLE = "./counted"


def run(
    target: TargetProfile, home: Path, main: str, objects: Sequence[str], *arguments: str
) -> Executed:
    """Link `main`, a C file in `home` that calls `mark`, with `objects`; run and count it.

    Raises:
        MissingToolError: a compiler, QEMU or LLVM is not installed.
        UnsupportedError: nothing here can count this target's instructions.
    """
    stepped = target.machine == steps.MACHINE
    if stepped and (missing := runs_here(target).missing):
        raise UnsupportedError(
            f"{target.name}: x86 instructions are counted on the CPU itself, and this one lacks "
            + " ".join(missing),
            "estimate it on a machine that runs it",
        )
    if not stepped and not target.qemu_cpu:
        raise UnsupportedError(
            f"{target.name}: its profile names no QEMU model to count instructions with",
            "add qemu-cpu to the profile",
        )
    _link(target, home, main, "mark_steps.c" if stepped else "mark_blocks.c", objects)
    if stepped:
        return steps.count([_EXECUTABLE, *arguments], home)
    return qemu.count([_EXECUTABLE, *arguments], target.machine, target.qemu_cpu, home)


def source(name: str) -> bytes:
    """One of the C files beside this one."""
    return (files("edgekiln.compiler.estimate") / "c" / name).read_bytes()


def _link(target: TargetProfile, home: Path, main: str, marks: str, objects: Sequence[str]) -> None:
    for name in ("mark.h", marks):
        (home / name).write_bytes(source(name))
    compiler = Compiler(target.toolchain, home)
    compiled = compiler.compile((main, marks), "-D_GNU_SOURCE")
    compiler.link(_EXECUTABLE, [*compiled, *objects], "-static", "-no-pie", "-lm")
