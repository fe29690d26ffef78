"""Trapezoids between the samples of a real thread."""

import threading
import time

import pytest

from edgekiln.runtime.power.integrator import Integrator
from edgekiln.runtime.power.meter import SensorError


def test_a_ramp_gives_its_area():
    start = time.monotonic()
    meter = Integrator("ramp", "", lambda: 10 * (time.monotonic() - start), 0.01)
    before_j, begin = meter.energy_j(), time.monotonic() - start
    time.sleep(0.2)
    after_j, end = meter.energy_j(), time.monotonic() - start
    meter.close()
    assert after_j - before_j == pytest.approx(5 * (end**2 - begin**2), rel=0.02)


def test_a_peak_between_two_calls_is_not_missed():
    peak = threading.Event()
    meter = Integrator("peak", "", lambda: 100.0 if peak.is_set() else 0.0, 0.005)
    before_j = meter.energy_j()
    peak.set()
    time.sleep(0.2)
    peak.clear()
    time.sleep(0.05)
    joules = meter.energy_j() - before_j
    meter.close()
    assert joules == pytest.approx(20.0, rel=0.2)


def test_no_thread_runs_before_the_first_reading_or_after_close():
    meter = Integrator("sensor", "", lambda: 1.0, 0.01)
    assert "sensor" not in [thread.name for thread in threading.enumerate()]
    meter.energy_j()
    assert "sensor" in [thread.name for thread in threading.enumerate()]
    meter.close()
    assert "sensor" not in [thread.name for thread in threading.enumerate()]


def test_a_sensor_that_failed_once_gives_no_more_joules():
    answers = iter([1.0, 1.0, 1.0])

    def watts():
        try:
            return next(answers)
        except StopIteration:
            raise SensorError("gone") from None

    meter = Integrator("sensor", "", watts, 0.005)
    meter.energy_j()
    time.sleep(0.1)
    for _ in range(2):
        with pytest.raises(SensorError, match="gone"):
            meter.energy_j()
    meter.close()
