"""Link a program that marks its sections, run it, and count what they execute."""

from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path

from edgekiln.compiler.aot.backends import microcontroller
from edgekiln.compiler.aot.toolchain import Compiler
from edgekiln.compiler.estimate import qemu, steps
from edgekiln.compiler.estimate.basic_blocks import ExecutionCounts
from edgekiln.runtime.device.qemu import EMULATORS, board_command
from edgekiln.runtime.errors import UnsupportedError
from edgekiln.targets.detect import runs_here
from edgekiln.targets.profile import TargetProfile

_EXECUTABLE = "./counted"


def run(
    target: TargetProfile, home: Path, main: str, objects: Sequence[str], *arguments: str
) -> ExecutionCounts:
    """Link `main`, a C file in `home` that calls `mark`, with `objects`; run and count it.

    A microcontroller's startup code comes to `home`, too, and with it a main.c: not yours.

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
    if not stepped and not target.board and not target.qemu_cpu:
        raise UnsupportedError(
            f"{target.name}: its profile names no QEMU model to count instructions with",
            "add qemu-cpu to the profile",
        )
    if target.board:
        mark = _link_image(target, home, main, objects)
        command = board_command(target.board.machine, _EXECUTABLE, arguments)
        return qemu.count(command, target.machine, home, mark)
    if stepped:
        for name in ("cpu.c", "cpu.h"):  # of the runner: tiles are to be asked for
            (home / name).write_bytes((files("edgekiln.runtime") / "c" / name).read_bytes())
    marks = ("mark_steps.c", "cpu.c") if stepped else ("mark_blocks.c",)
    _link(target, home, main, marks, objects)
    command = [_EXECUTABLE, *arguments]
    if stepped:
        return steps.count(command, home)
    emulator = [EMULATORS[target.machine], "-cpu", target.qemu_cpu]
    return qemu.count([*emulator, *command], target.machine, home)


def source(name: str) -> bytes:
    """One of the C files beside this one."""
    return (files("edgekiln.compiler.estimate") / "c" / name).read_bytes()


def _link(
    target: TargetProfile, home: Path, main: str, marks: Sequence[str], objects: Sequence[str]
) -> None:
    _write("mark.h", marks[0], home=home)
    compiler = Compiler(target.toolchain, home)
    compiled = compiler.compile((main, *marks), "-D_GNU_SOURCE")
    # With all that it calls inside, at the addresses that its disassembly shows.
    compiler.link(_EXECUTABLE, [*compiled, *objects], "-static", "-no-pie", "-lm")


def _link_image(target: TargetProfile, home: Path, main: str, objects: Sequence[str]) -> int:
    """Link an image for a microcontroller's emulated board; returns where `mark` lies."""
    _write("mark.h", "mark_board.c", home=home)
    microcontroller.write_sources(home)
    compiler = Compiler(target.toolchain, home)
    compiled = compiler.compile((main, "mark_board.c", microcontroller.STARTUP), "-D_GNU_SOURCE")
    flags = microcontroller.link_flags(target)
    compiler.link(_EXECUTABLE, [*compiled, *objects], *flags, "-lm")
    symbols = (line.split() for line in compiler.tool("nm", _EXECUTABLE).splitlines())
    return next(int(symbol[0], 16) for symbol in symbols if symbol[-1] == "mark")


def _write(*names: str, home: Path) -> None:
    for name in names:
        (home / name).write_bytes(source(name))
