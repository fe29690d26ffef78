"""Joules of intervals, and of inferences."""

import time

import pytest

from edgekiln.runtime.errors import MeasurementError
from edgekiln.runtime.power.energy import TrialWindow, check_length, energy_of, idle_seconds
from edgekiln.runtime.power.meter import SensorError
from edgekiln.runtime.power.recorder import PowerRecorder


class Steady:
    """So many watts, always, by the clock of the recorder; it ends when told."""

    name, scope, update_period_s = "steady", "the test", 0.001

    def __init__(self, watts=10.0, ends_s=float("inf")):
        self.watts, self.ends_s, self.closed = watts, ends_s, False

    def energy_j(self):
        if time.time() > self.ends_s:
            raise SensorError("steady: unplugged")
        return self.watts * (time.time() % 1e6)

    def close(self):
        self.closed = True


def test_any_interval_can_be_asked_for_afterwards():
    meter = Steady()
    with PowerRecorder(meter) as recorder:
        start = time.time()
        time.sleep(0.3)
        now = time.time()
        assert recorder.between(start, now) == pytest.approx(10 * (now - start), rel=0.05)
        middle = (start + now) / 2
        assert recorder.between(start, middle) == pytest.approx(5 * (now - start), rel=0.1)
    assert meter.closed


def test_idle_power_is_a_mean():
    with PowerRecorder(Steady(3.0)) as recorder:
        assert recorder.idle_w(0.2) == pytest.approx(3.0, rel=0.05)


def test_a_meter_that_fails_meanwhile_gives_no_joules():
    with PowerRecorder(Steady(ends_s=time.time() + 0.1)) as recorder:
        start = time.time()
        time.sleep(0.2)
        with pytest.raises(SensorError, match="steady: unplugged"):
            recorder.between(start, time.time())


def test_gross_net_and_mean():
    with PowerRecorder(Steady(10.0)) as recorder:
        start = time.time()
        time.sleep(1.1)
        window = TrialWindow(started_s=start, wall_s=1.05, inferences=100)
        energy = energy_of(recorder, [window] * 3, idle_before_w=3.0, idle_after_w=5.0)
    assert (energy.meter, energy.scope) == ("steady", "the test")
    assert energy.mean_w == pytest.approx(10.0, rel=0.02)
    assert energy.gross_j == pytest.approx(0.105, rel=0.02)
    assert energy.net_j == pytest.approx(0.063, rel=0.04)
    assert len(energy.trials_gross_j) == 3


def test_a_trial_shorter_than_twenty_periods_is_rejected():
    with PowerRecorder(Steady()) as recorder:
        with pytest.raises(MeasurementError) as caught:
            check_length(recorder, 0.5)
        check_length(recorder, 1.0)
    assert caught.value.message == (
        "a trial of 0.5 s is shorter than 20 periods of steady (0.05 s each)"
    )
    assert caught.value.hint == "--min-seconds 1 or more"
    assert caught.value.exit_code == 12


def test_a_baseline_is_long_enough_for_the_sensor():
    slow = Steady()
    slow.update_period_s = 1.0
    assert idle_seconds(PowerRecorder(slow), 0.1) == 20.0
    assert idle_seconds(PowerRecorder(Steady()), 10.0) == 5.0
