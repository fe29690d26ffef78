"""Embeddings of 4 bits: half the bytes, ONNX Runtime's bits, and refusals in words."""

import re
from pathlib import Path

import numpy as np
import onnx
import pytest

from edgekiln.compiler.evaluation.layerwise import verify
from edgekiln.compiler.evaluation.parity import batches_for
from edgekiln.compiler.onnx_model import io
from edgekiln.compiler.onnx_model.cost import onnx_costs
from edgekiln.compiler.stages.quantize import QuantizeStage
from edgekiln.runtime.errors import AccuracyError, ConfigError, UnsupportedError
from edgekiln.runtime.runner import AotRunner
from edgekiln.targets import profile
from tests.compiler import quantizing
from tests.compiler.float_models import residual
from tests.e2e.compiled_models import build

TARGET = profile.load("x86-64-v3")
ROWS, WIDTH = 200, 33  # odd: the last byte of a row holds one value
INT4 = onnx.TensorProto.INT4
TABLES = """
<ir_version: 8, opset_import: ["" : {opset}]>
pairs (int32[N] user, int64[N] item) => (float[N, 1] y) {{
    a = Gather (users, user)
    b = Gather (items, item)
    both = Concat <axis = 1> (a, b)
    hidden = Gemm <transB = 1> (both, w1, b1)
    r = Relu (hidden)
    y = Gemm <transB = 1> (r, w2, b2)
}}
"""


def network(folder: Path, opset: int = 20) -> Path:
    model = onnx.parser.parse_model(TABLES.format(opset=opset))
    rng = np.random.default_rng(0)
    shapes = {
        "users": (ROWS, WIDTH), "items": (2 * ROWS, WIDTH), "w1": (32, 2 * WIDTH), "b1": (32,),
        "w2": (1, 32), "b2": (1,),
    }  # fmt: skip
    for name, shape in shapes.items():
        array = rng.normal(0, 0.3, shape).astype(np.float32)
        model.graph.initializer.append(onnx.numpy_helper.from_array(array, name))
    path = folder / "pairs.onnx"
    io.save_model(model, path)
    user, item = rng.integers(0, ROWS, 400).astype(np.int32), rng.integers(0, 2 * ROWS, 400)
    np.savez(folder / "pairs.npz", user=user, item=item)
    return path


def quantized(path: Path, **options: object) -> tuple[onnx.ModelProto, dict[str, float], list[str]]:
    return quantizing.quantize(path, data=str(path.with_suffix(".npz")), **options)


@pytest.mark.parametrize("opset", [13, 20])
def test_tables_of_four_bits_have_onnxruntimes_bits(tmp_path: Path, opset: int) -> None:
    model, metrics, notes = quantized(network(tmp_path, opset), embedding_bits=4)
    tables = {tuple(w.dims) for w in model.graph.initializer if w.data_type == INT4}
    assert tables == {(ROWS, WIDTH), (2 * ROWS, WIDTH)}
    assert metrics["sqnr_db"] > 15
    cost = rf"embeddings of 4 bits SQNR {metrics['sqnr_db']:.1f} dB; of 8 bits SQNR .* samples"
    assert any(re.fullmatch(cost, note) for note in notes)
    int8 = tmp_path / "int8.onnx"
    lib = build(int8, TARGET)
    batches = batches_for(AotRunner.open(lib).spec, int8, data="", seed=1, samples=20)
    found = verify(lib, int8, batches)
    found.check()
    gaps = {gap.op: (gap.differing, gap.sqnr_db) for gap in found.layers if "take" in gap.op}
    assert gaps == {"take_packed": (0, None)}  # floats, without a difference
    # The last layer gives floats, which are ONNX Runtime's but for rounding.
    codes = [gap for gap in found.layers if gap.max_steps is not None]
    assert len(codes) == 4
    assert not any(gap.differing for gap in codes)


def test_a_table_takes_half_the_bytes_and_four_a_row(tmp_path: Path) -> None:
    path = network(tmp_path)
    sizes = {}
    for bits in (8, 4):
        model, *_ = quantized(path, embedding_bits=bits)
        lib = build(tmp_path / "int8.onnx", TARGET)
        sizes[bits] = (onnx_costs(model).weight_bytes, AotRunner.open(lib).spec.weights_bytes)
    values = 3 * ROWS * WIDTH
    in_file, in_program = (sizes[8][place] - sizes[4][place] for place in range(2))
    assert in_file == values // 2  # of the codes; scales are no weights
    half_a_byte_a_row, scales = 3 * ROWS / 2, 3 * ROWS * 4
    assert in_program == pytest.approx(values / 2 - half_a_byte_a_row - scales, abs=512)


def test_a_limit_that_four_bits_do_not_hold_says_what_would(tmp_path: Path) -> None:
    limits = {"data": str(tmp_path / "pairs.npz"), "embedding_bits": 4, "min_sqnr": 90.0}
    error = quantizing.refused(network(tmp_path), AccuracyError, **limits)
    assert error.hint is not None
    assert error.hint.endswith("; or give embeddings 8 bits, by embedding-bits = 8")


def test_models_without_tables_stay_as_they_are(tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    io.save_model(residual(), path)
    plain, *_ = quantizing.quantize(path)
    narrow, _, notes = quantizing.quantize(path, embedding_bits=4)
    assert narrow == plain
    (note,) = (each for each in notes if "4 bits" in each)
    assert note.startswith("no embeddings of 4 bits: no Gather takes rows of a constant matrix")


def test_a_number_that_the_table_has_no_row_for_is_called_that(tmp_path: Path) -> None:
    path = network(tmp_path)
    beyond = np.full(400, ROWS, np.int32)
    np.savez(path.with_suffix(".npz"), user=beyond, item=np.zeros(400, np.int64))
    error = quantizing.refused(
        path, UnsupportedError, data=str(path.with_suffix(".npz")), embedding_bits=4
    )
    assert f"idx={ROWS} must be within" in error.message
    assert error.hint is not None
    assert error.hint.startswith("the samples hold a number beyond the table's rows")


@pytest.mark.parametrize(
    ("bits", "epochs", "hint"),
    [(5, 0, "give 8, or 4"), (4, 1, "leave out qat-epochs: rows of 4 bits are not trained")],
)
def test_what_has_no_form_is_refused(bits: int, epochs: int, hint: str) -> None:
    with pytest.raises(ConfigError) as caught:
        QuantizeStage(embedding_bits=bits, qat_epochs=epochs)
    message = f"quantize: embedding-bits = {bits}"
    assert (caught.value.message, caught.value.hint) == (message, hint)
