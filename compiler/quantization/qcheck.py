"""What a QDQ model is made of: the operations that are integer, those that stayed float and why,
and whether it keeps the contract every target relies on.
"""

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from edgekiln.compiler.onnx_model import operators
from edgekiln.compiler.onnx_model.io import DEQUANTIZE, QUANTIZE
from edgekiln.compiler.onnx_model.operator_row import WeightOperand
from edgekiln.compiler.onnx_model.recurrent_functions import CODED, DOMAIN
from edgekiln.compiler.onnx_model.rewriting import facts_of
from edgekiln.compiler.onnx_model.tables import table_channels
from edgekiln.compiler.quantization import limits

if TYPE_CHECKING:
    import onnx

_BYTE = np.zeros((), np.int8)
_READ_AS_FLOAT = "its output is read as float"
_SHOWN = 8  # operations by name that stay float for one reason; a program's report has all
# A bias's scale is the product of two float32 scales, computed in another order.
_BIAS_SCALE_RTOL = 1e-5


@dataclass(frozen=True, kw_only=True)
class FloatNode:
    """An operation that works on real numbers."""

    name: str
    op: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class Structure:
    """`violations`: each a sentence; none in a model that `quantize` made."""

    integer: tuple[str, ...]  # names of nodes of the form DQ → op (→ activation) → Q or output
    floats: tuple[FloatNode, ...]
    violations: tuple[str, ...]

    @property
    def notes(self) -> list[str]:
        """What stays float, and why, many of one reason in a single line; and the violations."""
        by_reason: dict[str, list[FloatNode]] = {}
        for op in self.floats:
            by_reason.setdefault(op.reason, []).append(op)
        found = []
        for reason, ops in by_reason.items():
            if len(ops) <= _SHOWN:
                found += [f"{op.op} {op.name} stays float: {reason}" for op in ops]
                continue
            counts = Counter(op.op for op in ops)
            kinds = ", ".join(f"{count} {op}" for op, count in counts.most_common())
            found.append(f"{len(ops)} operations stay float: {reason} ({kinds})")
        return [*found, *self.violations]


def inspect(
    model: "onnx.ModelProto",
    exclude: Sequence[str] = (),
    spared: Collection[str] = (),
    far: Collection[str] = (),
) -> Structure:
    """Sort every operation, and check scales, zero points, weights and biases.

    Args:
        exclude: patterns of the names of nodes that the user leaves float.
        spared: names of nodes that are float for the sake of accuracy.
        far: names of nodes that are float because of their numbers.
    """
    graph = _Graph(model, {*spared, *far})
    integer: list[str] = []
    floats: list[FloatNode] = []
    violations = [text for node in model.graph.node for text in graph.bad_parameters(node)]
    for node in model.graph.node:
        if node.domain == DOMAIN and node.op_type in CODED.values():
            integer.append(node.name)
            continue
        if node.op_type in (QUANTIZE, DEQUANTIZE) or node.output[0] not in graph.facts.floats:
            continue  # what computes shapes or masks never was float
        reason = graph.why_float(node)
        if reason is None:
            integer.append(node.name)
            violations += graph.bad_weights(node)
            continue
        if any(fnmatchcase(node.name, pattern) for pattern in exclude):
            reason = "excluded"
        if node.name in spared:
            reason = "for what the limits demand"
        if node.name in far:
            reason = "no code stands for numbers as large as its own"
        floats.append(FloatNode(name=node.name, op=node.op_type, reason=reason))
    return Structure(integer=tuple(integer), floats=tuple(floats), violations=tuple(violations))


class _Graph:
    def __init__(self, model: "onnx.ModelProto", spared: Collection[str]) -> None:
        self.spared = spared
        self.facts = facts_of(model)
        self.makers, self.readers = self.facts.makers, self.facts.readers
        self.constants = dict(self.facts.constants)
        self.outputs = self.facts.outputs
        for node in model.graph.node:  # operators read constants through DequantizeLinear
            if node.op_type == DEQUANTIZE and node.input[0] in self.constants:
                self.facts.constants[node.output[0]] = self.constants[node.input[0]]

    def why_float(self, node: "onnx.NodeProto") -> str | None:
        """None when the node is integer."""
        if self._is_table(node):
            return None if self._ends_in_q(node.output[0]) else _READ_AS_FLOAT
        reason = limits.obstacle(self.facts, node)
        if reason is not None:
            return reason
        for name in operators.data_operands(node):
            if not self._is_integer(node, name):
                return f"its input {name!r} is float"
        if not self._ends_in_q(node.output[0]):
            return _READ_AS_FLOAT
        return None

    def _is_table(self, node: "onnx.NodeProto") -> bool:
        """Whether one code decides the result by functions alone: then a program computes all that
        lies between the two by one table, as `compiler.passes.rules.lookups` says.
        """
        shape = self.facts.shapes.get(node.output[0], ())
        roots, numbers = set[str](), set[tuple[int, ...]]()
        stack, seen = [node], {""}
        while stack:
            each = stack.pop()
            same = self.facts.shapes.get(each.output[0], ()) == shape
            if not same or not operators.unary(each.op_type, each.domain):
                return False
            for name in set(each.input) - seen:
                seen.add(name)
                if name in self.facts.constants:
                    numbers.add(self.facts.constants[name].shape)
                elif (maker := self.makers.get(name)) is None:
                    return False
                elif maker.op_type == DEQUANTIZE:
                    if self.constants.get(maker.input[2], _BYTE).itemsize != _BYTE.itemsize:
                        return False  # of 16 bits there are too many
                    roots.add(name)
                else:
                    stack.append(maker)
        alike = [self.facts.shapes.get(each, ()) == shape for each in roots]
        return alike == [True] and table_channels(shape, numbers) is not None

    def _is_integer(self, node: "onnx.NodeProto", name: str) -> bool:
        """Whether an operand comes out of DQ, or out of what one integer operation does with it."""
        maker = self.makers.get(name)
        if maker is None:  # of the functions that are tables, the numbers
            return name in self.constants and operators.unary(node.op_type)
        if maker.op_type == DEQUANTIZE:
            return True
        return _is_clip(node) and self.why_float(maker) is None

    def _ends_in_q(self, name: str) -> bool:
        """Read by Q alone, or through one activation, or not at all but as the model's output.

        Float readers are fine behind a product, whose int32 sums become real numbers without a
        detour over int8: the logits, and what is read by nodes that were spared.
        """
        readers = self.readers.get(name, [])
        # The model's user reads real numbers: what is behind a product need not be codes.
        if name in self.outputs or not readers:
            return True
        maker = self.makers[name]
        coded = [self._makes_codes(reader) for reader in readers]
        if _weights(maker) is not None and not any(coded):
            return all(self._takes_floats(each) for each in readers)
        return all(coded)

    def _takes_floats(self, reader: "onnx.NodeProto") -> bool:
        """Whether it is spared, on the way to an output, or a function that the same kernel ends
        with.
        """
        is_function = operators.unary(reader.op_type) and len(operators.data_operands(reader)) == 1
        is_function = is_function and self._ends_in_q(reader.output[0])
        return reader.name in self.spared or self._leads_to_output(reader) or is_function

    def _makes_codes(self, reader: "onnx.NodeProto") -> bool:
        """Whether the reader is Q, or has it behind it: a saturation, or part of a table."""
        joins = _is_clip(reader) or self._is_table(reader)
        return reader.op_type == QUANTIZE or (joins and self._ends_in_q(reader.output[0]))

    def _leads_to_output(self, node: "onnx.NodeProto") -> bool:
        """Whether nothing but a chain of single-input operations lies between it and the output."""
        while node.output[0] not in self.outputs:
            readers = self.readers.get(node.output[0], [])
            if len(readers) != 1 or readers[0].op_type == QUANTIZE:
                return False
            node = readers[0]
        return True

    def bad_parameters(self, node: "onnx.NodeProto") -> list[str]:
        """Scales and zero points of a Q or DQ node."""
        if node.op_type not in (QUANTIZE, DEQUANTIZE):
            return []
        scale = self.constants.get(node.input[1])
        if scale is None:
            return [f"{node.name}: its scale is not a constant"]
        if not (np.isfinite(scale).all() and (scale > 0).all()):
            return [f"{node.name}: its scale is not positive"]
        return []

    def bad_weights(self, node: "onnx.NodeProto") -> list[str]:
        """Weights must be s8, symmetric and per channel; a bias int32 with scale_x · scale_w."""
        if _weights(node) is None or self._stored(node.input[1]) is None:
            return []  # a product of two activations has no weights
        stored, scale, zero = self._quantized(node.input[1])
        if node.op_type == "MatMul" and stored.ndim != 2:
            return []  # an operand like an activation
        found = []
        if stored.dtype != np.int8:
            found.append(f"{node.name}: its weights are {stored.dtype}, not int8")
        if zero.any():
            found.append(f"{node.name}: its weights are not symmetric")
        if scale.ndim != 1:
            found.append(f"{node.name}: its weights have one scale, not one per channel")
        if len(node.input) > 2 and node.input[2]:
            found += self._bad_bias(node, scale)
        return found

    def _bad_bias(self, node: "onnx.NodeProto", weight_scale: NDArray[np.generic]) -> list[str]:
        if self._stored(node.input[2]) is None:
            return [f"{node.name}: its bias is not quantized"]
        stored, scale, zero = self._quantized(node.input[2])
        if stored.dtype != np.int32:
            return [f"{node.name}: its bias is {stored.dtype}, not int32"]
        if zero.any():
            return [f"{node.name}: its bias has a zero point"]
        data = self.makers.get(node.input[0])
        if data is None or data.input[1] not in self.constants:
            return []
        product = self.constants[data.input[1]] * weight_scale
        if not np.allclose(scale, product, rtol=_BIAS_SCALE_RTOL, atol=0.0):
            return [f"{node.name}: its bias's scale is not the product of the other two"]
        return []

    def _stored(self, name: str) -> NDArray[np.generic] | None:
        """The integers behind a DQ node, when they are a constant."""
        maker = self.makers.get(name)
        if maker is None or maker.op_type != DEQUANTIZE:
            return None
        return self.constants.get(maker.input[0])

    def _quantized(
        self, name: str
    ) -> tuple[NDArray[np.generic], NDArray[np.generic], NDArray[np.generic]]:
        """Integers, scale and zero point of a constant behind a DQ node."""
        q, scale, *zero = self.makers[name].input
        # Without a zero point ONNX takes 0.
        no_zero = np.zeros((), np.int8)
        return (
            self.constants[q],
            self.constants[scale],
            self.constants.get(zero[0], no_zero) if zero else no_zero,
        )


def _weights(node: "onnx.NodeProto") -> WeightOperand | None:
    row = operators.of(node)
    return None if row is None else row.weights


def _is_clip(node: "onnx.NodeProto") -> bool:
    """Whether the saturation of the operation before it does its work."""
    return operators.integer_form(node.op_type, node.domain) == "clip"
