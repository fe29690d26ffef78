"""Whether what is to be measured can be, asked before anything is trained."""

from collections.abc import Sequence
from pathlib import Path

from edgekiln.compiler.environment import doctor, toolchain
from edgekiln.compiler.pipeline.atomic_io import writable
from edgekiln.compiler.sweep.measures import ENERGY, Measure
from edgekiln.runtime.errors import ConfigError, StorageError
from edgekiln.targets.profile import TargetProfile

# Of each of the trials of a latency; and where energy is measured, too: most sensors have news ten
# times a second or more, of which a trial must see some.
TRIAL_S, ENERGY_TRIAL_S = 0.3, 2.5


def trial_seconds(measures: Sequence[Measure]) -> float:
    """How long a trial of a benchmark must be, for what it is to tell."""
    return ENERGY_TRIAL_S if _needs_sensor(measures) else TRIAL_S


def power_of(measures: Sequence[Measure]) -> str:
    """The meter of a benchmark, for what it is to tell."""
    return "auto" if _needs_sensor(measures) else "none"


def measures_latency(target: TargetProfile, device: str) -> bool:
    """Whether programs for `target` are run where latency is measured."""
    return bool(device) or not doctor.foreign(target)


def check_needs(
    measures: Sequence[Measure], target: TargetProfile, device: str, out: Path, *, build: bool
) -> None:
    """Refuse what cannot be measured, or written.

    Args:
        build: whether programs are built whatever is measured.

    Raises:
        ConfigError: programs do not run where they are to be measured, or there is no sensor.
        MissingToolError: the target's compiler is not there.
        DeviceError: the device is busy, or cannot be reached.
        StorageError: nothing can be written to `out`.
    """
    needs = {each.needs for each in measures}
    if build or needs & {"program", "run", "estimate"}:
        toolchain.require(target)
    if "run" in needs:
        named = next(each.name for each in measures if each.needs == "run")
        if not device and (reason := doctor.foreign(target)):
            raise ConfigError(
                f"{named}: a program for {target.name} {reason}",
                "measure on a device by edgekiln search --device; or take its cycles instead, "
                "which are an estimate",
            )
        if device or _needs_sensor(measures):
            _check_device(named, device, measures)
    if not writable(out.absolute()):
        raise StorageError(f"{out} cannot be written", "choose another directory by --out")


def _check_device(named: str, device: str, measures: Sequence[Measure]) -> None:
    from edgekiln.compiler.devices.named import open_device
    from edgekiln.runtime.device.local import LocalDevice
    from edgekiln.runtime.power.metering import Metering

    with open_device(device) if device else LocalDevice() as where:
        if not where.measures:
            raise ConfigError(
                f"{named}: {where.name} emulates, its {named} would mean nothing",
                "take the cycles instead, which are an estimate",
            )
        if _needs_sensor(measures):
            with Metering("auto", ENERGY_TRIAL_S, where) as metering:
                if metering.unavailable:
                    raise ConfigError(
                        f"energy: {metering.unavailable}", "leave energy out of --objectives"
                    )


def _needs_sensor(measures: Sequence[Measure]) -> bool:
    return any(each.name == ENERGY for each in measures)
