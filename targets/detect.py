"""Which profile fits this machine, and the "host" profile made from it. Standard library only."""

import os
import platform
from dataclasses import dataclass, replace
from pathlib import Path

from edgekiln.runtime import host
from edgekiln.runtime.errors import UnsupportedError
from edgekiln.targets import files
from edgekiln.targets.description import Caches, TargetProfile

CPUS = Path("/sys/devices/system/cpu")
UNITS = {"K": 1024, "M": 1024**2}


@dataclass(frozen=True, kw_only=True)
class Fit:
    """How one profile suits a machine."""

    profile: TargetProfile
    found: tuple[str, ...]  # features the profile needs and the CPU has
    missing: tuple[str, ...]
    same_machine: bool  # e.g. both x86_64
    recognized: bool | None = None  # whether this is the profile's chip; None: it is no one chip's

    @property
    def fits(self) -> bool:
        """Whether its programs run there."""
        return self.same_machine and not self.missing


def fit(
    candidate: TargetProfile,
    machine: str,
    flags: frozenset[str],
    identities: frozenset[str] = frozenset(),
) -> Fit:
    """Compare what `candidate` needs with a CPU's `flags` (as /proc/cpuinfo spells them)."""
    names = candidate.recognized_by
    return Fit(
        profile=candidate,
        found=tuple(f for f in candidate.features if f in flags),
        missing=tuple(f for f in candidate.features if f not in flags),
        same_machine=candidate.machine == machine,
        recognized=not identities.isdisjoint(names) if names else None,
    )


def fits() -> tuple[Fit, ...]:
    """Every processor's profile against this machine: the one of this very chip, then those of many
    chips, then those of other chips; among them the one that asks most of the CPU first.
    """
    machine, flags, identities = platform.machine(), host.cpu_flags(), host.identities()
    processors = (candidate for candidate in files.shipped() if candidate.gpu is None)
    found = (fit(candidate, machine, flags, identities) for candidate in processors)
    return tuple(sorted(found, key=_rank))


def _rank(candidate: Fit) -> tuple[int, int, str]:
    place = {True: 0, None: 1, False: 2}[candidate.recognized]
    return place, -len(candidate.profile.features), candidate.profile.name


def best(candidates: tuple[Fit, ...]) -> TargetProfile | None:
    """The first that fits: this chip's, or the one that uses the most of the CPU."""
    return next((candidate.profile for candidate in candidates if candidate.fits), None)


def runs_here(target: TargetProfile) -> Fit:
    """How a profile suits this machine."""
    return fit(target, platform.machine(), host.cpu_flags())


def host_profile() -> TargetProfile:
    """The best fitting profile, with this machine's cores and caches: of its fastest cores, where
    they are of several kinds. Its name stays "host".

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
    fastest = host.fastest_cpus()
    cores = len(fastest) or os.cpu_count() or base.cores
    return replace(
        base,
        name=files.HOST,
        description=f"This machine, by {base.name}",
        bases=(base.name, *base.bases),
        cores=cores,
        caches=read_caches(base.caches, CPUS / f"cpu{min(fastest, default=0)}/cache"),
        tvm={**base.tvm, "num-cores": cores},
    )


def read_caches(default: Caches, directory: Path) -> Caches:
    """Cache sizes of a core from its `cache` in /sys; a level not listed keeps the default's."""
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
