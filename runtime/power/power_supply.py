"""The battery of a laptop, phone or robot, while it is what the machine runs on.

Kernel documentation, power/power_supply_class: µW, µA, µV.
"""

from pathlib import Path

from edgekiln.runtime.power.integrator import Integrator
from edgekiln.runtime.power.meter import PowerMeter, SensorError, reading, word

SUPPLIES = "sys/class/power_supply/*"
FILES = tuple(
    f"{SUPPLIES}/{name}"
    for name in ("type", "scope", "status", "power_now", "current_now", "voltage_now")
)
PERIOD_S = 1.0  # Smart Battery Data Specification 1.1, Current(): averaged over a second at most


def open_meter(root: Path, _argument: str = "") -> PowerMeter:
    """All batteries together. Raises SensorError where there is none."""
    batteries = [
        supply
        for supply in sorted(root.glob(SUPPLIES))
        if word(supply / "type") == "Battery" and word(supply / "scope") != "Device"
    ]
    if not batteries:
        raise SensorError("no battery in /sys/class/power_supply", hint="desktops have none")
    names = " + ".join(battery.name for battery in batteries)
    return Integrator(
        "power-supply", f"machine, from {names}", lambda: sum(map(watts, batteries)), PERIOD_S
    )


def watts(battery: Path) -> float:
    """What the battery gives. Raises SensorError while something else feeds the machine, too."""
    status = word(battery / "status")
    if status != "Discharging":
        raise SensorError(
            f"{battery.name} is {status.lower() or 'in an unknown state'}, not discharging",
            hint="unplug the charger: then the battery's power is the machine's",
        )
    # The sign of a current that leaves differs between drivers.
    if (battery / "power_now").exists():
        return abs(reading(battery / "power_now")) / 1e6
    return abs(reading(battery / "current_now")) * reading(battery / "voltage_now") / 1e12
