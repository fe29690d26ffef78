"""AMX where the CPU has none: the emulator of amx_emulator.c, in this process or in a runner."""

import ctypes
import subprocess
import tempfile
from dataclasses import replace
from functools import cache
from pathlib import Path

from edgekiln.runtime import host
from edgekiln.runtime.permit import permit
from edgekiln.targets import profile
from edgekiln.targets.profile import TargetProfile

_SOURCE = Path(__file__).with_name("amx_emulator.c")
_FLAGS = ("-std=c11", "-O2", "-Wall", "-Wextra", "-Werror", "-fPIC")
# Tiles beside what an older CPU has: all that Sapphire Rapids adds would be illegal here, too.
TVM = {
    **profile.load("x86-avx512-vnni").tvm,
    "mattr": ["+amx-tile", "+amx-int8"],
}


@cache
def ready() -> None:
    """Make tile instructions work in this process: by the CPU, or by the emulator."""
    if "amx_int8" in host.cpu_flags():
        permit(profile.load("x86-amx").features, "the tests")
        return
    with tempfile.TemporaryDirectory(prefix="edgekiln-amx-") as home:
        library = Path(home, "emulator.so")
        subprocess.run(["cc", *_FLAGS, "-shared", "-o", library, _SOURCE], check=True)
        ctypes.CDLL(str(library))


def emulated_target(home: Path) -> TargetProfile:
    """`x86-amx` whose runner brings the emulator, and asks the CPU for no more than VNNI.

    Args:
        home: where the emulator's object file is put.
    """
    emulator = home / "amx_emulator.o"
    subprocess.run(["cc", *_FLAGS, "-c", "-o", emulator, _SOURCE], check=True)
    amx, base = profile.load("x86-amx"), profile.load("x86-avx512-vnni")
    ldflags = (*base.toolchain.ldflags, str(emulator))
    return replace(
        amx, features=base.features, tvm=TVM, toolchain=replace(base.toolchain, ldflags=ldflags)
    )
