"""One of several quantities that a driver shows in sysfs, and the meter that reads it."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from edgekiln.runtime.power.integrator import Integrator
from edgekiln.runtime.power.meter import PowerMeter, SensorError, reading

Quantity = Literal["power", "energy"]


@dataclass(frozen=True, kw_only=True)
class Channel:
    """A power in watts or an energy in joules that one chip measures."""

    sensor: str  # one of METERS: "hwmon"
    chip: str  # driver's name: "ina226"
    quantity: Quantity
    number: str  # of the chip's channel
    label: str  # "" where the driver gives none
    file: Path
    per_unit: float  # of the file, in one watt or joule: 1e6 of a file in µW
    period_s: float  # between two readings

    @property
    def name(self) -> str:
        """Its name as the user gives it: ina226/power1."""
        return f"{self.chip}/{self.quantity}{self.number}"

    def value(self) -> float:
        """Watts or joules now. Raises SensorError."""
        return reading(self.file) / self.per_unit

    def meter(self) -> PowerMeter:
        """What counts its joules. Raises SensorError when it cannot be read."""
        scope = f"{self.name} {self.label}".rstrip()
        if self.quantity == "energy":
            return EnergyCounter(self.sensor, scope, self)
        return Integrator(self.sensor, scope, self.value, self.period_s)


class EnergyCounter:
    """A driver that counts by itself; its 64 bits last for longer than any machine."""

    def __init__(self, name: str, scope: str, channel: Channel) -> None:
        self.name, self.scope, self.update_period_s = name, scope, channel.period_s
        self._channel = channel
        self.energy_j()  # may it be read?

    def energy_j(self) -> float:
        return self._channel.value()

    def close(self) -> None:
        """Nothing is held."""


def without_counted(channels: Sequence[Channel]) -> list[Channel]:
    """The channels of one chip, less powers whose energy it counts: a counter misses nothing."""
    counted = {each.number for each in channels if each.quantity == "energy"}
    return [each for each in channels if each.quantity == "energy" or each.number not in counted]


def named(channels: Sequence[Channel], argument: str) -> list[Channel]:
    """Those that `argument` names by chip or chip/channel."""
    return [each for each in channels if argument in (each.chip, each.name)]


def only(wanted: Sequence[Channel], known: Sequence[Channel], what: str, place: str) -> Channel:
    """The one that is wanted; which of several is not guessed.

    Raises:
        SensorError: none, or several; the hint names what `place` has.
    """
    names = ", ".join(each.name for each in wanted or known)
    if not wanted:
        raise SensorError(f"no {what} in {place}", hint=f"there are: {names or 'none'}")
    if len(wanted) > 1:
        first = wanted[0]
        raise SensorError(
            f"several sensors in {place}: {names}",
            hint=f"choose one: --power {first.sensor}:{first.name}",
        )
    return wanted[0]
