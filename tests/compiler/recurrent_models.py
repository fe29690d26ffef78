"""Models of one LSTM or GRU, and of floats to quantize them with."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime

from edgekiln.compiler.onnx_model import io
from tests.compiler import quantizing


def calibration(path: Path, *shape: int) -> str:
    np.save(path, np.random.default_rng(0).normal(size=(32, *shape)).astype(np.float32))
    return str(path)


def of_onnxruntime(model: Path, x: np.ndarray) -> list[np.ndarray]:
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    return list(session.run(None, {"x": x}))


LAYER = """
<ir_version: 8, opset_import: ["" : 14]>
layer (float[1, {length}, 5] x) => (float[{length}, {ways}, 1, 9] y, float[{ways}, 1, 9] last) {{
    t = Transpose <perm = [1, 0, 2]> (x)
    y, last{cell} = {op} <hidden_size = 9, direction = "{direction}"{words}> (t, w, r, b)
}}
"""


def layer(path: Path, op: str, direction: str, words: str = "", length: int = 11) -> Path:
    """A layer alone, whose results are the model's."""
    ways, gates = 2 if direction == "bidirectional" else 1, 4 if op == "LSTM" else 3
    text = LAYER.format(
        length=length, ways=ways, op=op, direction=direction, words=words,
        cell=", cell" if op == "LSTM" else "",
    )  # fmt: skip
    model = onnx.parser.parse_model(text)
    rng = np.random.default_rng(len(path.name))
    for name, shape in {"w": (gates * 9, 5), "r": (gates * 9, 9), "b": (2 * gates * 9,)}.items():
        array = rng.normal(0, 0.5, (ways, *shape)).astype(np.float32)
        model.graph.initializer.append(onnx.numpy_helper.from_array(array, name))
    io.save_model(model, path)
    return path


def int8_layer(home: Path, op: str, direction: str, words: str = "") -> Path:
    """The int8 model of a layer alone."""
    source = layer(home / "m.onnx", op, direction, words)
    quantizing.quantize(source, data=calibration(home / "x.npy", 11, 5), samples=8)
    return source.with_name("int8.onnx")
