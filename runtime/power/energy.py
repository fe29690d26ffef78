"""Joules of a benchmark: gross, and net of what the idle machine would have taken anyway."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from edgekiln.runtime.errors import MeasurementError
from edgekiln.runtime.power.recorder import PowerRecorder

MIN_PERIODS = 20  # a trial this many sensor periods long is known to about 5 % at both its ends
IDLE_SECONDS = 5.0  # before the trials and after them; less when trials are shorter


@dataclass(frozen=True, kw_only=True)
class TrialWindow:
    """A trial, as far as energy goes."""

    started_s: float  # Unix time
    wall_s: float
    inferences: int


@dataclass(frozen=True, kw_only=True)
class Energy:
    """Energy of one inference, by the medians over trials."""

    meter: str
    scope: str  # what the joules are of: more than the program, less than the machine, or both
    update_period_s: float  # of the sensor, or of reading it
    gross_j: float  # an inference
    net_j: float  # an inference: gross less idle power times time; noise can make it negative
    mean_w: float  # while inferences ran
    idle_before_w: float
    idle_after_w: float
    trials_gross_j: tuple[float, ...]  # an inference, each trial


def idle_seconds(recorder: PowerRecorder, min_seconds: float) -> float:
    """How long a baseline takes for trials of `min_seconds`."""
    return max(MIN_PERIODS * recorder.period_s, min(IDLE_SECONDS, min_seconds))


def check_length(recorder: PowerRecorder, trial_s: float) -> None:
    """Raises MeasurementError for a trial too short for the sensor to say anything."""
    least_s = MIN_PERIODS * recorder.period_s
    if trial_s < least_s:
        raise MeasurementError(
            f"a trial of {trial_s:g} s is shorter than {MIN_PERIODS} periods of "
            f"{recorder.meter.name} ({recorder.period_s:g} s each)",
            hint=f"--min-seconds {least_s:g} or more",
        )


def energy_of(
    recorder: PowerRecorder,
    windows: Sequence[TrialWindow],
    *,
    idle_before_w: float,
    idle_after_w: float,
) -> Energy:
    """Raises SensorError when the meter failed, MeasurementError when a trial is too short."""
    idle_w = (idle_before_w + idle_after_w) / 2
    gross_j, net_j, mean_w = [], [], []
    for window in windows:
        check_length(recorder, window.wall_s)
        total_j = recorder.between(window.started_s, window.started_s + window.wall_s)
        gross_j.append(total_j / window.inferences)
        net_j.append((total_j - idle_w * window.wall_s) / window.inferences)
        mean_w.append(total_j / window.wall_s)
    return Energy(
        meter=recorder.meter.name,
        scope=recorder.meter.scope,
        update_period_s=recorder.period_s,
        gross_j=statistics.median(gross_j),
        net_j=statistics.median(net_j),
        mean_w=statistics.median(mean_w),
        idle_before_w=idle_before_w,
        idle_after_w=idle_after_w,
        trials_gross_j=tuple(gross_j),
    )
