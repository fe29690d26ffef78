"""Weights of four bits: half the bytes of a program, and ONNX Runtime's bits."""

import re
from pathlib import Path

import numpy as np
import onnx
import pytest

from edgekiln.compiler.evaluation.layerwise import verify
from edgekiln.compiler.evaluation.parity import batches_for
from edgekiln.compiler.onnx_model.four_bits import LEAST_WEIGHTS
from edgekiln.compiler.stages.quantize import QuantizeStage
from edgekiln.runtime import bundle
from edgekiln.runtime.errors import ConfigError
from edgekiln.runtime.runner import AotRunner
from edgekiln.targets import profile
from tests.compiler import quantizing
from tests.compiler.float_models import make, write
from tests.compiler.qdq_models import QdqModel
from tests.e2e.compiled_models import build
from tests.e2e.test_arm_qemu import require_features

HOST = profile.load("x86-64-v3")
SMALL = ("cortex-m4", "cortex-m55")  # by words and by vectors
CHANNELS, IMAGE = 32, 6
INT4, UINT4 = onnx.TensorProto.INT4, onnx.TensorProto.UINT4


def network(path: Path, *, shift: int = 4, kind: int | None = None) -> Path:
    """Two convolutions and a dense layer of int8 codes, or of those of `kind`.

    Args:
        shift: bits that each code has fewer.
    """
    m = QdqModel(seed=1, opset=21)
    x = m.q(m.input("x", 1, CHANNELS, IMAGE, IMAGE), scale=0.02, zero=-5)

    def weights(*shape: int) -> str:
        codes = m.rng.integers(-128, 128, shape) >> shift
        scales = m.const(np.linspace(0.01, 0.02, shape[0]) * (1 << shift), "float32")
        if kind is None:
            name, zeros = m.const(codes, "int8"), m.const(np.zeros(shape[0]), "int8")
        else:
            name, zero = f"codes{len(m.constants)}", 0 if kind == INT4 else 8
            m.constants += [
                onnx.helper.make_tensor(name, kind, shape, (codes + zero).ravel()),
                onnx.helper.make_tensor(f"{name}_zero", kind, shape[:1], [zero] * shape[0]),
            ]
            zeros = f"{name}_zero"
        return m.op("DequantizeLinear", name, scales, zeros, out=f"{name}_dq", axis=0)

    for number in range(2):
        w = weights(CHANNELS, CHANNELS, 3, 3)
        conv = m.op("Conv", x, w, out=f"conv{number}", pads=[1, 1, 1, 1])
        x = m.q(m.op("Relu", conv, out=f"r{number}"), scale=1.0 * 20**number, zero=-128)
    flat = m.op("Flatten", x, out="flat")
    dense = m.op("Gemm", flat, weights(40, CHANNELS * IMAGE * IMAGE), out="dense", transB=1)
    return m.save(path, m.q(dense, scale=2000.0, zero=3))


@pytest.mark.parametrize("kind", [None, INT4, UINT4])
def test_programs_have_onnxruntimes_bits_whatever_type_the_file_has(
    tmp_path: Path, kind: int | None
) -> None:
    model = network(tmp_path / "int8.onnx", kind=kind)
    lib = build(model, HOST)
    spec = AotRunner.open(lib).spec
    assert all(layer.integer for layer in spec.layers)
    verify(lib, model, batches_for(spec, model, data="", seed=1, samples=20)).check()


@pytest.mark.parametrize("target", [HOST.name, *SMALL])
def test_weights_take_half_a_byte_each(tmp_path: Path, target: str) -> None:
    sizes = []
    for shift in (0, 4):
        model = network(tmp_path / "int8.onnx", shift=shift)
        spec, _ = bundle.read_program(build(model, profile.load(target)))
        sizes.append(spec.weights_bytes)
    whole, narrow = sizes
    count = 2 * CHANNELS**2 * 9 + 40 * CHANNELS * IMAGE**2
    # Beside them biases and factors lie in both, and a filled last unit of a block.
    assert narrow < count / 2 * 1.1 + 2048
    assert whole > 0.98 * count


def samples(path: Path, *shape: int) -> str:
    np.save(path, np.random.default_rng(0).normal(size=(60, *shape)).astype(np.float32))
    return str(path)


def largest_codes(model: onnx.ModelProto) -> dict[tuple[int, ...], int]:
    """By the shape of weights."""
    arrays = map(onnx.numpy_helper.to_array, model.graph.initializer)
    weights = [array for array in arrays if array.dtype == np.int8 and array.ndim > 1]
    return {array.shape: int(np.abs(array.astype(int)).max()) for array in weights}


def test_quantize_makes_them_and_says_what_that_costs(tmp_path: Path) -> None:
    body = (
        "h = Conv <kernel_shape = [3, 3], pads = [1, 1, 1, 1]> (x, w1)\n r = Relu (h)\n "
        "d = Conv <kernel_shape = [3, 3], group = 40> (r, w2)\n s = Relu (d)\n "
        "y = Conv <kernel_shape = [1, 1]> (s, w3)"
    )
    shapes: dict[str, tuple[int, ...]] = {
        "w1": (40, 8, 3, 3),
        "w2": (40, 1, 3, 3),
        "w3": (40, 40, 1, 1),
    }
    src = write(make(body, shapes, x="N, 8, 9, 9", y="N, 40, 7, 7"), tmp_path / "m.onnx")
    data = samples(tmp_path / "x.npy", 8, 9, 9)
    model, metrics, notes = quantizing.quantize(src, data=data, weight_bits=4)
    most = largest_codes(model)
    # A depthwise convolution has few weights, each of which counts.
    assert most == {(40, 8, 3, 3): 7, (40, 1, 3, 3): 127, (40, 40, 1, 1): 7}
    said = rf"weights of 4 bits SQNR {metrics['sqnr_db']:.1f} dB; of 8 bits SQNR .* samples"
    assert any(re.fullmatch(said, note) for note in notes)
    assert metrics["sqnr_db"] > 12


def test_a_small_layer_keeps_its_bytes(tmp_path: Path) -> None:
    shapes: dict[str, tuple[int, ...]] = {"w1": (16, 16), "w2": (LEAST_WEIGHTS // 16, 16)}
    body = "h = Gemm <transB = 1> (x, w1)\n r = Relu (h)\n y = Gemm <transB = 1> (r, w2)"
    src = write(make(body, shapes, x="N, 16", y="N, 64"), tmp_path / "m.onnx")
    data = samples(tmp_path / "x.npy", 16)
    model, *_ = quantizing.quantize(src, data=data, weight_bits=4)
    most = largest_codes(model)
    assert most == {(16, 16): 127, (LEAST_WEIGHTS // 16, 16): 7}


@pytest.mark.parametrize("target", ["x86-avx512-vnni", "cortex-m4"])
def test_weights_in_blocks_are_integer_with_onnxruntimes_bits(tmp_path: Path, target: str) -> None:
    shapes: dict[str, tuple[int, ...]] = {"w1": (128, 256), "w2": (64, 128)}
    body = "h = Gemm <transB = 1> (x, w1)\n r = Relu (h)\n y = Gemm <transB = 1> (r, w2)"
    src = write(make(body, shapes, x="N, 256", y="N, 64"), tmp_path / "m.onnx")
    data = samples(tmp_path / "x.npy", 256)
    _, channel, _ = quantizing.quantize(src, data=data, weight_bits=4)
    model, metrics, _ = quantizing.quantize(src, data=data, weight_bits=4, weight_block=32)
    assert metrics["sqnr_db"] > channel["sqnr_db"]
    # Factors of blocks reach beyond four bits; each block is a few whole steps of them.
    assert min(largest_codes(model).values()) > 7
    int8 = tmp_path / "blocks.onnx"
    onnx.save(model, int8)
    spec, _ = bundle.read_program(lib := build(int8, profile.load(target)))
    count = 128 * 256 + 64 * 128
    assert spec.weights_bytes < count * (0.5 + 4 / 32) * 1.1 + 4096
    assert all(layer.integer for layer in spec.layers[:-1])
    if target.startswith("x86"):
        require_features(profile.load(target))
        batches = batches_for(AotRunner.open(lib).spec, int8, data=data, seed=1, samples=20)
        verify(lib, int8, batches).check()


@pytest.mark.parametrize(
    ("options", "hint"),
    [
        ({"weight_block": 48, "weight_bits": 4}, "give 32, 64, 128, or 0 (none)"),
        ({"weight_block": 32}, "add weight-bits = 4, of which blocks are"),
        (
            {"weight_block": 32, "weight_bits": 4, "qat_epochs": 1},
            "leave out qat-epochs: weights in blocks are not trained",
        ),
    ],
)
def test_blocks_of_what_has_none_are_refused(options: dict[str, int], hint: str) -> None:
    with pytest.raises(ConfigError) as caught:
        QuantizeStage(**options)  # type: ignore[arg-type]
    assert caught.value.hint == hint
