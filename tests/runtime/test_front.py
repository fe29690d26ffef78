"""The front for devices, as a process: what a user types and sees."""

import json
import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from edgekiln.runtime import bundle
from edgekiln.runtime.documents import Output, document
from tests.runtime.conftest import TOY, toy_sums

X = np.random.default_rng(0).uniform(0, 200, (2, 3, 4, 4)).astype(np.float32)


def front(*arguments, **options):
    command = [sys.executable, "-m", "edgekiln.runtime", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, **options)


@pytest.fixture
def checkable(toy_bundle, toy_runner):
    """A bundle with an example, whose expected output can be given."""

    def write(expected=None, **changes):
        y = toy_sums(X[:1]) if expected is None else expected
        files = {
            "runner": toy_runner,
            "example/input_0.bin": X[:1].tobytes(),
            "example/output_0.bin": y.astype(np.float32).tobytes(),
        }
        return toy_bundle(extra=files, **changes)

    return write


def test_run_answers_with_the_labels(toy_bundle, tmp_path):
    np.save(tmp_path / "x.npy", X)
    done = front("run", toy_bundle(), "--input", tmp_path / "x.npy")
    assert done.returncode == 0, done.stderr
    first, second, third = done.stdout.splitlines()
    assert first == "y: float32 2×3"
    for line, row in ((second, toy_sums(X)[0]), (third, toy_sums(X)[1])):
        best = TOY.outputs[0].labels[int(row.argmax())]
        assert line.split(":")[1].startswith(f" {best} {row.max():.4g}")


def test_run_writes_what_it_computed(toy_bundle, tmp_path):
    np.save(tmp_path / "x.npy", X)
    done = front(
        "run", toy_bundle(), "--input", tmp_path / "x.npy", "--output", tmp_path / "y.npy", "--json"
    )
    np.testing.assert_array_equal(np.load(tmp_path / "y.npy"), toy_sums(X))
    (output,) = json.loads(done.stdout)["outputs"]
    np.testing.assert_array_equal(output["values"], toy_sums(X))
    assert output["answers"] == [TOY.outputs[0].labels[i] for i in toy_sums(X).argmax(1)]


def test_run_without_labels_shows_numbers(toy_bundle, tmp_path):
    np.save(tmp_path / "x.npy", np.repeat(X, 6, axis=0))

    path = toy_bundle(outputs=(replace(TOY.outputs[0], labels=()),))
    lines = front("run", path, "--input", tmp_path / "x.npy").stdout.splitlines()
    assert lines[1].split() == ["0:", *(f"{value:.4g}" for value in toy_sums(X)[0])]
    assert lines[-1] == "  and 2 more samples (--output or --json gives all)"


def test_json_holds_null_for_what_is_no_number():
    spec = TOY.outputs[0]
    output = Output.of(spec, np.float32([[1.0, np.nan, np.inf]]))
    assert json.loads(document("edgekiln.run/1", output))["values"] == [[1.0, None, None]]


def test_run_refuses_what_does_not_fit_in_two_lines(toy_bundle, tmp_path):
    np.save(tmp_path / "x.npy", X[:, :2])
    done = front("run", toy_bundle(), "--input", tmp_path / "x.npy")
    assert done.returncode == 3
    error, hint = done.stderr.splitlines()
    assert error.startswith(f"error: {tmp_path / 'x.npy'}: input 'x' is (N, 3, 4, 4), this array")
    assert hint.startswith(" hint: give float32 (N, 3, 4, 4)")


def test_run_counts_inputs_and_outputs(toy_bundle, tmp_path):
    np.save(tmp_path / "x.npy", X)
    given = ("--input", tmp_path / "x.npy")
    done = front("run", toy_bundle(), *given, *given)
    assert (done.returncode, done.stderr.splitlines()[0]) == (
        3,
        "error: 2 arrays given, the model has 1 inputs",
    )
    done = front("run", toy_bundle(), *given, "--output", "a.npy", "--output", "b.npy")
    assert done.returncode == 2
    assert "2 outputs are given, toy.ekb has 1" in done.stderr


def test_run_leaves_no_half_written_output(toy_bundle, tmp_path):
    np.save(tmp_path / "x.npy", X)
    out = tmp_path / "none/y.npy"
    done = front("run", toy_bundle(), "--input", tmp_path / "x.npy", "--output", out)
    assert done.returncode == 9
    assert f"cannot write {out}: No such file or directory" in done.stderr


def test_check_agrees_with_the_example(checkable):
    done = front("check", checkable())
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("toy.ekb: y as expected, bit by bit\n")


def test_check_notices_a_single_bit(checkable):
    y = toy_sums(X[:1]).astype(np.float32)
    y.view(np.uint32)[0, 1] ^= 1
    done = front("check", checkable(expected=y))
    assert done.returncode == 7
    assert "output 'y' differs from the expected one in 1 of 12 bytes" in done.stderr


def test_check_without_an_example_says_so(toy_bundle):
    done = front("check", toy_bundle())
    assert done.returncode == 8
    assert "has no example with an expected output" in done.stderr


def test_check_refuses_an_example_of_another_size(checkable):
    done = front("check", checkable(expected=np.zeros((1, 2))))
    assert done.returncode == 8
    assert "example/output_0.bin has 8 bytes instead of 12" in done.stderr


def test_a_bundle_for_another_machine_ends_with_its_own_code(checkable):
    for command in ("check", "bench"):
        done = front(command, checkable(machine="m68k", target="amiga"))
        assert done.returncode == 8
        assert "made for m68k (amiga), this machine is" in done.stderr


def test_info_says_what_a_bundle_is(toy_bundle):
    text = front("info", toy_bundle()).stdout
    assert text.startswith("toy for host (")
    assert "takes     x: float32 1×3×4×4" in text
    assert "2, 1 of them float" in text
    assert "y (sum): it is a toy" in text


def test_info_as_json_is_the_manifest(toy_bundle):
    path = toy_bundle()
    assert front("info", path, "--json").stdout.encode() == bundle.read_tar(path)["manifest.json"]


def test_bench_prints_a_table(checkable):
    done = front("bench", checkable(), "--trials", 1, "--min-seconds", 0.01, "--profile")
    assert done.returncode == 0, done.stderr
    assert "edgekiln int8" in done.stdout
    assert "LAYER" in done.stdout
    assert "quantize" in done.stdout


def test_bench_as_json_holds_every_engine(checkable, onnx_model):
    pytest.importorskip("onnxruntime")
    arguments = ("--trials", 1, "--min-seconds", 0.01, "--onnx", onnx_model, "--json")
    data = json.loads(front("bench", checkable(), *arguments).stdout)
    assert data["schema"] == "edgekiln.bench-set/2"
    assert [each["engine"] for each in data["results"]] == ["edgekiln", "onnxruntime"]


@pytest.mark.parametrize("arguments", [[], ["fly"], ["run", "x.ekb"], ["bench", "--trials", "x"]])
def test_wrong_usage_ends_with_2(arguments):
    assert front(*arguments).returncode == 2


def test_a_missing_bundle_is_named(tmp_path):
    done = front("info", tmp_path / "none.ekb")
    assert (done.returncode, done.stderr.splitlines()[0]) == (
        3,
        f"error: {tmp_path / 'none.ekb'}: No such file or directory",
    )


def test_it_works_outside_the_checkout(checkable, tmp_path):
    path = checkable()
    elsewhere = tmp_path / "else"
    elsewhere.mkdir()
    environment = {**os.environ, "PYTHONSAFEPATH": "1"}
    done = front("check", path, cwd=elsewhere, env=environment)
    assert done.returncode == 0, done.stderr
