"""INA3221: the sensor of NVIDIA's Jetson modules.

Its channels are rails, and some rails feed others. Only the one everything hangs on is read; a sum
over all would count some joules twice. Names of the rails: NVIDIA, Jetson Linux Developer Guide,
"Jetson Orin Nano Series, Jetson Orin NX Series and Jetson AGX Orin Series", section "Power
Monitors" (release 36.4.3), and the same section for Xavier NX (35.6.1) and Nano (32.7.6).
"""

from functools import partial
from pathlib import Path

from edgekiln.runtime.power.integrator import Integrator
from edgekiln.runtime.power.meter import PowerMeter, SensorError, reading, word

CHIPS = "sys/bus/i2c/drivers/ina3221*/*"
FILES = (
    f"{CHIPS}/hwmon/hwmon*/in[123]_label",
    f"{CHIPS}/hwmon/hwmon*/in[123]_input",
    f"{CHIPS}/hwmon/hwmon*/curr[123]_input",
    f"{CHIPS}/iio:device*/rail_name_[012]",
    f"{CHIPS}/iio:device*/in_*[012]_input",
)
TOP_RAILS = ("VDD_IN", "POM_5V_IN")  # Orin NX, Orin Nano, Xavier NX, TX2; Nano
PERIOD_S = 0.05  # of reading; a conversion takes 2 ms and is averaged (datasheet, table 6)


def open_meter(root: Path, _argument: str = "") -> PowerMeter:
    """The rail everything hangs on. Raises SensorError where there is none."""
    rails = _rails(root)
    if not rails:
        raise SensorError("no INA3221 on an I2C bus", hint="Jetson modules have one")
    for name in TOP_RAILS:
        if name in rails:
            watts = partial(_watts, *rails[name])
            return Integrator("ina3221", f"module input {name}", watts, PERIOD_S)
    raise SensorError(
        f"INA3221 has no rail for the whole module, only {', '.join(sorted(rails))}",
        hint="AGX modules have none: use an external meter, --power FILE.csv",
    )


def _watts(millivolts: Path, milliamperes: Path) -> float:
    return reading(millivolts) * reading(milliamperes) / 1e6


def _rails(root: Path) -> dict[str, tuple[Path, Path]]:
    """Rail → files of its voltage and current. Kernel 5: hwmon; 4: NVIDIA's own, over IIO."""
    found = {}
    for label in root.glob(f"{CHIPS}/hwmon/hwmon*/in[123]_label"):
        channel = label.name[2]
        files = (label.with_name(f"in{channel}_input"), label.with_name(f"curr{channel}_input"))
        found[word(label)] = files
    for label in root.glob(f"{CHIPS}/iio:device*/rail_name_[012]"):
        channel = label.name[-1]
        voltage = label.with_name(f"in_voltage{channel}_input")
        found[word(label)] = (voltage, label.with_name(f"in_current{channel}_input"))
    return found
