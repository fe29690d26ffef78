"""Small float ONNX models, written in ONNX's text form, with seeded weights."""

from pathlib import Path

import numpy as np
import onnx

CONV_RELU_CONV_ADD = """
    a = Conv <kernel_shape = [3, 3], pads = [1, 1, 1, 1]> (x, w1, b1)
    ra = Relu (a)
    c = Conv <kernel_shape = [3, 3], pads = [1, 1, 1, 1]> (ra, w2, b2)
    s = Add (c, ra)
    rs = Relu (s)
    p = GlobalAveragePool (rs)
    f = Flatten (p)
    y = Gemm <transB = 1> (f, w3, b3)
"""
RESIDUAL_WEIGHTS = {
    "w1": (8, 3, 3, 3),
    "b1": (8,),
    "w2": (8, 8, 3, 3),
    "b2": (8,),
    "w3": (10, 8),
    "b3": (10,),
}


def make(
    body: str,
    weights: dict[str, tuple[int, ...]],
    *,
    x: str = "N, 3, 32, 32",
    y: str = "N, 10",
    opset: int = 20,
    constants: dict[str, np.ndarray] | None = None,
) -> onnx.ModelProto:
    """A model with input `x` and output `y`; `body` is one assignment a line."""
    text = (
        f'<ir_version: 8, opset_import: ["" : {opset}]>\n'
        f"model (float[{x}] x) => (float[{y}] y) {{{body}}}"
    )
    model = onnx.parser.parse_model(text)
    for node in model.graph.node:
        node.name = node.output[0]
    rng = np.random.default_rng(0)
    arrays = {
        name: rng.normal(0, np.sqrt(2 / np.prod(shape[1:] or (8,))), shape).astype(np.float32)
        for name, shape in weights.items()
    }
    for name, array in (arrays | (constants or {})).items():
        model.graph.initializer.append(onnx.numpy_helper.from_array(array, name))
    onnx.checker.check_model(model, full_check=True)
    return model


def residual(opset: int = 20, x: str = "N, 3, 32, 32", y: str = "N, 10") -> onnx.ModelProto:
    """Two convolutions, a shortcut, pooling and a head: what every ResNet is made of."""
    return make(CONV_RELU_CONV_ADD, RESIDUAL_WEIGHTS, opset=opset, x=x, y=y)


def write(model: onnx.ModelProto, path: Path) -> Path:
    path.write_bytes(model.SerializeToString())
    return path
