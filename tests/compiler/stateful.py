"""Models that remember, the data they are calibrated on, and what ONNX Runtime makes of streams."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime

from edgekiln.compiler.onnx_model import door, io

WIDTH, HIDDEN, STEPS = 8, 16, 12

LSTM = f"""
<ir_version: 8, opset_import: ["" : 20]>
lstm (float[1, 1, {WIDTH}] x, float[1, 1, {HIDDEN}] h0, float[1, 1, {HIDDEN}] c0)
  => (float[1, 3] y, float[1, 1, {HIDDEN}] hn, float[1, 1, {HIDDEN}] cn) {{
    all, hn, cn = LSTM <hidden_size = {HIDDEN}> (x, w, r, b, none, h0, c0)
    row = Reshape (hn, shape)
    y = Gemm <transB = 1> (row, v, u)
}}
"""
GRU = f"""
<ir_version: 8, opset_import: ["" : 20]>
gru (float[1, 1, {WIDTH}] x, float[1, 1, {HIDDEN}] hidden_in)
  => (float[1, 3] y, float[1, 1, {HIDDEN}] hidden_out) {{
    all, hidden_out = GRU <hidden_size = {HIDDEN}> (x, w, r, b, none, hidden_in)
    row = Reshape (hidden_out, shape)
    y = Gemm <transB = 1> (row, v, u)
}}
"""
# A convolution over the last five frames of four channels, of which one is new.
RING = """
<ir_version: 8, opset_import: ["" : 20]>
ring (float[1, 4, 1, 1] x, float[1, 4, 1, 4] frames_in)
  => (float[1, 6] y, float[1, 4, 1, 4] frames_out) {
    window = Concat <axis = 3> (frames_in, x)
    frames_out = Slice (window, one, end, axis)
    c = Conv <kernel_shape = [1, 5]> (window, w)
    r = Relu (c)
    y = Flatten (r)
}
"""
# What is read after the new value is written, and a counter.
SUM = """
<ir_version: 8, opset_import: ["" : 20]>
sum (float[1, 40] x, float[1, 40] total, int64[1] n_in)
  => (float[1, 40] y, float[1, 40] total_next, int64[1] n_out) {
    total_next = Add (x, total)
    n_out = Add (n_in, first)
    s = Sigmoid (total_next)
    y = Mul (s, total)
}
"""


def _weights(kind: str) -> dict[str, np.ndarray]:
    draw = np.random.default_rng(1)

    def normal(*shape: int) -> np.ndarray:
        return np.asarray(draw.standard_normal(shape) / np.sqrt(shape[-1]), np.float32)

    if kind in ("lstm", "gru"):
        gates = 4 if kind == "lstm" else 3
        return {
            "w": normal(1, gates * HIDDEN, WIDTH), "r": normal(1, gates * HIDDEN, HIDDEN),
            "b": normal(1, 2 * gates * HIDDEN), "v": normal(3, HIDDEN), "u": normal(3),
            "shape": np.array([1, HIDDEN]),
        }  # fmt: skip
    if kind == "ring":
        return {
            "w": normal(6, 4, 1, 5), "one": np.array([1]), "end": np.array([5]),
            "axis": np.array([3]),
        }  # fmt: skip
    return {"first": np.array([1])}


TEXTS = {"lstm": LSTM, "gru": GRU, "ring": RING, "sum": SUM}
PAIRS = {
    "lstm": (("h0", "hn"), ("c0", "cn")),
    "gru": (("hidden_in", "hidden_out"),),
    "ring": (("frames_in", "frames_out"),),
    "sum": (("total", "total_next"), ("n_in", "n_out")),
}


def plain(kind: str) -> onnx.ModelProto:
    """The model as an exporter writes it: a step, its states among its inputs and outputs."""
    # An operand that is absent has no name.
    model = onnx.parser.parse_model(TEXTS[kind].replace("none", "nothing"))
    for node in model.graph.node:
        node.input[:] = ["" if name == "nothing" else name for name in node.input]
    for name, array in _weights(kind).items():
        model.graph.initializer.append(onnx.numpy_helper.from_array(array, name))
    onnx.checker.check_model(model, full_check=True)
    return model


def remembering(kind: str, path: Path) -> Path:
    """The model as the tool takes it in, with its states named."""
    io.save_model(plain(kind), path)
    pairs = [f"{name}={after}" for name, after in PAIRS[kind]]
    io.save_model(door.enter(path, pairs=pairs).model, path)
    return path


def stream(kind: str, steps: int = STEPS, seed: int = 0) -> np.ndarray:
    """(T, *shape) of the input x."""
    shape = [d.dim_value for d in plain(kind).graph.input[0].type.tensor_type.shape.dim]
    draw = np.random.default_rng(seed)
    return draw.standard_normal((steps, *shape)).astype(np.float32)


def streams(kind: str, path: Path, count: int = 20) -> Path:
    """A file of streams to calibrate on: (N, T, *shape without the batch)."""
    found = np.stack([stream(kind, seed=seed) for seed in range(count)])
    np.save(path, found.reshape(*found.shape[:2], *found.shape[3:]))
    return path


def by_hand(model: Path, x: np.ndarray) -> np.ndarray:
    """The first output of each step by ONNX Runtime, the states carried by the caller."""
    loaded = io.load_model(model)
    pairs = io.read_meta(loaded).states
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        loaded.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    dtypes = {"tensor(float)": np.float32, "tensor(int64)": np.int64}
    state = {
        each.name: np.zeros(each.shape, dtypes[each.type])
        for each in session.get_inputs()
        if each.name in dict(pairs)
    }
    names = [each.name for each in session.get_outputs()]
    found = []
    for step in x:
        results = dict(zip(names, session.run(names, {"x": step, **state}), strict=True))
        state = {name: results[after] for name, after in pairs}
        found.append(results[names[0]])
    return np.stack(found)
