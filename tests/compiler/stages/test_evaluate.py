import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekiln.compiler.evaluation import subject
from edgekiln.compiler.pipeline.stage import StageContext
from edgekiln.compiler.stages.compile import CompileStage
from edgekiln.compiler.stages.evaluate import EvaluateStage
from edgekiln.compiler.stages.export import ExportStage
from edgekiln.compiler.stages.quantize import QuantizeStage
from edgekiln.models.artifact import create
from edgekiln.models.data import load
from edgekiln.models.tasks.ranking import area_under_curve
from edgekiln.runtime.errors import ConfigError, InputError, MissingToolError
from edgekiln.targets import profile
from tests.compiler import artifacts
from tests.compiler.float_models import make, residual, write
from tests.emulated import require


def evaluate(src: Path, **options) -> dict[str, Any]:
    dst = src.with_name("report.json")
    metrics = EvaluateStage(**options).run(artifacts.of(src), dst, StageContext(scratch=src.parent))
    report = json.loads(dst.read_text(encoding="utf-8"))
    (only,) = report["measured"]
    metric = only["metric"]["name"]
    assert metrics == {metric: only["value"], "n": report["n"]}
    return {**report, "value": only["value"], "metric": metric}


def brightness_model() -> np.ndarray:
    """Head weights of a model that answers 1 for bright images and 0 for dark ones."""
    return np.stack([np.zeros(3072), np.ones(3072)]).astype(np.float32)


@pytest.fixture
def by_brightness(tmp_path) -> Path:
    model = make(
        "f = Flatten (x)\n y = Gemm <transB = 1> (f, w)",
        {},
        x="N, 3, 32, 32",
        y="N, 2",
        constants={"w": brightness_model()},
    )
    return write(model, tmp_path / "m.onnx")


@pytest.fixture
def bright_or_dark(tmp_path) -> str:
    """Two classes that the mean tells apart, but for every tenth sample."""
    y = np.arange(200) % 2
    x = np.where(y[:, None, None, None] == 1, 250, 5) * np.ones((1, 32, 32, 3))
    x[::10] = 250 - x[::10] + 5
    x += np.arange(200)[:, None, None, None] % 5  # no two alike by accident
    np.savez(tmp_path / "bright.npz", x=x.clip(0, 255).astype(np.uint8), y=y)
    return f"{tmp_path / 'bright.npz'}?mean=0.5&std=1"


def test_accuracy_is_the_share_of_right_answers(by_brightness, bright_or_dark):
    report = evaluate(by_brightness, data=bright_or_dark)
    test = load(bright_or_dark, 0).test
    right = (test.x.mean((1, 2, 3)) > 127.5) == test.y
    assert report["value"] == pytest.approx(right.mean())
    assert 0.7 < report["value"] < 1.0
    assert report["metric"] == "accuracy"
    assert report["n"] == len(test)


def test_choices_are_made_on_the_validation_split(by_brightness, bright_or_dark):
    report = evaluate(by_brightness, data=bright_or_dark, split="val")
    val = load(bright_or_dark, 0).val
    assert report["n"] == report["of"] == len(val)
    assert report["value"] == pytest.approx(((val.x.mean((1, 2, 3)) > 127.5) == val.y).mean())


def test_the_report_holds_what_the_table_shows(tmp_path):
    src = write(residual(), tmp_path / "m.onnx")
    report = evaluate(src, data="digits")
    assert set(report) - {"value", "metric"} == {
        "file_bytes", "macs", "measured", "n", "of", "parameters", "predictions_sha256",
    }  # fmt: skip
    assert report["parameters"] == 898
    assert report["file_bytes"] == src.stat().st_size
    assert len(report["predictions_sha256"]) == 64


def test_a_fixed_batch_gives_the_same_predictions(tmp_path):
    free = evaluate(write(residual(), tmp_path / "free.onnx"), data="digits")
    for batch in (1, 7):
        fixed = residual(x=f"{batch}, 3, 32, 32", y=f"{batch}, 10")
        report = evaluate(write(fixed, tmp_path / f"{batch}.onnx"), data="digits")
        assert report["predictions_sha256"] == free["predictions_sha256"]
        assert report["macs"] == free["macs"]


def test_samples_takes_the_first_ones(tmp_path):
    src = write(residual(), tmp_path / "m.onnx")
    assert evaluate(src, data="digits", samples=30)["n"] == 30
    assert evaluate(src, data="digits", samples=10**6)["n"] == 400


def test_a_module_and_its_export_agree(tmp_path):
    create(tmp_path / "m.pt", "resnet8", load("digits", 0), "digits", seed=0)
    ExportStage().run(
        artifacts.of(tmp_path / "m.pt"), tmp_path / "m.onnx", StageContext(scratch=tmp_path)
    )
    module, exported = evaluate(tmp_path / "m.pt"), evaluate(tmp_path / "m.onnx")
    assert module["value"] == exported["value"]
    assert module["predictions_sha256"] == exported["predictions_sha256"]
    assert module["macs"] == exported["macs"] == 12_501_632


@pytest.mark.isa("avx2", "fma")
def test_a_compiled_program_predicts_what_its_model_does(tmp_path):
    src = write(residual(), tmp_path / "float.onnx")
    here = StageContext(scratch=tmp_path, target=profile.load("x86-64-v3"))
    QuantizeStage(data="digits").run(artifacts.of(src), tmp_path / "int8.onnx", here)
    CompileStage().run(artifacts.of(tmp_path / "int8.onnx"), tmp_path / "m.lib", here)
    model = evaluate(tmp_path / "int8.onnx", data="digits")
    program = evaluate(tmp_path / "m.lib", data="digits")
    assert program["value"] == pytest.approx(model["value"], abs=0.005)  # ties
    assert (program["n"], program["macs"]) == (model["n"], model["macs"])
    assert program["parameters"] is None
    assert program["file_bytes"] < 100_000


def test_a_program_for_another_machine_predicts_the_same_bits_under_qemu(tmp_path, monkeypatch):
    target = profile.load("rpi5")
    require(target)
    src = write(residual(), tmp_path / "float.onnx")
    QuantizeStage(data="digits").run(
        artifacts.of(src), tmp_path / "int8.onnx", StageContext(scratch=tmp_path)
    )
    for name in ("x86-64-v3", "rpi5"):
        ctx = StageContext(scratch=tmp_path, target=profile.load(name))
        CompileStage().run(artifacts.of(tmp_path / "int8.onnx"), tmp_path / f"{name}.lib", ctx)
    here = evaluate(tmp_path / "x86-64-v3.lib", data="digits")
    there = evaluate(tmp_path / "rpi5.lib", data="digits")
    assert there | {"file_bytes": 0} == here | {"file_bytes": 0}
    monkeypatch.setattr(subject, "_EMULATED_MACS", 70 * here["macs"])  # as if it were a large one
    few = evaluate(tmp_path / "rpi5.lib", data="digits")
    assert (few["n"], few["of"]) == (70, 400)


def test_without_an_emulator_it_says_which_is_missing(tmp_path, monkeypatch):
    require(target := profile.load("rpi5"))
    src = write(residual(), tmp_path / "float.onnx")
    there = StageContext(scratch=tmp_path, target=target)
    QuantizeStage(data="digits").run(artifacts.of(src), tmp_path / "int8.onnx", there)
    CompileStage().run(artifacts.of(tmp_path / "int8.onnx"), tmp_path / "m.lib", there)
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(MissingToolError, match="qemu-aarch64 is not installed"):
        evaluate(tmp_path / "m.lib", data="digits")


def test_an_autoencoder_is_judged_by_its_error(tmp_path):
    create(tmp_path / "m.pt", "autoencoder", load("hum", 0), "hum", seed=0)
    report = evaluate(tmp_path / "m.pt")
    assert report["metric"] == "auc"
    assert 0 < report["value"] < 1


def test_fewer_outputs_than_classes_are_refused(tmp_path):
    src = write(make("y = Flatten (x)", {}, x="N, 3, 32, 32", y="N, 3072"), tmp_path / "m.onnx")
    assert evaluate(src, data="digits")["n"] == 400  # more are fine
    short = make("p = GlobalAveragePool (x)\n y = Flatten (p)", {}, x="N, 3, 32, 32", y="N, 3")
    with pytest.raises(InputError) as caught:
        evaluate(write(short, tmp_path / "short.onnx"), data="digits")
    assert caught.value.message == "the model tells 3 classes apart, digits has 10"


def test_outputs_that_are_nan_are_no_accuracy(tmp_path, bright_or_dark):
    model = make(
        "l = Log (x)\n f = Flatten (l)\n y = Gemm <transB = 1> (f, w)",
        {},
        x="N, 3, 32, 32",
        y="N, 2",
        constants={"w": brightness_model()},
    )
    src = write(model, tmp_path / "m.onnx")
    samples = len(load(bright_or_dark, 0).test)
    with pytest.raises(InputError, match=rf"outputs are NaN on \d+ of {samples} held-out samples"):
        evaluate(src, data=bright_or_dark)


def test_a_reconstruction_must_have_the_inputs_size(tmp_path):
    size = load("hum", 0).test.x.shape[1]
    model = make("y = Gemm (x, w)", {"w": (size, 3)}, x=f"N, {size}", y="N, 3")
    with pytest.raises(InputError, match=rf"turns \({size},\) into \(3,\): no reconstruction"):
        evaluate(write(model, tmp_path / "m.onnx"), data="hum")


def test_without_data_it_asks_for_it(tmp_path):
    with pytest.raises(ConfigError, match="does not name the data it was trained on"):
        evaluate(write(residual(), tmp_path / "m.onnx"))


def test_what_predicts_nothing_is_refused(tmp_path):
    (tmp_path / "m.ekb").write_bytes(b"")
    with pytest.raises(InputError) as caught:
        evaluate(tmp_path / "m.ekb", data="digits")
    assert caught.value.message == f"{tmp_path / 'm.ekb'}: is a bundle, which predicts nothing"
    assert caught.value.hint == "give a module, an ONNX model or a compiled program"


def test_a_negative_number_of_samples_is_refused():
    with pytest.raises(ConfigError, match="evaluate: samples = -1"):
        EvaluateStage(samples=-1)


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.integers(-4, 4), st.booleans()), min_size=2, max_size=40).filter(
        lambda pairs: len({kind for _, kind in pairs}) == 2
    )
)
def test_auc_is_the_share_of_pairs_in_order(pairs):
    scores = np.array([score for score, _ in pairs], np.float32)
    positive = np.array([kind for _, kind in pairs])
    wins = [(p > n) + 0.5 * (p == n) for p in scores[positive] for n in scores[~positive]]
    assert area_under_curve(scores, positive) == pytest.approx(np.mean(wins))


def test_auc_needs_both_kinds():
    with pytest.raises(InputError) as caught:
        area_under_curve(np.zeros(3, np.float32), np.zeros(3, bool))
    assert caught.value.message == "the test split holds only one kind of sample: no AUC"


@pytest.mark.data
@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "correct"),
    # The int8 model is 8697 right with all of ONNX Runtime's integer kernels: one tie falls
    # the other way.
    [("ic_resnet8_float", 8719), ("ic_resnet8_int8_qdq", 8696)],
)
def test_mlperf_tinys_models_have_their_published_accuracy(
    shared_data, cifar10, tmp_path, model, correct
):
    src = tmp_path / "m.onnx"
    src.write_bytes((shared_data / "mlperf_tiny" / f"{model}.onnx").read_bytes())
    report = evaluate(src, data=cifar10)
    assert (report["n"], round(report["value"] * 10_000)) == (10_000, correct)
    assert (report["parameters"], report["macs"]) == (77_706, 12_501_632)
