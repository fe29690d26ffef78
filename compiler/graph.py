"""The integer graph: what the passes transform, between ONNX and kernels.

Tensors carry their quantization, which neither ONNX's nor Relax's types can, so no pass has to look
for it again. Nodes are in topological order; every tensor has one producer.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from edgekiln.compiler.kernels.spec import NO_HALO, Halo, Nhwc

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True)
class Quant:
    """Per-tensor quantization: real = (q - zero_point) * scale."""

    scale: float
    zero_point: int


@dataclass(frozen=True, kw_only=True)
class Tensor:
    """A value of the graph. `shape` is ONNX's (NCHW for images) whatever the layout in memory."""

    name: str
    shape: tuple[int, ...]
    dtype: str  # numpy name
    quant: Quant | None = None
    halo: Halo = NO_HALO

    @property
    def elements(self) -> int:
        count = 1
        for extent in self.shape:
            count *= extent
        return count

    def nhwc(self) -> Nhwc:
        """How the tensor lies in memory. Only for quantized tensors of rank 1 to 4."""
        assert self.quant is not None, self.name
        if len(self.shape) == 4:
            n, c, h, w = self.shape
        else:
            *outer, c = self.shape
            n, w = (outer[0], outer[1]) if len(outer) == 2 else ((*outer, 1)[0], 1)
            h = 1
        return Nhwc(
            n=n, h=h, w=w, c=c, dtype=self.dtype, halo=self.halo,
            scale=self.quant.scale, zero_point=self.quant.zero_point,
        )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Node:
    """One operation. `op` is an ONNX operator's name in the frontend's graph, an integer operation's
    ("conv2d", "add", …) or "float" (an island of ONNX nodes) after the lowering.
    """

    op: str
    inputs: tuple[str, ...]  # "" for an absent optional input
    outputs: tuple[str, ...]
    attrs: dict[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return self.outputs[0]


@dataclass
class Graph:
    """Mutable; passes rewrite it in place and say whether they did."""

    inputs: list[str]
    outputs: list[str]
    nodes: list[Node]
    tensors: dict[str, Tensor]
    constants: "dict[str, NDArray[np.generic]]"
    opset: int = 0

    def producers(self) -> dict[str, Node]:
        return {out: node for node in self.nodes for out in node.outputs}

    def consumers(self) -> dict[str, list[Node]]:
        users: dict[str, list[Node]] = {}
        for node in self.nodes:
            for name in dict.fromkeys(node.inputs):
                users.setdefault(name, []).append(node)
        return users

    def retype(self, name: str, **changes: Any) -> None:
        self.tensors[name] = replace(self.tensors[name], **changes)

    def quantized(self, names: Iterable[str]) -> Iterator[Tensor]:
        for name in names:
            if name in self.tensors and self.tensors[name].quant is not None:
                yield self.tensors[name]
