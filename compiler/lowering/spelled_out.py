"""Operators that TVM's importer computes wrongly where values are infinite or no numbers, cannot
compile, or warns of: written in others.
"""

from collections.abc import Callable

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper

from edgekiln.compiler.ir.graph import Graph

Constants = dict[str, NDArray[np.generic]]
_Rule = Callable[[onnx.NodeProto, str, "_Writer"], None]


def spelled_out(graph: Graph, proto: onnx.NodeProto, constants: Constants) -> list[onnx.NodeProto]:
    """The nodes that compute what `proto` does; their numbers are added to `constants`."""
    writer = _Writer(proto.output[0], constants)
    if proto.op_type == "Equal" and _dtype(graph, proto.input[0]) == "bool":
        _equal_bools(proto, writer)
        return writer.nodes
    rule, known = _RULES.get(proto.op_type), graph.tensors.get(proto.output[0])
    if rule is None or proto.domain or known is None or not known.dtype.startswith("float"):
        return [proto]
    if rule is _power and not known.shape:
        return [proto]  # a row would make a row of it
    rule(proto, known.dtype, writer)
    return writer.nodes


def _dtype(graph: Graph, name: str) -> str:
    constant = graph.constants.get(name)
    return graph.tensors[name].dtype if constant is None else constant.dtype.name


class _Writer:
    """Nodes in the place of one, whose results are called by its own."""

    def __init__(self, name: str, constants: Constants) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self._name, self._constants = name, constants

    def op(self, op_type: str, *inputs: str, last: bool = False) -> str:
        """A node's result: that of the whole where it is the last one."""
        result = self._name if last else f"{self._name} {len(self.nodes)}"
        self.nodes.append(helper.make_node(op_type, inputs, [result]))
        return result

    def like(self, proto: onnx.NodeProto, op_type: str) -> str:
        """The result of another operator of the same operands and attributes."""
        result = self.op(op_type, *proto.input)
        self.nodes[-1].attribute.extend(proto.attribute)
        return result

    def row(self, name: str) -> str:
        """A constant that is one number, as a row of it; any other operand as it is."""
        value = self._constants.get(name)
        if value is None or value.shape:
            return name
        self._constants[f"{name} row"] = value.reshape(1)
        return f"{name} row"

    def number(self, value: float, dtype: str) -> str:
        name = f"{self._name} {value}"
        self._constants[name] = np.array(value, dtype)
        return name


def _equal_bools(proto: onnx.NodeProto, writer: _Writer) -> None:
    """Give what is not either alone: TVM's code compares one bit as if it were a float."""
    writer.op("Not", writer.op("Xor", *proto.input), last=True)


def _thresholded_relu(proto: onnx.NodeProto, dtype: str, writer: _Writer) -> None:
    """Give x where it is above alpha, else 0: TVM's product with 0 is NaN where x is infinite."""
    (x,) = proto.input
    alpha = next((each.f for each in proto.attribute if each.name == "alpha"), 1.0)
    above = writer.op("Greater", x, writer.number(alpha, dtype))
    writer.op("Where", above, x, writer.number(0.0, dtype), last=True)


def _log_sum_exp(proto: onnx.NodeProto, dtype: str, writer: _Writer) -> None:
    """Take TVM's result where the greatest is finite: it subtracts the greatest from itself. NaN
    stays NaN in the sum of magnitudes and in the mean.
    """
    most, plain = writer.like(proto, "ReduceMax"), writer.like(proto, proto.op_type)
    high = writer.op("Equal", most, writer.number(np.inf, dtype))
    low = writer.op("Equal", most, writer.number(-np.inf, dtype))
    least = writer.op("Where", low, writer.like(proto, "ReduceMean"), plain)
    writer.op("Where", high, writer.like(proto, "ReduceL1"), least, last=True)


def _greatest(proto: onnx.NodeProto, _dtype: str, writer: _Writer) -> None:
    """Give NaN where a value is, as the sum of magnitudes says: TVM passes it over."""
    found, total = writer.like(proto, proto.op_type), writer.like(proto, "ReduceL1")
    writer.op("Where", writer.op("IsNaN", total), total, found, last=True)


def _power(proto: onnx.NodeProto, _dtype: str, writer: _Writer) -> None:
    """Read the exponent from memory: of one that it sees TVM warns, on standard error, that cubes
    were better products.
    """
    base, exponent = proto.input
    writer.op("Pow", base, writer.row(exponent), last=True)


_RULES: dict[str, _Rule] = {
    "Pow": _power,
    "ReduceMax": _greatest,
    "ReduceMin": _greatest,
    "ReduceLogSumExp": _log_sum_exp,
    "ThresholdedRelu": _thresholded_relu,
}
