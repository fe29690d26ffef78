"""Every operator of the table computes what LiteRT's reference kernels compute, bit by bit."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from edgekiln.benchmarks.tflite import litert
from edgekiln.benchmarks.tflite.compare import compare
from edgekiln.benchmarks.tflite.network import network
from edgekiln.benchmarks.tflite.operators import (
    CASES,
    TfliteCase,
    of_unsigned,
    written_by,
)
from edgekiln.benchmarks.tflite.writer import NarrowWriter, TfliteWriter, UnsignedWriter, unsigned
from edgekiln.compiler.onnx_model import io
from edgekiln.compiler.onnx_model.session import Session
from edgekiln.compiler.onnx_model.tflite.convert import OPERATORS
from edgekiln.compiler.onnx_model.tflite.fixed_point import (
    quantized_multiplier,
    rounded_once,
    rounded_twice,
)

SEEDS = 4
# Operators that become other ones than those of int8.
UNLIKE_SIGNED = ("AVERAGE_POOL_2D", "CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED")


@pytest.fixture(autouse=True)
def _needs_litert() -> None:
    pytest.importorskip("ai_edge_litert", reason="LiteRT is not installed")


@pytest.mark.parametrize("name", CASES)
def test_an_operator_on_codes_is_litert_s(name: str) -> None:
    cases = [CASES[name](np.random.default_rng(seed)) for seed in range(SEEDS)]
    found = [compare(name, case.file, [case.inputs], compiled=False) for case in cases]
    assert [each.onnx for each in found] == [0] * SEEDS
    assert all(each.values for each in found)


@pytest.mark.parametrize("name", CASES)
def test_an_operator_on_unsigned_codes_is_litert_s(name: str) -> None:
    cases = [of_unsigned(CASES[name], np.random.default_rng(seed)) for seed in range(SEEDS)]
    found = [compare(name, case.file, [case.inputs], compiled=False) for case in cases]
    assert [each.onnx for each in found] == [0] * SEEDS
    assert all(each.values for each in found)


@pytest.mark.parametrize("name", ["CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"])
def test_weights_of_four_bits_are_litert_s(name: str) -> None:
    cases = [
        written_by(NarrowWriter, CASES[name], np.random.default_rng(seed)) for seed in range(SEEDS)
    ]
    found = [compare(name, case.file, [case.inputs], compiled=False) for case in cases]
    assert [each.onnx for each in found] == [0] * SEEDS
    assert all(each.values for each in found)


def test_a_network_s_program_of_four_bits_is_litert_s() -> None:
    case = written_by(NarrowWriter, network, np.random.default_rng(1))
    rng = np.random.default_rng(2)
    calls = [[rng.integers(-128, 128, (1, 12, 10, 3)).astype(np.int8)] for _ in range(20)]
    found = compare("a network", case.file, calls, compiled=True)
    assert found.distinct > 5
    assert (found.onnx, found.program) == (0, 0)


def test_an_unsigned_network_s_program_is_litert_s() -> None:
    case = of_unsigned(network, np.random.default_rng(1))
    rng = np.random.default_rng(2)
    calls = [[rng.integers(0, 256, (1, 12, 10, 3)).astype(np.uint8)] for _ in range(20)]
    found = compare("a network", case.file, calls, compiled=True)
    assert found.distinct > 5
    assert (found.onnx, found.program) == (0, 0)


@pytest.mark.parametrize("name", UNLIKE_SIGNED)
def test_a_program_of_unsigned_codes_is_litert_s(name: str) -> None:
    case = of_unsigned(CASES[name], np.random.default_rng(5))
    assert compare(name, case.file, [case.inputs], compiled=True).program == 0


# Scales whose product is another one in float32 than in double, and sums that show it: those whose
# codes differ between the two factors, found by trying all sums up to nine million.
SCALES = (0.10643048584461212, 0.010963040404021740, 94.05506)


@pytest.mark.parametrize("unsigned_too", [False, True])
@pytest.mark.parametrize("kind", ["CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"])
def test_factors_are_litert_s_to_the_last_bit(kind: str, unsigned_too: bool) -> None:
    sums = telling_sums(kind)
    assert len(sums) > 4
    case = of_bias(UnsignedWriter() if unsigned_too else TfliteWriter(), kind, sums)
    assert compare(kind, case.file, [case.inputs], compiled=False).onnx == 0


def telling_sums(kind: str) -> NDArray[np.int64]:
    x, w, y = map(np.float32, SCALES)
    sums = np.arange(-9_000_000, 9_000_000, dtype=np.int64)
    multiply = rounded_once if kind == "FULLY_CONNECTED" else rounded_twice
    products = (float(x) * float(w), float(x * w))
    one, other = (multiply(sums, *quantized_multiplier(p / float(y))) for p in products)
    return sums[np.flatnonzero((one != other) & (np.abs(one) < 120))[:32]]


def of_bias(w: TfliteWriter, kind: str, sums: NDArray[np.int64]) -> TfliteCase:
    """A layer whose sums are its bias, for its operand is its zero point."""
    count, (of_x, of_w, of_y) = len(sums), SCALES
    shape, weights = {
        "CONV_2D": ((1, 1, 1, 4), (count, 1, 1, 4)),
        "DEPTHWISE_CONV_2D": ((1, 1, 1, 1), (1, 1, 1, count)),
        "FULLY_CONNECTED": ((1, 4), (count, 4)),
    }[kind]
    x = w.tensor(shape, scale=of_x, zero=3)
    k = w.constant(np.zeros(weights, np.int8), [of_w])
    bias = w.constant(sums.astype(np.int32), [float(np.float32(of_x) * np.float32(of_w))])
    y = w.tensor((*shape[:-1], count), scale=of_y)
    window = {"stride_w": 1, "stride_h": 1, "padding": 1}
    match kind:
        case "FULLY_CONNECTED":
            w.op(kind, [x, k, bias], y, "FullyConnected")
        case "DEPTHWISE_CONV_2D":
            w.op(kind, [x, k, bias], y, "DepthwiseConv2D", multiplier=count, **window)
        case _:
            w.op(kind, [x, k, bias], y, "Conv2D", **window)
    given = np.full(shape, 3, np.int8)
    of_file = unsigned(given) if isinstance(w, UnsignedWriter) else given
    return TfliteCase(w.file([x], [y]), (of_file,))


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_an_operator_s_program_is_litert_s(name: str) -> None:
    case = CASES[name](np.random.default_rng(5))
    assert compare(name, case.file, [case.inputs], compiled=True).program == 0


def test_a_network_s_program_is_litert_s() -> None:
    case = network(np.random.default_rng(1))
    rng = np.random.default_rng(2)
    calls = [[rng.integers(-128, 128, (1, 12, 10, 3)).astype(np.int8)] for _ in range(20)]
    found = compare("a network", case.file, calls, compiled=True)
    assert found.distinct > 10
    assert (found.onnx, found.program) == (0, 0)


def test_the_table_s_bit_equal_operators_are_all_compared() -> None:
    promised = {name for name, row in OPERATORS.items() if row.codes.startswith("bit-equal")}
    compared = {name.replace(",", " ").split()[0] for name in CASES}
    # What shares the code of one that is compared.
    alike = {"EXPAND_DIMS", "PADV2", "RELU_N1_TO_1", "SLICE", "DEQUANTIZE"}
    assert promised - compared == alike


def test_the_streaming_wake_words_are_litert_s() -> None:
    models = pytest.importorskip("pymicro_wakeword", reason="its models are not installed")
    path = Path(models.__file__).parent / "models" / "okay_nabu.tflite"
    rng = np.random.default_rng(0)
    calls = [[rng.integers(-128, 60, (1, 3, 40)).astype(np.int8)] for _ in range(40)]
    found = compare("okay_nabu", path.read_bytes(), calls, compiled=False)
    assert found.distinct > 100  # of the variables, which are compared, too
    assert found.onnx == 0


def test_litert_itself_is_deterministic() -> None:
    case = network(np.random.default_rng(3))
    first, second = (litert.outputs(case.file, case.inputs) for _ in range(2))
    np.testing.assert_array_equal(first[0], second[0])


@pytest.mark.parametrize(("turned_x", "turned_y"), [(0, 0), (0, 1), (1, 0), (1, 1)])
def test_floats_of_normalization_and_attention_are_litert_s(
    tmp_path: Path, turned_x: int, turned_y: int
) -> None:
    """Squares, inverse roots, and products of activations, of layer norm and attention."""
    w = TfliteWriter()
    shapes = {"x": (2, 3, 5) if not turned_x else (2, 5, 3)}
    shapes["y"] = (2, 5, 4) if not turned_y else (2, 4, 5)
    x, y = (w.tensor(shape, "float32") for shape in shapes.values())
    product = w.tensor((2, 3, 4), "float32")
    w.op("BATCH_MATMUL", [x, y], product, "BatchMatMul", adj_x=turned_x, adj_y=turned_y)
    centre = w.constant(np.full((1, 1, 4), 0.25, np.float32))
    spread, more, square, root = (w.tensor((2, 3, 4), "float32") for _ in range(4))
    w.op("SQUARED_DIFFERENCE", [product, centre], spread)
    w.op("ADD", [spread, w.constant(np.array([0.5], np.float32))], more, "Add")
    w.op("RSQRT", [more], root)
    w.op("SQUARE", [root], square)
    path = tmp_path / "m.tflite"
    path.write_bytes(w.file([x, y], [product, root, square]))
    rng = np.random.default_rng(0)
    inputs = [rng.normal(size=shape).astype(np.float32) for shape in shapes.values()]
    model = io.load_model(path)
    session = Session(model, optimize=False)
    names = [value.name for value in model.graph.input]
    found = session(dict(zip(names, inputs, strict=True)))
    expected = litert.outputs(path.read_bytes(), inputs)
    assert len(found) == 3
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)
