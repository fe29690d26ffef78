"""AMX where the CPU has none: the emulator of amx_emulator.c, in this process or in a runner."""

import ctypes
import subprocess
import tempfile
from dataclasses import replace
from functools import cache
from pathlib import Path

from edgekiln.runtime import host
from edgekiln.runtime.amx_permission import request_amx_permission
from edgekiln.targets import profile
from edgekiln.targets.profile import TargetProfile

_SOURCE = Path(__file__).with_name("amx_emulator.c")
_FLAGS = ("-std=c11", "-O2", "-Wall", "-Wextra", "-Werror", "-fPIC")
# Tiles beside what an older CPU has: all that Sapphire Rapids adds would be illegal here, too.
TVM = {
    **profile.load("x86-avx512-vbmi").tvm,
    "mattr": ["+amx-tile", "+amx-int8"],
}


@cache
def ready() -> None:
    """Make tile instructions work in this process: by the CPU, or by the emulator."""
    if "amx_int8" in host.cpu_flags():
        request_amx_permission(profile.load("x86-amx").features, "the tests")
        return
    with tempfile.TemporaryDirectory(prefix="edgekiln-amx-") as home:
        library = Path(home, "emulator.so")
        subprocess.run(["cc", *_FLAGS, "-shared", "-o", library, _SOURCE], check=True)
        ctypes.CDLL(str(library))


def target() -> TargetProfile:
    """`x86-amx`; where the CPU has no AMX, one that asks it for no more than VBMI."""
    amx, base = profile.load("x86-amx"), profile.load("x86-avx512-vbmi")
    if not set(amx.features) - host.cpu_flags():
        return amx
    return replace(amx, features=base.features, tvm=TVM, toolchain=base.toolchain)


def with_emulator(built: TargetProfile, home: Path) -> TargetProfile:
    """The same, its runner with the emulator inside, for a process that has none.

    Its libmodel.so has one, too, which must not outlive it: take that of `target`.

    Args:
        home: where the emulator's object file is put.
    """
    emulator = home / "amx_emulator.o"
    subprocess.run(["cc", *_FLAGS, "-c", "-o", emulator, _SOURCE], check=True)
    ldflags = (*built.toolchain.ldflags, str(emulator))
    return replace(built, toolchain=replace(built.toolchain, ldflags=ldflags))
