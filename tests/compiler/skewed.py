"""A net that post-training quantization breaks: depthwise layers between hard-swish, whose channels
differ by orders of magnitude, with a head that is fitted to digits.
"""

import numpy as np
import onnx

from edgekiln.compiler.onnx_model import io, model_inputs
from edgekiln.compiler.onnx_model.feed import Feed, feed_for
from edgekiln.compiler.onnx_model.session import Session
from tests.compiler.float_models import make

BODY = """
    a = Conv <kernel_shape = [3, 3], strides = [2, 2], pads = [1, 1, 1, 1]> (x, stem, stem_b)
    ah = HardSwish (a)
    e = Conv <kernel_shape = [1, 1]> (ah, expand, expand_b)
    er = Relu (e)
    d = Conv <kernel_shape = [3, 3], pads = [1, 1, 1, 1], group = 32> (er, depth, depth_b)
    dc = Clip (d, zero, bound)
    p = Conv <kernel_shape = [1, 1]> (dc, project, project_b)
    w = Conv <kernel_shape = [1, 1]> (p, widen, widen_b)
    wh = HardSwish (w)
    s = Conv <kernel_shape = [3, 3], strides = [2, 2], pads = [1, 1, 1, 1], group = 48> (wh, small,
        small_b)
    sh = HardSwish (s)
    m = MaxPool <kernel_shape = [2, 2], strides = [2, 2]> (sh)
    f = Flatten (m)
    y = Gemm <transB = 1> (f, head, head_b)
"""
WEIGHTS = {
    "stem": (16, 3, 3, 3), "stem_b": (16,), "expand": (32, 16, 1, 1), "expand_b": (32,),
    "depth": (32, 1, 3, 3), "depth_b": (32,), "project": (16, 32, 1, 1), "project_b": (16,),
    "widen": (48, 16, 1, 1), "widen_b": (48,), "small": (48, 1, 3, 3), "small_b": (48,),
    "head": (10, 768), "head_b": (10,),
}  # fmt: skip
BOUND = 60.0
# Layer, what it is divided by channel by channel, and the layer that is multiplied.
PAIRS = (("expand", "depth"), ("depth", "project"), ("project", "widen"))


def fitted() -> onnx.ModelProto:
    """The net with a head fitted by least squares to the digits' training samples."""
    constants = {"zero": np.array(0, np.float32), "bound": np.array(BOUND, np.float32)}
    model = make(BODY, WEIGHTS, constants=constants)
    feed = digits(model)
    session = Session(_with_output(model, "f"), optimize=True)
    rows = np.concatenate([session(call, ["f"])[0] for call in feed.batches("train", batch=64)])
    labels = next(iter(feed.targets("train").values()))[: len(rows)]
    targets = np.eye(10)[labels] - 0.1
    x = np.concatenate([rows, np.ones((len(rows), 1))], axis=1).astype(np.float64)
    scale = 1e-2 * np.trace(x.T @ x) / x.shape[1]
    solved = np.linalg.solve(x.T @ x + scale * np.eye(x.shape[1]), x.T @ targets)
    put(model, {"head": solved[:-1].T, "head_b": solved[-1]})
    return model


def digits(model: onnx.ModelProto) -> Feed:
    takes = model_inputs.of_model(model)
    return feed_for(io.read_meta(model), takes, data="digits", seed=0)


def skewed(model: onnx.ModelProto, octaves: float = 6.0) -> onnx.ModelProto:
    """The same function, with channels between layers scaled by up to 2^±octaves."""
    made = onnx.ModelProto()
    made.CopyFrom(model)
    found = arrays(made)
    rng = np.random.default_rng(1)
    for first, second in PAIRS:
        # A Clip's bound must stay out of reach.
        most = 0.0 if first == "depth" else octaves
        factor = np.exp2(rng.uniform(-octaves, most, len(found[first])))
        found[first] = found[first] * factor.reshape(-1, 1, 1, 1)
        found[f"{first}_b"] = found[f"{first}_b"] * factor
        own = (-1, 1, 1, 1) if found[second].shape[1] == 1 else (1, -1, 1, 1)
        found[second] = found[second] / factor.reshape(own)
    put(made, found)
    return made


def arrays(model: onnx.ModelProto) -> dict[str, np.ndarray]:
    return {w.name: onnx.numpy_helper.to_array(w) for w in model.graph.initializer}


def put(model: onnx.ModelProto, found: dict[str, np.ndarray]) -> None:
    for weight in model.graph.initializer:
        if weight.name in found:
            array = np.asarray(found[weight.name], np.float32)
            weight.CopyFrom(onnx.numpy_helper.from_array(array, weight.name))


def _with_output(model: onnx.ModelProto, name: str) -> onnx.ModelProto:
    made = onnx.ModelProto()
    made.CopyFrom(model)
    made.graph.output.append(onnx.ValueInfoProto(name=name))
    return made
