"""What is quantized computes what the user's model does."""

from pathlib import Path

import numpy as np
import onnx
import pytest

from edgekiln.compiler.onnx_model import io, model_inputs
from edgekiln.compiler.onnx_model.feed import feed_for
from edgekiln.compiler.onnx_model.validate import validated
from edgekiln.compiler.quantization import kept_numbers
from edgekiln.compiler.quantization.prepare import prepare
from edgekiln.runtime.errors import MismatchError
from tests.compiler.onnx_model.same_numbers import by_onnxruntime, parsed

RNG = np.random.default_rng(0)


def some(*shape: int) -> np.ndarray:
    return RNG.normal(size=shape).astype(np.float32)


def norm(channels: int) -> dict[str, np.ndarray]:
    return {"g": some(channels), "b": some(channels), "u": some(channels), "v": some(channels) ** 2}


NORM = "BatchNormalization (m, g, b, u, v)"
MODELS = {
    "a bias of columns, as many as there are rows": parsed(
        "m (float[6, 4] x) => (float[6, 6] y) {m = MatMul (x, w) y = Add (m, c)}",
        17, w=some(4, 6), c=some(6, 1),
    ),
    "a bias of rows": parsed(
        "m (float[6, 4] x) => (float[6, 5] y) {m = MatMul (x, w) y = Add (m, c)}",
        17, w=some(4, 5), c=some(1, 5),
    ),
    "a batch norm behind a bias of columns": parsed(
        f"m (float[5, 6] x) => (float[5, 5] y) {{m = Gemm (x, w, c) y = {NORM}}}",
        17, w=some(6, 5), c=some(5, 1), **norm(5),
    ),
    "a batch norm of the rows of a product": parsed(
        f"m (float[1, 6, 4] x) => (float[1, 6, 5] y) {{m = MatMul (x, w) y = {NORM}}}",
        17, w=some(4, 5), **norm(6),
    ),
    "a batch norm of the rows of a square product": parsed(
        f"m (float[1, 6, 4] x) => (float[1, 6, 6] y) {{m = MatMul (x, w) y = {NORM}}}",
        17, w=some(4, 6), **norm(6),
    ),
    "the largest of all, as it was": parsed(
        "m (float[1, 4, 6, 5] x) => (float[1, 5, 6, 5] y) "
        "{c = Conv (x, w) y = Hardmax <axis = 1> (c)}",
        11, w=some(5, 4, 1, 1),
    ),
    "an image times the strides, with padding of the output": parsed(
        "m (float[1, 4, 6, 5] x) => (float[1, 5, 12, 10] y) {y = ConvTranspose "
        '<auto_pad = "SAME_UPPER", strides = [2, 2], output_padding = [1, 1]> (x, w)}',
        13, w=some(4, 5, 3, 3),
    ),
    "an image of the extents that are asked for": parsed(
        "m (float[1, 4, 7, 7] x) => (float[1, 1, 1, 14] y) {y = ConvTranspose "
        "<kernel_shape = [1, 3], strides = [1, 2], output_shape = [1, 14]> (x, w)}",
        13, w=some(4, 1, 1, 3),
    ),
    "a constant that is divided, in a batch of two": parsed(
        "m (float[2, 3, 4] x) => (float[2, 3, 4] y) {e = Exp (x) y = Div (k, e)}",
        17, k=some(4),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", MODELS)
def test_a_rewrite_keeps_the_numbers(name: str) -> None:
    model = onnx.ModelProto.FromString(MODELS[name].SerializeToString())
    ready = prepare(validated(model, "m.onnx"))
    (source,) = model.graph.input
    feeds = {"x": some(*(d.dim_value for d in source.type.tensor_type.shape.dim))}
    (right,), (ours,) = by_onnxruntime(MODELS[name], feeds), by_onnxruntime(ready, feeds)
    np.testing.assert_allclose(ours, right, rtol=1e-4, atol=1e-5)


def test_a_rewrite_that_changes_the_numbers_is_not_quantized(tmp_path: Path) -> None:
    plain, other = (
        validated(parsed(f"m (float[N, 4] x) => (float[N, 4] y) {{y = {op} (x)}}", 17), "m.onnx")
        for op in ("Relu", "Sigmoid")
    )
    np.save(tmp_path / "x.npy", some(40, 4))
    meta, takes = io.read_meta(plain), model_inputs.of_model(plain)
    feed = feed_for(meta, takes, data=str(tmp_path / "x.npy"), seed=0)
    kept_numbers.check(plain, prepare(plain), feed)
    with pytest.raises(MismatchError, match=r"changed what it computes: output 'y' is .* dB from"):
        kept_numbers.check(plain, other, feed)
