"""What operators make of constants: the numbers that ONNX Runtime makes of them."""

import numpy as np
import onnx
import onnxruntime as ort
import pytest

from edgekiln.compiler.onnx_model.constant_result import constant_result

RNG = np.random.default_rng(0)
LSTM = "LSTM <hidden_size = 3> (a, b, c, , d)"


@pytest.mark.parametrize(
    ("opset", "call", "shapes"),
    [
        (13, "LRN <size = 3, alpha = 0.9> (a)", [(1, 5, 4, 4)]),
        (11, "LogSoftmax <axis = 1> (a)", [(2, 3, 4)]),
        (11, "Hardmax <axis = 1> (a)", [(2, 3, 4)]),
        (13, "ConvTranspose <group = 2> (a, b, c)", [(1, 4, 5, 5), (4, 3, 3, 3), (6,)]),
        (13, "LpPool <kernel_shape = [2, 2], pads = [1, 1, 0, 0], p = 1> (a)", [(1, 2, 5, 5)]),
        (13, LSTM, [(4, 2, 3), (1, 12, 3), (1, 12, 3), "lengths"]),
        (13, "GRU <hidden_size = 3, clip = 0.4> (a, b, c)", [(4, 2, 3), (1, 9, 3), (1, 9, 3)]),
    ],
)
def test_a_constant_is_what_onnxruntime_makes_of_it(
    opset: int, call: str, shapes: list[tuple[int, ...] | str]
) -> None:
    feeds: dict[str, np.ndarray] = {
        name: np.array([4, 2], np.int32)
        if shape == "lengths"
        else RNG.normal(size=shape).astype(np.float32)
        for name, shape in zip("abcd", shapes, strict=False)
    }
    inputs = ", ".join(
        f"{'int32' if a.dtype == np.int32 else 'float'}{list(a.shape)} {name}"
        for name, a in feeds.items()
    )
    text = f'<ir_version: 8, opset_import: ["" : {opset}]> m ({inputs}) => (float y) {{y = {call}}}'
    model = onnx.parser.parse_model(text)
    del model.graph.output[:]
    model.graph.output.append(onnx.helper.make_empty_tensor_value_info("y"))
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    (right,) = session.run(None, feeds)
    (ours,) = constant_result(model.graph.node[0], feeds, model.opset_import)
    np.testing.assert_array_equal(ours, right)


def test_integers_that_have_no_quotient_end_no_process() -> None:
    node = onnx.helper.make_node("Div", ["a", "b"], ["y"])
    feeds = {"a": np.array([3]), "b": np.array([0])}
    with np.errstate(all="ignore"):
        assert len(constant_result(node, feeds, [onnx.helper.make_opsetid("", 17)])) == 1
