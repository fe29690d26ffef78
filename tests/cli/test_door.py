"""What PyTorch exports by default is built as it lies there: the sizes that are open are said."""

import json
import re
from pathlib import Path

import numpy as np
import onnx
import pytest

from edgekiln.runtime.program import load
from tests.cli.conftest import Cli
from tests.compiler.float_models import make

DRAW = np.random.default_rng(0)


@pytest.fixture
def half_beside(tmp_path: Path) -> Path:
    """A model of half floats with an open length, its weights in a file beside it."""
    body = """
        e = Gather (table, x)
        h = MatMul (e, w)
        r = Relu (h)
        m = ReduceMean <keepdims = 0> (r, one)
        y = Gemm <transB = 1> (m, v)
    """
    weights: dict[str, tuple[int, ...]] = {"table": (40, 16), "w": (16, 24), "v": (5, 24)}
    model = make("y = Relu (x)", weights, x="N, 5", y="N, 5", constants={"one": np.array([1])})
    graph = onnx.parser.parse_graph(f"g (int64[N, length] x) => (float16[N, 5] y) {{ {body} }}")
    for weight in model.graph.initializer:
        array = onnx.numpy_helper.to_array(weight)
        if array.dtype == np.float32:
            weight.CopyFrom(onnx.numpy_helper.from_array(array.astype(np.float16), weight.name))
    graph.initializer.extend(model.graph.initializer)
    model.graph.CopyFrom(graph)
    onnx.checker.check_model(model, full_check=True)
    path = tmp_path / "half.onnx"
    onnx.save(model, path, save_as_external_data=True, location="half.onnx.data", size_threshold=0)
    np.save(tmp_path / "words.npy", DRAW.integers(0, 40, (50, 12)))
    return path


@pytest.mark.usefixtures("half_beside")
def test_it_is_built_whole_and_what_was_changed_is_said(cli: Cli, tmp_path: Path) -> None:
    options = ("--calibrate", "words.npy", "--bench-seconds", 0)
    refused = cli("build", "half.onnx", *options)
    assert refused.exit_code == 4
    assert "--shape length=8" in refused.stderr
    built = cli("build", "half.onnx", *options, "--shape", "length=12", "--json")
    assert built.exit_code == 0, built.stderr
    entered, *_, compiled = json.loads(built.stdout)["steps"]
    assert entered["remark"] == (
        "4 weights were read from a file beside it; its half floats (float16 or bfloat16) are "
        "computed in float32; sizes fixed: length=12"
    )
    assert compiled["score"]["value"] > 25
    assert compiled["metrics"]["float_operators"] == 0, compiled
    answer = load(tmp_path / "dist/half-host.ekb")(np.zeros((3, 12), np.int64))
    assert isinstance(answer, np.ndarray)
    assert answer.shape == (3, 5)
    assert answer.dtype == np.float32
    verified = cli("verify", "dist/half-host.ekb", "--samples", 3)
    assert verified.exit_code == 0, verified.stderr


@pytest.mark.usefixtures("half_beside")
def test_each_stage_takes_it_by_itself(cli: Cli) -> None:
    shape = ("--shape", "length=12")
    made = cli("quantize", "half.onnx", "-o", "int8.onnx", "--calibrate", "words.npy", *shape)
    assert made.exit_code == 0, made.stderr
    assert "note: 4 weights were read from a file beside it" in made.stderr
    assert cli("compile", "half.onnx", "-o", "float.lib", *shape).exit_code == 0
    verified = cli("verify", "float.lib", "--model", "half.onnx", *shape, "--samples", 3)
    assert verified.exit_code == 0, verified.stderr
    told = verified.stdout.splitlines()
    # Floats differ in their last digits, which is no fault and is not shown as one.
    (last,) = re.findall(r"(\d+) of (\d+) float layers as ONNX Runtime's but for", told[-1])
    assert last[0] == last[1] != "0"
    assert "integer layers" not in verified.stdout
    assert all(re.search(r" -  +-  +(identical|\d+\.\d dB)$", line) for line in told[4:-2])
    assert cli("compile", "int8.onnx", "-o", "int8.lib").exit_code == 0


@pytest.mark.usefixtures("half_beside")
def test_a_recipe_says_sizes_and_samples_too(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "r.toml").write_text('shape = ["length=12"]\ncalibrate = "words.npy"\n')
    built = cli("build", "half.onnx", "--recipe", "r.toml", "--bench-seconds", 0, "--json")
    assert built.exit_code == 0, built.stderr
    result = json.loads(built.stdout)
    assert (result["data"], result["calibrate"]) == ("words.npy", "words.npy")


@pytest.mark.usefixtures("half_beside")
def test_ci_builds_checks_and_holds_it(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "edgekiln.toml").write_text("""
        [models.words]
        model = "half.onnx"
        calibrate = "words.npy"
        shape = ["length=12"]
        bench-seconds = 0
        gates = { min-sqnr-db = 20 }
    """)
    held = cli("ci", "--jobs", 1)
    assert held.exit_code == 0, held.stdout + held.stderr
    (job,) = json.loads(Path("dist/results.json").read_text(encoding="utf-8"))["jobs"]
    assert job["check"]["equal"] == ["y"]
    assert job["check"]["samples"] == 8
    page = Path("dist/report.html").read_text(encoding="utf-8")
    assert "Agreement with the float model on" in page
    summary = Path("dist/summary.md").read_text(encoding="utf-8")
    assert "SQNR" in summary
