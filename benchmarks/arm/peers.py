"""What one inference of another engine costs: its own AArch64 wheel, counted under QEMU."""

import re
import shutil
import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from edgekiln.benchmarks.arm import driver, sysroot
from edgekiln.compiler.estimate import qemu
from edgekiln.compiler.estimate.basic_blocks import ExecutionCounts
from edgekiln.compiler.estimate.cost import costs, pipeline
from edgekiln.runtime.device.qemu import EMULATORS
from edgekiln.targets.profile import TargetProfile

# Calls from Python: the interpreter, its way into C, and numpy. Everything else is the engine's,
# the C library's memcpy and malloc among it.
_NOT_THE_ENGINE = re.compile(r"python3[^/]*$|_ctypes\.|libffi|numpy|ld-linux")
DOTS = ("sdot", "smmla", "smlal", "smlal2", "smull", "smull2", "sadalp")

# QEMU's models where it has none of this name: with what the chip has, and not with more.
CPUS = {"neoverse-v1": "max,sme=off,sve-default-vector-length=32"}


@dataclass(frozen=True, kw_only=True)
class PeerEstimate:
    """The cost of one inference, without the Python around it."""

    instructions: int
    cycles: float
    unknown: int  # instructions that the model lacks
    dots: dict[str, int]  # executed multiplications of bytes: which kernels it chose


def estimate(engine: str, model: Path, target: TargetProfile, root: Path) -> PeerEstimate:
    """Estimate `model` on `engine`. `root`: see `sysroot.make`.

    Raises:
        MissingToolError, MeasurementError: as `qemu.count`.
    """
    with tempfile.TemporaryDirectory(prefix="edgekiln-arm-") as directory:
        home = Path(directory)
        shutil.copy(driver.__file__, home / "driver.py")
        emulator = [EMULATORS[target.machine], "-cpu", CPUS.get(target.name, target.qemu_cpu)]
        python = sysroot.command(root, target)
        command = [*emulator, *python, "driver.py", engine, str(model.resolve()), "maps.txt"]
        executed = qemu.count(command, target.machine, home)
        maps = (home / "maps.txt").read_text()
    own = _engine_only(executed, maps)
    of, _ = costs(own, pipeline(target))
    mnemonics: Counter[str] = Counter()
    for at, times in own.sections[0].items():
        # Address → how often it was executed.
        mnemonics[own.code[at].text.partition(" ")[0]] += times
    return PeerEstimate(
        instructions=of[0].instructions,
        cycles=of[0].cycles,
        unknown=of[0].unknown,
        dots={name: mnemonics[name] for name in DOTS if mnemonics[name]},
    )


def _engine_only(executed: ExecutionCounts, maps: str) -> ExecutionCounts:
    """The counts without the interpreter's. `maps` is /proc/self/maps of the process."""
    others = []
    for line in maps.splitlines():
        # "start-end perms offset device inode path"; anonymous memory, such as generated code, has
        # no path and counts for the engine.
        span, *_, path = line.split(maxsplit=5)
        if _NOT_THE_ENGINE.search(path):
            start, end = (int(edge, 16) for edge in span.split("-"))
            others.append(range(start, end))
    kept = {
        at: times
        for at, times in executed.sections[0].items()
        if not any(at in span for span in others)
    }
    return ExecutionCounts({0: kept}, executed.code)
