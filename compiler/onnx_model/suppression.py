"""NonMaxSuppression, whose result has as many rows as data says, gets a fixed shape.

It has a row for each box that could stay, and those behind the boxes that do hold -1. What reads
it, row by row, keeps the rows; an output that is made of them holds -1 in the rows that are not
there, and the model gets an output that says how many are. What does anything else with the rows is
refused.
"""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from edgekiln.compiler.onnx_model import operators, own_functions, rewriting, rows_of
from edgekiln.compiler.onnx_model.detection_functions import DOMAIN, NOT_THERE, filling
from edgekiln.compiler.onnx_model.node_writer import node_of
from edgekiln.compiler.onnx_model.rows_of import Rows
from edgekiln.runtime.errors import UnsupportedError

if TYPE_CHECKING:
    import onnx

    from edgekiln.compiler.onnx_model.rewriting import Constant, ModelFacts

OPERATOR = "NonMaxSuppression"
_MOST_ROWS = 1 << 24
_READERS = "Gather, Slice, Squeeze, Cast, Reshape and what computes value by value"


def has(model: "onnx.ModelProto") -> bool:
    """Whether a model has a result of so many rows as data says."""
    return any(node.op_type == OPERATOR and not node.domain for node in model.graph.node)


def fix(model: "onnx.ModelProto", where: str) -> list[str]:
    """Fix the shapes, in place; returns what there is to tell.

    A node whose limits are no constants, or that reads tensors of open shapes, stays; the check of
    operators refuses it.

    Args:
        where: the file, with which messages begin.

    Raises:
        UnsupportedError: an operator behind it needs to know how many rows there are.
    """
    if not has(model):
        return []
    facts = rewriting.facts_of(model)
    fixing = _Fixing(facts=facts, where=where)
    for node in model.graph.node:
        fixing.visit(node)
    if not fixing.fixed:
        return []
    fixing.fill(model)
    model.graph.initializer.extend(facts.made)
    rewriting.replace_nodes(model, fixing.nodes)
    own_functions.declare(model)
    return [
        f"{OPERATOR} gives {most} rows, of which {count!r} says how many are there; the others "
        "hold -1"
        for most, count in fixing.fixed
    ]


@dataclass(kw_only=True)
class _Fixing:
    """A walk over the nodes of a model."""

    facts: "ModelFacts"
    where: str
    nodes: "list[onnx.NodeProto]" = field(default_factory=list)
    rows: dict[str, Rows] = field(default_factory=dict)  # tensors that have them
    counts: dict[str, int] = field(default_factory=dict)  # of rows; 0: the batch is open
    fixed: list[tuple[str, str]] = field(default_factory=list)  # rows, and the name of their count

    def visit(self, node: "onnx.NodeProto") -> None:
        if node.op_type == OPERATOR and not node.domain and self._fix(node):
            return
        self.nodes.append(node)
        if self.rows.keys().isdisjoint(node.input):
            return
        found = rows_of.result(self.facts, node, self.rows)
        if found is None:
            first = next(self.rows[name] for name in node.input if name in self.rows)
            raise UnsupportedError(
                f"{self.where}: operator {node.op_type} ({node.output[0]!r}) reads the boxes that "
                f"{OPERATOR} ({first.source!r}) kept, and how many they are depends on data",
                hint=f"end the model before it; behind {OPERATOR} may stand {_READERS}",
            )
        self.rows.update((name, found) for name in node.output if name)

    def _fix(self, node: "onnx.NodeProto") -> bool:
        operands = [*node.input, *[""] * (5 - len(node.input))]
        limits = [self.facts.constant(node, place) if operands[place] else None for place in (2, 3)]
        most, overlap = limits
        self._check(node, most, overlap)
        least = self.facts.constant(node, 4) if operands[4] else None
        constant = self.facts.constants.get(operands[1])
        shape = self.facts.shapes.get(operands[1], ()) if constant is None else constant.shape
        if len(shape) != 3 or most is None or most.size != 1 or int(most.reshape(-1)[0]) <= 0:
            return False
        images, *inner = shape
        known = [extent for extent in inner if isinstance(extent, int)]
        wanting = (operands[3] and overlap is None) or (operands[4] and least is None)
        if wanting or len(known) != 2 or not all(known):
            return False
        kept = min(int(most.reshape(-1)[0]), known[1])
        per_image = known[0] * kept
        if per_image * (images if isinstance(images, int) else 1) > _MOST_ROWS:
            raise UnsupportedError(
                f"{self.where}: operator {OPERATOR} ({node.output[0]!r}) may keep {per_image} "
                f"boxes of an image, more than {_MOST_ROWS}",
                hint="export it with fewer boxes a class: max_output_boxes_per_class",
            )
        result = node.output[0]
        filler = self._filler(operands[1], images, per_image)
        limit = operands[3] or self.facts.add(f"{result}.overlap", np.zeros(1, np.float32))
        fixed = self._own(
            "FixedSuppression", operands[0], operands[1],
            self.facts.add(f"{result}.most", np.array([kept])), limit, operands[4], filler,
            result=result,
            center_point_box=operators.attributes(node).get("center_point_box", 0),
        )  # fmt: skip
        count = self.facts.free(f"{result}_count")
        self._own("CountedRows", fixed, result=count)
        self.rows[result] = Rows(axis=0, source=result)
        self.counts[result] = per_image * images if isinstance(images, int) else 0
        rows = self.counts[result] or f"{per_image} × {images}"
        self.fixed.append((str(rows), count))
        return True

    def _check(
        self, node: "onnx.NodeProto", most: "Constant | None", overlap: "Constant | None"
    ) -> None:
        """Refuse limits with which a node keeps nothing, or ONNX Runtime does not run it."""
        fault = hint = ""
        absent = len(node.input) < 3 or not node.input[2]
        if absent or (most is not None and most.size == 1 and int(most.reshape(-1)[0]) <= 0):
            number = "left out" if most is None else int(most.reshape(-1)[0])
            fault = f"keeps no box: max_output_boxes_per_class is {number}"
            hint = "export it with the number of boxes that each class may keep"
        elif overlap is not None and not ((overlap >= 0) & (overlap <= 1)).all():
            fault = f"has iou_threshold {overlap.reshape(-1)[0]:g}, which is no share"
            hint = "export it with one from 0 to 1"
        if fault:
            message = f"{self.where}: operator {OPERATOR} ({node.output[0]!r}) {fault}"
            raise UnsupportedError(message, hint=hint)

    def _filler(self, scores: str, images: "int | str", per_image: int) -> str:
        """Rows that are all not there; of an open batch they are made by operators."""
        if isinstance(images, int):
            return self.facts.add(f"{scores}.rows", np.full((images * per_image, 3), NOT_THERE))
        import onnx

        first = self.facts.add(f"{scores}.batch", np.zeros(1, np.int64))
        each = self.facts.add(f"{scores}.per_image", np.array([per_image]))
        three = self.facts.add(f"{scores}.numbers", np.array([3]))
        batch = self._op("Gather", self._op("Shape", scores), first, axis=0)
        shape = self._op("Concat", self._op("Mul", batch, each), three, axis=0)
        value = onnx.numpy_helper.from_array(np.array([NOT_THERE]))
        return self._op("ConstantOfShape", shape, value=value)

    def _op(self, op: str, *operands: str, **attributes: object) -> str:
        name = self.facts.free(f"{operands[0]}.{op.lower()}")
        self.nodes.append(node_of(op, operands, name, attributes))
        return name

    def _own(self, op: str, *operands: str, result: str, **attributes: object) -> str:
        self.nodes.append(node_of(op, operands, result, attributes))
        self.nodes[-1].domain = DOMAIN
        return result

    def fill(self, model: "onnx.ModelProto") -> None:
        """Let outputs hold -1 in rows that are not there, and give the model the counts."""
        import onnx

        filled: set[str] = set()
        for value in model.graph.output:
            rows = self.rows.get(value.name)
            if rows is None or value.name in filled:
                continue
            filled.add(value.name)
            extent = value.type.tensor_type.shape.dim[rows.axis]
            extent.Clear()
            if known := self.counts[rows.source]:
                extent.dim_value = known
            if rows.source == value.name:
                continue
            inner = self.facts.free(f"{value.name}.rows")
            for node in self.nodes:
                for names in (node.input, node.output):
                    names[:] = [inner if name == value.name else name for name in names]
            dtype = self.facts.dtypes[value.name]
            shape = [1] * len(self.facts.shapes[value.name])
            shape[rows.axis] = -1
            self._own(
                "FilledRows", inner, rows.source,
                self.facts.add(f"{value.name}.mask", np.array(shape)),
                self.facts.add(f"{value.name}.filler", np.array(filling(dtype), dtype)),
                result=value.name, axis=rows.axis,
            )  # fmt: skip
        for _, count in self.fixed:
            kind = onnx.TensorProto.INT64
            model.graph.output.append(onnx.helper.make_tensor_value_info(count, kind, [1]))
        del model.graph.value_info[:]
