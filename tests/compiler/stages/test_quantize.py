import hashlib
from pathlib import Path

import numpy as np
import onnx
import pytest

from edgekiln.compiler.onnx_model import io
from edgekiln.compiler.pipeline.stage import StageContext
from edgekiln.compiler.quantization import qcheck
from edgekiln.compiler.stages.quantize import Quantize
from edgekiln.models.data import load
from edgekiln.runtime.errors import ConfigError, EdgeKilnError, InputError, UnsupportedError
from tests.compiler import artifacts
from tests.compiler.float_models import make, residual, write

METHODS = ("minmax", "percentile", "entropy", "mse")


@pytest.fixture
def float_model(tmp_path) -> Path:
    """A user's file: valid ONNX that says nothing about itself."""
    return write(residual(), tmp_path / "float.onnx")


def quantize(src: Path, **options) -> tuple[onnx.ModelProto, dict[str, float], list[str]]:
    dst = src.with_name("int8.onnx")
    context = StageContext(scratch=src.parent)
    metrics = Quantize(**{"data": "digits", "samples": 64} | options).run(
        artifacts.of(src), dst, context
    )
    return io.load_model(dst), dict(metrics), context.notes


def refused(src: Path, kind: type[EdgeKilnError], **options) -> EdgeKilnError:
    with pytest.raises(kind) as caught:
        quantize(src, **options)
    assert not src.with_name("int8.onnx").exists()
    return caught.value


@pytest.mark.parametrize("method", METHODS)
def test_every_method_gives_an_integer_model_close_to_the_float_one(float_model, method):
    model, metrics, notes = quantize(float_model, calibration=method)
    structure = qcheck.inspect(model)
    assert (structure.floats, structure.violations) == ((), ())
    assert notes == []
    assert (metrics["quantized_ops"], metrics["float_ops"]) == (6, 0)
    # Digits have large areas of one value: a peak that makes KL clip right there.
    assert metrics["sqnr_db"] > (12 if method == "entropy" else 30)
    assert metrics["file_bytes"] == float_model.with_name("int8.onnx").stat().st_size


def test_methods_choose_different_ranges(float_model):
    scales = set()
    for method in METHODS:
        model, _, _ = quantize(float_model, calibration=method)
        (scale,) = [w for w in model.graph.initializer if w.name == "c_scale"]
        scales.add(float(onnx.numpy_helper.to_array(scale)))
    assert len(scales) == len(METHODS)


def test_percentile_is_heard(float_model):
    _, loose, _ = quantize(float_model, calibration="percentile", percentile=100.0)
    _, tight, _ = quantize(float_model, calibration="percentile", percentile=90.0)
    assert tight["sqnr_db"] < loose["sqnr_db"] - 3


def test_the_batch_does_not_change_the_result(float_model):
    one, many = (quantize(float_model, batch=batch)[0] for batch in (5, 64))
    assert one.graph.initializer
    for a, b in zip(one.graph.initializer, many.graph.initializer, strict=True):
        np.testing.assert_allclose(
            onnx.numpy_helper.to_array(a), onnx.numpy_helper.to_array(b), rtol=1e-5, atol=1
        )


def test_the_same_input_gives_the_same_bytes(float_model):
    hashes = set()
    for _ in range(2):
        quantize(float_model, calibration="entropy")
        content = float_model.with_name("int8.onnx").read_bytes()
        hashes.add(hashlib.sha256(content).hexdigest())
    assert len(hashes) == 1


def test_a_users_model_learns_its_use_from_the_data(float_model):
    model, _, _ = quantize(float_model)
    digits = load("digits", 0)
    assert io.read_meta(model) == io.Meta(
        preprocessing=digits.preprocessing,
        labels=digits.classes,
        data="digits",
        task="classification",
    )


def test_what_a_model_says_about_itself_stays(tmp_path):
    model = residual()
    meta = io.Meta(
        preprocessing=load("digits", 0).preprocessing,
        labels=tuple("abcdefghij"),
        data="digits",
        task="classification",
    )
    io.write_meta(model, meta)
    int8, _, _ = quantize(write(model, tmp_path / "m.onnx"), data="")
    assert io.read_meta(int8) == meta


def test_a_channels_last_model_gets_channels_last_samples(tmp_path):
    model = make(
        """
        t = Transpose <perm = [0, 3, 1, 2]> (x)
        c = Conv <kernel_shape = [3, 3]> (t, w)
        p = GlobalAveragePool (c)
        f = Flatten (p)
        y = Gemm <transB = 1> (f, v)
        """,
        {"w": (4, 3, 3, 3), "v": (10, 4)},
        x="1, 32, 32, 3",
        y="1, 10",
    )
    int8, metrics, _ = quantize(write(model, tmp_path / "m.onnx"))
    meta = io.read_meta(int8)
    assert meta.preprocessing is not None
    assert meta.preprocessing.layout == "NHWC"
    assert metrics["float_ops"] == 0


def test_a_fixed_batch_and_an_old_opset_are_no_obstacle(tmp_path):
    model = residual(opset=11, x="2, 3, 32, 32", y="2, 10")
    model.ir_version = 6
    int8, metrics, _ = quantize(write(model, tmp_path / "m.onnx"))
    assert io.fixed_batch(int8) == 2
    assert metrics["quantized_ops"] == 6
    assert metrics["sqnr_db"] > 30


def test_what_stays_float_is_named(tmp_path):
    model = make("l = Gemm <transB = 1> (x, w)\n y = Softmax (l)", {"w": (10, 3072)}, x="N, 3072")
    _, metrics, notes = quantize(write(model, tmp_path / "m.onnx"))
    assert notes == ["Softmax y stays float: has no integer form"]
    assert (metrics["quantized_ops"], metrics["float_ops"]) == (1, 1)


def test_excluded_operations_stay_float_and_are_named(float_model):
    _, metrics, notes = quantize(float_model, exclude=("c", "s*"))
    assert notes[:2] == ["Conv c stays float: excluded", "Add s stays float: excluded"]
    assert metrics["float_ops"] >= 2


def unbalanced() -> onnx.ModelProto:
    """A network whose channels differ by a factor of up to 2^16 between two layers."""
    body = """
        a = Conv <kernel_shape = [3, 3]> (x, w1)
        r = Relu (a)
        c = Conv <kernel_shape = [3, 3]> (r, w2)
        p = GlobalAveragePool (c)
        f = Flatten (p)
        y = Gemm <transB = 1> (f, w3)
    """
    model = make(body, {"w1": (16, 3, 3, 3), "w2": (8, 16, 3, 3), "w3": (10, 8)}, x="N, 3, 32, 32")
    factor = np.exp2(np.linspace(-8, 8, 16)).astype(np.float32)
    for weight in model.graph.initializer:
        array = onnx.numpy_helper.to_array(weight)
        if weight.name == "w1":
            array = array * factor[:, None, None, None]
        if weight.name == "w2":
            array = array / factor[None, :, None, None]
        weight.CopyFrom(onnx.numpy_helper.from_array(array, weight.name))
    return model


def test_channels_are_balanced_where_quantization_lost_the_signal(tmp_path):
    src = write(unbalanced(), tmp_path / "m.onnx")
    _, plain, notes = quantize(src, equalize_below=0.0)
    assert plain["sqnr_db"] < 10
    assert notes == []
    _, balanced, notes = quantize(src)
    assert balanced["sqnr_db"] > 30
    change = f"{plain['sqnr_db']:.1f} → {balanced['sqnr_db']:.1f} dB"
    assert notes == [f"equalizing 2 pairs of layers: SQNR {change}, kept"]


def test_progress_reaches_its_end(float_model):
    seen = []
    context = StageContext(scratch=float_model.parent, advance=lambda *a: seen.append(a))
    Quantize(data="digits", samples=70, calibration="mse").run(
        artifacts.of(float_model), float_model.with_name("int8.onnx"), context
    )
    assert seen[-1] == (140, 140, "calibrating (mse)")
    assert [done for done, _, _ in seen] == sorted(done for done, _, _ in seen)


def test_an_interrupt_leaves_no_file(float_model):
    def interrupt(*_):
        raise KeyboardInterrupt

    context = StageContext(scratch=float_model.parent, advance=interrupt)
    dst = float_model.with_name("int8.onnx")
    with pytest.raises(KeyboardInterrupt):
        Quantize(data="digits").run(artifacts.of(float_model), dst, context)
    assert [path.name for path in float_model.parent.iterdir()] == ["float.onnx"]


def test_a_model_without_data_asks_for_it(float_model):
    error = refused(float_model, ConfigError, data="")
    assert error.message == "the model does not name the data it was trained on"
    assert error.hint == ("say which to use: --data digits, or a folder, .npz, IDX or CIFAR file")
    assert error.exit_code == 2


def test_data_of_another_shape_is_refused_with_both_shapes(tmp_path):
    src = write(residual(x="N, 3, 28, 28"), tmp_path / "m.onnx")
    error = refused(src, InputError)
    assert error.message == (
        "samples of digits have the shape (3, 32, 32), the model takes (3, 28, 28)"
    )
    assert error.exit_code == 3


def test_a_quantized_model_is_refused(float_model):
    quantize(float_model)
    again = float_model.with_name("int8.onnx").rename(float_model.with_name("again.onnx"))
    error = refused(again, UnsupportedError)
    assert error.message == "the model is quantized already"
    assert error.exit_code == 4


def test_open_image_sizes_are_refused(tmp_path):
    src = write(residual(x="N, 3, H, W"), tmp_path / "m.onnx")
    assert refused(src, UnsupportedError).message == (
        "input 'x' has the shape (N, 3, H, W): only the batch may be open"
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"percentile": 40.0}, "quantize: percentile = 40.0"),
        ({"samples": -1}, "quantize: samples = -1, batch = 32"),
        ({"batch": 0}, "quantize: samples = 512, batch = 0"),
    ],
)
def test_impossible_options_are_refused(options, message):
    with pytest.raises(ConfigError) as caught:
        Quantize(**options)
    assert caught.value.message == message


@pytest.mark.data
@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_mlperf_tinys_resnet_keeps_its_accuracy(shared_data, cifar10, tmp_path, method):
    from edgekiln.compiler.stages.evaluate import Evaluate

    src = tmp_path / "float.onnx"
    src.write_bytes((shared_data / "mlperf_tiny" / "ic_resnet8_float.onnx").read_bytes())
    _, metrics, notes = quantize(src, calibration=method, data=cifar10)
    assert metrics["quantized_ops"] == 16
    assert [note.split()[0] for note in notes] == ["Softmax"]
    assert metrics["sqnr_db"] > 27
    report = Evaluate(data=cifar10).run(
        artifacts.of(src.with_name("int8.onnx")),
        tmp_path / "r.json",
        StageContext(scratch=tmp_path),
    )
    assert report["accuracy"] == pytest.approx(0.8719, abs=0.004)
