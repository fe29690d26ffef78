"""hwmon: sensors with Linux drivers, such as INA219 and INA226 on a board's supply.

Kernel documentation, hwmon/sysfs-interface: power in µW, energy in µJ, update interval in ms.
"""

from pathlib import Path

from edgekiln.runtime.power.channel import Channel, Quantity, named, only, without_counted
from edgekiln.runtime.power.meter import PowerMeter, reading, word

CHIPS = "sys/class/hwmon/hwmon*"
FILES = (f"{CHIPS}/name", f"{CHIPS}/energy*", f"{CHIPS}/power*", f"{CHIPS}/update_interval")
# Drivers of sensors in the supply of a board or machine. Others measure a part: a GPU, a disk.
WHOLE_MACHINE = ("ina219", "ina226", "ina220", "ina230", "ina231", "ina238", "power_meter")
PERIOD_S = 0.05  # of reading, where the driver does not say how often it converts


def open_meter(root: Path, argument: str = "") -> PowerMeter:
    """`argument` names a chip, or a chip/channel; without it, the supply of the whole machine."""
    known = [each for chip in sorted(root.glob(CHIPS)) for each in _channels(chip)]
    supply = [each for each in known if each.chip in WHOLE_MACHINE]
    wanted = named(known, argument) if argument else supply
    what = argument or "sensor of a whole machine's supply"
    return only(wanted, known, what, "/sys/class/hwmon").meter()


def _channels(chip: Path) -> list[Channel]:
    interval_ms = chip / "update_interval"
    period_s = max(reading(interval_ms) / 1e3 if interval_ms.exists() else 0.0, PERIOD_S)
    files: dict[Path, Quantity] = dict.fromkeys(sorted(chip.glob("energy*_input")), "energy")
    files |= dict.fromkeys(sorted({*chip.glob("power*_input"), *_averages(chip)}), "power")
    channels = [
        Channel(
            sensor="hwmon",
            chip=word(chip / "name"),
            quantity=quantity,
            number=_number(file),
            label=word(chip / f"{quantity}{_number(file)}_label"),
            file=file,
            per_unit=1e6,
            period_s=period_s,
        )
        for file, quantity in files.items()
    ]
    return without_counted(channels)


def _averages(chip: Path) -> list[Path]:
    """ACPI's power meter has averages only."""
    files = chip.glob("power*_average")
    return [each for each in files if not each.with_name(f"power{_number(each)}_input").exists()]


def _number(file: Path) -> str:
    return "".join(letter for letter in file.name if letter.isdigit())
