"""Peers held to the instruction set of a target, by what CPUID tells them.

An engine chooses its kernels by CPUID, at run time. Where its libraries ask, found beforehand in
their machine code, a library that audits their loading lets them ask it instead, and it answers
without what the target does not have. So every peer can be measured as on an older or smaller chip,
on one that has more; the clock, the caches and the width of the pipes stay those of this one. Moves
of memory and mathematical functions by the C library, which asks before, may still be wider.
"""

import subprocess
from collections.abc import Sequence
from pathlib import Path

from edgekiln.benchmarks.held_places import places
from edgekiln.benchmarks.measure import Held
from edgekiln.runtime.errors import ConfigError, MissingToolError
from edgekiln.targets import profile
from edgekiln.targets.description import TargetProfile

_SOURCE = Path(__file__).with_name("held.c")
# The directories where a Python looks for packages: neither the one it is started in nor its own.
_LISTED = """
import sys, sysconfig
own = {sysconfig.get_path(name) for name in ("stdlib", "platstdlib")}
print(*(path for path in sys.path if path and path not in own), sep="\\n")
"""
_MAPS = "/proc/self/maps"  # the files that a process has in its memory
_EAX, _EBX, _ECX, _EDX = range(4)
# Where CPUID tells of what multiplies or moves more than SSE4 does, which every target has, by
# Linux's names: leaf, subleaf, register, bit. Intel 64 Software Developer's Manual, volume 2,
# CPUID, table 3-8. Leaf 1 has no subleaves: compilers leave in ECX what is there, and any is meant.
_EVERY = 0xFFFFFFFF
_BITS = {
    "fma": (1, _EVERY, _ECX, 12),
    "avx": (1, _EVERY, _ECX, 28),
    "f16c": (1, _EVERY, _ECX, 29),
    "bmi1": (7, 0, _EBX, 3),
    "avx2": (7, 0, _EBX, 5),
    "bmi2": (7, 0, _EBX, 8),
    "avx512f": (7, 0, _EBX, 16),
    "avx512dq": (7, 0, _EBX, 17),
    "avx512ifma": (7, 0, _EBX, 21),
    "avx512cd": (7, 0, _EBX, 28),
    "avx512bw": (7, 0, _EBX, 30),
    "avx512vl": (7, 0, _EBX, 31),
    "avx512vbmi": (7, 0, _ECX, 1),
    "avx512_vbmi2": (7, 0, _ECX, 6),
    "avx512_vnni": (7, 0, _ECX, 11),
    "avx512_bitalg": (7, 0, _ECX, 12),
    "avx512_vpopcntdq": (7, 0, _ECX, 14),
    "avx512_vp2intersect": (7, 0, _EDX, 8),
    "amx_bf16": (7, 0, _EDX, 22),
    "avx512_fp16": (7, 0, _EDX, 23),
    "amx_tile": (7, 0, _EDX, 24),
    "amx_int8": (7, 0, _EDX, 25),
    "avx_vnni": (7, 1, _EAX, 4),
    "avx512_bf16": (7, 1, _EAX, 5),
    "amx_fp16": (7, 1, _EAX, 21),
    "avx_ifma": (7, 1, _EAX, 23),
    "avx_vnni_int8": (7, 1, _EDX, 4),
    "avx_ne_convert": (7, 1, _EDX, 5),
    "avx_vnni_int16": (7, 1, _EDX, 10),
    "avx10": (7, 1, _EDX, 19),
}


def cuts(target: TargetProfile) -> str:
    """What `held.c` is to clear: all that the target does not say it has."""
    found: dict[tuple[int, int, int], int] = {}
    for name, (leaf, subleaf, register, bit) in _BITS.items():
        if name not in target.features:
            place = leaf, subleaf, register
            found[place] = found.get(place, 0) | 1 << bit
    return ",".join(
        f"{leaf:x}.{subleaf:x}.{register:x}.{bits:x}"
        for (leaf, subleaf, register), bits in found.items()
    )


def library(folder: Path) -> Path:
    """Compile what is preloaded.

    Raises:
        MissingToolError: there is no compiler, or it fails.
    """
    made = folder / "held.so"
    words = ["gcc", "-O2", "-Wall", "-shared", "-fPIC", "-o", str(made), str(_SOURCE)]
    try:
        run = subprocess.run(words, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise MissingToolError("gcc is not installed", "install it: apt install gcc") from None
    if run.returncode:
        raise MissingToolError(f"gcc: {run.stderr.strip()}", "it compiles for x86-64 Linux")
    return made


def held_to(target: str, folder: Path, code: Sequence[Path], pythons: Sequence[str] = ()) -> Held:
    """Make of commands those whose processes have a target's instruction set alone.

    Args:
        folder: for the library and its list, which stay there.
        code: the directories of what runs: what lies elsewhere asks the processor itself.
        pythons: interpreters that commands start.

    Raises:
        ConfigError: no such target.
        MissingToolError: there is no compiler, or this kernel does not let code be rewritten, or an
            interpreter does not load what would do so.
    """
    # What fails at once comes before what takes long: all packages are looked through.
    audits, cut = library(folder).resolve(), cuts(profile.load(target))
    listed = (folder / "held.places").resolve()
    lines = (f"{at:x} {path}\n" for path, found in places(code).items() for at in found)
    listed.write_text("".join(lines), encoding="utf-8")
    own = [f"LD_AUDIT={audits}", f"HELD_CPUID={cut}", f"HELD_PLACES={listed}"]
    # What does little is held first: engines that cannot be would only be missing in the results.
    run = subprocess.run(["env", *own, "true"], capture_output=True, text=True, check=False)
    if run.returncode or run.stderr:
        why = run.stderr.strip().removeprefix("error: ") or f"`true` ends with {run.returncode}"
        raise MissingToolError(f"peers cannot be held: {why}", "measure without --hold")
    for python in pythons:
        # What is linked statically, or may do more than who starts it, passes over auditors and
        # says nothing: its engines would have all that the processor has.
        words = [python, "-c", f"print(open({_MAPS!r}).read())"]
        run = subprocess.run(["env", *own, *words], capture_output=True, text=True, check=False)
        if str(audits) not in run.stdout:
            raise MissingToolError(
                f"peers cannot be held: {python} does not load {audits}",
                "name a Python of glibc, linked dynamically, or measure without --hold",
            )
    return lambda words: ["env", *own, *words]


def packages_of(pythons: Sequence[str]) -> list[Path]:
    """The directories of the packages that interpreters have.

    Raises:
        ConfigError: one of them does not run.
    """
    found: list[Path] = []
    for python in pythons:
        words = [python, "-c", _LISTED]
        try:
            run = subprocess.run(words, capture_output=True, text=True, check=True)
        except (OSError, subprocess.CalledProcessError) as error:
            raise ConfigError(f"{python} does not run: {error}", "name a Python") from None
        # More than one, where an environment borrows from another.
        found += [path for path in map(Path, run.stdout.splitlines()) if path.is_dir()]
    return found
