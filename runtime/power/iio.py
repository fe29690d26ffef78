"""IIO: power monitors with a driver of the industrial I/O subsystem, such as PAC1934 and INA2xx.

Kernel documentation, ABI/testing/sysfs-bus-iio: after a channel's scale, power is in mW and energy
in J. Nothing in it says what a channel measures, so it is never chosen without being asked for.
"""

from pathlib import Path

from edgekiln.runtime.power.channel import Channel, Quantity, named, only, without_counted
from edgekiln.runtime.power.meter import PowerMeter, SensorError, reading, word

CHIPS = "sys/bus/iio/devices/iio:device*"
FILES = (f"{CHIPS}/name", f"{CHIPS}/in_power*", f"{CHIPS}/in_energy*")
PERIOD_S = 0.05  # of reading
_PER_UNIT: dict[Quantity, float] = {"power": 1e3, "energy": 1.0}


def open_meter(root: Path, argument: str = "") -> PowerMeter:
    """`argument` names a chip, or a chip/channel; without it, the only one there is."""
    known = [each for chip in sorted(root.glob(CHIPS)) for each in _channels(chip)]
    wanted = named(known, argument) if argument else known
    what = argument or "power monitor"
    return only(wanted, known, what, "/sys/bus/iio/devices").meter()


def _channels(chip: Path) -> list[Channel]:
    return without_counted(
        [
            _channel(chip, quantity, file)
            for quantity in _PER_UNIT
            for file in sorted(chip.glob(f"in_{quantity}*_raw"))
        ]
    )


def _channel(chip: Path, quantity: Quantity, file: Path) -> Channel:
    """One channel: its own scale, or that of all channels of its kind."""
    number = file.name.removeprefix(f"in_{quantity}").removesuffix("_raw")
    # A channel's own goes before the one that all of a kind share.
    scales = [chip / f"in_{quantity}{number}_scale", chip / f"in_{quantity}_scale"]
    scale = next((reading(each) for each in scales if each.exists()), 1.0)
    if scale <= 0:
        raise SensorError(f"{chip}: the scale of {quantity}{number} is {scale:g}")
    return Channel(
        sensor="iio",
        chip=word(chip / "name"),
        quantity=quantity,
        number=number,
        label=word(chip / f"in_{quantity}{number}_label"),
        file=file,
        per_unit=_PER_UNIT[quantity] / scale,
        period_s=PERIOD_S,
    )
