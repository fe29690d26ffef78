"""RAPL: the energy counters in x86 CPUs, through Linux's powercap (Intel, and AMD since Zen)."""

from collections.abc import Sequence
from pathlib import Path

from edgekiln.runtime.power.meter import SensorError, reading, word

# Not intel-rapl-mmio: the same packages again. Not intel-rapl:0:0: a part of a package.
ZONES = "sys/class/powercap/intel-rapl:[0-9]*"
FILES = (f"{ZONES}/name", f"{ZONES}/energy_uj", f"{ZONES}/max_energy_range_uj")
PERIOD_S = 0.001  # Intel SDM volume 3B, 15.10.3: "updated every ~1ms"
READ_HINT = (
    "until the next boot: sudo chmod a+r /sys/class/powercap/intel-rapl:*/energy_uj; for good, in "
    'a file in /etc/udev/rules.d: SUBSYSTEM=="powercap", ACTION=="add", '
    'RUN+="/bin/chmod a+r /sys%p/energy_uj" (kernels since 5.10 let only root read it: '
    "CVE-2020-8694)"
)


class RaplMeter:
    """All CPU packages together, without their memory."""

    name = "rapl"
    update_period_s = PERIOD_S

    def __init__(self, zones: Sequence[Path]) -> None:
        self.scope = "CPU " + " + ".join(word(zone / "name") for zone in zones)
        self._counters = [_Counter(zone) for zone in zones]

    def energy_j(self) -> float:
        return sum(counter.total_uj() for counter in self._counters) / 1e6

    def close(self) -> None:
        """Nothing is held."""


class _Counter:
    """One package. Its register has 32 bits and starts anew after minutes to hours."""

    def __init__(self, zone: Path) -> None:
        self._file = zone / "energy_uj"
        self._range_uj = reading(zone / "max_energy_range_uj")
        self._last_uj = reading(self._file, READ_HINT)
        self._total_uj = 0.0

    def total_uj(self) -> float:
        now_uj = reading(self._file, READ_HINT)
        self._total_uj += (now_uj - self._last_uj) % self._range_uj  # undoes one wrap
        self._last_uj = now_uj
        return self._total_uj


def open_meter(root: Path, _argument: str = "") -> RaplMeter:
    """The packages of all sockets. Raises SensorError where there is none."""
    zones = [
        zone
        for zone in sorted(root.glob(ZONES))
        if zone.name.count(":") == 1 and word(zone / "name").startswith("package")
    ]
    if not zones:
        raise SensorError(
            "no CPU package in /sys/class/powercap",
            hint="virtual machines have none; on a PC: sudo modprobe intel_rapl_msr",
        )
    return RaplMeter(zones)
