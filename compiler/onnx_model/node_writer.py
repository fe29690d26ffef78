"""Nodes in a row, in the place of one: what rewrites that need several of them write with."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import onnx
    from numpy.typing import NDArray

    from edgekiln.compiler.onnx_model.rewriting import ModelFacts


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

    # Attributes are what `onnx.helper` takes for them.
    def op(self, op: str, *operands: str, result: str = "", **attributes: Any) -> str:
        """Append a node; returns the name of what it makes, `result` or a new one."""
        import onnx

        name = result or self.facts.free(f"{self.stem}.{op.lower()}")
        self.nodes.append(
            onnx.helper.make_node(op, list(operands), [name], name=name, **attributes)
        )
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
