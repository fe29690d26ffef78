"""Operators that are still ONNX's, and the subgraphs of them that TVM's Relax lowers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar, NoReturn

from edgekiln.compiler.ir.node import Node, Op
from edgekiln.compiler.ir.tensor import Tensor
from edgekiln.runtime.errors import InputError


@dataclass(frozen=True, kw_only=True, eq=False)
class Onnx(Op):
    """An operator that has no form of ours, or not yet."""

    op_type: str
    domain: str = ""
    # int, float, bytes, lists of them, or a protobuf message: as `onnx.helper` reads them.
    attrs: Mapping[str, object] = field(default_factory=dict)

    @property
    def kind(self) -> str:
        return self.op_type

    def integer(self, name: str, default: int) -> int:
        """An attribute that is one integer."""
        value = self.attrs.get(name, default)
        return value if isinstance(value, int) else self._wrong(name, "an integer")

    def real(self, name: str, default: float) -> float:
        """An attribute that is one number."""
        value = self.attrs.get(name, default)
        return value if isinstance(value, (int, float)) else self._wrong(name, "a number")

    def text(self, name: str, default: str) -> str:
        """An attribute that is a word."""
        value = self.attrs.get(name, default)
        # Text is bytes in an attribute (`AttributeProto.s`).
        if isinstance(value, bytes):
            return value.decode("utf-8", "replace")
        return value if isinstance(value, str) else self._wrong(name, "a word")

    def integers(self, name: str) -> tuple[int, ...] | None:
        """An attribute that is a list of integers; None if it is not there."""
        value = self.attrs.get(name)
        if value is None:
            return None
        if not isinstance(value, Sequence) or not all(isinstance(each, int) for each in value):
            return self._wrong(name, "a list of integers")
        return tuple(value)

    def _wrong(self, name: str, kind: str) -> NoReturn:
        raise InputError(
            f"attribute {name!r} of an operator {self.op_type} is not {kind}",
            "check the model with onnx.checker",
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class Subgraph(Op):
    """ONNX operators without a kernel of ours, side by side: what is left to TVM's Relax."""

    KIND: ClassVar[str] = "fallback"
    on_rows: ClassVar[bool] = True

    nodes: tuple[Node, ...]  # in order; each is an `Onnx`

    def renamed(self, names: Mapping[str, str]) -> "Op":
        nodes = tuple(node.renamed(names) for node in self.nodes)
        return self if nodes == self.nodes else replace(self, nodes=nodes)

    def fault(self, xs: Sequence[Tensor], ys: Sequence[Tensor]) -> str:
        del xs
        made = {name for node in self.nodes for name in node.outputs}
        missing = [y.name for y in ys if y.name not in made]
        return f"nothing inside makes {', '.join(missing)}" if missing else ""


def is_onnx(node: Node) -> bool:
    """Whether a node is still an ONNX operator."""
    return isinstance(node.op, Onnx)


def onnx_op(node: Node) -> Onnx:
    """The operator of a node that is still ONNX's."""
    assert isinstance(node.op, Onnx), node.name
    return node.op
