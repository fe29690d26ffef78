"""Normalization by the root of the mean square stays float: squares of 8-bit codes take 16 bits,
and one scale for the rows of all tokens leaves those of small ones nothing.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgekiln.compiler.quantization.magnitude import is_square

if TYPE_CHECKING:
    import onnx

    from edgekiln.compiler.onnx_model.rewriting import ModelFacts

_ON_THE_WAY = (
    "Expand", "MatMul", "ReduceMean", "ReduceSum", "Reciprocal", "Reshape", "Squeeze", "Sqrt",
    "Unsqueeze",
)  # fmt: skip
_BY_CONSTANT = ("Add", "Div", "Mul")


@dataclass(frozen=True, kw_only=True)
class RmsNorm:
    """x / √(mean(x²) + ε), perhaps times one number a channel, as `prepare` leaves it."""

    tensor: str  # x
    nodes: tuple[str, ...]  # names, from the square to the last multiplication
    output: str


def rms_norms(facts: "ModelFacts", nodes: "list[onnx.NodeProto]") -> Iterator[RmsNorm]:
    """Those of a model, in the order of its `nodes`."""
    for node in nodes:
        if is_square(facts, node):
            path = _path(facts, node)
            if path:
                yield RmsNorm(
                    tensor=node.input[0],
                    nodes=tuple(each.name for each in path),
                    output=path[-1].output[0],
                )


def _path(facts: "ModelFacts", square: "onnx.NodeProto") -> "list[onnx.NodeProto]":
    """The way from a square to what multiplies the squared value by the result; empty where
    anything else is.
    """
    tensor, path = square.input[0], [square]
    while True:
        reader = facts.alone(path[-1].output[0])
        if reader is None:
            return []
        if reader.op_type in ("Div", "Mul") and tensor in reader.input:
            rooted = any(node.op_type == "Sqrt" for node in path)
            return [*path, reader, *_scaled(facts, reader)] if rooted else []
        known = reader.op_type in _ON_THE_WAY or reader.op_type in _BY_CONSTANT
        if not known or not _alone_varies(facts, reader, path[-1].output[0]):
            return []
        path.append(reader)


def _scaled(facts: "ModelFacts", node: "onnx.NodeProto") -> "list[onnx.NodeProto]":
    """The multiplication by one number a channel, where one follows."""
    reader = facts.alone(node.output[0])
    if reader is None or reader.op_type != "Mul":
        return []
    return [reader] if _alone_varies(facts, reader, node.output[0]) else []


def _alone_varies(facts: "ModelFacts", node: "onnx.NodeProto", name: str) -> bool:
    """Whether all other operands are constants."""
    return all(each == name or each in facts.constants for each in node.input if each)
