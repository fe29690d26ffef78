"""The C compiler of a target: whether it is there and works, its version, what installs it."""

import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path

from edgekiln.compiler.aot import nvrtc
from edgekiln.compiler.pipeline.atomic_io import MIN_FREE_BYTES, free_bytes
from edgekiln.runtime.device.qemu import EMULATORS
from edgekiln.runtime.errors import MissingToolError, StorageError, debian_hint
from edgekiln.runtime.files import cannot_write
from edgekiln.targets.profile import TargetProfile, Toolchain

# What a program of an operating system needs of the C library, and a microcontroller's image.
_HOSTED = ("#include <pthread.h>", ("-static", "-pthread"))
_BARE = ("#include <stdio.h>", ("--specs=rdimon.specs",))


def require(target: TargetProfile) -> None:
    """Raise MissingToolError when the target's C compiler is not there or cannot link a program, or
    the emulator is not there that measures a microcontroller's stack, or NVIDIA's compiler.
    """
    if found := problem(target):
        raise MissingToolError(f"target {target.name}: {found}", install_command(target.toolchain))
    if target.kind == "cuda" and (found := nvrtc.problem(str(target.tvm["arch"]))):
        raise MissingToolError(f"target {target.name}: {found}", nvrtc.INSTALL_HINT)


def problem(target: TargetProfile) -> str:
    """What is wrong, tried on the smallest program with the target's own flags; "": nothing."""
    # A microcontroller's stack is measured while it runs, in the emulator of its board.
    needs = [target.toolchain.cc, *([EMULATORS[target.machine]] if target.board else [])]
    missing = next((f"{tool} is not installed" for tool in needs if not shutil.which(tool)), "")
    return missing or _trial(target)


def install_command(tools: Toolchain) -> str:
    """The command that installs a C compiler and what belongs to it."""
    return debian_hint(*tools.packages)


# Asked for the key of every compilation; the compiler does not change while a process runs.
@cache
def version(cc: str) -> str:
    """A compiler's version in its own words, "gcc (Debian 12.2.0-14) 12.2.0"; "" if it is
    missing.
    """
    try:
        done = subprocess.run([cc, "--version"], capture_output=True, text=True, check=False)
    except OSError:
        return ""
    return (done.stdout.splitlines() or [""])[0]


def _trial(target: TargetProfile) -> str:
    """What goes wrong when a program is linked; "" if nothing does.

    Raises StorageError: there is no room for it.
    """
    tools = target.toolchain
    include, options = _BARE if target.kind == "microcontroller" else _HOSTED
    try:
        with tempfile.TemporaryDirectory() as directory:
            source = Path(directory, "trial.c")
            source.write_text(f"{include}\nint main(void) {{ return 0; }}\n")
            flags = (*tools.cflags, *options, *tools.ldflags)
            command = [tools.cc, *flags, str(source), "-o", str(source.with_suffix(""))]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            free = free_bytes(Path(directory))
    except OSError as error:
        raise cannot_write(Path(tempfile.gettempdir()), error) from error
    if done.returncode == 0:
        return ""
    if free < MIN_FREE_BYTES:  # compilers say many things of a full disk
        raise StorageError(
            f"no room left in {tempfile.gettempdir()} ({free} bytes free), where compilers work",
            "free some space, or set TMPDIR to a directory with room",
        )
    reason = done.stderr.strip().splitlines() or ["no reason given"]
    return f"{tools.cc} cannot link a program: {reason[-1]}"
