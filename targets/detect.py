"""Which profile fits this machine, and the "host" profile made from it. Standard library only."""

import os
import platform
from dataclasses import dataclass, replace
from pathlib import Path

from edgekiln.runtime import host
from edgekiln.runtime.errors import UnsupportedError
from edgekiln.targets import files
from edgekiln.targets.description import Caches, TargetProfile

CACHE_DIR = Path("/sys/devices/system/cpu/cpu0/cache")
UNITS = {"K": 1024, "M": 1024**2}


@dataclass(frozen=True, kw_only=True)
class Fit:
    """How one profile suits a machine."""

    profile: TargetProfile
    found: tuple[str, ...]  # features the profile needs and the CPU has
    missing: tuple[str, ...]
    same_machine: bool  # e.g. both x86_64

    @property
    def fits(self) -> bool:
        """Whether its programs run there."""
        return self.same_machine and not self.missing


def fit(candidate: TargetProfile, machine: str, flags: frozenset[str]) -> Fit:
    """Compare what `candidate` needs with a CPU's `flags` (as /proc/cpuinfo spells them)."""
    return Fit(
        profile=candidate,
        found=tuple(f for f in candidate.features if f in flags),
        missing=tuple(f for f in candidate.features if f not in flags),
        same_machine=candidate.machine == machine,
    )


def fits() -> tuple[Fit, ...]:
    """Every profile against this machine, the one that asks most of the CPU first."""
    machine, flags = platform.machine(), host.cpu_flags()
    ranked = sorted(files.shipped(), key=lambda p: (-len(p.features), p.name))
    return tuple(fit(candidate, machine, flags) for candidate in ranked)


def best(candidates: tuple[Fit, ...]) -> TargetProfile | None:
    """The first that fits: it uses the most of the CPU."""
    return next((candidate.profile for candidate in candidates if candidate.fits), None)


def runs_here(target: TargetProfile) -> Fit:
    """How a profile suits this machine."""
    return fit(target, platform.machine(), host.cpu_flags())


def host_profile() -> TargetProfile:
    """The best fitting profile, with this machine's cores and caches. Its name stays "host".

    Raises:
        UnsupportedError: no profile fits.
    """
    candidates = fits()
    base = best(candidates)
    if base is None:
        raise UnsupportedError(
            f"no target profile fits this machine ({platform.machine()})",
            "`edgekiln targets detect` says what is missing; name another target to build for it",
        )
    cores = os.cpu_count() or base.cores
    return replace(
        base,
        name=files.HOST,
        description=f"This machine, by {base.name}",
        bases=(base.name, *base.bases),
        cores=cores,
        caches=read_caches(base.caches),
        tvm={**base.tvm, "num-cores": cores},
    )


def read_caches(default: Caches, directory: Path = CACHE_DIR) -> Caches:
    """Cache sizes of the first core from /sys; a level not listed there keeps the default's."""
    sizes = {"l1d": default.l1d, "l2": default.l2, "l3": default.l3}
    for index in sorted(directory.glob("index*")):
        try:
            level = (index / "level").read_text().strip()
            kind = (index / "type").read_text().strip()
            size = (index / "size").read_text().strip()
            bytes_ = int(size[:-1]) * UNITS[size[-1]]
        except (OSError, ValueError, KeyError, IndexError):
            continue  # virtual machines list odd entries
        key = f"l{level}d" if level == "1" else f"l{level}"
        if kind != "Instruction" and key in sizes:
            sizes[key] = bytes_
    return Caches(**sizes)
