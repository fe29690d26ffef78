"""Camera frames: nodes of `ends.functions.DOMAIN`, on bytes as they are."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from edgekiln.compiler.ir.codes import Quant
from edgekiln.compiler.ir.frame_ops import Resample, YuvToPixels
from edgekiln.compiler.ir.node import Node, Op
from edgekiln.compiler.ir.tensor import Tensor
from edgekiln.compiler.onnx_model.ends.resampling import UNIT, Resampling
from edgekiln.compiler.onnx_model.ends.yuv import YuvFormat, YuvFrame
from edgekiln.compiler.passes.rewriter import Rewriter
from edgekiln.compiler.passes.rules.own_nodes import demand

_BYTES = Quant(scale=1.0, zero_point=0)  # a pixel stands for itself
_demand = partial(demand, hint="such nodes are made by `edgekiln attach`: attach the steps again")


def resample(rw: Rewriter, node: Node) -> None:
    """Pillow's resizing along one axis."""
    x = _frame(rw, node, 4)
    places, weights = (_constant(rw, node, place) for place in (1, 2))
    what = "its weights are not those of a resizing"
    _demand(node, places.ndim == 2 and 0 < places.size == weights.size, what)
    table = weights.reshape(len(places), -1).astype(np.int32)
    by = Resampling(starts=places[:, 0].astype(np.int32), weights=table)
    axis = 1 if node.op.kind == "ResampleRows" else 2
    _demand(
        node,
        int(by.starts.min()) >= 0 and np.array_equal(by.places, places)
        # So that no sum of 255 and half a unit more reaches 2³¹.
        and int(table.min()) >= 0
        and int(table.sum(axis=1, dtype=np.int64).max()) <= UNIT + len(table[0]),
        what,
    )  # fmt: skip
    _emit(rw, node, Resample(axis=axis, by=by), x)


def yuv(rw: Rewriter, node: Node) -> None:
    """Brightness and colors become pixels."""
    x = _frame(rw, node, 3)
    given = [_constant(rw, node, place) for place in range(1, len(node.inputs))]
    height, width = given[0].size, given[1].size
    formats: tuple[YuvFormat, ...] = ("nv12", "yuyv")
    frames = (YuvFrame(format=each, height=height, width=width) for each in formats)
    known = [
        frame
        for frame in frames
        if frame.shape == x.shape[1:] and all(map(np.array_equal, frame.operands, given))
    ]
    _demand(node, len(known) == 1, "its places are not those of a format")
    channels = 3 if node.op.kind == "YuvToRgb" else 1
    _emit(rw, node, YuvToPixels(frame=known[0], channels=channels), x)


def _constant(rw: Rewriter, node: Node, place: int) -> NDArray[np.generic]:
    found = rw.graph.constants.get(node.inputs[place])
    _demand(
        node, found is not None and found.dtype.kind in "iu", f"its operand {place} is not fixed"
    )
    assert found is not None
    return found


def _frame(rw: Rewriter, node: Node, rank: int) -> Tensor:
    x = rw.graph.tensors[node.inputs[0]]
    _demand(node, len(x.shape) == rank and x.dtype in ("uint8", "int8"), "its operand is no frame")
    return x


def _emit(rw: Rewriter, node: Node, op: Op, x: Tensor) -> None:
    """The program's own input stays plain bytes, which no pass has to convert."""
    result = rw.graph.tensors[node.name]
    if rw.numbers.has_codes:
        result = rw.graph.put(replace(result, quant=_BYTES))
    fault = op.fault((x,), (result,))
    _demand(node, not fault, fault)
    rw.make(op, (x.name,), node.name)


# By the names of the operator table.
FRAME_RULES: Mapping[str, Callable[[Rewriter, Node], None]] = {"resample": resample, "yuv": yuv}
