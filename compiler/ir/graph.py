"""The graph: what the passes transform, between ONNX and kernels.

Tensors carry their quantization, which neither ONNX's nor Relax's types can, so no pass has to look
for it again. Nodes are in topological order; every tensor has one producer.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from math import prod
from typing import TYPE_CHECKING, Any, Literal

from edgekiln.compiler.ir.memory import NO_HALO, Halo, Nhwc

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True)
class Quant:
    """Per-tensor quantization: real = (q - zero_point) * scale."""

    scale: float
    zero_point: int


# "NHWC": a tensor whose ONNX order is NCHW lies channels-last in memory. "plain": as ONNX has it.
Layout = Literal["plain", "NHWC"]


@dataclass(frozen=True, kw_only=True)
class Part:
    """The channels of a concatenation's result that one of its operands is, in the same memory."""

    whole: str  # the result
    start: int  # its first channel that is the operand's
    channels: int  # of the result
    completes: bool  # whether nothing of the result is missing when the operand is there


@dataclass(frozen=True, kw_only=True)
class Tensor:
    """A value of the graph. `shape` is ONNX's (NCHW for images) whatever the layout in memory."""

    name: str
    shape: tuple[int, ...]
    dtype: str  # numpy name
    quant: Quant | None = None
    layout: Layout = "plain"
    halo: Halo = NO_HALO
    part: Part | None = None

    @property
    def elements(self) -> int:
        return prod(self.shape)

    def strides(self) -> tuple[tuple[int, ...], int]:
        """Elements in memory from one index to the next on each ONNX axis; and to the first one."""
        if self.layout == "NHWC":
            memory = self.nhwc()
            return (memory.image, 1, memory.row, memory.pixel), memory.index(0, 0, 0, 0)
        return tuple(prod(self.shape[axis + 1 :]) for axis in range(len(self.shape))), 0

    def nhwc(self) -> Nhwc:
        """How the array lies in memory; more than four axes are seen as four."""
        quant = self.quant or Quant(scale=1.0, zero_point=0)
        if self.layout == "NHWC":
            n, c, h, w = self.shape
        else:
            *outer, c = self.shape or (1,)
            n, *middle = outer or [1]
            *rows, w = middle or [1]
            h = prod(rows)
        return Nhwc(
            n=n,
            h=h,
            w=w,
            c=c,
            dtype=self.dtype,
            halo=self.halo,
            scale=quant.scale,
            zero_point=quant.zero_point,
            pitch=self.part.channels if self.part else 0,
        )


@dataclass(frozen=True, kw_only=True)
class Node:
    """One operation.

    `op` is an ONNX operator in the frontend's graph; afterwards an integer operation in snake_case
    ("conv2d", "add", …), an ONNX operator that stayed float, or "float", an island of those.
    """

    op: str
    inputs: tuple[str, ...]  # "" for an absent optional input
    outputs: tuple[str, ...]
    attrs: dict[str, Any] = field(default_factory=dict)
    domain: str = ""
    reason: str = ""  # why it stayed float

    @property
    def name(self) -> str:
        return self.outputs[0]

    def renamed(self, names: Mapping[str, str]) -> "Node":
        """With other operands and results, those of operators inside an island too."""
        attrs = self.attrs
        if self.op == "float":
            attrs = {**attrs, "nodes": tuple(node.renamed(names) for node in attrs["nodes"])}
        return replace(
            self,
            inputs=tuple(names.get(name, name) for name in self.inputs),
            outputs=tuple(names.get(name, name) for name in self.outputs),
            attrs=attrs,
        )


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

    def insert_edge(self, name: str, inner: Tensor, op: str = "requantize", **attrs: Any) -> None:
        """Let the graph work on `inner` and convert to it from (or from it to) a program's input
        (or output) `name`.
        """
        self.tensors[inner.name] = inner
        self.nodes = [node.renamed({name: inner.name}) for node in self.nodes]
        if name in self.inputs:
            self.nodes.insert(0, Node(op=op, inputs=(name,), outputs=(inner.name,), attrs=attrs))
        else:
            self.nodes.append(Node(op=op, inputs=(inner.name,), outputs=(name,), attrs=attrs))

    def arrays(self, names: Iterable[str]) -> Iterator[Tensor]:
        """Those that kernels of our own work on: quantized or float32."""
        for name in names:
            tensor = self.tensors.get(name)
            if tensor is not None and (tensor.quant is not None or tensor.dtype == "float32"):
                yield tensor

    def quantized(self, names: Iterable[str]) -> Iterator[Tensor]:
        for name in names:
            if name in self.tensors and self.tensors[name].quant is not None:
                yield self.tensors[name]
