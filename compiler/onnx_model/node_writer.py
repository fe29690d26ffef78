"""Nodes in a row, in the place of one: what rewrites that need several of them write with."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import onnx
    from numpy.typing import NDArray

    from edgekiln.compiler.onnx_model.rewriting import ModelFacts


def node_of(
    op: str, operands: Sequence[str], result: str, attributes: Mapping[str, object]
) -> "onnx.NodeProto":
    """A node with one result, by which it is named."""
    import onnx

    node = onnx.helper.make_node(op, list(operands), [result], name=result)
    node.attribute.extend(
        onnx.helper.make_attribute(name, value) for name, value in attributes.items()
    )
    return node


@dataclass(kw_only=True)
class NodeWriter:
    """Each node has one result, which is named after what the nodes stand for and the operator."""

    facts: "ModelFacts"
    node: "onnx.NodeProto"  # that they stand for
    nodes: "list[onnx.NodeProto]" = field(default_factory=list)

    @property
    def stem(self) -> str:
        """The first result of the node."""
        names: list[str] = list(self.node.output)
        return next(name for name in names if name)

    def op(self, op: str, *operands: str, result: str = "", **attributes: object) -> str:
        """Append a node, with attributes as `onnx.helper` takes them; returns the name of what it
        makes, `result` or a new one.
        """
        name = result or self.facts.free(f"{self.stem}.{op.lower()}")
        self.nodes.append(node_of(op, operands, name, attributes))
        return name

    def constant(self, value: "NDArray[np.generic]") -> str:
        """The name of a new constant."""
        return self.facts.add(f"{self.stem}.constant", value)

    def numbers(self, *values: int) -> str:
        """The name of a new constant: int64, in a row."""
        import numpy as np

        return self.constant(np.array(values, np.int64))

    def cast(self, name: str, dtype: str, result: str = "") -> str:
        """Append a Cast to a type that numpy names so."""
        import numpy as np
        import onnx

        kind = onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
        return self.op("Cast", name, result=result, to=kind)
