"""`edgekiln build` of float ONNX with samples that nobody has labelled, as a newcomer types it."""

import json
from pathlib import Path

import jsonschema
import numpy as np
import onnx
import onnxruntime
import pytest
from PIL import Image

from edgekiln.compiler.cli.documents import DOCUMENTS
from edgekiln.compiler.documents.json_schema import document_schema
from edgekiln.compiler.onnx_model import io
from edgekiln.runtime import load
from edgekiln.runtime.manifest import Preprocessing
from tests.cli.conftest import Cli
from tests.compiler.float_models import make, residual, write

NUMBERS = "?scale=0.0039216&mean=0.485,0.456,0.406&std=0.229,0.224,0.225"
DRAW = np.random.default_rng(0)


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Pictures of several sizes in one folder."""
    home = tmp_path / "pictures"
    home.mkdir()
    for index in range(20):
        pixels = DRAW.integers(0, 256, (40 + index % 3, 50, 3), np.uint8)
        Image.fromarray(pixels).save(home / f"{index:02}.png")
    return home


@pytest.fixture
def float_model(tmp_path: Path) -> Path:
    return write(residual(), tmp_path / "model.onnx")


@pytest.mark.usefixtures("pictures", "float_model")
def test_a_folder_of_pictures_is_all_that_a_float_model_needs(cli: Cli) -> None:
    command = ("build", "model.onnx", "--calibrate", f"pictures/{NUMBERS}", "--bench-seconds", 0)
    shown = cli(*command)
    assert shown.exit_code == 0, shown.stderr
    assert "agreement with the float model, on samples without labels" in shown.stdout
    assert "accuracy" not in shown.stdout
    again = json.loads(cli(*command, "--json").stdout)
    jsonschema.validate(again, document_schema("edgekiln.build/1", DOCUMENTS["edgekiln.build/1"]))
    scores = {step["stage"]: step["score"] for step in again["steps"]}
    assert scores["input"] is None
    for stage in ("quantize", "compile"):
        score = scores[stage]
        assert score["metric"] == "sqnr_db"
        assert score["value"] > 25
        assert score["top1_agreement"] >= 0.75
        assert score["cosine"] > 0.99
        assert score["n"] == 4
    assert all(step["cached"] for step in again["steps"])


@pytest.mark.usefixtures("pictures", "float_model")
def test_a_program_made_of_pictures_takes_pictures(cli: Cli) -> None:
    built = cli("build", "model.onnx", "--calibrate", f"pictures/{NUMBERS}", "--bench-seconds", 0)
    assert built.exit_code == 0, built.stderr
    ran = cli("run", "dist/model-host.ekb", "--input", "pictures/03.png")
    assert ran.exit_code == 0, ran.stderr
    verified = cli("verify", "dist/model-host.ekb", "--samples", 3)
    assert verified.exit_code == 0, verified.stderr
    assert "identical to ONNX Runtime on 3 samples" in verified.stdout


@pytest.mark.usefixtures("pictures", "float_model")
def test_decisions_over_raw_pixels_are_verified_on_the_samples_of_the_build(cli: Cli) -> None:
    ends = ("--before", "pixels", "--after", "hysteresis=0.1?off=0&steps=2")
    samples = ("--calibrate", f"pictures/{NUMBERS}", "--bench-seconds", 0)
    built = cli("build", "model.onnx", *samples, *ends)
    assert built.exit_code == 0, built.stderr
    # Codes that are the pixels themselves, of samples that are no streams.
    verified = cli("verify", "dist/model-host.ekb", "--json")
    assert verified.exit_code == 0, verified.stderr
    assert json.loads(verified.stdout)["samples"] == 4


@pytest.mark.usefixtures("pictures", "float_model")
def test_a_float_program_learns_from_the_data_how_a_pixel_becomes_a_number(cli: Cli) -> None:
    samples = ("--calibrate", f"pictures/{NUMBERS}", "--bench-seconds", 0)
    built = cli("build", "model.onnx", "--precision", "float32", *samples, "--before", "pixels")
    assert built.exit_code == 0, built.stderr
    pixels = DRAW.integers(0, 256, (1, 32, 32, 3), np.uint8)
    ready = (pixels / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    session = onnxruntime.InferenceSession("model.onnx")
    floats = ready.transpose(0, 3, 1, 2).astype(np.float32)
    (wanted,) = session.run(None, {session.get_inputs()[0].name: floats})
    found = np.asarray(load(Path("dist/model-host-float32.ekb"))(pixels), np.float32)
    np.testing.assert_allclose(found.reshape(wanted.shape), wanted, rtol=1e-3, atol=1e-3)


@pytest.mark.usefixtures("pictures", "float_model")
def test_it_is_said_what_is_missing_when_nobody_says_what_a_pixel_means(cli: Cli) -> None:
    result = cli("build", "model.onnx", "--calibrate", "pictures/", "--bench-seconds", 0)
    assert result.exit_code == 3
    assert "the model does not say how one becomes the other" in result.stderr
    assert "?scale=0.0039216&mean=" in result.stderr
    assert not list(Path("dist").glob("*"))


@pytest.mark.usefixtures("pictures", "float_model")
def test_a_limit_on_accuracy_needs_labels(cli: Cli) -> None:
    data = ("--data", f"pictures/{NUMBERS}", "--bench-seconds", 0)
    refused = cli("build", "model.onnx", *data, "--max-drop", 1)
    assert refused.exit_code == 2
    assert "has no labels, so there is no accuracy to lose" in refused.stderr
    assert "--min-sqnr" in refused.stderr
    held = cli("build", "model.onnx", *data, "--min-sqnr", 20)
    assert held.exit_code == 0, held.stderr
    missed = cli("build", "model.onnx", *data, "--min-sqnr", 120)
    assert missed.exit_code == 6
    assert "more is lost than min-sqnr allows" in missed.stderr


def test_spectrograms_are_calibrated_on_by_the_stage_alone(cli: Cli, tmp_path: Path) -> None:
    body = """
        t = Transpose <perm = [0, 3, 1, 2]> (x)
        c = Conv <kernel_shape = [3, 3]> (t, w)
        r = Relu (c)
        p = GlobalAveragePool (r)
        f = Flatten (p)
        y = Gemm <transB = 1> (f, v)
    """
    model = make(body, {"w": (8, 1, 3, 3), "v": (4, 8)}, x="1, 49, 10, 1", y="1, 4")
    write(model, tmp_path / "kws.onnx")
    np.save(tmp_path / "mel.npy", DRAW.normal(size=(40, 49, 10, 1)).astype(np.float32))
    made = cli("quantize", "kws.onnx", "-o", "int8.onnx", "--calibrate", "mel.npy", "--json")
    assert made.exit_code == 0, made.stderr
    assert json.loads(made.stdout)["metrics"]["float_ops"] == 0
    onnx.checker.check_model("int8.onnx")


@pytest.mark.usefixtures("pictures", "float_model")
def test_labelled_data_scores_what_other_samples_have_calibrated(cli: Cli) -> None:
    data = ("--data", "digits", "--calibrate", f"pictures/{NUMBERS}")
    result = cli("build", "model.onnx", *data, "--bench-seconds", 0, "--json")
    assert result.exit_code == 0, result.stderr
    built = json.loads(result.stdout)
    assert (built["data"], built["calibrate"]) == ("digits", f"pictures/{NUMBERS}")
    assert {step["score"]["metric"] for step in built["steps"]} == {"accuracy"}


@pytest.mark.usefixtures("pictures")
def test_what_a_model_knows_of_pixels_survives_calibration_on_floats(
    cli: Cli, tmp_path: Path
) -> None:
    model = residual()
    own = Preprocessing(scale=1.0, mean=(120.0,), std=(60.0,))
    io.write_meta(model, io.Meta(preprocessing=own))
    write(model, tmp_path / "knows.onnx")
    np.save(tmp_path / "x.npy", DRAW.normal(size=(40, 3, 32, 32)).astype(np.float32))
    made = cli("quantize", "knows.onnx", "-o", "int8.onnx", "--calibrate", "x.npy")
    assert made.exit_code == 0, made.stderr
    assert io.read_meta(io.load_model(tmp_path / "int8.onnx")).preprocessing == own
    asked = cli("quantize", "knows.onnx", "-o", "int8.onnx", "--calibrate", "pictures/")
    assert asked.exit_code == 0, asked.stderr


def no_numbers(path: Path) -> None:
    body = "a = Abs (x)\n n = Neg (a)\n y = Sqrt (n)"
    write(make(body, {}, x="1, 2", y="1, 2"), path)


def test_a_float_program_whose_outputs_are_no_numbers_says_so(cli: Cli, tmp_path: Path) -> None:
    no_numbers(tmp_path / "m.onnx")
    command = ("build", "m.onnx", "--precision", "float32", "--bench-seconds", 0)
    told = "NaN is in y of the example (random, seed 0)"
    shown = cli(*command)
    assert (shown.exit_code, f"note: package: {told}" in shown.stdout) == (0, True)
    document = json.loads(cli(*command, "--json").stdout)
    jsonschema.validate(
        document, document_schema("edgekiln.build/1", DOCUMENTS["edgekiln.build/1"])
    )
    assert document["targets"][0]["notes"] == [told]


def test_agreement_with_what_is_no_number_is_an_error(cli: Cli, tmp_path: Path) -> None:
    no_numbers(tmp_path / "m.onnx")
    np.save(tmp_path / "s.npy", DRAW.normal(size=(20, 2)).astype(np.float32))
    command = ("build", "m.onnx", "--precision", "float32", "--calibrate", "s.npy")
    shown = cli(*command, "--bench-seconds", 0)
    assert (shown.exit_code, shown.stderr.splitlines()[-2:]) == (
        3,
        [
            "error: the model's outputs are NaN on 4 of 4 held-out samples",
            " hint: check its weights, and the data's scale, mean and std",
        ],
    )
