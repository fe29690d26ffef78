"""What a walk over a graph of ONNX operators knows, whatever the numbers."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from edgekiln.compiler.ir.codes import INFINITY, Finish, Quant
from edgekiln.compiler.ir.graph import Graph
from edgekiln.compiler.ir.node import Node
from edgekiln.compiler.ir.onnx_op import Onnx, onnx_op
from edgekiln.compiler.ir.tensor import QMAX, QMIN, WORD
from edgekiln.compiler.onnx_model.operator_row import LARGEST_SCALE
from edgekiln.runtime.errors import UnsupportedError

_MOST = float(np.finfo(np.float32).max)


@dataclass(frozen=True, kw_only=True, eq=False)
class QuantizedConstant:
    """What a DequantizeLinear of a constant stands for: (values - zero_point) * scale."""

    values: NDArray[np.generic]
    scale: NDArray[np.float32]
    zero_point: NDArray[np.generic]  # one for each scale
    axis: int  # of the scales, when there are several

    def dequantized(self) -> NDArray[np.float32]:
        """The numbers that it stands for, float32."""
        shape = [1] * self.values.ndim
        if self.scale.size > 1:
            shape[self.axis] = self.scale.size
        centred = self.values.astype(np.int32) - self.zero_point.astype(np.int32).reshape(shape)
        return (centred.astype(np.float32) * self.scale.reshape(shape)).astype(np.float32)


@dataclass(frozen=True, kw_only=True)
class OperatorEpilogue:
    """What follows an operator: activations, and of quantized numbers the QuantizeLinear."""

    output: str  # the tensor that is stored
    quant: Quant | None  # its own; None: floats
    dtype: str
    finish: Finish  # activations included
    absorbed: tuple[Node, ...] = ()


@dataclass(kw_only=True)
class Walk:
    """The old graph as far as it was visited, and the new one."""

    graph: Graph
    nodes: list[Node] = field(default_factory=list)  # the new graph, in order
    view: dict[str, str] = field(default_factory=dict)  # float value → the integers behind it
    weights: dict[str, QuantizedConstant] = field(default_factory=dict)
    absorbed: set[str] = field(default_factory=set)  # first outputs of nodes that need no visit
    users: dict[str, list[Node]] = field(default_factory=dict)
    makers: dict[str, Node] = field(default_factory=dict)  # producers in the old graph
    made: dict[str, Node] = field(default_factory=dict)  # producers in the new graph

    def __post_init__(self) -> None:
        self.users, self.makers = self.graph.consumers(), self.graph.producers()

    def emit(self, node: Node) -> None:
        self.nodes.append(node)
        self.made.update(dict.fromkeys(node.outputs, node))

    def only_user(self, name: str) -> Node | None:
        """The node that alone uses a value."""
        users = self.users.get(name, ())
        return users[0] if len(users) == 1 and name not in self.graph.outputs else None

    def constant(self, name: str) -> NDArray[np.generic] | None:
        """A constant's value, whether it is stored as float or as integers."""
        if name in self.weights:
            return self.weights[name].dequantized()
        return self.graph.constants.get(name)

    def scale(self, node: Node) -> Quant:
        """The per-tensor parameters of a Quantize- or DequantizeLinear of an activation."""
        scale = np.float32(self.graph.constants[node.inputs[1]].reshape(-1)[0])
        zero = 0
        if _has_zero_point(node):
            zero = int(signed_words(self.graph.constants[node.inputs[2]].reshape(-1))[0])
        return Quant(scale=float(scale), zero_point=zero)

    def quantized_dtype(self, node: Node) -> str:
        """The type of a QuantizeLinear's codes: its zero point decides, uint8 without one. Words
        without a sign have one where nobody but us sees them.
        """
        if not _has_zero_point(node):
            return "uint8"
        zero = node.inputs[2]
        constant = self.graph.constants.get(zero)
        dtype = self.graph.tensors[zero].dtype if constant is None else constant.dtype.name
        readers = self.users.get(node.name, ())
        hidden = node.name not in self.graph.outputs
        # What is dequantized by several scales stays ONNX's operator, which knows no shift.
        hidden = hidden and all(
            is_operator(each, "DequantizeLinear")
            and _has_zero_point(each)
            and self.per_tensor(each)
            for each in readers
        )
        return WORD if dtype == "uint16" and hidden else dtype

    def per_tensor(self, node: Node) -> bool:
        """Whether an activation's quantization is what the kernels take: one scale, their types."""
        kind = is_operator(node, "DequantizeLinear") or self.quantized_dtype(node) in QMIN
        return self.known(node) and self.graph.constants[node.inputs[1]].size == 1 and kind

    def known(self, node: Node) -> bool:
        """Whether scale and zero point of a Quantize- or DequantizeLinear are constant, and what
        they stand for is float32.

        Raises:
            UnsupportedError: the scale is none that codes can have.
        """
        if any(name not in self.graph.constants for name in node.inputs[1:] if name):
            return False
        scale = self.graph.constants[node.inputs[1]]
        # A channel of weights that are all zeros may have none.
        lowest = 0.0 if node.inputs[0] in self.graph.constants else np.finfo(np.float32).tiny
        given = scale.astype(np.float64).reshape(-1)
        wrong = given[~((given >= lowest) & (given <= LARGEST_SCALE))]  # a NaN is, too
        if wrong.size:
            raise UnsupportedError(
                f"operator {node.op.kind} ({node.name!r}) has a scale of {wrong[0]}",
                hint=f"scales lie above 0 and up to {LARGEST_SCALE:g}: quantize the model again",
            )
        return scale.dtype == np.float32

    def clip_range(self, node: Node) -> tuple[float, float] | None:
        """Bounds of a Relu or a Clip with constant bounds; None for anything else.

        The lower one is not above the upper one: of a Clip with min > max everything is max.
        """
        if is_operator(node, "Relu"):
            return 0.0, INFINITY
        if not is_operator(node, "Clip"):
            return None
        op = onnx_op(node)
        # As attributes until operator set 10; left out they are the finite numbers' ends.
        bounds = [op.real("min", -_MOST), op.real("max", _MOST)]
        # From opset 11 on bounds are operands, and either may be left out.
        for i, name in enumerate(node.inputs[1:3]):
            if name:
                value = self.constant(name)
                if value is None:
                    return None
                bounds[i] = float(value.reshape(-1)[0])
        low, high = bounds
        return min(low, high), high


def signed_words(codes: NDArray[np.generic]) -> NDArray[np.generic]:
    """Codes of 16 bits without a sign as such with one, 2¹⁵ lower; all others as they are."""
    if codes.dtype != np.uint16:
        return codes
    return (codes.astype(np.int32) - (1 << 15)).astype(WORD)


def _has_zero_point(node: Node) -> bool:
    """Whether a Quantize- or DequantizeLinear names one."""
    return len(node.inputs) > 2 and bool(node.inputs[2])


def is_operator(node: Node, op_type: str) -> bool:
    """Whether a node is this operator of ONNX's own set."""
    return isinstance(node.op, Onnx) and node.op.op_type == op_type


def quantize_scalar(value: float, quant: Quant, dtype: str) -> int:
    """ONNX QuantizeLinear of one number: round half to even, saturate."""
    if np.isinf(value):
        return QMAX[dtype] if value > 0 else QMIN[dtype]
    with np.errstate(over="ignore"):  # infinity saturates, too
        steps = np.rint(np.float32(value) / np.float32(quant.scale)) + quant.zero_point
    return int(np.clip(steps, QMIN[dtype], QMAX[dtype]))
