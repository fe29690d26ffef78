"""A meter of constant power, and what it must have counted."""

import time

from edgekiln.runtime.power.meter import PowerMeter


def assert_watts(meter: PowerMeter, expected: float) -> None:
    """Hold a meter to its joules; a busy machine may pause anywhere between two lines."""
    outer = time.monotonic()
    before_j = meter.energy_j()
    inner = time.monotonic()
    time.sleep(0.1)
    least = expected * (time.monotonic() - inner)
    joules = meter.energy_j() - before_j
    most = expected * (time.monotonic() - outer)
    meter.close()
    assert least <= joules <= most
