"""A program for a chip without an operating system: an image for an emulated board, a footprint."""

from dataclasses import dataclass, replace
from importlib.resources import files
from pathlib import Path

from edgekiln.compiler.aot.backends import native
from edgekiln.compiler.aot.backends.backend import ARCHIVE, HEADER, LibrarySources, write_spec
from edgekiln.compiler.aot.codegen import compile_function
from edgekiln.compiler.aot.emit import PlacedProgram
from edgekiln.compiler.aot.functions import Functions
from edgekiln.compiler.aot.toolchain import Compiler
from edgekiln.compiler.ir.program import Program
from edgekiln.runtime.bundle import IMAGE, PROGRAM
from edgekiln.runtime.device.local import execute
from edgekiln.runtime.device.qemu import board_command
from edgekiln.runtime.errors import GateError, MeasurementError
from edgekiln.runtime.manifest import Footprint, ProgramSpec
from edgekiln.runtime.text import human_bytes
from edgekiln.targets.profile import EmulatedBoard, TargetProfile

__all__ = [
    "EDGES_IN_ARENA", "EXPORTS", "FILES", "STARTUP", "compile_function", "finish", "link_flags",
    "write_functions_of_floats", "write_program", "write_sources",
]  # fmt: skip

EDGES_IN_ARENA = True  # so that they share what little memory there is
FILES: tuple[str, ...] = (ARCHIVE, HEADER, IMAGE, PROGRAM)
EXPORTS: tuple[str, ...] = ()

STARTUP = "startup.c"
_SOFT_FLOAT = "soft_float.c"  # what kernels count on where there is no FPU
_SCRIPT = "firmware.ld"
_IMAGE_SOURCES = (STARTUP, "main.c", "files.c")
_ENTRY = "model_run"  # what every user of a library calls
_TIMEOUT_S = 600.0  # of one emulated inference; a large network takes seconds
_FREE = "-Wl,--gc-sections"


def write_program(
    home: Path, source: PlacedProgram, profile: TargetProfile, compiled: Functions
) -> LibrarySources:
    """Write the kernels and the calls of them; see `Backend.write_program`."""
    made = native.write_program(home, source, profile, compiled)
    return replace(made, sources=(*made.sources, *write_functions_of_floats(home, profile)))


def write_functions_of_floats(home: Path, profile: TargetProfile) -> tuple[str, ...]:
    """Write the C files to `home` that have what kernels call where the chip has no FPU."""
    if not profile.soft_float:
        return ()
    (home / _SOFT_FLOAT).write_bytes((files("edgekiln.runtime") / "c" / _SOFT_FLOAT).read_bytes())
    return (_SOFT_FLOAT,)


def finish(
    compiler: Compiler,
    program: Program,  # noqa: ARG001 all of it is in the archive
    profile: TargetProfile,
    spec: ProgramSpec,
) -> ProgramSpec:
    """Link the image and measure what the program takes; see `Backend.finish`.

    Raises:
        GateError: the program does not fit `profile.memory`.
        MeasurementError: the emulator failed.
    """
    assert profile.memory is not None
    assert profile.board is not None
    sizes = _linked_sizes(compiler, profile)
    spec = replace(spec, code_bytes=sizes.flash_bytes - spec.weights_bytes)
    footprint = Footprint(
        board=profile.board.machine,
        flash_bytes=sizes.flash_bytes,
        flash_available_bytes=profile.memory.flash_bytes,
        ram_bytes=spec.arena_bytes + sizes.variables_bytes,
        ram_available_bytes=profile.memory.ram_bytes,
        stack_bytes=0,
        variables_bytes=sizes.variables_bytes,
    )
    # Before the image is linked, whose linker would say less.
    _check(profile.name, replace(spec, footprint=footprint))
    _make_image(compiler, profile)
    stack_bytes = _measure_stack(compiler.home, profile.board)
    ram_bytes = footprint.ram_bytes + stack_bytes
    spec = replace(spec, footprint=replace(footprint, stack_bytes=stack_bytes, ram_bytes=ram_bytes))
    _check(profile.name, spec)
    write_spec(compiler.home, spec)
    return spec


def write_sources(home: Path) -> None:
    """Write the startup code, the linker script and the image's `main` to `home`."""
    for entry in (files("edgekiln.runtime") / "c" / "firmware").iterdir():
        if entry.is_file():
            (home / entry.name).write_bytes(entry.read_bytes())


def link_flags(profile: TargetProfile) -> tuple[str, ...]:
    """What the compiler needs to link an image, besides objects; "rdimon" is semihosting."""
    board, core = profile.board, profile.toolchain.cflags
    assert board is not None
    memories = {
        "VECTORS_ORIGIN": board.vectors_origin,
        "CODE_ORIGIN": board.code_origin,
        "CODE_BYTES": board.code_bytes,
        "RAM_ORIGIN": board.ram_origin,
        "RAM_BYTES": board.ram_bytes,
    }
    places = [f"-Wl,--defsym={name}={number:#x}" for name, number in memories.items()]
    return (*core, "-nostartfiles", "--specs=rdimon.specs", "-T", _SCRIPT, _FREE, *places)


@dataclass(frozen=True, kw_only=True)
class _Sizes:
    flash_bytes: int
    variables_bytes: int


def _linked_sizes(compiler: Compiler, profile: TargetProfile) -> _Sizes:
    """The sizes of a program that calls model_run and nothing else, with the C library it needs."""
    core = profile.toolchain.cflags  # by which the driver chooses a C library
    # nosys: newlib without semihosting, which is the board's in the image below, and no user's.
    flags = (*core, "-nostartfiles", "--specs=nosys.specs", _FREE, f"-Wl,--entry={_ENTRY}", "-lm")
    compiler.link("linked.elf", [ARCHIVE], f"-Wl,--undefined={_ENTRY}", *flags)
    # Berkeley's form: a line of headings, then text, data and bss.
    table = compiler.tool("size", "linked.elf").splitlines()[1]
    text, data, bss = map(int, table.split()[:3])
    # Initial values of variables lie in flash, and the variables in RAM.
    return _Sizes(flash_bytes=text + data, variables_bytes=data + bss)


def _make_image(compiler: Compiler, profile: TargetProfile) -> None:
    assert profile.board is not None
    write_sources(compiler.home)
    objects = compiler.compile(_IMAGE_SOURCES)
    compiler.link(IMAGE, [*objects, ARCHIVE], "-s", *link_flags(profile), "-lm")


def _measure_stack(home: Path, board: EmulatedBoard) -> int:
    """The bytes of stack that one inference takes, by the traces it leaves.

    They are the same for every input, as no kernel recurses or allocates.
    """
    try:
        done = execute(board_command(board.machine, str(home / IMAGE), ["stack"]), _TIMEOUT_S)
    except TimeoutError as error:
        raise MeasurementError(
            f"{board.machine}: an emulated inference takes over {_TIMEOUT_S:.0f} s",
            hint="is the machine busy, or the model meant for a microcontroller at all?",
        ) from error
    # What writes over the C library's variables may end well and say nothing.
    if done.exit_code or not done.stdout.strip().isdecimal():
        raise MeasurementError(
            f"{board.machine}: the image failed: {done.stderr.strip() or done.exit_code}",
            hint="this is a bug of EdgeKiln's: report the model",
        )
    return int(done.stdout)


def _check(target: str, spec: ProgramSpec) -> None:
    """Raises GateError when the program takes more memory than there is."""
    needs = spec.footprint
    assert needs is not None
    flash = (
        ("weights", spec.weights_bytes),
        ("code", spec.code_bytes),
    )
    ram = (
        ("arena", spec.arena_bytes),
        ("stack", needs.stack_bytes),
        ("variables", needs.variables_bytes),
    )
    for name, parts, taken, there in (
        ("flash", flash, needs.flash_bytes, needs.flash_available_bytes),
        ("RAM", ram, needs.ram_bytes, needs.ram_available_bytes),
    ):
        if taken > there:
            what = ", ".join(f"{part} {human_bytes(size)}" for part, size in parts if size)
            raise GateError(
                f"{spec.name} does not fit {target}: it takes {human_bytes(taken)} of {name} "
                f"({what}), {human_bytes(taken - there)} more than the {human_bytes(there)} there "
                "are",
                "try --compact, prune it or take a smaller model; for a chip with more, a profile "
                f'of your own: a .toml file with extends = "{target}" and another [memory]',
            )
