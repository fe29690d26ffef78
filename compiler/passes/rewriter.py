"""The state a walk over a QDQ graph keeps: which float values are views of integers."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from edgekiln.compiler.ir.graph import Graph, Node, Quant, Tensor

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

QMIN = {"int8": -128, "uint8": 0}
QMAX = {"int8": 127, "uint8": 255}


@dataclass(frozen=True, kw_only=True, eq=False)
class QuantizedConstant:
    """What a DequantizeLinear of a constant stands for: (values - zero_point) * scale."""

    values: "NDArray[np.generic]"
    scale: "NDArray[np.float32]"
    zero_point: "NDArray[np.generic]"
    axis: int  # of the scales, when there are several

    def dequantized(self) -> "NDArray[np.float32]":
        import numpy as np

        shape = [1] * self.values.ndim
        if self.scale.size > 1:
            shape[self.axis] = self.scale.size
        centred = self.values.astype(np.int32) - self.zero_point.astype(np.int32).reshape(shape)
        return (centred.astype(np.float32) * self.scale.reshape(shape)).astype(np.float32)


@dataclass(frozen=True, kw_only=True)
class Epilogue:
    """What follows an operator up to and including its QuantizeLinear."""

    output: str  # the quantized tensor
    quant: Quant | None  # None: floats, which are their own codes
    dtype: str
    lo: float  # clip range in the quantized domain, activation included
    hi: float
    absorbed: tuple[Node, ...]


@dataclass
class Rewriter:
    graph: Graph
    nodes: list[Node] = field(default_factory=list)  # the new graph, in order
    view: dict[str, str] = field(default_factory=dict)  # float value → the integers behind it
    weights: dict[str, QuantizedConstant] = field(default_factory=dict)
    absorbed: set[str] = field(default_factory=set)  # first outputs of nodes that need no visit
    users: dict[str, list[Node]] = field(default_factory=dict)
    made: dict[str, Node] = field(default_factory=dict)  # producers in the new graph

    def __post_init__(self) -> None:
        self.users = self.graph.consumers()

    def emit(self, node: Node) -> None:
        self.nodes.append(node)
        self.made.update(dict.fromkeys(node.outputs, node))

    def source(self, name: str) -> Tensor | None:
        """The quantized tensor a float value is a view of; None for true floats and constants."""
        return self.graph.tensors[self.view[name]] if name in self.view else None

    def operand(self, name: str, rank: int) -> Tensor | None:
        """`source`, or a constant of 8-bit codes with one scale, as a tensor of `rank` axes."""
        if name not in self.weights:
            return self.source(name)
        constant = self.weights[name]
        if constant.scale.size > 1 or constant.values.dtype.name not in QMIN:
            return None
        shape = (*[1] * (rank - constant.values.ndim), *constant.values.shape)
        key = f"{name}:codes"
        quant = Quant(scale=float(constant.scale[0]), zero_point=int(constant.zero_point[0]))
        self.graph.constants[key] = constant.values.reshape(shape)
        self.graph.tensors[key] = Tensor(
            name=key, shape=shape, dtype=constant.values.dtype.name, quant=quant
        )
        return self.graph.tensors[key]

    def constant(self, name: str) -> "NDArray[np.generic] | None":
        """A constant's value, whether it is stored as float or as integers."""
        if name in self.weights:
            return self.weights[name].dequantized()
        return self.graph.constants.get(name)

    def scale(self, node: Node) -> Quant:
        """The per-tensor parameters of a Quantize- or DequantizeLinear of an activation."""
        import numpy as np

        scale = np.float32(self.graph.constants[node.inputs[1]].reshape(-1)[0])
        zero = 0
        if len(node.inputs) > 2 and node.inputs[2]:
            zero = int(self.graph.constants[node.inputs[2]].reshape(-1)[0])
        return Quant(scale=float(scale), zero_point=zero)

    def quantized_dtype(self, node: Node) -> str:
        """Of a QuantizeLinear's output: its zero point decides, uint8 without one."""
        if len(node.inputs) > 2 and node.inputs[2]:
            return self.graph.constants[node.inputs[2]].dtype.name
        return "uint8"

    def epilogue(self, name: str) -> Epilogue | None:
        """The chain [Relu | Clip]… → QuantizeLinear that alone uses a float value; else None."""
        bounds: list[tuple[float, float]] = []
        absorbed: list[Node] = []
        while name not in self.graph.outputs and len(self.users.get(name, ())) == 1:
            user = self.users[name][0]
            if user.op == "QuantizeLinear" and self.per_tensor(user):
                absorbed.append(user)
                return self._finish(user, bounds, absorbed)
            bound = self.clip_range(user)
            if bound is None:
                return None
            bounds.append(bound)
            absorbed.append(user)
            name = user.outputs[0]
        return None

    def _finish(self, q: Node, bounds: list[tuple[float, float]], absorbed: list[Node]) -> Epilogue:
        quant, dtype = self.scale(q), self.quantized_dtype(q)
        lo, hi = QMIN[dtype], QMAX[dtype]
        for low, high in bounds:
            # Quantization is monotone, so clipping before it and after it are the same.
            lo = max(lo, quantize_scalar(low, quant, dtype))
            hi = min(hi, quantize_scalar(high, quant, dtype))
        return Epilogue(
            output=q.name, quant=quant, dtype=dtype, lo=lo, hi=max(lo, hi), absorbed=tuple(absorbed)
        )

    def per_tensor(self, node: Node) -> bool:
        """Whether an activation's quantization is what the kernels take: one scale, 8 bits."""
        scale = self.graph.constants.get(node.inputs[1])
        kind = node.op == "DequantizeLinear" or self.quantized_dtype(node) in QMIN
        return scale is not None and scale.size == 1 and kind

    def clip_range(self, node: Node) -> tuple[float, float] | None:
        """Bounds of a Relu or a Clip with constant bounds; None for anything else."""
        if node.op == "Relu":
            return 0.0, float("inf")
        if node.op != "Clip":
            return None
        bounds = [node.attrs.get("min"), node.attrs.get("max")]  # opset < 11
        for i, name in enumerate(node.inputs[1:3]):
            if name:
                value = self.constant(name)
                if value is None:
                    return None
                bounds[i] = float(value.reshape(-1)[0])
        low, high = bounds
        return (
            float("-inf") if low is None else low,
            float("inf") if high is None else high,
        )

    def code(self, value: float, like: Tensor) -> float:
        """The code that stands for `value` in a tensor quantized like this one."""
        assert like.quant is not None, like.name
        return quantize_scalar(value, like.quant, like.dtype)

    def take(self, epilogue: Epilogue, shape: tuple[int, ...] | None = None) -> None:
        """Type the epilogue's output and skip the nodes that it stands for."""
        self.graph.retype(epilogue.output, quant=epilogue.quant, dtype=epilogue.dtype)
        if shape is not None:
            self.graph.retype(epilogue.output, shape=shape)
        self.absorbed.update(node.name for node in epilogue.absorbed)

    def pass_through(
        self, node: Node, op: str, inputs: tuple[str, ...] = (), output: str = "", **attrs: object
    ) -> None:
        """Emit an operation that moves or selects values and keeps their quantization.

        `inputs` are the integers it reads, the node's first input's if not said; `output` is the
        node's output it makes, the first if not said.
        """
        source = self.source(node.inputs[0])
        assert source is not None, node.name
        output = output or node.name
        name = f"{output}:int"
        shape = self.graph.tensors[output].shape
        self.graph.tensors[name] = Tensor(
            name=name, shape=shape, dtype=source.dtype, quant=source.quant
        )
        inputs = inputs or (source.name,)
        self.emit(Node(op=op, inputs=inputs, outputs=(name,), attrs=dict(attrs)))
        self.view[output] = name


def quantize_scalar(value: float, quant: Quant, dtype: str) -> int:
    """ONNX QuantizeLinear of one number: round half to even, saturate."""
    import numpy as np

    if np.isinf(value):
        return QMAX[dtype] if value > 0 else QMIN[dtype]
    steps = np.rint(np.float32(value) / np.float32(quant.scale)) + quant.zero_point
    return int(np.clip(steps, QMIN[dtype], QMAX[dtype]))
