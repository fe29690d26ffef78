"""What a lowering keeps: the calls so far, and where each tensor lies."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from edgekiln.compiler.ir.graph import Graph
from edgekiln.compiler.ir.node import Node
from edgekiln.compiler.ir.ops import Quantize
from edgekiln.compiler.ir.program import ArenaBuffer, Arg, Call, Const, In, Out, Ref
from edgekiln.compiler.ir.tensor import WORD, Tensor
from edgekiln.compiler.kernels.conv2d.kernel import ConvolutionKernel
from edgekiln.compiler.kernels.types import Kernel
from edgekiln.compiler.tuning.table import Choices, T
from edgekiln.runtime.manifest import Preprocessing, TensorSpec
from edgekiln.targets import isa
from edgekiln.targets.isa.base import MicroKernel


@dataclass
class SharedWeights:
    """The convolutions of a program's points so far: those of narrower points read the weights of
    wider ones, where these are the first channels.
    """

    kernels: list[ConvolutionKernel] = field(default_factory=list)


@dataclass
class Lowering:
    """A program in the making. Lowerings of operations add calls by `call`."""

    graph: Graph
    mk: MicroKernel
    tvm_target: Mapping[str, object]
    calls: list[Call] = field(default_factory=list)
    buffers: dict[str, ArenaBuffer] = field(default_factory=dict)
    aliases: dict[str, str] = field(default_factory=dict)  # same bytes under another name
    choices: Choices = field(default_factory=Choices)  # of register tiles
    compact: bool = False  # constants must not grow for speed
    wider: SharedWeights | None = None  # of a program with points: what those before this one have

    def __post_init__(self) -> None:
        self.given, self.returned = self.graph.given(), self.graph.returned()

    def tensor(self, name: str) -> Tensor:
        return self.graph.tensors[name]

    def is_float(self, node: Node) -> bool:
        """Whether an operation works on floats."""
        return not isinstance(node.op, Quantize) and self.tensor(node.inputs[0]).quant is None

    def kernels_of(self, node: Node) -> MicroKernel:
        """The micro-kernel that fits what an operation works on."""
        if self.is_float(node):
            return isa.for_floats(self.mk)
        words = self.tensor(node.inputs[0]).dtype == WORD
        return isa.for_words(self.mk) if words else self.mk

    def alias(self, name: str, of: str) -> None:
        """Let a tensor be the bytes of another."""
        # Of the tensor that has the bytes: an alias is never of another alias.
        self.aliases[name] = self.aliases.get(of, of)

    def place(self, name: str) -> Arg:
        """Where a tensor lies: the program's memory, or a buffer that is made when first named."""
        name = self.aliases.get(name, name)
        if name in self.buffers:
            return Ref(buffer=name)
        # Of a concatenation that is made in place.
        if part := self.tensor(name).part:
            offset = part.start * np.dtype(self.tensor(name).dtype).itemsize
            return Ref(buffer=self._buffer(part.whole), offset=offset)
        if name in self.graph.constants:
            # Its bytes are put in order now, while the program is compiled.
            channels_last = self.tensor(name).layout == "NHWC"
            array = self.graph.constants[name]
            return Const(array=array.transpose(0, 2, 3, 1) if channels_last else array)
        if name in self.given:
            return In(index=self.given.index(name))
        if name in self.returned:
            return Out(index=self.returned.index(name))
        return Ref(buffer=self._buffer(name))

    def _buffer(self, name: str) -> str:
        """A tensor's own buffer."""
        if name not in self.buffers:
            tensor = self.tensor(name)
            # A border is memory, too.
            size = tensor.nhwc().elements if tensor.halo else tensor.elements
            self.buffers[name] = ArenaBuffer(
                name=name, bytes=size * np.dtype(tensor.dtype).itemsize
            )
        return name

    def tuned(self, node: Node, kernel: T) -> T:
        """The kernel with the register tile that was chosen for it."""
        return self.choices.tuned(node.name, kernel, self.kernels_of(node))

    def pack(self, node: Node, kernel: Kernel, operand: str, packed: ArenaBuffer) -> None:
        """Append a call that copies an operand of `node` into a buffer of its own."""
        self.buffers[packed.name] = packed
        self.calls.append(
            Call(
                name=packed.name,
                op=f"{node.op.kind}_pack",
                code=kernel.code,
                args=(
                    self.place(operand),
                    *(Const(array=array) for array in kernel.constants),
                    Ref(buffer=packed.name),
                ),
                work=kernel.work,
                integer=not self.is_float(node),
            )
        )

    def call(
        self,
        node: Node,
        kernel: Kernel,
        *,
        op: str = "",
        macs: int = 0,
        partial: int | None = None,
        inputs: tuple[str, ...] | None = None,
    ) -> None:
        """Append a call. `partial` numbers the calls that together produce one tensor; `inputs`
        are what the kernel reads, the node's own if not said. A call that completes a concatenation
        is known by the whole it completes.
        """
        if inputs is None:
            inputs = node.inputs if partial is None else node.inputs[partial : partial + 1]
        # Whoever compares programs layer by layer must not look before all of a tensor is
        # written.
        last = partial is None or partial == len(node.inputs) - 1
        result, to = self.tensor(node.name), self.place(node.name)
        where = None
        if part := result.part:
            last, result = part.completes, self.tensor(part.whole)
            where = Ref(buffer=part.whole)
        self.calls.append(
            Call(
                name=result.name if last else f"{node.name}:part{partial or 0}",
                op=op or node.op.kind,
                code=kernel.code,
                args=(
                    # The order of a kernel's parameters: what it reads, its constants, what it
                    # writes.
                    *(self.place(name) for name in inputs),
                    *(Const(array=array) for array in kernel.constants),
                    to,
                ),
                work=kernel.work,
                macs=macs,
                integer=not self.is_float(node),
                reason=node.reason,
                output=spec_of(result) if last else None,
                layout=result.layout,
                halo=result.halo,
                where=where,
            )
        )


def spec_of(
    tensor: Tensor, *, preprocessing: Preprocessing | None = None, labels: tuple[str, ...] = (),
    holds: str = "", rate_hz: int = 0,
) -> TensorSpec:  # fmt: skip
    """What a program says of a tensor."""
    quant = tensor.quant
    return TensorSpec(
        name=tensor.name,
        shape=tensor.shape,
        dtype=tensor.dtype,
        scale=quant.scale if quant else None,
        zero_point=quant.zero_point if quant else None,
        preprocessing=preprocessing,
        labels=labels,
        holds=holds,
        rate_hz=rate_hz,
    )
