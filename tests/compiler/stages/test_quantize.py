import hashlib
import re
from pathlib import Path
from typing import get_args, get_type_hints

import numpy as np
import onnx
import pytest

from edgekiln.compiler.onnx_model import io, model_inputs
from edgekiln.compiler.pipeline.stage import StageContext
from edgekiln.compiler.quantization import qcheck
from edgekiln.compiler.quantization.products import ModelWeights, products
from edgekiln.compiler.stages.quantize import QuantizeStage
from edgekiln.models.data import load
from edgekiln.runtime.errors import ConfigError
from tests.compiler import artifacts
from tests.compiler.float_models import make, residual, write
from tests.compiler.quantizing import quantize, unbalanced

METHODS: tuple[str, ...] = get_args(get_type_hints(QuantizeStage)["calibration"])


@pytest.fixture
def float_model(tmp_path) -> Path:
    """A user's file: valid ONNX that says nothing about itself."""
    return write(residual(), tmp_path / "float.onnx")


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
    for pair in zip(one.graph.initializer, many.graph.initializer, strict=True):
        a, b = map(onnx.numpy_helper.to_array, pair)
        assert a.dtype == b.dtype
        if a.dtype.kind == "f":  # scales
            np.testing.assert_allclose(a, b, rtol=1e-5)
        else:  # a code lies beside another one where a scale's last bit differs
            np.testing.assert_allclose(a.astype(float), b.astype(float), rtol=1e-5, atol=1)


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
    assert model_inputs.of_model(int8).batch == 2
    assert metrics["quantized_ops"] == 6
    assert metrics["sqnr_db"] > 30


def test_samples_beyond_the_last_whole_batch_are_left_out(tmp_path):
    model = residual(x="7, 3, 32, 32", y="7, 10")
    int8, metrics, _ = quantize(write(model, tmp_path / "m.onnx"))
    assert model_inputs.of_model(int8).batch == 7
    assert metrics["sqnr_db"] > 30


def test_what_stays_float_is_named(tmp_path):
    model = make("l = Gemm <transB = 1> (x, w)\n y = Softmax (l)", {"w": (10, 3072)}, x="N, 3072")
    _, metrics, notes = quantize(write(model, tmp_path / "m.onnx"))
    assert notes == ["Softmax y stays float: its input 'l' is float"]
    assert (metrics["quantized_ops"], metrics["float_ops"]) == (1, 1)


def test_excluded_operations_stay_float_and_are_named(float_model):
    _, metrics, notes = quantize(float_model, exclude=("c", "s*"))
    assert notes[:2] == ["Conv c stays float: excluded", "Add s stays float: excluded"]
    assert metrics["float_ops"] >= 2


def test_many_operations_that_stay_float_for_one_reason_are_one_note(tmp_path):
    rows = "\n".join(f"e{n} = Softmax ({f'e{n - 1}' if n else 'l'})" for n in range(9))
    body = f"l = Gemm <transB = 1> (x, w)\n {rows}\n y = Gemm <transB = 1> (e8, v)"
    model = make(body, {"w": (10, 3072), "v": (10, 10)}, x="N, 3072")
    _, metrics, notes = quantize(write(model, tmp_path / "m.onnx"), exclude=("e*",))
    assert metrics["float_ops"] == 9
    assert "9 operations stay float: excluded (9 Softmax)" in notes
    assert not any("Softmax e0" in note for note in notes)


def test_channels_are_balanced_where_quantization_lost_the_signal(tmp_path):
    src = write(unbalanced(), tmp_path / "m.onnx")
    _, plain, notes = quantize(src, equalize_below=0.0, accept_sqnr=-200.0)
    assert plain["sqnr_db"] < 10
    assert notes == []
    _, balanced, notes = quantize(src)
    assert balanced["sqnr_db"] > 30
    change = f"{plain['sqnr_db']:.1f} → {balanced['sqnr_db']:.1f} dB"
    assert notes == [f"equalizing layers: SQNR {change}, kept"]


def codes_of_weights(model: onnx.ModelProto) -> list[int]:
    """The largest code of each product's weights."""
    weights = ModelWeights(model)
    return [int(np.abs(weights[p.codes].astype(int)).max()) for p in products(model)]


def test_what_weights_of_7_bits_cost_is_said_beside_8(float_model):
    eight, before, _ = quantize(float_model)
    seven, after, (note,) = quantize(float_model, weight_bits=7)
    assert (codes_of_weights(eight), codes_of_weights(seven)) == ([127] * 3, [63] * 3)
    share = r"accuracy \d+\.\d\d%, SQNR"
    assert re.fullmatch(
        rf"weights of 7 bits {share} {after['sqnr_db']:.1f} dB; "
        rf"of 8 bits {share} {before['sqnr_db']:.1f} dB, on 100 validation samples",
        note,
    )
    assert after["sqnr_db"] < before["sqnr_db"] - 0.5


def test_without_labels_the_signal_alone_is_compared(float_model, tmp_path):
    np.save(tmp_path / "x.npy", np.random.default_rng(0).random((8, 3, 32, 32), np.float32))
    _, _, (note,) = quantize(float_model, data=str(tmp_path / "x.npy"), weight_bits=7)
    assert re.fullmatch(r"weights of 7 bits SQNR .* dB; of 8 bits SQNR .* dB, on .* samples", note)


def test_other_numbers_of_bits_are_refused():
    with pytest.raises(ConfigError) as caught:
        QuantizeStage(weight_bits=6)
    assert (caught.value.message, caught.value.hint) == (
        "quantize: weight-bits = 6", "give 8, 7 or 4"
    )  # fmt: skip


def test_progress_reaches_its_end(float_model):
    seen = []
    context = StageContext(scratch=float_model.parent, advance=lambda *a: seen.append(a))
    QuantizeStage(data="digits", samples=70, calibration="mse").run(
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
        QuantizeStage(data="digits").run(artifacts.of(float_model), dst, context)
    assert [path.name for path in float_model.parent.iterdir()] == ["float.onnx"]


def test_a_gemm_with_factors_keeps_its_signal(tmp_path):
    body = """
        h = Gemm <transB = 1, alpha = 0.5, beta = 2.0> (x, w1, b)
        r = Relu (h)
        y = Gemm <transB = 1> (r, w2)
    """
    model = make(body, {"w1": (8, 3072), "b": (8,), "w2": (10, 8)}, x="N, 3072")
    _, metrics, notes = quantize(write(model, tmp_path / "m.onnx"))
    assert metrics["sqnr_db"] > 25
    assert notes == []


def test_an_old_export_with_computed_weights_is_quantized(tmp_path):
    """Weights among the inputs, and weights from ConstantOfShape."""
    body = """
        w = ConstantOfShape <value = float[1] {0.02}> (shape)
        c = Conv (x, w, b)
        r = Relu (c)
        p = GlobalAveragePool (r)
        y = Flatten (p)
    """
    constants = {"shape": np.array([4, 3, 3, 3])}
    model = make(body, {"b": (4,)}, y="N, 4", opset=9, constants=constants)
    model.ir_version = 3
    for weight in model.graph.initializer:
        model.graph.input.append(
            onnx.helper.make_tensor_value_info(weight.name, weight.data_type, weight.dims)
        )
    int8, metrics, notes = quantize(write(model, tmp_path / "m.onnx"))
    assert [value.name for value in int8.graph.input] == ["x"]
    assert (metrics["float_ops"], notes) == (0, [])
    assert metrics["sqnr_db"] > 30


def test_a_small_data_set_is_calibrated_on_training_samples_too(tmp_path):
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "small.npz", x=rng.normal(size=(40, 16)).astype(np.float32),
             y=np.arange(40) % 4)  # fmt: skip
    body = "h = Gemm <transB = 1> (x, w1)\n r = Relu (h)\n y = Gemm <transB = 1> (r, w2)"
    model = make(body, {"w1": (8, 16), "w2": (10, 8)}, x="N, 16")
    data = f"{tmp_path}/small.npz?scale=1&mean=0&std=1"
    src = write(model, tmp_path / "m.onnx")
    _, metrics, _ = quantize(src, data=data)
    assert metrics["sqnr_db"] > 30
    _, few, _ = quantize(src, data=data, samples=4, accept_sqnr=-200.0)
    assert few["sqnr_db"] < metrics["sqnr_db"] - 6


@pytest.mark.data
@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_mlperf_tinys_resnet_keeps_its_accuracy(shared_data, cifar10, tmp_path, method):
    from edgekiln.compiler.stages.evaluate import EvaluateStage

    src = tmp_path / "float.onnx"
    src.write_bytes((shared_data / "mlperf_tiny" / "ic_resnet8_float.onnx").read_bytes())
    _, metrics, notes = quantize(src, calibration=method, data=cifar10)
    assert metrics["quantized_ops"] == 16
    assert [note.split()[0] for note in notes] == ["Softmax"]
    assert metrics["sqnr_db"] > 27
    report = EvaluateStage(data=cifar10).run(
        artifacts.of(src.with_name("int8.onnx")),
        tmp_path / "r.json",
        StageContext(scratch=tmp_path),
    )
    assert report["accuracy"] == pytest.approx(0.8719, abs=0.004)
