"""Target profiles: one TOML file a device. Standard library only."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Caches:
    """Bytes per core (l1d, l2) or shared (l3); 0 where there is none."""

    l1d: int
    l2: int
    l3: int


@dataclass(frozen=True, kw_only=True)
class Toolchain:
    """How the C parts are compiled and linked for the target."""

    cc: str  # e.g. "gcc", "aarch64-linux-gnu-gcc"
    cflags: tuple[str, ...] = ()
    ldflags: tuple[str, ...] = ()
    packages: tuple[str, ...] = ()  # Debian packages that bring it


@dataclass(frozen=True, kw_only=True)
class TargetProfile:
    """One device. `tvm` is given to `tvm.target.Target` unchanged."""

    name: str
    description: str
    tvm: Mapping[str, Any]
    isa: str  # key of edgekiln.targets.isa.MICROKERNELS
    features: tuple[str, ...]  # CPU flags the program needs, as /proc/cpuinfo spells them
    machine: str  # platform.machine() of the device: "x86_64", "aarch64"
    cores: int
    caches: Caches
    channel_multiple: int  # pruned widths are multiples of this: the vector's lanes
    toolchain: Toolchain
    meter: str = "auto"  # power meter; "none" where there is no sensor
