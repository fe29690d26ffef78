"""The bundle's executable, alone in an empty directory: no Python, no library, no environment."""

import json
import platform
import re
import subprocess
from dataclasses import replace
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest

from edgekiln.compiler.aot.build import Built, build
from tests.compiler.aot import tiny
from tests.runtime.c_runner import output, perf, run, write_input
from tests.runtime.test_schemas import validate

pytestmark = pytest.mark.skipif(platform.machine() != "x86_64", reason="builds x86-64 programs")


@pytest.fixture(scope="module")
def built() -> Built:
    return build(tiny.program(), tiny.PROFILE)


@pytest.fixture
def home(built: Built, tmp_path: Path) -> Path:
    """An empty directory with nothing but the executable."""
    (tmp_path / "runner").write_bytes(built.files["runner"])
    (tmp_path / "runner").chmod(0o755)
    return tmp_path


def test_it_is_a_static_executable(home: Path) -> None:
    dynamic = subprocess.run(
        ["readelf", "-dW", "runner"], cwd=home, capture_output=True, text=True, check=True
    )
    assert "There is no dynamic section" in dynamic.stdout


def test_run_writes_what_the_model_computes(home: Path) -> None:
    x = write_input(home)
    done = run(home, "run", "--input", "in.bin", "--output", "out.bin")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    y = np.frombuffer((home / "out.bin").read_bytes(), np.int32)
    np.testing.assert_array_equal(y, tiny.expected(x))
    assert sorted(p.name for p in home.iterdir()) == ["in.bin", "out.bin", "runner"]


def test_check_accepts_equal_outputs(home: Path) -> None:
    x = write_input(home)
    (home / "expect.bin").write_bytes(tiny.expected(x).tobytes())
    report = output(home, "check", "--input", "in.bin", "--expect", "expect.bin")
    assert report == {"schema": 1, "outputs_equal": 1}
    validate("runner-check", json.dumps(report))


def test_check_names_the_first_byte_that_differs(home: Path) -> None:
    y = tiny.expected(write_input(home))
    y[2] ^= 1
    (home / "expect.bin").write_bytes(y.tobytes())
    done = run(home, "check", "--input", "in.bin", "--expect", "expect.bin")
    assert done.returncode == 7
    assert done.stdout == ""
    size = 4 * tiny.N
    assert done.stderr == (
        f"error: output 0 differs from expect.bin in 1 of {size} bytes, first at byte 8\n"
    )


def test_info_is_the_program_description(home: Path, built: Built) -> None:
    assert run(home, "info").stdout == built.files["program.json"].decode()


def test_perf_reports_every_trial(home: Path, built: Built) -> None:
    report = perf(home)
    assert report["schema"] == 4
    assert (report["model"], report["model_sha256"]) == (built.spec.name, built.spec.model_sha256)
    assert report["edgekiln_version"] == metadata.version("edgekiln")
    assert report["target"] == "test-x86"
    assert report["arena_bytes"] == built.spec.arena_bytes
    assert report["first_inference_s"] > 0
    assert report["peak_rss_bytes"] > built.spec.arena_bytes
    assert report["layers"] == []
    assert len(report["trials"]) == 2
    for trial in report["trials"]:
        order = ("min_s", "median_s", "p90_s", "p99_s", "max_s")
        values = [trial[key] for key in order]
        assert values == sorted(values)
        assert trial["wall_s"] >= 0.02
        assert trial["latencies_s"] == []


def test_raw_latencies_are_printed_on_demand(home: Path) -> None:
    trials = perf(home, "--samples")["trials"]
    assert len(trials) == 2
    for trial in trials:
        raw = trial["latencies_s"]
        assert len(raw) == min(trial["samples"], 1000)
        assert trial["min_s"] <= min(raw) * 1.0001
        assert max(raw) <= trial["max_s"] * 1.0001


def test_perf_tells_people_in_a_few_lines(home: Path, built: Built) -> None:
    quick = ("--trials", "3", "--min-seconds", "0.02", "--warmup-seconds", "0.01")
    done = run(home, "perf", *quick)
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert len(lines) < 10
    version = metadata.version("edgekiln")
    assert lines[0] == f"{built.spec.name} for test-x86, by EdgeKiln {version}"
    assert re.fullmatch(r"1 thread, not pinned; 3 trials of 0\.02 s, \d+ inferences", lines[1])
    times = re.fullmatch(
        r"latency: median (\S+) us, p90 (\S+) us, p99 (\S+) us, least (\S+) us; "
        r"trials differ by \S+ %",
        lines[2],
    )
    assert times is not None, lines[2]
    median, p90, p99, least = map(float, times.groups())
    assert 0 <= least <= median <= p90 <= p99
    profiled = run(home, "perf", "--profile", *quick).stdout
    rows = [line.split() for line in profiled.split("\n\n")[1].splitlines()]
    assert [row[:2] for row in rows] == [
        ["a", "add"], ["b", "add"], ["c", "add"], ["y", "fallback"],
    ]  # fmt: skip
    assert "trial 3, us: " in run(home, "perf", "--samples", *quick).stdout


def test_a_sample_of_a_tiny_model_is_longer_than_the_clock_is_coarse(home: Path) -> None:
    report = perf(home)
    assert report["calls_per_sample"] > 1
    sample = report["calls_per_sample"] * report["trials"][0]["median_s"]
    assert sample > 50 * report["clock_overhead_s"]


def test_profile_times_every_layer_apart(home: Path) -> None:
    report = perf(home, "--profile")
    validate("runner-perf", json.dumps(report))
    layers = report["layers"]
    assert [(layer["name"], layer["op"]) for layer in layers] == [
        ("a", "add"), ("b", "add"), ("c", "add"), ("y", "fallback"),
    ]  # fmt: skip
    assert all(0 <= layer["min_s"] <= layer["median_s"] for layer in layers)


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_any_number_of_threads_computes_the_same(home: Path, threads: int) -> None:
    write_input(home)
    outputs = []
    for count in (1, threads):
        args = ("--input", "in.bin", "--output", "out.bin", "--threads", str(count))
        assert run(home, "run", *args).returncode == 0
        outputs.append((home / "out.bin").read_bytes())
    assert outputs[0] == outputs[1]


def test_threads_that_gain_nothing_are_not_used(home: Path) -> None:
    """96 additions are not worth waking anyone for."""
    assert perf(home, "--threads", "2")["shared_steps"] == 0


def test_pinned_threads_are_reported(home: Path) -> None:
    report = perf(home, "--threads", "1", "--cpu", "0")
    assert (report["threads"], report["cpus"]) == (1, [0])


@pytest.mark.parametrize(
    ("args", "code", "error"),
    [
        ((), 2, "no command"),
        (("dance",), 2, "unknown command 'dance'"),
        (("perf", "--trials", "x"), 2, "--trials: 'x' is not a number from 1 to 1000"),
        (("perf", "--trials", "1.5"), 2, "--trials: '1.5' is not a whole number"),
        (("perf", "--quick"), 2, "--quick: unknown, or its value is missing"),
        (("perf", "--speed", "3"), 2, "unknown option '--speed'"),
        (("perf", "--threads", "2", "--cpu", "0"), 2, "--cpu: 1 CPUs for 2 threads"),
        (("perf", "--cpu", "999"), 12, "cannot pin a thread to CPU 999: Invalid argument"),
        (("run", "--output", "o"), 2, "run: no --input"),
        (("run", "--input", "a"), 2, "--output: 0 files for a model with 1 outputs"),
        (("check", "--input", "a"), 2, "--expect: 0 files for a model with 1 outputs"),
        (
            ("perf", "--input", "a", "--input", "b"), 2,
            "--input: 2 files for a model with 1 inputs",
        ),
        (("perf", "--input", "no.bin"), 3, "cannot read no.bin: No such file or directory"),
    ],
)  # fmt: skip
def test_mistakes_are_named(home: Path, args: tuple[str, ...], code: int, error: str) -> None:
    done = run(home, *args)
    assert done.stderr.splitlines()[0] == f"error: {error}"
    assert (done.returncode, done.stdout) == (code, "")


@pytest.mark.parametrize(("size", "word"), [(8, "less"), (4 * tiny.N + 1, "more")])
def test_an_input_of_the_wrong_size_is_refused(home: Path, size: int, word: str) -> None:
    (home / "in.bin").write_bytes(bytes(size))
    done = run(home, "run", "--input", "in.bin", "--output", "out.bin")
    assert done.returncode == 3
    assert done.stderr == (
        f"error: in.bin: holds {word} than the tensor's {4 * tiny.N} bytes\n"
        " hint: raw bytes in C order, as in the bundle's example/\n"
    )
    assert not (home / "out.bin").exists()


def test_an_output_that_cannot_be_written_is_named(home: Path) -> None:
    write_input(home)
    done = run(home, "run", "--input", "in.bin", "--output", "no/out.bin")
    assert done.returncode == 9
    assert done.stderr == "error: cannot write no/out.bin: No such file or directory\n"


def test_help_lists_the_exit_codes(home: Path) -> None:
    done = run(home, "--help")
    assert done.returncode == 0
    assert "exit codes:" in done.stdout


def test_a_damaged_executable_is_refused(home: Path) -> None:
    runner = home / "runner"
    content = bytearray(runner.read_bytes())
    content[-len(content) // 10] ^= 1
    runner.write_bytes(content)
    done = run(home, "info")
    assert (done.returncode, done.stdout) == (8, "")
    assert done.stderr == (
        "error: this executable is damaged: its checksum differs\n"
        " hint: copy it again, or build it again\n"
    )


def test_a_cpu_without_the_features_is_refused_before_anything_runs(tmp_path: Path) -> None:
    profile = replace(tiny.PROFILE, features=("sse4_1", "warp_drive"))
    (tmp_path / "runner").write_bytes(build(tiny.program(), profile).files["runner"])
    (tmp_path / "runner").chmod(0o755)
    done = run(tmp_path, "perf")
    assert done.returncode == 8
    assert done.stderr == (
        "error: made for test-x86, this CPU lacks warp_drive\n"
        " hint: build it with a --target that fits this machine\n"
    )
    assert run(tmp_path, "info").returncode == 0
