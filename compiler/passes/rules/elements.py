"""Casts, comparisons, logic and choices of values that no function of one value holds."""

from collections.abc import Callable
from functools import partial
from typing import get_args

from edgekiln.compiler.ir.element_ops import ElementFunction, Elements
from edgekiln.compiler.ir.node import Node
from edgekiln.compiler.ir.tensor import Tensor
from edgekiln.compiler.passes.rewriter import Rewriter

_NUMBERS = ("float32", "int32", "int64")
_KNOWN = (*_NUMBERS, "bool")
_READ = (*_KNOWN, "int8", "int16", "uint8")  # of a Cast


def _elements(rw: Rewriter, node: Node, function: ElementFunction) -> str | None:
    """Emit it where its types have a kernel; a constant operand is a tensor, too."""
    y = rw.graph.tensors[node.name]
    operands = [_operand(rw, name) for name in node.inputs]
    known = [operand for operand in operands if operand is not None]
    if len(known) < len(operands) or y.dtype not in _KNOWN or y.quant is not None:
        return "one of its operands is of a type without a kernel"
    if not _fits(function, [operand.dtype for operand in known]):
        return "its operands are of types without a kernel"
    for operand in known:
        rw.graph.put(operand)
    rw.make(Elements(function=function), tuple(operand.name for operand in known), node.name)
    return None


def _operand(rw: Rewriter, name: str) -> Tensor | None:
    """What is read; None where kernels cannot read it."""
    tensor = rw.graph.tensors.get(name)
    value = rw.graph.constants.get(name)
    if value is not None:
        tensor = Tensor(name=f"{name}:elements", shape=value.shape, dtype=value.dtype.name)
        rw.graph.constants[tensor.name] = value
    known = tensor is not None and tensor.quant is None and tensor.dtype in _READ
    return tensor if known else None


def _fits(function: ElementFunction, dtypes: list[str]) -> bool:
    """Whether the kernel takes operands of such types."""
    if function in ("And", "Not", "Or", "Xor"):
        return set(dtypes) == {"bool"}
    if function == "Where":
        condition, *values = dtypes
        return condition == "bool" and len(set(values)) == 1 and values[0] in _KNOWN
    return function == "Cast" or (len(set(dtypes)) == 1 and dtypes[0] in _NUMBERS)


# By the names of the operators in small letters.
ELEMENT_RULES: dict[str, Callable[[Rewriter, Node], str | None]] = {
    function.lower(): partial(_elements, function=function)
    for function in get_args(ElementFunction)
}
