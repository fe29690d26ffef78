"""What follows the sums of run-time codes: the operators that make floats of them."""

from dataclasses import dataclass, field, replace
from math import prod

import numpy as np
from numpy.typing import NDArray

from edgekiln.compiler.ir.codes import FloatFinish
from edgekiln.compiler.ir.node import Node
from edgekiln.compiler.ir.onnx_op import onnx_op
from edgekiln.compiler.passes.numbers import FloatNumbers
from edgekiln.compiler.passes.rewriter import Rewriter
from edgekiln.compiler.passes.walk import is_operator

_FLOAT = 1  # ONNX's number of float32


@dataclass(frozen=True, kw_only=True, eq=False)
class Scales:
    """How sums become floats; `mult` is None where they stay int32.

    Args:
        output: the tensor that is stored.
        scale: the run-time scale, a tensor's name; "" for 1.
        mult, bias: one number a channel.
        absorbed: the nodes that it stands for.
    """

    output: str
    scale: str = ""
    mult: NDArray[np.float32] | None = None
    bias: NDArray[np.float32] | None = None
    finish: FloatFinish = field(default_factory=FloatFinish)
    absorbed: tuple[Node, ...] = ()


def scales_behind(rw: Rewriter, node: Node, axis: int, channels: int) -> Scales:
    """The Cast → Mul [→ Add] [→ Relu, Clip] that alone read a node's sums.

    Args:
        axis: of the channels.
    """
    of = _SumsReaders(rw, node, axis, channels)
    found = of.scaled()
    if found is None:
        return Scales(output=node.name)
    found = of.with_bias(found)
    epilogue = FloatNumbers().epilogue(rw, found.output)
    if epilogue is None or not isinstance(epilogue.finish, FloatFinish):
        return found
    absorbed = (*found.absorbed, *epilogue.absorbed)
    return replace(found, output=epilogue.output, finish=epilogue.finish, absorbed=absorbed)


@dataclass(frozen=True)
class _SumsReaders:
    """A node's sums, and who reads them."""

    rw: Rewriter
    node: Node
    axis: int
    channels: int

    @property
    def shape(self) -> tuple[int, ...]:
        return self.rw.graph.tensors[self.node.name].shape

    def scaled(self) -> Scales | None:
        """The Cast to floats and the Mul behind it."""
        cast = self.rw.only_user(self.node.name)
        if cast is None or not is_operator(cast, "Cast"):
            return None
        mul = self.rw.only_user(cast.name)
        if onnx_op(cast).integer("to", 0) != _FLOAT or mul is None or not self._fits(mul, "Mul"):
            return None
        factor = self._factor("".join(name for name in mul.inputs if name != cast.name))
        if factor is None:
            return None
        return Scales(output=mul.name, scale=factor[0], mult=factor[1], absorbed=(cast, mul))

    def with_bias(self, scales: Scales) -> Scales:
        """The same with the Add of a constant that follows."""
        add = self.rw.only_user(scales.output)
        if add is None or not self._fits(add, "Add"):
            return scales
        constants = [name for name in add.inputs if name in self.rw.graph.constants]
        bias = self._per_channel(constants[0]) if constants else None
        if bias is None:
            return scales
        return replace(scales, output=add.name, bias=bias, absorbed=(*scales.absorbed, add))

    def _fits(self, node: Node, op_type: str) -> bool:
        """Whether it is this operator, and the other operand makes its result no larger."""
        return is_operator(node, op_type) and self.rw.graph.tensors[node.name].shape == self.shape

    def _factor(self, name: str) -> tuple[str, NDArray[np.float32]] | None:
        """A run-time scale, "" where there is none, and a factor a channel."""
        graph = self.rw.graph
        if name in graph.constants:
            mult = self._per_channel(name)
            return None if mult is None else ("", mult)
        maker, tensor = self.rw.makers.get(name), graph.tensors.get(name)
        if maker is not None and is_operator(maker, "Mul"):
            constants = [each for each in maker.inputs if each in graph.constants]
            others = [each for each in maker.inputs if each not in graph.constants]
            if len(constants) == len(others) == 1 and graph.tensors[others[0]].elements == 1:
                mult = self._per_channel(constants[0])
                if mult is not None:
                    return others[0], mult
        if tensor is None or tensor.dtype != "float32" or tensor.elements != 1:
            return None
        return name, np.ones(self.channels, np.float32)

    def _per_channel(self, name: str) -> NDArray[np.float32] | None:
        """A constant as one number a channel; None if it is another one elsewhere."""
        value, rank = self.rw.graph.constants[name], max(len(self.shape), 1)
        if value.dtype != np.float32 or value.ndim > rank or value.size not in (1, self.channels):
            return None
        full = (*[1] * (rank - value.ndim), *value.shape)
        others = [extent for at, extent in enumerate(full) if at != self.axis % rank]
        if prod(others) != 1:
            return None
        return np.broadcast_to(value.reshape(-1), self.channels).copy()
