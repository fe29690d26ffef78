"""TFLite's kernels: nodes of `functions.DOMAIN`, whose operands are codes as they are."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from edgekiln.compiler.ir.codes import Fill, IntFinish, Quant, Table
from edgekiln.compiler.ir.fixed_ops import (
    FixedAveragePool,
    FixedBinary,
    FixedFunction,
    FixedMean,
    FixedSoftmax,
)
from edgekiln.compiler.ir.fixed_point import FixedPoint, Rounding
from edgekiln.compiler.ir.linear import Conv2d, Dense
from edgekiln.compiler.ir.moves import Reshape
from edgekiln.compiler.ir.node import Node, Op
from edgekiln.compiler.ir.onnx_op import onnx_op
from edgekiln.compiler.ir.ops import Lookup, Quantize
from edgekiln.compiler.ir.tensor import QMAX, QMIN, Tensor
from edgekiln.compiler.ir.window import Window
from edgekiln.compiler.kernels.fixed_pool import MOST_COUNTED
from edgekiln.compiler.passes.rewriter import Rewriter
from edgekiln.compiler.passes.rules.elementwise import broadcasts
from edgekiln.compiler.passes.rules.own_nodes import demand
from edgekiln.compiler.passes.rules.window import four, pair


@dataclass(frozen=True)
class _Operands:
    """A node's operands by their places, and what its attributes say that they stand for."""

    rw: Rewriter
    node: Node

    def demand(self, holds: bool, what: str) -> None:
        """Refuse a node that no TFLite file makes. Raises UnsupportedError."""
        hint = "such nodes are made of .tflite files: give the file itself"
        demand(self.node, holds, what, hint=hint)

    def constant(self, place: int) -> NDArray[np.generic]:
        found = self.rw.graph.constants.get(self.node.inputs[place])
        if found is None:
            self.demand(False, f"its operand {place} is not constant")
        assert found is not None
        return found

    def number(self, place: int) -> int:
        return int(self.constant(place).reshape(-1)[0])

    def scale(self, name: str) -> float:
        return onnx_op(self.node).real(name, 1.0)

    def codes(self, place: int, scale: str, zero: int) -> Tensor:
        """An operand, with what its codes stand for."""
        name, graph = self.node.inputs[place], self.rw.graph
        quant = Quant(scale=self.scale(scale), zero_point=zero)
        if name in graph.constants:
            values = graph.constants[name]
            graph.put(Tensor(name=name, shape=values.shape, dtype=values.dtype.name, quant=quant))
        elif graph.tensors[name].quant is None:  # an input of the program
            graph.put(replace(graph.tensors[name], quant=quant))
        return graph.tensors[name]

    def factors(self, integers: int, rounding: Rounding = "twice") -> FixedPoint:
        """Integers at a place, and shifts behind them."""
        integer, shift = (self.whole(place) for place in (integers, integers + 1))
        self.demand(integer.shape == shift.shape, "its factors are no integers and shifts")
        known = (integer >= 0) & (integer < 1 << 31) & (shift >= -31) & (shift <= 30)
        self.demand(bool(known.all()), "its factors do not fit 32 bits")
        return FixedPoint(
            integers=integer.astype(np.int32), shifts=shift.astype(np.int32), rounding=rounding
        )

    def whole(self, place: int) -> NDArray[np.int64]:
        """A constant's integers in a row."""
        found = self.constant(place)
        self.demand(found.dtype.kind in "iu", f"its operand {place} is of {found.dtype}")
        return found.reshape(-1).astype(np.int64)

    def window(self) -> Window:
        op = onnx_op(self.node)
        return Window(
            kernel=pair(op.integers("kernel_shape") or ()),
            strides=pair(op.integers("strides") or (1, 1)),
            dilations=pair(op.integers("dilations") or (1, 1)),
            pads=four(op.integers("pads") or (0, 0, 0, 0)),
        )

    def finish(self, low: int) -> IntFinish:
        """The limits of the result, of which the lower one is at a place."""
        return IntFinish(qmin=self.number(low), qmax=self.number(low + 1))

    def emit(self, op: Op, *sources: Tensor, quant: Quant) -> None:
        """Make the node's result of an operation."""
        graph = self.rw.graph
        result = graph.put(replace(graph.tensors[self.node.name], quant=quant))
        fault = op.fault(sources, (result,))
        self.demand(not fault, fault)
        self.rw.make(op, tuple(source.name for source in sources), self.node.name)


def conv(rw: Rewriter, node: Node) -> None:
    """Convolutions, depthwise ones too: factors a channel, rounded twice."""
    of = _Operands(rw, node)
    of.demand(of.constant(1).dtype == np.int8, "its weights are not int8")
    op = Conv2d(
        weight=of.constant(1),
        bias=of.constant(2).reshape(-1),
        mult=of.factors(4),
        finish=of.finish(7),
        window=of.window(),
        groups=onnx_op(node).integer("group", 1),
    )
    quant = Quant(scale=of.scale("y_scale"), zero_point=of.number(6))
    of.emit(op, of.codes(0, "x_scale", of.number(3)), quant=quant)


def dense(rw: Rewriter, node: Node) -> None:
    """Fully connected layers: rounded once."""
    of = _Operands(rw, node)
    weights = of.constant(1)
    of.demand(weights.ndim == 2 and weights.dtype == np.int8, "its weights are no int8 matrix")
    channels = weights.shape[1]
    of.demand(of.constant(2).size == channels, "its bias is not one number a channel")
    factors = of.factors(4, "once")
    # One factor for all channels; kernels load one a channel.
    if factors.size < channels:
        factors = FixedPoint(
            integers=np.broadcast_to(factors.integers, channels).copy(),
            shifts=np.broadcast_to(factors.shifts, channels).copy(),
            rounding="once",
        )
    op = Dense(
        weight=weights.T.copy(),
        bias=of.constant(2).reshape(-1),
        mult=factors,
        finish=of.finish(7),
    )
    quant = Quant(scale=of.scale("y_scale"), zero_point=of.number(6))
    of.emit(op, of.codes(0, "x_scale", of.number(3)), quant=quant)


def _demand_broadcast(node: Node, fits: bool, operand: Tensor, shape: tuple[int, ...]) -> None:
    """Refuse what has no kernel: in floats nothing computes these functions of codes."""
    what = f"broadcasting {operand.shape} to {shape} has no integer kernel"
    demand(node, fits, what, hint="give it operands of one shape, a number, or one value a channel")


def _binary(rw: Rewriter, node: Node, function: FixedFunction) -> None:
    """Two tensors of codes, of which the smaller one is broadcast."""
    of = _Operands(rw, node)
    a, b = of.codes(0, "a_scale", of.number(2)), of.codes(1, "b_scale", of.number(3))
    factors = of.factors(4)
    wanted = {"mul": 1, "prelu": 2}.get(function, 3)
    of.demand(factors.size == wanted, f"{factors.size} factors, not {wanted}")
    shape = rw.graph.tensors[node.name].shape
    # Kernels broadcast the second operand alone, so the two change places with their factors.
    if a.elements < b.elements:
        # Values and slopes cannot change places.
        _demand_broadcast(node, function != "prelu", a, shape)
        a, b = b, a
        function = "from" if function == "sub" else function
        order = [1, 0, 2] if factors.size > 1 else [0]
        integers, shifts = factors.integers[order], factors.shifts[order]
        factors = replace(factors, integers=integers, shifts=shifts)
    _demand_broadcast(node, a.shape == shape and broadcasts(a, b), b, shape)
    op = FixedBinary(function=function, factors=factors, finish=of.finish(7))
    quant = Quant(scale=of.scale("y_scale"), zero_point=of.number(6))
    of.emit(op, a, b, quant=quant)


def average_pool(rw: Rewriter, node: Node, origin: int = 0) -> None:
    """The mean of codes, whose scale and zero point the result keeps, rounded half away from a
    code.
    """
    of = _Operands(rw, node)
    quant = Quant(scale=of.scale("x_scale"), zero_point=onnx_op(node).integer("x_zero", 0))
    window, x, y = of.window(), rw.graph.tensors[node.inputs[0]], rw.graph.tensors[node.name]
    # Taps inside the image of each row and column of windows; TFLite's mean leaves padding out.
    inside = [
        np.minimum(first + window.kernel[axis], x.shape[2 + axis]) - np.maximum(first, 0)
        for axis in (0, 1)
        for first in [np.arange(y.shape[2 + axis]) * window.strides[axis] - window.pads[axis]]
    ]
    counts = np.outer(*inside)
    of.demand(
        bool((of.constant(1) == 1).all()) and of.number(2) == 0
        and np.array_equal(of.constant(3), counts) and 0 < counts.max() <= MOST_COUNTED,
        "its counts are not those of its windows",
    )  # fmt: skip
    op = FixedAveragePool(window=of.window(), origin=Fill(value=origin), finish=of.finish(4))
    of.emit(op, of.codes(0, "x_scale", quant.zero_point), quant=quant)


def mean(rw: Rewriter, node: Node) -> None:
    """A mean over the pixels of images, or over tokens."""
    of = _Operands(rw, node)
    x = of.codes(0, "x_scale", of.number(2))
    quant = Quant(scale=of.scale("y_scale"), zero_point=of.number(5))
    axes = sorted(int(axis) % len(x.shape) for axis in of.constant(1).reshape(-1))
    of.demand(axes == {3: [1], 4: [2, 3]}.get(len(x.shape)), "its axes are not an image's")
    op = FixedMean(factor=of.factors(3), finish=of.finish(6))
    result = rw.graph.tensors[node.name]
    # (N, C, 1, 1) or (N, 1, C): what the kernel makes, the summed axes kept.
    full = (*x.shape[:2], 1, 1) if len(x.shape) == 4 else (x.shape[0], 1, x.shape[2])
    if result.shape == full:
        of.emit(op, x, quant=quant)
        return
    # Without the axes that were summed up the result is the same values.
    image = rw.graph.put(replace(result, name=f"{result.name}:image", shape=full, quant=quant))
    rw.make(op, (x.name,), image.name)
    of.emit(Reshape(), image, quant=quant)


def lookup(rw: Rewriter, node: Node) -> None:
    """A function of one code."""
    of, op = _Operands(rw, node), onnx_op(node)
    x = of.codes(0, "x_scale", op.integer("x_zero", 0))
    quant = Quant(scale=of.scale("y_scale"), zero_point=op.integer("y_zero", 0))
    of.demand(of.number(2) == QMIN.get(x.dtype), "its table does not begin at the lowest code")
    of.emit(Lookup(table=Table(entries=of.constant(1))), x, quant=quant)


def softmax(rw: Rewriter, node: Node) -> None:
    """Along the last axis, in 256ths."""
    of = _Operands(rw, node)
    x = of.codes(0, "x_scale", onnx_op(node).integer("x_zero", 0))
    lowest, powers = of.number(2), of.whole(1)
    of.demand(
        powers.shape == (256,) and bool(((powers >= 0) & (powers < 1 << 31)).all())
        and lowest == QMIN.get(x.dtype),
        "its powers are not 256 of 31 bits",
    )  # fmt: skip
    op = FixedSoftmax(powers=powers.astype(np.int32), lowest=Fill(value=lowest))
    of.emit(op, x, quant=Quant(scale=1 / 256, zero_point=lowest))


def quantize(rw: Rewriter, node: Node) -> None:
    """Codes of floats."""
    of = _Operands(rw, node)
    result = rw.graph.tensors[node.name]
    whole = (of.number(3), of.number(4)) == (QMIN[result.dtype], QMAX[result.dtype])
    of.demand(whole, "it does not use all codes of its type")
    scale = float(of.constant(1).reshape(-1)[0])
    rw.graph.put(replace(result, quant=Quant(scale=scale, zero_point=of.number(2))))
    rw.make(Quantize(half_away=True), (node.inputs[0],), node.name)


# By the names of the operator table.
TFLITE_RULES: Mapping[str, Callable[[Rewriter, Node], None]] = {
    "tflite_conv": conv,
    "tflite_dense": dense,
    **{
        f"tflite_{function}": partial(_binary, function=function)
        for function in ("add", "sub", "mul", "prelu")
    },
    "tflite_average_pool": average_pool,
    "tflite_average_pool_up": partial(average_pool, origin=QMIN["int8"]),
    "tflite_mean": mean,
    "tflite_lookup": lookup,
    "tflite_softmax": softmax,
    "tflite_quantize": quantize,
}
