"""The state a walk over float operators keeps: rules of integers hold, a value is its own code."""

from dataclasses import dataclass, replace

from edgekiln.compiler.ir.graph import Node, Tensor
from edgekiln.compiler.passes.rewriter import Epilogue, Rewriter


@dataclass
class FloatRewriter(Rewriter):
    """Sources are float32 tensors themselves; an epilogue needs no QuantizeLinear at its end."""

    reason: str = ""  # why the operator that is being visited has no integer form

    def emit(self, node: Node) -> None:
        super().emit(replace(node, reason=self.reason))

    def source(self, name: str) -> Tensor | None:
        tensor = self.graph.tensors.get(name)
        known = tensor is not None and tensor.dtype == "float32" and tensor.quant is None
        return tensor if known else None

    def operand(self, name: str, rank: int) -> Tensor | None:
        """`source`, or a constant as a tensor of `rank` axes."""
        value = self.graph.constants.get(name)
        if value is None or value.dtype.name != "float32" or value.ndim > rank:
            return self.source(name)
        shape = (*[1] * (rank - value.ndim), *value.shape)
        key = f"{name}:rank{rank}"
        self.graph.constants[key] = value.reshape(shape)
        self.graph.tensors[key] = Tensor(name=key, shape=shape, dtype="float32")
        return self.graph.tensors[key]

    def epilogue(self, name: str) -> Epilogue:
        """The chain [Relu | Clip]… that alone uses a value."""
        low, high = float("-inf"), float("inf")
        absorbed: list[Node] = []
        while name not in self.graph.outputs and len(self.users.get(name, ())) == 1:
            (user,) = self.users[name]
            bound = self.clip_range(user)
            if bound is None:
                break
            low, high = (max(bound[0], min(bound[1], limit)) for limit in (low, high))
            absorbed.append(user)
            name = user.name
        return Epilogue(
            output=name, quant=None, dtype="float32", lo=low, hi=high, absorbed=tuple(absorbed)
        )

    def code(self, value: float, like: Tensor) -> float:
        del like
        return value

    def pass_through(
        self, node: Node, op: str, inputs: tuple[str, ...] = (), output: str = "", **attrs: object
    ) -> None:
        inputs = inputs or node.inputs[:1]
        outputs = (output or node.name,)
        self.emit(Node(op=op, inputs=inputs, outputs=outputs, attrs=dict(attrs)))
