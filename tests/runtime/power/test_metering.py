"""Energy from the same run as latency, by a meter beside the machine: a real growing file."""

import json
import threading
import time
from dataclasses import replace

import pytest

from edgekiln.runtime import bench
from edgekiln.runtime.codec import to_json
from edgekiln.runtime.device.local import LocalDevice
from edgekiln.runtime.errors import ConfigError, MeasurementError
from edgekiln.runtime.power import choice, metering
from edgekiln.runtime.power.meter import SensorError
from edgekiln.runtime.text import bench_lines, si
from tests.runtime.test_schemas import validate

WATTS = 6.0


@pytest.fixture
def measurable(toy_bundle, toy_runner):
    return toy_bundle(extra={"runner": toy_runner})


@pytest.fixture
def meter(tmp_path):
    """A file that grows by a line every 20 ms while the test runs."""
    path = tmp_path / "meter.csv"
    path.touch()
    stop = threading.Event()

    def write():
        with path.open("a", buffering=1) as stream:
            while not stop.wait(0.02):
                stream.write(f"{time.time():.6f},{WATTS}\n")

    thread = threading.Thread(target=write)
    thread.start()
    yield path
    stop.set()
    thread.join()


def test_latency_and_energy_come_from_the_same_trials(measurable, meter):
    result = bench.bench(measurable, trials=2, min_seconds=1.0, power=str(meter))
    energy = result.energy
    assert energy is not None
    assert result.energy_unavailable == ""
    assert energy.meter == "external"
    assert energy.scope == f"what {meter} measures"
    assert energy.mean_w == pytest.approx(WATTS, rel=0.05)
    assert energy.idle_before_w == pytest.approx(WATTS, rel=0.05)
    for trial, gross_j in zip(result.trials, energy.trials_gross_j, strict=True):
        assert gross_j == pytest.approx(WATTS * trial.wall_s / trial.inferences, rel=0.05)
    assert abs(energy.net_j) < 0.1 * energy.gross_j  # this machine takes as much when idle
    assert 0 < time.time() - result.trials[0].started_s < 60
    validate("bench", to_json(result))
    lines = list(bench_lines([result]))
    assert any("an inference" in line and "above idle" in line for line in lines)
    assert f"energy is of what {meter} measures, by external every" in "\n".join(lines)


def test_a_short_trial_ends_a_run_that_names_its_meter(measurable, meter):
    with pytest.raises(MeasurementError, match=r"a trial of 0\.1 s is shorter than 20 periods"):
        bench.bench(measurable, trials=1, min_seconds=0.1, power=str(meter))


def test_what_was_not_asked_for_is_not_measured(measurable):
    result = bench.bench(measurable, trials=1, min_seconds=0.02)
    assert (result.energy, result.energy_unavailable) == (None, "not asked for")
    assert "energy unavailable: not asked for" in list(bench_lines([result]))
    assert json.loads(to_json(result))["energy"] is None


def test_a_found_meter_that_fails_leaves_the_latency_and_a_reason(measurable, monkeypatch):
    class Failing:
        name, scope, update_period_s = "rapl", "CPU", 0.001

        def energy_j(self):
            raise SensorError("energy_uj: No such device", "was it removed?")

        def close(self):
            pass

    monkeypatch.setattr(choice, "detect", lambda _root: Failing())
    result = bench.bench(measurable, trials=1, min_seconds=1.0, power="auto")
    assert result.median_s > 0
    assert result.energy is None
    assert result.energy_unavailable == "energy_uj: No such device (was it removed?)"


def test_a_meter_that_does_not_exist_is_a_usage_error(measurable):
    with pytest.raises(ConfigError, match="no power meter named 'rapli'"):
        bench.bench(measurable, trials=1, min_seconds=0.02, power="rapli")


def test_no_thread_is_left_behind(meter):
    before = threading.active_count()
    with metering.Metering(str(meter), 1.0, LocalDevice()):
        assert threading.active_count() > before
    assert threading.active_count() == before


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"throttled": True, "noisy": False}, "edgekiln int8: throttled"),
        ({"overheated": True, "noisy": False}, "edgekiln int8: overheated"),
        ({"noisy": True, "spread": 0.08}, "edgekiln int8: noisy: trials differ by 8.0%"),
    ],
)
def test_strict_refuses_a_marked_run(measurable, changes, words):
    result = bench.bench(measurable, trials=1, min_seconds=0.02)
    quiet = replace(result, noisy=False, throttled=None, overheated=None)
    bench.require_quiet([quiet])
    with pytest.raises(MeasurementError) as caught:
        bench.require_quiet([replace(quiet, **changes)])
    assert caught.value.message == words
    assert caught.value.exit_code == 12


def test_numbers_have_three_digits():
    assert si(0.00123456, "J") == "1.23 mJ"
    assert si(12.3456, "W") == "12.3 W"
    assert si(-2.5e-5, "J") == "-25 µJ"
    assert si(1e-8, "J") == "10 nJ"
