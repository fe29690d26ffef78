"""What machine this is, and what state it is in. From /proc and /sys; None where absent."""

import os
import platform
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path("/")
CPU = "sys/devices/system/cpu"
# What this module reads; a board that is not this machine sends these files.
FILES = (
    *(f"proc/{name}" for name in ("cpuinfo", "meminfo", "uptime", "loadavg", "stat")),
    "proc/self/status",
    "proc/device-tree/model",
    "proc/sys/kernel/osrelease",
    f"{CPU}/online",
    f"{CPU}/cpu0/cpufreq/*",
    f"{CPU}/cpu*/thermal_throttle/*_throttle_count",
    "sys/class/thermal/thermal_zone*/*temp",
    "sys/class/thermal/thermal_zone*/trip_point_*_type",
    "sys/class/thermal/cooling_device*/type",
    "sys/class/thermal/cooling_device*/cur_state",
    "sys/devices/platform/soc/soc:firmware/get_throttled",
    "sys/fs/cgroup/cpu.stat",
)
# Raspberry Pi: one bit a cause, low ones for now (documentation of `vcgencmd get_throttled`).
PI_THROTTLED = "sys/devices/platform/soc/soc:firmware/get_throttled"
PI_THROTTLED_NOW = 0xF
SLOWING = ("cpufreq-", "Processor")  # types of cooling devices: ARM's, and ACPI's on x86


@dataclass(frozen=True, kw_only=True)
class Machine:
    """What stays as it is during a run."""

    cpu: str  # "AMD EPYC", "Raspberry Pi 5 Model B Rev 1.0"
    architecture: str
    cores: int  # logical, online
    memory_bytes: int | None
    kernel: str
    governor: str | None  # None: the kernel does not set the frequency (a virtual machine, say)
    max_frequency_hz: float | None


@dataclass(frozen=True, kw_only=True)
class State:
    """What a run may change, or suffer from."""

    uptime_s: float | None
    load: float | None  # processes running or waiting, one minute's average
    frequency_hz: float | None
    temperature_c: float | None  # of the hottest zone
    throttled_now: bool | None  # by heat or voltage, where the board or a cooling device says so
    overheated: bool | None  # a thermal zone is where its cooling begins to slow the machine
    # Counters that only grow; a difference means that somebody else had the core meanwhile.
    throttle_events: int | None  # by heat or power
    quota_events: int | None  # by a container's limit
    stolen_s: float | None  # by the hypervisor


@cache
def cpu_flags(cpuinfo: Path = Path("/proc/cpuinfo")) -> frozenset[str]:
    """CPU features as /proc/cpuinfo spells them, on x86 and ARM, and on RISC-V the extensions in
    its "rv64imafdcv_zba_zbb": letters and names; empty if unreadable.
    """
    lines = _cpuinfo(cpuinfo)
    letters, *names = (lines.get("isa") or "").removeprefix("rv64").split("_")
    flags = (lines.get("flags") or lines.get("Features") or "").split()
    return frozenset([*flags, *letters, *names])


def identities(root: Path = ROOT) -> frozenset[str]:
    """What this machine is: `compatible` of its device tree ("brcm,bcm2712"), and its processor's
    maker and family, alone and with the model ("GenuineIntel-6", "GenuineIntel-6-190").
    """
    found = {*(_text(root / "proc/device-tree/compatible") or "").split("\0")}
    cpuinfo = _cpuinfo(root / "proc/cpuinfo")
    if "vendor_id" in cpuinfo:
        family = f"{cpuinfo['vendor_id']}-{cpuinfo.get('cpu family')}"
        found |= {family, f"{family}-{cpuinfo.get('model')}"}
    return frozenset(found - {""})


def fastest_cpus(root: Path = ROOT) -> tuple[int, ...]:
    """The CPUs that are on, without those of a slower kind: the kernel tells their capacity
    (Documentation/ABI/testing/sysfs-devices-system-cpu, `cpu_capacity`).
    """
    online = _numbers(_text(root / CPU / "online"))
    capacities = {cpu: _scaled(root / CPU / f"cpu{cpu}/cpu_capacity", 1) or 0.0 for cpu in online}
    most = max(capacities.values(), default=0.0)
    return tuple(cpu for cpu in online if capacities[cpu] == most)


def machine(root: Path = ROOT, architecture: str = platform.machine()) -> Machine:
    """`architecture` is what `uname -m` says: no file does."""
    cpuinfo = _cpuinfo(root / "proc/cpuinfo")
    board = _text(root / "proc/device-tree/model")
    cpu = cpuinfo.get("model name") or (board or "").rstrip("\0") or cpuinfo.get("Hardware")
    memory = _fields(root / "proc/meminfo").get("MemTotal:")
    return Machine(
        cpu=cpu or "unknown",
        architecture=architecture,
        cores=len(_numbers(_text(root / CPU / "online"))) or 1,
        memory_bytes=int(memory[0]) * 1024 if memory else None,
        kernel=f"Linux {_text(root / 'proc/sys/kernel/osrelease') or '?'}",
        governor=_text(root / CPU / "cpu0/cpufreq/scaling_governor"),
        max_frequency_hz=_scaled(root / CPU / "cpu0/cpufreq/cpuinfo_max_freq", 1e3),
    )


def state(root: Path = ROOT) -> State:
    """What changes while it runs; None for what this machine does not tell."""
    uptime, load = _text(root / "proc/uptime"), _text(root / "proc/loadavg")
    mhz = _cpuinfo(root / "proc/cpuinfo").get("cpu MHz")
    zones = [_scaled(zone, 1e-3) for zone in root.glob("sys/class/thermal/thermal_zone*/temp")]
    steal = _fields(root / "proc/stat").get("cpu")
    throttled = _fields(root / "sys/fs/cgroup/cpu.stat").get("nr_throttled")
    return State(
        uptime_s=float(uptime.split()[0]) if uptime else None,
        load=float(load.split()[0]) if load else None,
        frequency_hz=_scaled(root / CPU / "cpu0/cpufreq/scaling_cur_freq", 1e3)
        or (float(mhz) * 1e6 if mhz else None),
        temperature_c=max((zone for zone in zones if zone is not None), default=None),
        throttled_now=_throttled_now(root),
        overheated=_overheated(root),
        throttle_events=_throttle_events(root),
        quota_events=int(throttled[0]) if throttled else None,
        # user nice system idle iowait irq softirq steal, in ticks
        stolen_s=int(steal[7]) / os.sysconf("SC_CLK_TCK") if steal and len(steal) > 7 else None,
    )


def throttled(before: State, after: State) -> bool | None:
    """Whether heat, power or a quota slowed the run; None where nothing tells."""
    by_heat = _grown(before.throttle_events, after.throttle_events)
    by_quota = _grown(before.quota_events, after.quota_events)
    signs = (before.throttled_now, after.throttled_now, by_heat, by_quota)
    known = [sign for sign in signs if sign is not None]
    return any(known) if known else None


def overheated(before: State, after: State) -> bool | None:
    """Whether the run began or ended too hot; None where no thermal zone has a limit."""
    known = [each for each in (before.overheated, after.overheated) if each is not None]
    return any(known) if known else None


def stolen_share(before: State, after: State, cores: int) -> float | None:
    """The share of all cores' time between two states that the hypervisor gave to others."""
    elapsed_s = _grown(before.uptime_s, after.uptime_s)
    stolen_s = _grown(before.stolen_s, after.stolen_s)
    if not elapsed_s or stolen_s is None:
        return None
    return stolen_s / (elapsed_s * cores)


def affinity(root: Path = ROOT) -> tuple[int, ...]:
    """The CPUs this process may run on."""
    allowed = _fields(root / "proc/self/status").get("Cpus_allowed_list:")
    return _numbers(allowed[0] if allowed else None)


def peak_resident_bytes(root: Path = ROOT) -> int:
    """The most memory this process ever had; 0 where /proc does not say.

    Not from getrusage: its ru_maxrss also counts what was there before exec, a copy of the parent.
    """
    peak = _fields(root / "proc/self/status").get("VmHWM:")
    return int(peak[0]) * 1024 if peak else 0


def _grown(old: float | None, new: float | None) -> float | None:
    return None if old is None or new is None else new - old


def _throttle_events(root: Path) -> int | None:
    counters = root.glob(f"{CPU}/cpu*/thermal_throttle/*_throttle_count")
    known = [count for counter in counters if (count := _scaled(counter, 1)) is not None]
    return int(sum(known)) if known else None


def _throttled_now(root: Path) -> bool | None:
    """A Raspberry Pi's firmware knows, elsewhere the kernel's devices that cool by slowing."""
    if bits := _text(root / PI_THROTTLED):
        return (int(bits, 16) & PI_THROTTLED_NOW) != 0
    slowing = [
        level
        for device in root.glob("sys/class/thermal/cooling_device*")
        if (_text(device / "type") or "").startswith(SLOWING)
        and (level := _scaled(device / "cur_state", 1)) is not None
    ]
    return any(slowing) if slowing else None


def _overheated(root: Path) -> bool | None:
    """Kernel documentation, driver-api/thermal: at a passive trip point the system is slowed."""
    above = []
    for kind in root.glob("sys/class/thermal/thermal_zone*/trip_point_*_type"):
        limit = _scaled(kind.with_name(kind.name.replace("_type", "_temp")), 1e-3)
        now = _scaled(kind.with_name("temp"), 1e-3)
        if _text(kind) == "passive" and limit and limit > 0 and now is not None:
            above.append(now >= limit)
    return any(above) if above else None


def _numbers(ranges: str | None) -> tuple[int, ...]:
    """The numbers in a list of Linux's: "0-2,5" → 0, 1, 2, 5."""
    found: list[int] = []
    for part in ranges.split(",") if ranges else ():
        first, _, last = part.partition("-")
        found += range(int(first), int(last or first) + 1)
    return tuple(found)


def _cpuinfo(path: Path) -> dict[str, str]:
    """The first processor's lines, and those of the whole machine."""
    lines: dict[str, str] = {}
    for line in (_text(path) or "").splitlines():
        key, _, value = line.partition(":")
        lines.setdefault(key.strip(), value.strip())
    return lines


def _fields(path: Path) -> dict[str, list[str]]:
    """First word of a line → its other words."""
    rows = (line.split() for line in (_text(path) or "").splitlines())
    return {row[0]: row[1:] for row in rows if row}


def _scaled(path: Path, factor: float) -> float | None:
    text = _text(path)
    try:
        return float(text) * factor if text else None
    except ValueError:
        return None


def _text(path: Path) -> str | None:
    try:
        return path.read_text(errors="replace").strip() or None
    except OSError:
        return None
