"""A walk that rewrites ONNX operators to operations on codes, or on floats."""

from dataclasses import dataclass, replace

from edgekiln.compiler.ir.codes import FloatFinish
from edgekiln.compiler.ir.node import Node, Op
from edgekiln.compiler.ir.tensor import Tensor
from edgekiln.compiler.passes.numbers import Numbers
from edgekiln.compiler.passes.walk import OperatorEpilogue, Walk


@dataclass(kw_only=True)
class Rewriter(Walk):
    """What rules work with."""

    numbers: Numbers
    reason: str = ""  # why the operator that is being visited has no integer form

    def emit(self, node: Node) -> None:
        super().emit(node if node.reason == self.reason else replace(node, reason=self.reason))

    def make(self, op: Op, inputs: tuple[str, ...], output: str) -> None:
        """Emit an operation with one result."""
        self.emit(Node(op=op, inputs=inputs, outputs=(output,)))

    def source(self, name: str) -> Tensor | None:
        return self.numbers.source(self, name)

    def operand(self, name: str, rank: int) -> Tensor | None:
        return self.numbers.operand(self, name, rank)

    def epilogue(self, name: str) -> OperatorEpilogue | None:
        return self.numbers.epilogue(self, name)

    def code(self, value: float, like: Tensor) -> float:
        return self.numbers.code(value, like)

    def unquantized(self, name: str) -> OperatorEpilogue:
        """What follows sums of products whose result nobody quantizes: they become floats."""
        dtype = self.graph.tensors[name].dtype
        return OperatorEpilogue(output=name, quant=None, dtype=dtype, finish=FloatFinish())

    def take(self, epilogue: OperatorEpilogue) -> None:
        """Type the epilogue's output and skip the nodes that it stands for."""
        # The model knows it as floats, or as integers without a scale.
        output = self.graph.tensors[epilogue.output]
        self.graph.put(replace(output, quant=epilogue.quant, dtype=epilogue.dtype))
        self.absorbed.update(node.name for node in epilogue.absorbed)

    def move(self, node: Node, op: Op, inputs: tuple[str, ...] = (), output: str = "") -> None:
        """Emit an operation that moves or selects values and keeps their quantization.

        `inputs` are the tensors it reads, that of the node's first input if not said; `output` is
        the node's output it makes, the first if not said.
        """
        source = self.source(node.inputs[0])
        assert source is not None or inputs, node.name
        like = source or self.graph.tensors[inputs[0]]
        to = self.numbers.moved(self, like, output or node.name)
        self.make(op, inputs or (like.name,), to)
