"""A data set through the bundle's executable: the same program for accuracy as for latency."""

import json
import subprocess
from pathlib import Path

import numpy as np
import pytest

from tests.runtime.conftest import toy_sums
from tests.runtime.test_schemas import validate

X = np.random.default_rng(2).uniform(0, 200, (7, 3, 4, 4)).astype(np.float32)


@pytest.fixture
def accuracy(tmp_path, toy_runner):
    (tmp_path / "runner").write_bytes(toy_runner)
    (tmp_path / "runner").chmod(0o755)
    (tmp_path / "x.bin").write_bytes(X.tobytes())

    def run(*arguments):
        command = ["./runner", "accuracy", *arguments]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)

    return run


@pytest.mark.parametrize("threads", ["1", "2"])
def test_every_sample_gets_its_prediction(accuracy, tmp_path, threads):
    done = accuracy("--input", "x.bin", "--output", "y.bin", "--threads", threads)
    assert (done.returncode, done.stderr) == (0, "")
    y = np.frombuffer((tmp_path / "y.bin").read_bytes(), np.float32).reshape(7, 3)
    np.testing.assert_array_equal(y, toy_sums(X))
    validate("runner-accuracy", done.stdout)
    assert json.loads(done.stdout)["inferences"] == 7
    assert sorted(path.name for path in tmp_path.iterdir()) == ["runner", "x.bin", "y.bin"]


@pytest.mark.parametrize("content", [b"", b"\0" * 100, X.tobytes()[:-1]])
def test_a_torn_data_set_is_refused(accuracy, tmp_path, content):
    (tmp_path / "x.bin").write_bytes(content)
    done = accuracy("--input", "x.bin", "--output", "y.bin")
    assert done.returncode == 3
    error = f"error: x.bin: {len(content)} bytes are not whole tensors of 192\n"
    assert done.stderr.startswith(error)
    assert not (tmp_path / "y.bin").exists()


def test_files_are_counted(accuracy):
    done = accuracy("--input", "x.bin")
    assert done.returncode == 2
    assert "--output: 0 files for a model with 1 outputs" in done.stderr
    done = accuracy("--output", "y.bin")
    assert "--input: 0 files for a model with 1 inputs" in done.stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_a_full_disk_leaves_no_half_of_the_predictions(accuracy, tmp_path):
    (tmp_path / "y.bin.part").symlink_to("/dev/full")
    done = accuracy("--input", "x.bin", "--output", "y.bin")
    assert done.returncode == 9
    assert done.stderr == "error: cannot write y.bin: No space left on device\n"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["runner", "x.bin"]


def test_perf_tells_the_machines_state(tmp_path, toy_runner):
    (tmp_path / "runner").write_bytes(toy_runner)
    (tmp_path / "runner").chmod(0o755)
    command = [tmp_path / "runner", "perf", "--json", "--trials", "1", "--min-seconds", "0.01"]
    command += ["--warmup-seconds", "0.01"]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    validate("runner-perf", text)
    report = json.loads(text)
    assert set(report["before"]) == {"frequency_hz", "temperature_c", "throttled"}
    assert 0 <= report["finished_s"] - report["trials"][0]["started_s"] < 60
