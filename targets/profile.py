"""Target profiles: one TOML file a device. Standard library only."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from edgekiln.runtime.errors import ConfigError
from edgekiln.runtime.typed import did_you_mean, from_table

PROFILES = Path(__file__).parent / "profiles"
TUNING = Path(__file__).parent / "tuning"  # measured register tiles, a file a profile
HOST = "host"  # not a file: detected, see `edgekiln.targets.detect`

# What runs programs: a machine with an operating system, or a chip without one.
DeviceKind = Literal["hosted", "microcontroller"]


@dataclass(frozen=True, kw_only=True)
class Caches:
    """Bytes of the cache a core uses, shared or not; 0 where there is none."""

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
class Memory:
    """What a microcontroller has for program, weights and data, bytes."""

    flash_bytes: int
    ram_bytes: int


@dataclass(frozen=True, kw_only=True)
class EmulatedBoard:
    """A board of QEMU's with the microcontroller's core: where programs for it are checked."""

    machine: str  # of `qemu-system-arm -M`
    code_origin: int  # addresses of its memories
    code_bytes: int
    ram_origin: int
    ram_bytes: int


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
    qemu_cpu: str = ""  # QEMU's model that has these features, for `--device qemu:…`
    scheduling_model: str = ""  # the processor whose pipeline LLVM models most like this one's
    meter: str = "auto"  # power meter; "none" where there is no sensor
    memory: Memory | None = None  # of a microcontroller: there is no operating system
    board: EmulatedBoard | None = None  # what stands in for it, with QEMU
    bases: tuple[str, ...] = ()  # the profiles this one was derived from, nearest first

    @property
    def kind(self) -> DeviceKind:
        """What the device is; a profile with `[memory]` is a microcontroller's."""
        return "microcontroller" if self.memory else "hosted"

    @property
    def base(self) -> str:
        """The profile this one was derived from; empty: none."""
        return self.bases[0] if self.bases else ""


def names() -> tuple[str, ...]:
    """What `load` takes, besides files: every profile that ships, and "host"."""
    return (HOST, *sorted(path.stem for path in PROFILES.glob("*.toml")))


def load(name: str) -> TargetProfile:
    """A profile by name, or from the user's own TOML file (anything ending in `.toml`).

    Raises:
        ConfigError: unknown name or key, wrong type, unreadable file, or `extends` in a circle.
    """
    if name == HOST:
        from edgekiln.targets.detect import host_profile

        return host_profile()
    path = _find(name)
    table = _read(path, seen=())
    return from_table(TargetProfile, table, path.name)


def _find(name: str) -> Path:
    if name.endswith(".toml"):
        return Path(name)
    path = PROFILES / f"{name}.toml"
    if "/" in name or not path.is_file():
        hint = did_you_mean(name, names(), what="targets are")
        raise ConfigError(f"no target named {name!r}", hint)
    return path


def _read(path: Path, seen: tuple[Path, ...]) -> dict[str, Any]:
    """The table of one file over the one it extends."""
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"no such target file: {path}", "see `edgekiln targets list`") from None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"{path}: {error}", "a target profile is a TOML file") from error
    parent = table.pop("extends", None)
    if parent is None:
        return table
    if not isinstance(parent, str):
        raise ConfigError(f"{path.name}: extends must be a string", 'e.g. extends = "x86-64-v3"')
    beside = path.parent / parent
    parent_path = beside if parent.endswith(".toml") else _find(parent)
    if parent_path in (*seen, path):
        raise ConfigError(f"{path.name}: extends {parent} in a circle")
    base = _read(parent_path, (*seen, path))
    bases = [Path(parent).stem, *base.get("bases", ())]
    return {**_merge(base, table), "bases": bases}


def _merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Tables merge key by key; lists and numbers of `over` replace those of `base`."""
    merged = dict(base)
    for key, value in over.items():
        inherited = base.get(key)
        both = isinstance(value, Mapping) and isinstance(inherited, Mapping)
        merged[key] = _merge(inherited, value) if both and inherited is not None else value
    return merged
