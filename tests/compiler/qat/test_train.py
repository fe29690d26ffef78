"""Training a quantized model: what comes out, what is kept, and what is refused."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from edgekiln.compiler.onnx_model import io, model_inputs
from edgekiln.compiler.onnx_model.feed import Feed, feed_for
from edgekiln.compiler.onnx_model.session import Session
from edgekiln.compiler.qat.float_teacher import FloatTeacher
from edgekiln.compiler.qat.network import QuantizedNetwork
from edgekiln.compiler.qat.train import QatOptions, QatResult, train_quantized
from edgekiln.compiler.quantization import qcheck
from edgekiln.compiler.quantization.prepare import prepare
from edgekiln.compiler.stages.quantize import QuantizeStage
from edgekiln.runtime.errors import ConfigError, TrainingError, UnsupportedError
from tests.compiler.float_models import make, write
from tests.compiler.qat.skewed import Stripes
from tests.compiler.quantizing import quantize, refused

QUICK = QatOptions(epochs=2, learning_rate=5e-3, batch_size=32)


@pytest.fixture
def source(skewed: Path) -> onnx.ModelProto:
    return prepare(io.load_model(skewed))


@pytest.fixture
def feed(source: onnx.ModelProto, pictures: Stripes) -> Feed:
    takes = model_inputs.of_model(source)
    return feed_for(io.read_meta(source), takes, data=pictures.spec, seed=0)


@pytest.fixture
def quantized(skewed: Path, pictures: Stripes) -> onnx.ModelProto:
    return quantize(skewed, data=pictures.spec, accept_sqnr=-50.0)[0]


def numbers(model: onnx.ModelProto) -> dict[str, bytes]:
    return {w.name: w.SerializeToString() for w in model.graph.initializer}


def test_what_8_bits_broke_comes_back(skewed, pictures, float_accuracy):
    broken, _, _ = quantize(skewed, data=pictures.spec, accept_sqnr=-50.0)
    assert pictures.accuracy(broken) < float_accuracy - 5
    model, metrics, notes = quantize(
        skewed, data=pictures.spec, qat_epochs=4, qat_learning_rate=5e-3, qat_batch=32
    )
    assert pictures.accuracy(model) >= float_accuracy - 0.5
    assert metrics["val_accuracy_after_qat"] > metrics["val_accuracy_before_qat"] + 0.02
    assert metrics["qat_best_epoch"] >= 1
    assert notes[-1].startswith("quantization-aware training: val ")
    # It is a quantized model as any other.
    structure = qcheck.inspect(model)
    assert (structure.floats, structure.violations) == ((), ())
    onnx.checker.check_model(model, full_check=True)


def test_onnxruntime_answers_as_the_trained_network_does(
    quantized, source, feed, pictures, tmp_path
):
    result = train(quantized, source, feed, tmp_path, QUICK)
    (logits,) = Session(result.model, optimize=False)(pictures.x_test.numpy())
    right = float((logits.argmax(1) == pictures.y_test.numpy()).mean())
    assert 100 * right == pytest.approx(pictures.accuracy(result.model), abs=0.5)


def train(quantized, source, feed, folder: Path, options: QatOptions, **more) -> QatResult:
    return train_quantized(
        quantized, source, feed, options, checkpoint_path=folder / "qat.ckpt", **more
    )


def test_a_killed_training_goes_on_to_the_same_bits(quantized, source, feed, tmp_path):
    whole = train(quantized, source, feed, tmp_path / "whole", QUICK)

    def killed(done: int, total: int, _text: str) -> None:
        if done > total // 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(quantized, source, feed, tmp_path / "killed", QUICK, advance=killed)
    seen: list[int] = []
    again = train(
        quantized, source, feed, tmp_path / "killed", QUICK,
        advance=lambda done, _total, _text: seen.append(done),
    )  # fmt: skip
    assert min(seen) > 1  # the first epoch was not repeated
    assert numbers(again.model) == numbers(whole.model)
    assert numbers(whole.model) != numbers(quantized)


def test_a_training_that_makes_it_worse_leaves_it_as_it_was(quantized, source, feed, tmp_path):
    good = train(quantized, source, feed, tmp_path / "good", QUICK)
    worse = replace(QUICK, epochs=1, learning_rate=0.5)
    result = train(good.model, source, feed, tmp_path / "worse", worse)
    assert result.best_epoch == 0
    assert numbers(result.model) == numbers(good.model)
    assert result.note == (
        f"quantization-aware training made it no better than val {good.score}: the numbers it "
        "began with are kept"
    )


def test_a_training_that_diverges_says_which_rate_to_lower(quantized, source, feed, tmp_path):
    part = feed.parts["train"]
    lost = replace(part, inputs={"x": np.full((len(part), 8, 8, 1), np.nan, np.float32)})
    damaged = replace(feed, parts={**feed.parts, "train": lost})
    with pytest.raises(TrainingError) as found:
        train(quantized, source, damaged, tmp_path, QUICK)
    assert found.value.message.startswith(
        "quantization-aware training diverged: loss is nan at epoch 1, step 1, learning rate "
    )
    assert found.value.hint == "lower --qat-learning-rate, e.g. to 0.0005"


def test_no_rate_makes_codes_that_are_no_numbers(quantized, source, feed, tmp_path):
    wild = replace(QUICK, epochs=1, learning_rate=1e6)
    result = train(quantized, source, feed, tmp_path, wild)
    assert np.isfinite(result.score.loss)


def test_without_labels_the_float_model_teaches(skewed, pictures, tmp_path):
    path = tmp_path / "pictures.npy"
    np.save(path, pictures.x[:400].numpy())
    model, metrics, notes = quantize(
        skewed, data=str(path), qat_epochs=3, qat_learning_rate=1e-2, qat_batch=16,
        accept_sqnr=-50.0,
    )  # fmt: skip
    assert metrics["val_accuracy_after_qat"] > metrics["val_accuracy_before_qat"]
    assert notes[-1].startswith("quantization-aware training: val agreement with the float model ")
    broken, _, _ = quantize(skewed, data=str(path), accept_sqnr=-50.0)
    assert pictures.accuracy(model) > pictures.accuracy(broken)


def test_weights_of_fewer_bits_are_trained_by_the_same_means(
    skewed, source, feed, pictures, float_accuracy, tmp_path
):
    eight = train(
        quantize(skewed, data=pictures.spec, accept_sqnr=-50.0)[0], source, feed,
        tmp_path / "eight", QUICK,
    )  # fmt: skip
    five = train(eight.model, source, feed, tmp_path / "five", replace(QUICK, weight_bits=5))
    assert five.score.loss < five.start.loss
    assert pictures.accuracy(five.model) > float_accuracy - 5
    for weight in five.model.graph.initializer:
        if weight.name in ("aw_quantized", "dw_quantized", "pw_quantized", "fw_quantized"):
            steps = onnx.numpy_helper.to_array(weight)
            assert steps.dtype == np.int8
            assert np.abs(steps.astype(int)).max() == 15


def test_a_model_of_a_fixed_batch_is_taught_in_calls_of_that_batch(source, pictures):
    fixed = onnx.ModelProto()
    fixed.CopyFrom(source)
    model_inputs.with_batch(fixed, 3)
    x = pictures.x_test[:7]
    (any_batch,) = FloatTeacher(source, model_inputs.of_model(source))(x).values()
    (by_three,) = FloatTeacher(fixed, model_inputs.of_model(fixed))(x).values()
    torch.testing.assert_close(by_three, any_batch)


def test_losses_see_the_logits_in_front_of_a_softmax(source, pictures):
    soft = onnx.ModelProto()
    soft.CopyFrom(source)
    soft.graph.node.append(onnx.helper.make_node("Softmax", ["y"], ["chances"], axis=1))
    soft.graph.output[0].name = "chances"
    takes = model_inputs.of_model(source)
    x = pictures.x_test[:4]
    taught, plain = FloatTeacher(soft, takes)(x), FloatTeacher(source, takes)(x)
    assert list(taught) == ["chances"]
    torch.testing.assert_close(taught["chances"], plain["y"])


def test_operations_that_stay_float_are_computed_as_they_are(skewed, source, pictures):
    model, _, _ = quantize(skewed, data=pictures.spec, accept_sqnr=-50.0, exclude=("p", "r"))
    x = pictures.x_test[:64]
    network = QuantizedNetwork(model, source)
    with torch.no_grad():
        (ours,) = network(x).values()
    (theirs,) = Session(model, optimize=False)(x.numpy())
    # Sums of floats in another order may round to the code beside.
    assert np.abs(ours.numpy() - theirs).max() < 0.05 * np.abs(theirs).max()


def test_a_model_that_remembers_is_refused(quantized, source, feed, tmp_path):
    takes = replace(feed.takes, batched=False)
    with pytest.raises(UnsupportedError, match="whose first axis is the samples'"):
        train(quantized, source, replace(feed, takes=takes), tmp_path, QUICK)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"qat_epochs": -1}, "qat-epochs = -1"),
        ({"qat_batch": 0}, "qat-batch = 0"),
        ({"qat_alpha": 1.5}, "qat-alpha = 1.5"),
        ({"qat_shift": -2}, "qat-shift = -2"),
    ],
)
def test_wrong_options_are_refused_by_name(options, message):
    with pytest.raises(ConfigError) as found:
        QuantizeStage(**options)
    assert found.value.message == f"quantize: {message}"


def test_an_operator_that_cannot_be_trained_is_refused_before_training(tmp_path):
    body = """
        h = Gemm <transB = 1> (x, w)
        s = Softmax <axis = 1> (h)
        t = Gemm <transB = 1> (s, v)
        y = Gemm <transB = 1> (t, u)
    """
    weights = {"w": (16, 3072), "v": (16, 16), "u": (10, 16)}
    src = write(make(body, weights, x="N, 3072"), tmp_path / "m.onnx")
    error = refused(src, UnsupportedError, qat_epochs=1)
    assert error.message == (
        "operator Softmax ('s') has no form for quantization-aware training: its operand is "
        "quantized"
    )
    assert error.hint == "quantize without --qat-epochs"
