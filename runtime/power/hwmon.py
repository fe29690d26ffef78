"""hwmon: sensors with Linux drivers, such as INA219 and INA226 on a board's supply.

Kernel documentation, hwmon/sysfs-interface: power in µW, energy in µJ, update interval in ms.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from edgekiln.runtime.power.integrator import Integrator
from edgekiln.runtime.power.meter import PowerMeter, SensorError, reading, word

CHIPS = "sys/class/hwmon/hwmon*"
FILES = (f"{CHIPS}/name", f"{CHIPS}/energy*", f"{CHIPS}/power*", f"{CHIPS}/update_interval")
# Drivers of sensors in the supply of a board or machine. Others measure a part: a GPU, a disk.
WHOLE_MACHINE = ("ina219", "ina226", "ina220", "ina230", "ina231", "ina238", "power_meter")
PERIOD_S = 0.05  # of reading, where the driver does not say how often it converts


@dataclass(frozen=True, kw_only=True)
class Channel:
    """One quantity of one chip."""

    chip: str  # driver's name: "ina226"
    file: Path
    kind: Literal["power", "energy"]
    label: str  # "" where the driver gives none

    @property
    def name(self) -> str:
        """Its name as the user gives it: ina226/power1."""
        return f"{self.chip}/{self.file.name.removesuffix('_input').removesuffix('_average')}"


def open_meter(root: Path, argument: str = "") -> PowerMeter:
    """`argument` names a chip, or a chip/channel; without it, the supply of the whole machine."""
    known = _channels(root)
    if argument:
        wanted = [each for each in known if argument in (each.chip, each.name)]
    else:
        wanted = [each for each in known if each.chip in WHOLE_MACHINE]
    names = ", ".join(each.name for each in wanted or known)
    if not wanted:
        what = argument or "sensor of a whole machine's supply"
        raise SensorError(f"no {what} in /sys/class/hwmon", hint=f"there are: {names or 'none'}")
    if len(wanted) > 1:
        raise SensorError(
            f"several sensors in /sys/class/hwmon: {names}",
            hint=f"choose one: --power hwmon:{wanted[0].name}",
        )
    return _meter(wanted[0])


def _meter(channel: Channel) -> PowerMeter:
    scope = f"{channel.name} {channel.label}".rstrip()
    interval_ms = channel.file.with_name("update_interval")
    period_s = reading(interval_ms) / 1e3 if interval_ms.exists() else 0.0
    if channel.kind == "energy":
        return EnergyMeter(scope, channel.file, period_s or PERIOD_S)
    return Integrator("hwmon", scope, lambda: reading(channel.file) / 1e6, max(period_s, PERIOD_S))


class EnergyMeter:
    """A driver that counts by itself; its 64 bits last for longer than any machine."""

    name = "hwmon"

    def __init__(self, scope: str, file: Path, update_period_s: float) -> None:
        self.scope, self.update_period_s, self._file = scope, update_period_s, file
        self.energy_j()  # may it be read?

    def energy_j(self) -> float:
        return reading(self._file) / 1e6

    def close(self) -> None:
        """Nothing is held."""


def _channels(root: Path) -> list[Channel]:
    """An energy counter instead of the power of the same channel: it misses nothing."""
    found = []
    for chip in sorted(root.glob(CHIPS)):
        counters = sorted(chip.glob("energy*_input"))
        found += [_channel(file, "energy") for file in counters]
        counted = {_number(file) for file in counters}
        powers = sorted({*chip.glob("power*_input"), *_averages(chip)})
        found += [_channel(file, "power") for file in powers if _number(file) not in counted]
    return found


def _channel(file: Path, kind: Literal["power", "energy"]) -> Channel:
    label = word(file.with_name(f"{kind}{_number(file)}_label"))
    return Channel(chip=word(file.with_name("name")), file=file, kind=kind, label=label)


def _averages(chip: Path) -> list[Path]:
    """ACPI's power meter has averages only."""
    files = chip.glob("power*_average")
    return [each for each in files if not each.with_name(f"power{_number(each)}_input").exists()]


def _number(file: Path) -> str:
    return "".join(letter for letter in file.name if letter.isdigit())
