"""Einsum in products: of two operands at a time a MatMul, or a Mul where nothing is summed."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING

from edgekiln.compiler.onnx_model import operators
from edgekiln.compiler.onnx_model.node_writer import NodeWriter

if TYPE_CHECKING:
    import onnx

    from edgekiln.compiler.onnx_model.rewriting import ModelFacts

_DOTS = "..."
_FREE = "αβγδεζηθικλμ"  # labels of the axes that dots stand for: the last one is the last axis's


@dataclass(frozen=True, kw_only=True)
class _Operand:
    """A tensor, and a label for each of its axes."""

    name: str
    labels: str


def in_products(facts: "ModelFacts", node: "onnx.NodeProto") -> "list[onnx.NodeProto] | None":
    """The same sums. None where a label stands twice in an operand (a diagonal), has two extents,
    or where shapes are open; and of integers.
    """
    shapes = [facts.static(name) for name in node.input]
    known = [shape for shape in shapes if shape is not None]
    if len(known) < len(shapes) or not facts.dtypes.get(node.output[0], "").startswith("float"):
        return None
    read = _labels(str(operators.attributes(node)["equation"]), known)
    extents = _extents(read[0], known) if read else None
    if read is None or extents is None:
        return None
    w = NodeWriter(facts=facts, node=node)
    products = _Products(w, extents)
    operands = [
        _Operand(name=name, labels=labels) for name, labels in zip(node.input, read[0], strict=True)
    ]
    found, *others = operands
    for index, other in enumerate(others, 1):
        later = "".join(each.labels for each in operands[index + 1 :]) + read[1]
        found = products.product(found, other, later)
    found = products.summed(found, read[1])
    products.ordered(found, read[1], result=node.output[0])
    return w.nodes


def _labels(equation: str, shapes: Sequence[tuple[int, ...]]) -> tuple[list[str], str] | None:
    """The labels of the operands and of the result, dots spelled out; None where a label is twice
    in one of them.
    """
    left, arrow, right = equation.replace(" ", "").partition("->")
    terms = left.split(",")
    if len(terms) != len(shapes):
        return None
    # Dots stand for as many axes as an operand has beyond its labels.
    counts = [
        len(shape) - len(term.replace(_DOTS, "")) if _DOTS in term else 0
        for term, shape in zip(terms, shapes, strict=True)
    ]
    most = max(counts, default=0)
    if min(counts, default=0) < 0 or most > len(_FREE):
        return None
    spelled = [
        term.replace(_DOTS, _FREE[len(_FREE) - count :])
        for term, count in zip(terms, counts, strict=True)
    ]
    dots = _FREE[len(_FREE) - most :]
    if not arrow:
        every = "".join(terms).replace(_DOTS, "")
        right = _DOTS + "".join(sorted(label for label in {*every} if every.count(label) == 1))
    result = right.replace(_DOTS, dots)
    if any(len({*labels}) < len(labels) for labels in (*spelled, result)):
        return None
    return spelled, result


def _extents(terms: Iterable[str], shapes: Sequence[tuple[int, ...]]) -> dict[str, int] | None:
    """How long each label's axis is; None where it has two lengths."""
    extents: dict[str, int] = {}
    for labels, shape in zip(terms, shapes, strict=True):
        if len(labels) != len(shape):
            return None
        for label, extent in zip(labels, shape, strict=True):
            if extents.setdefault(label, extent) != extent:
                return None
    return extents


class _Products:
    """Writes products of two operands, and what they are summed over."""

    def __init__(self, w: NodeWriter, extents: dict[str, int]) -> None:
        self._w, self._extents = w, extents

    def summed(self, operand: _Operand, kept: str) -> _Operand:
        """Sum over the labels that nobody asks for any more."""
        gone = [axis for axis, label in enumerate(operand.labels) if label not in kept]
        if not gone:
            return operand
        labels = "".join(label for label in operand.labels if label in kept)
        if self._w.facts.opset < 13:  # axes are an operand of a ReduceSum since then
            name = self._w.op("ReduceSum", operand.name, axes=gone, keepdims=0)
        else:
            name = self._w.op("ReduceSum", operand.name, self._w.numbers(*gone), keepdims=0)
        return _Operand(name=name, labels=labels)

    def product(self, a: _Operand, b: _Operand, later: str) -> _Operand:
        """The product of two operands, summed over what only they have.

        Args:
            later: the labels that are asked for afterwards.
        """
        a, b = self.summed(a, b.labels + later), self.summed(b, a.labels + later)
        if a.name in self._w.facts.constants:  # weights are a product's right operand
            a, b = b, a
        common = [label for label in a.labels if label in b.labels]
        sums = [label for label in common if label not in later]
        batch = sorted((label for label in common if label in later), key=later.index)
        rows = [label for label in a.labels if label not in b.labels]
        columns = [label for label in b.labels if label not in a.labels]
        if not sums:
            left = self.ordered(a, [*batch, *rows], ones=len(columns))
            right = self.ordered(b, [*batch, *columns], ones_at=len(batch), ones=len(rows))
            name = self._w.op("Mul", left, right)
            return _Operand(name=name, labels="".join((*batch, *rows, *columns)))
        left = self._grouped(a, [*map(str, batch)], [rows, sums])
        right = self._grouped(b, [*map(str, batch)], [sums, columns])
        labels = "".join((*batch, *rows, *columns))
        name = self._w.op("MatMul", left, right)
        if (len(rows), len(columns)) != (1, 1):
            name = self._shaped(name, [self._extents[label] for label in labels])
        return _Operand(name=name, labels=labels)

    def _grouped(self, operand: _Operand, batch: list[str], groups: list[list[str]]) -> str:
        """The operand with its batch's axes and one axis for each group of labels."""
        name = self.ordered(operand, [*batch, *(label for group in groups for label in group)])
        if all(len(group) == 1 for group in groups):
            return name
        shape = [self._extents[label] for label in batch]
        return self._shaped(
            name, [*shape, *(prod(self._extents[label] for label in group) for group in groups)]
        )

    def ordered(
        self, operand: _Operand, labels: Sequence[str], *, ones: int = 0, ones_at: int = -1,
        result: str = "",
    ) -> str:  # fmt: skip
        """The operand with its axes in an order, and axes of one value at a place (at the end).

        Args:
            result: what to call it.
        """
        order = [operand.labels.index(label) for label in labels]
        name, moved = operand.name, order != sorted(order)
        if moved:
            name = self._w.op("Transpose", name, perm=order, result="" if ones else result)
        if ones:
            shape = [self._extents[label] for label in labels]
            at = len(shape) if ones_at < 0 else ones_at
            name = self._shaped(name, [*shape[:at], *[1] * ones, *shape[at:]])
        elif result and not moved:
            name = self._w.op("Identity", name, result=result)
        return name

    def _shaped(self, name: str, shape: Sequence[int]) -> str:
        return self._w.op("Reshape", name, self._w.numbers(*shape))
