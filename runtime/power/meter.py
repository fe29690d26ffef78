"""What a power meter is: joules that only grow."""

from pathlib import Path
from typing import Protocol

from edgekiln.runtime.errors import MeasurementError

ROOT = Path("/")


class SensorError(MeasurementError):
    """There is no such sensor here, it may not be read, or it stopped answering."""


class PowerMeter(Protocol):
    """A sensor. It costs nothing until the first `energy_j`; `close` it after the last one."""

    name: str  # "rapl"
    scope: str  # what the joules are of: "CPU package-0"
    update_period_s: float  # between two new readings; shorter intervals say nothing

    def energy_j(self) -> float:
        """Joules since some moment before the first call. Raises SensorError when it fails."""
        ...

    def close(self) -> None: ...


def reading(path: Path, hint: str = "") -> float:
    """The number in a file of sysfs, in the file's own unit.

    Raises:
        SensorError: not there, not permitted (then `hint` is worth giving), or not a number.
    """
    try:
        return float(path.read_text())
    except PermissionError as error:
        raise SensorError(f"{path}: permission denied", hint or f"sudo chmod a+r {path}") from error
    except OSError as error:
        raise SensorError(
            f"{path}: {error.strerror or error}", "was the sensor removed?"
        ) from error
    except ValueError as error:
        raise SensorError(
            f"{path}: not a number", "is the driver's interface another one?"
        ) from error


def word(path: Path) -> str:
    """The text in a file of sysfs; "" where there is none."""
    try:
        return path.read_text(errors="replace").strip().rstrip("\0")
    except OSError:
        return ""
