"""Programs that take the columns of a table as they are: ids and numbers become indices inside."""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from click.testing import CliRunner
from numpy.typing import NDArray

from edgekiln.compiler.build import driver
from edgekiln.compiler.build.chain import CHAIN
from edgekiln.compiler.build.raw_data import TAKES_RAW
from edgekiln.compiler.build.recipe import Recipe
from edgekiln.compiler.cli.group import edgekiln
from edgekiln.compiler.documents.progress import progress
from edgekiln.compiler.onnx_model import io, model_inputs
from edgekiln.compiler.onnx_model.ends.attach import attach
from edgekiln.compiler.onnx_model.feed import feed_for
from edgekiln.compiler.onnx_model.session import Session
from edgekiln.compiler.packaging.golden_example import data_example
from edgekiln.compiler.pipeline.store import Store
from edgekiln.models import data
from edgekiln.runtime import load as load_program
from edgekiln.runtime.bundle import read_program
from edgekiln.runtime.errors import InputError
from edgekiln.runtime.manifest import TensorSpec
from edgekiln.runtime.random_inputs import random_input
from edgekiln.runtime.runner import AotRunner
from edgekiln.targets import profile
from tests.compiler.onnx_model.ends.test_columns import BUCKETS, HASH, RAW, embedding
from tests.e2e.compiled_models import build, check

Array = NDArray[Any]


def with_columns(tmp_path: Path, **options: Any) -> Path:
    model = embedding(**options)
    attach(model, (BUCKETS, HASH), ())
    io.save_model(model, tmp_path / "columns.onnx")
    return tmp_path / "columns.onnx"


@pytest.mark.parametrize("kind", [onnx.TensorProto.INT64, onnx.TensorProto.INT32])
def test_columns_become_the_indices_of_the_oracle(tmp_path: Path, kind: int) -> None:
    model = with_columns(tmp_path, kind=kind)
    result = check(model, profile.load("host"), samples=12)
    gaps = {gap.name: gap for gap in result.layers}
    indices = [gaps[f"before/{name}"] for name in ("age", "user")]
    assert [(gap.differing, gap.elements > 0) for gap in indices] == [(0, True), (0, True)]


def test_raw_columns_are_taken_in_python_and_from_files(tmp_path: Path) -> None:
    lib = build(with_columns(tmp_path), profile.load("host"))
    (right,) = Session(io.load_model(tmp_path / "columns.onnx"), optimize=False)(RAW)
    net = load_program(lib)
    held = [(spec.name, spec.dtype, spec.holds) for spec in net.inputs]
    assert held == [("x", "float32", ""), ("age", "float32", "value"), ("user", "int64", "id")]
    np.testing.assert_allclose(np.asarray(net(**RAW)), right, rtol=1e-5)
    options = []
    for name, array in RAW.items():
        np.save(tmp_path / f"{name}.npy", array)
        options += ["--input", f"{name}={tmp_path / name}.npy"]
    done = CliRunner().invoke(edgekiln, ["run", str(lib), *options, "--json"])
    assert done.exit_code == 0, done.output
    (output,) = json.loads(done.stdout)["outputs"]
    np.testing.assert_allclose(output["values"], right, rtol=1e-5)
    header = read_program(lib)[1]["model.h"].decode()
    assert "#define MODEL_INPUT_1_VALUE 1" in header
    assert "#define MODEL_INPUT_2_ID 1" in header
    assert "MODEL_INPUT_0_VALUE" not in header


def table(path: Path, rows: int = 80) -> Path:
    """Columns as people have them: an age is missing here and there, ids are large."""
    draw = np.random.default_rng(1)
    lines = [
        f"{draw.normal():.3f},{draw.normal():.3f},{'' if n % 9 == 0 else draw.integers(0, 90)},"
        f"{draw.integers(-(2**63), 2**63 - 1)},{'yes' if n % 2 else 'no'}"
        for n in range(rows)
    ]
    path.write_text("\n".join(["a,b,age,user,label", *lines]) + "\n", encoding="utf-8")
    return path


def test_a_build_calibrates_on_what_its_program_computes(tmp_path: Path) -> None:
    onnx.save(embedding(batch="N", each=(1,)), tmp_path / "net.onnx")
    people = table(tmp_path / "people.csv")
    request = driver.Request(
        model=str(tmp_path / "net.onnx"), targets=(profile.load("host"),),
        recipe=Recipe(
            data=f"{people}?target=label&buckets=age:0,18,35,60&hash=user:50",
            options={"attach": {"before": (BUCKETS, HASH), "after": ("argmax",)}},
        ),
        out=tmp_path / "dist", trial_s=0.01,
    )  # fmt: skip
    result = driver.build(request, Store(tmp_path / "store"), progress, CHAIN)
    steps = {step.stage: step for step in result.steps}
    assert list(steps) == ["input", "quantize", "attach", "compile"]
    assert steps["quantize"].score is not None
    assert (steps["attach"].score, steps["attach"].unscored) == (None, TAKES_RAW)
    (bundle,) = (tmp_path / "dist").glob("*.ekb")
    net = load_program(bundle)
    rows = list(csv.DictReader(people.read_text(encoding="utf-8").splitlines()))
    found = [
        int(np.asarray(net(
            x=np.array([[row["a"], row["b"]]], np.float32),
            age=np.array([[row["age"] or "nan"]], np.float32),
            user=np.array([[int(row["user"])]]),
        ))[0])
        for row in rows
    ]  # fmt: skip
    right = classes_by_the_data_set(request.recipe.data, tmp_path)
    assert {key(row): place for row, place in zip(rows, found, strict=True)} == right


def test_indices_are_not_hashed_again_for_a_score(tmp_path: Path) -> None:
    model = embedding(each=(1,))
    attach(model, (BUCKETS, HASH), ())
    spec = f"{table(tmp_path / 'people.csv')}?target=label&buckets=age:0,18&hash=user:50"
    with pytest.raises(InputError, match="gives indices, the model takes columns") as caught:
        feed_for(io.read_meta(model), model_inputs.of_model(model), data=spec, seed=0)
    assert "without its steps" in caught.value.hint
    with pytest.raises(InputError, match="gives indices, the model takes columns"):
        data_example(
            AotRunner.open(build(with_columns(tmp_path), profile.load("host"))).spec, spec, 0
        )


def test_what_the_user_names_is_what_is_compared_or_an_error(tmp_path: Path) -> None:
    model = with_columns(tmp_path, each=(1,))
    lib, draw = build(model, profile.load("host")), np.random.default_rng(0)
    raw = tmp_path / "raw.npz"
    ages, ids = draw.uniform(-5, 90, (30, 1)), draw.integers(-(2**63), 2**63 - 1, (30, 1))
    np.savez(raw, x=np.ones((30, 2), np.float32), age=ages.astype(np.float32), user=ids)
    command = ["verify", str(lib), "--model", str(model), "--json", "--data"]
    done = CliRunner().invoke(edgekiln, [*command, str(raw)])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["samples"] == 6  # a fifth is held out
    people = table(tmp_path / "people.csv")
    wrong = CliRunner().invoke(edgekiln, [*command, f"{people}?target=label&hash=user:50"])
    assert wrong.exit_code == 3
    assert "gives indices, the model takes columns as they are" in wrong.output


def test_ids_without_data_are_of_any_size() -> None:
    spec = TensorSpec(name="user", shape=(1, 9), dtype="int64", holds="id")
    ids = random_input(spec, np.random.default_rng(0))
    assert (np.abs(ids.astype(np.float64)) > 2**40).all()


def key(row: dict[str, str]) -> tuple[float, ...]:
    return tuple(np.array([row["a"], row["b"]], np.float32).tolist())


def classes_by_the_data_set(spec: str, tmp_path: Path) -> dict[tuple[float, ...], int]:
    """What the int8 network says of all samples of the data set, by their floats."""
    loaded = [io.load_model(p) for p in (tmp_path / "store").rglob("*.onnx") if p.is_file()]
    (network,) = (m for m in loaded if io.is_quantized(m) and not io.read_meta(m).before)
    session = Session(network, optimize=False)
    found: dict[tuple[float, ...], int] = {}
    dataset = data.load(spec, 0)
    for split in (dataset.train, dataset.val, dataset.calib, dataset.test):
        scores = session(dict(split.inputs))[0]
        rows = map(tuple, split.inputs["x"].tolist())
        found |= dict(zip(rows, scores.argmax(axis=1).tolist(), strict=True))
    return found
