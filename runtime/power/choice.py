"""Which sensors there are, and which one a run uses."""

import importlib
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, cast

from edgekiln.runtime.errors import ConfigError
from edgekiln.runtime.power.external import ExternalMeter
from edgekiln.runtime.power.meter import ROOT, PowerMeter, SensorError
from edgekiln.runtime.typed import did_you_mean

METERS = {
    "ina3221": "edgekiln.runtime.power.ina3221",
    "rpi5-pmic": "edgekiln.runtime.power.rpi5_pmic",
    "hwmon": "edgekiln.runtime.power.hwmon",
    "iio": "edgekiln.runtime.power.iio",
    "rapl": "edgekiln.runtime.power.rapl",
    "power-supply": "edgekiln.runtime.power.power_supply",
    "nvml": "edgekiln.runtime.power.nvml",
}
# Best first: nearest to the whole board, then by how often they update. NVML is not among them: it
# measures the GPU, and programs run on the CPU; nor is IIO, which does not say what it measures.
AUTO = ("ina3221", "rpi5-pmic", "hwmon", "rapl", "power-supply")


class _Sensor(Protocol):
    """What the modules above are."""

    FILES: tuple[str, ...]  # patterns below `root` of all that it reads

    def open_meter(self, root: Path, argument: str = "") -> PowerMeter: ...


@dataclass(frozen=True, kw_only=True)
class Unavailable:
    """Why there are no joules."""

    reason: str

    def __str__(self) -> str:
        return f"unavailable: {self.reason}"


def detect(root: Path = ROOT) -> PowerMeter | Unavailable:
    """The best sensor of this machine, or the reason why there is none."""
    reasons = []
    for name in AUTO:
        try:
            return open_meter(name, root)
        except SensorError as error:
            hint = f" ({error.hint})" if "permission" in error.message.lower() else ""
            reasons.append(f"{name}: {error.message}{hint}")
    return Unavailable(reason="; ".join(reasons))


def choose(spec: str, root: Path = ROOT) -> PowerMeter | Unavailable:
    """The meter that `--power SPEC` asks for.

    Args:
        spec: "auto", "none", a name of METERS (`hwmon:ina226/power1`, `nvml:1` are more exact), a
            .csv file that an external meter writes, or its serial line below /dev.

    Raises:
        ConfigError: no such name.
        SensorError: it was asked for by name, and is not there or may not be read.
    """
    if spec == "auto":
        return detect(root)
    if spec == "none":
        return Unavailable(reason="not asked for")
    if is_external(spec):
        return ExternalMeter(Path(spec))
    return open_meter(spec, root)


def is_external(spec: str) -> bool:
    """Whether it is a file or line of a meter beside the machine."""
    return spec.endswith(".csv") or spec.startswith("/dev/")


def open_meter(spec: str, root: Path = ROOT) -> PowerMeter:
    """NAME or NAME:DETAIL. Raises as `choose`."""
    sensor, argument = _sensor(spec)
    return sensor.open_meter(root, argument)


def files(spec: str) -> tuple[str, ...]:
    """Patterns of the files that tell which sensors of `spec` there are, and what they read."""
    names = AUTO if spec == "auto" else (spec,)
    return tuple(pattern for name in names for pattern in _sensor(name)[0].FILES)


def _sensor(spec: str) -> tuple[_Sensor, str]:
    name, _, argument = spec.partition(":")
    if name not in METERS:
        known = ("auto", "none", *METERS)
        raise ConfigError(f"no power meter named {name!r}", did_you_mean(name, known))
    return cast("_Sensor", importlib.import_module(METERS[name])), argument
