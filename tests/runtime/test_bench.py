import json
import os
import stat
from dataclasses import replace

import pytest

from edgekiln.runtime import bench, engines, host, ort_engine
from edgekiln.runtime.codec import to_json
from edgekiln.runtime.device import local
from edgekiln.runtime.errors import BundleError, ConfigError, InputError, MeasurementError
from edgekiln.runtime.results import BenchResult, over_trials, trial_of, warnings_for
from tests.runtime.conftest import TOY

SHORT = {"trials": 2, "min_seconds": 0.02}


@pytest.fixture
def measurable(toy_bundle, toy_runner):
    return toy_bundle(extra={"runner": toy_runner})


def scripted(toy_bundle, script):
    """A bundle whose runner is a shell script."""
    return toy_bundle(extra={"runner": b"#!/bin/sh\n" + script.encode()})


def report(*, trials=1, median_s=1e-3):
    """What a runner of this version would print."""
    state = dict.fromkeys(("frequency_hz", "temperature_c", "throttled"))
    times = dict.fromkeys(("wall_s", "p90_s", "p99_s", "min_s", "max_s", "mean_s"), 1e-3)
    trial = {"samples": 1, "inferences": 1, "started_s": 1.0, "latencies_s": [], **times}
    texts = ("edgekiln_version", "model", "model_sha256", "target", "clock")
    counts = (
        "threads", "shared_steps", "arena_bytes", "warmup_calls", "calls_per_sample",
        "peak_rss_bytes",
    )  # fmt: skip
    return json.dumps({
        "schema": 4, **dict.fromkeys(texts, "x"), **dict.fromkeys(counts, 1), "cpus": [],
        "clock_overhead_s": 0.0, "governor": None, "before": state, "after": state,
        "first_inference_s": 1e-3, "trials": [{**trial, "median_s": median_s}] * trials,
        "layers": [], "finished_s": 2.0,
    })  # fmt: skip


def test_a_bundle_is_measured_by_its_own_executable(measurable):
    result = bench.bench(measurable, **SHORT, profile=True)
    assert (result.engine, result.model, result.target) == ("edgekiln", "toy", "host")
    assert result.precision == "int8"
    assert 0 < result.min_s <= result.median_s <= result.p90_s <= result.p99_s
    assert len(result.trials) == 2
    assert all(trial.wall_s >= 0.02 and trial.samples >= 1 for trial in result.trials)
    assert result.first_inference_s > 0
    assert 100_000 < result.peak_resident_bytes < 5_000_000  # not this Python's
    assert result.arena_bytes == TOY.arena_bytes
    assert [(layer.name, layer.op, layer.macs) for layer in result.layers] == [
        ("q", "quantize", 0),
        ("y", "sum", 48),
    ]
    assert all(layer.latency_s > 0 for layer in result.layers)
    assert result.machine.cores >= 1
    assert result.affinity == host.affinity()


def test_without_profile_there_are_no_layers(measurable):
    assert bench.bench(measurable, **SHORT).layers == ()


def test_threads_can_be_pinned(measurable):
    cpu = host.affinity()[0]
    result = bench.bench(measurable, **SHORT, cpu=cpu)
    assert (result.threads, result.cpus) == (1, (cpu,))


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="one CPU")
def test_threads_share_an_inference(measurable):
    assert bench.bench(measurable, **SHORT, threads=2).threads == 2


def test_the_example_is_what_is_measured(toy_bundle, toy_runner):
    too_short = {"runner": toy_runner, "example/input_0.bin": b"\0" * 100}
    with pytest.raises(InputError, match=r"input_0\.bin: holds less than the tensor's 192 bytes"):
        bench.bench(toy_bundle(extra=too_short), **SHORT)


def test_onnx_runtime_is_measured_the_same_way(onnx_model):
    pytest.importorskip("onnxruntime")
    result = bench.bench_onnx(onnx_model, **SHORT, cpu=host.affinity()[-1])
    assert (result.engine, result.precision, result.model) == ("onnxruntime", "float", "add.onnx")
    assert 0 < result.min_s <= result.median_s <= result.p90_s <= result.p99_s
    assert len(result.trials) == 2
    assert result.program_bytes == onnx_model.stat().st_size


def test_trials_of_engines_alternate(measurable, onnx_model, monkeypatch):
    pytest.importorskip("onnxruntime")
    order = []

    def noting(trial):
        def noted(self, *arguments):
            order.append(self.path.name)
            return trial(self, *arguments)

        return noted

    for kind in (engines.ProgramEngine, ort_engine.OrtEngine):
        monkeypatch.setattr(kind, "trial", noting(kind.trial))
    ours, theirs = bench.compare(measurable, [onnx_model], **SHORT)
    assert order == ["toy.ekb", "add.onnx"] * 2
    assert (ours.engine, theirs.engine) == ("edgekiln", "onnxruntime")
    assert ours.batch == theirs.batch == 1
    assert ours.before == theirs.before


def test_results_survive_json(measurable):
    result = bench.bench(measurable, **SHORT, profile=True)
    assert BenchResult.from_json(to_json(result)) == result


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[]", "schema None, this EdgeKiln reads 'edgekiln.bench/2'"),
        ('{"schema": "edgekiln.bench/9"}', "schema 'edgekiln.bench/9'"),
        ('{"schema": "edgekiln.bench/2"}', "missing 'affinity', 'after'"),
        ("{", "Expecting property name"),
        ("[" * 100_000, "nested deeper than 64"),
    ],
)
def test_what_is_no_result_is_refused(text, problem):
    with pytest.raises(MeasurementError, match="not a benchmark result") as caught:
        BenchResult.from_json(text)
    assert problem in caught.value.message


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"trials": 0}, "trials = 0"),
        ({"min_seconds": 0.0}, "min-seconds = 0.0"),
        ({"min_seconds": float("nan")}, "min-seconds = nan"),
        ({"threads": 0}, "threads = 0, programs may use"),
        ({"threads": 4096}, "threads = 4096, programs may use"),
        ({"cpu": 99999}, "cpu = 99999 with 1 threads: not all of them may be used"),
    ],
)
def test_wrong_settings_are_refused(measurable, wrong, message):
    with pytest.raises(ConfigError) as caught:
        bench.bench(measurable, **{**SHORT, **wrong})
    assert caught.value.message.startswith(message)
    assert caught.value.hint


def test_a_bundle_for_another_cpu_is_not_started(toy_bundle):
    with pytest.raises(BundleError, match="made for host, this CPU lacks avx9"):
        bench.bench(toy_bundle(features=("avx9",), extra={"runner": b"#!/bin/false"}), **SHORT)


def test_a_program_without_a_runner_cannot_be_measured(toy_bundle):
    with pytest.raises(BundleError, match=r"toy\.ekb: has no runner"):
        bench.bench(toy_bundle(), **SHORT)


@pytest.mark.parametrize(
    ("script", "kind", "message"),
    [
        (
            "echo 'error: no such CPU' >&2; echo ' hint: buy one' >&2; exit 8",
            BundleError,
            "no such",
        ),
        (
            "kill -ILL $$",
            MeasurementError,
            "the runner: was killed by signal 4: it printed nothing",
        ),
        ("echo oops >&2; exit 77", MeasurementError, "the runner: exit code 77: oops"),
        ("echo '{\"schema\": 1}'", MeasurementError, "the runner is of another version"),
        ("echo hello", MeasurementError, "the runner is of another version"),
        (f"echo '{report(trials=0)}'", MeasurementError, "the runner is of another version"),
        (f"echo '{report(trials=2)}'", MeasurementError, "the runner is of another version"),
        (f"echo '{report(median_s=0.0)}'", MeasurementError, "a trial without time"),
    ],
)
def test_a_runner_that_fails_is_named_with_its_own_words(toy_bundle, script, kind, message):
    with pytest.raises(kind) as caught:
        bench.bench(scripted(toy_bundle, script), **SHORT)
    assert message in caught.value.message
    assert caught.value.hint


def test_a_runner_that_says_what_ours_says_is_believed(toy_bundle):
    """So that the refusals above are of what differs."""
    result = bench.bench(scripted(toy_bundle, f"echo '{report()}'"), trials=1, min_seconds=0.01)
    assert result.median_s == 1e-3


def test_a_runner_that_hangs_is_ended(toy_bundle, monkeypatch):
    monkeypatch.setattr(engines, "START_SECONDS", 0.1)
    with pytest.raises(MeasurementError, match="the runner did not answer within 0 s"):
        bench.bench(scripted(toy_bundle, "exec sleep 60"), trials=1, min_seconds=0.01)


def test_onnx_runtime_that_fails_is_named_with_its_own_words(tmp_path):
    pytest.importorskip("onnxruntime")
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"junk")
    with pytest.raises(InputError, match=r"ONNX Runtime cannot load .*broken\.onnx"):
        bench.bench_onnx(broken, **SHORT)
    with pytest.raises(InputError, match=r"none\.onnx: No such file"):
        bench.bench_onnx(tmp_path / "none.onnx", **SHORT)


def test_nothing_is_left_in_the_temporary_directory(measurable, tmp_path, monkeypatch):
    home = tmp_path / "tmp"
    home.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(home))
    bench.bench(measurable, **SHORT)
    assert list(home.iterdir()) == []


def test_a_noexec_temporary_directory_is_explained(measurable, monkeypatch):
    monkeypatch.setattr(local, "EXECUTABLE_MODE", stat.S_IRUSR)
    with pytest.raises(MeasurementError, match="cannot start the runner: Permission") as caught:
        bench.bench(measurable, **SHORT)
    assert "TMPDIR" in caught.value.hint


def test_statistics_are_of_all_samples_and_few_are_kept():
    latencies = [float(i) for i in range(1, 100_001)]
    trial = trial_of(latencies, 12.0, 0.0)
    assert (trial.samples, trial.min_s, trial.max_s) == (100_000, 1.0, 100_000.0)
    assert (trial.median_s, trial.p90_s, trial.p99_s) == (50_000.5, 90_000.0, 99_000.0)
    assert len(trial.latencies_s) == 1000
    assert trial.latencies_s[:3] == (1.0, 101.0, 201.0)


def test_one_sample_is_enough():
    trial = trial_of([0.5], 0.5, 0.0)
    assert trial.median_s == trial.p99_s == trial.min_s == 0.5


def test_the_median_of_medians_ignores_one_bad_trial():
    trials = [trial_of([each] * 3, 1.0, 0.0) for each in (1.0, 1.1, 9.0)]
    latency = over_trials(trials)
    assert latency.median_s == 1.1
    assert latency.min_s == 1.0
    assert latency.spread == pytest.approx(8.0 / 1.1)


def test_doubtful_runs_say_why():
    machine = replace(host.machine(), cores=2, governor="powersave")
    before = host.State(
        uptime_s=100.0,
        load=1.5,
        frequency_hz=None,
        temperature_c=None,
        throttled_now=None,
        overheated=None,
        throttle_events=3,
        quota_events=None,
        stolen_s=1.0,
    )
    after = replace(before, throttle_events=4, stolen_s=1.5, uptime_s=110.0)
    latency = over_trials([trial_of([1.0], 1.0, 0.0), trial_of([1.1], 1.0, 0.0)])
    words = [each.split(":")[0] for each in warnings_for(latency, machine, before, after)]
    assert words == ["noisy", "throttled", "busy", "shared", "governor powersave"]


def test_a_quiet_run_has_no_warnings():
    machine = replace(host.machine(), governor=None)
    quiet = host.State(
        uptime_s=100.0,
        load=0.0,
        frequency_hz=None,
        temperature_c=None,
        throttled_now=None,
        overheated=None,
        throttle_events=None,
        quota_events=None,
        stolen_s=None,
    )
    assert warnings_for(over_trials([trial_of([1.0], 1.0, 0.0)]), machine, quiet, quiet) == ()
    assert host.throttled(quiet, quiet) is None


def test_json_names_units(measurable):
    data = json.loads(to_json(bench.bench(measurable, **SHORT)))
    assert data["schema"] == "edgekiln.bench/2"
    assert {"median_s", "p90_s", "p99_s", "min_s", "peak_resident_bytes"} <= data.keys()
