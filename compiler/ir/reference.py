"""ONNX operators as ONNX has them, and their results by ONNX's own reference implementation."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper
from onnx.reference import ReferenceEvaluator

from edgekiln.compiler.ir.node import Node
from edgekiln.compiler.ir.onnx_op import onnx_op
from edgekiln.compiler.onnx_model.constant_result import part_of


def domains(nodes: Iterable[Node]) -> list[str]:
    """The operator sets, other than ONNX's own, that the nodes are of."""
    return sorted({onnx_op(node).domain for node in nodes} - {""})


def opsets(nodes: Iterable[Node], opset: int) -> list[onnx.OperatorSetIdProto]:
    """What a model of the nodes imports, `opset` being ONNX's own."""
    return [helper.make_opsetid("", opset), *(helper.make_opsetid(d, 1) for d in domains(nodes))]


def node_proto(node: Node) -> onnx.NodeProto:
    """The ONNX form of a node that is still an ONNX operator."""
    op = onnx_op(node)
    attrs: dict[str, Any] = dict(op.attrs)  # what `make_node` takes beside its own keywords
    return helper.make_node(
        op.op_type, list(node.inputs), list(node.outputs), domain=op.domain, **attrs
    )


def evaluate(
    nodes: Sequence[Node],
    feeds: Mapping[str, NDArray[np.generic]],
    outputs: Sequence[str],
    opset: int,
) -> list[NDArray[np.generic]]:
    """Run ONNX nodes on numpy arrays, by the ONNX reference implementation."""
    model = part_of(map(node_proto, nodes), feeds, outputs, opsets(nodes, opset))
    return [np.asarray(out) for out in ReferenceEvaluator(model).run(list(outputs), dict(feeds))]
