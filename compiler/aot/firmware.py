"""How an image for one of QEMU's boards is linked: startup, linker script, files by semihosting."""

from importlib.resources import files
from pathlib import Path

from edgekiln.targets.profile import Board

STARTUP, _SCRIPT = "startup.c", "firmware.ld"


def write_sources(home: Path) -> None:
    """Startup code, linker script and the image's `main`, into `home`."""
    for entry in (files("edgekiln.runtime") / "c" / "firmware").iterdir():
        if entry.is_file():
            (home / entry.name).write_bytes(entry.read_bytes())


def link_flags(board: Board) -> tuple[str, ...]:
    """What the compiler needs, as linker, besides objects; "rdimon" is semihosting."""
    memories = {
        "CODE_ORIGIN": board.code_origin,
        "CODE_BYTES": board.code_bytes,
        "RAM_ORIGIN": board.ram_origin,
        "RAM_BYTES": board.ram_bytes,
    }
    places = [f"-Wl,--defsym={name}={number:#x}" for name, number in memories.items()]
    return ("-nostartfiles", "--specs=rdimon.specs", "-T", _SCRIPT, "-Wl,--gc-sections", *places)
