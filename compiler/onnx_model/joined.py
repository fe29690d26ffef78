"""Operators to which ONNX Runtime's optimizer joins several (`com.microsoft`), in ONNX's.

They stand in what `SessionOptions.optimized_model_filepath` saves at ORT_ENABLE_EXTENDED. Two of
them it writes in ONNX's own domain, where the model's operator set has none of that name.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from edgekiln.compiler.onnx_model import operators
from edgekiln.compiler.onnx_model.channel_norms import LAYER_NORM_OPSET
from edgekiln.compiler.onnx_model.dynamic_forms import MICROSOFT
from edgekiln.compiler.onnx_model.node_writer import node_of

if TYPE_CHECKING:
    import onnx

_SIMPLE, _LAYER = "SimplifiedLayerNormalization", "LayerNormalization"
_GELU_OPSET = 20  # since which there is a Gelu
_BOUNDS_ARE_OPERANDS = 11  # of a Clip since this operator set
_AXES_ARE_AN_OPERAND = 18  # of a ReduceMean, likewise
_TANH_SLOPE, _TANH_CUBE = math.sqrt(2 / math.pi), 0.044715  # of GELU by tanh
# By the activation: names of its numbers, in the order in which a FusedConv lists them.
_ACTIVATIONS = {
    "Clip": ("min", "max"), "Elu": ("alpha",), "HardSigmoid": ("alpha", "beta"),
    "LeakyRelu": ("alpha",), "Relu": (), "Selu": ("alpha", "gamma"), "Sigmoid": (),
    "Softplus": (), "Softsign": (), "Tanh": (), "ThresholdedRelu": ("alpha",),
}  # fmt: skip


def move_home(model: "onnx.ModelProto") -> None:
    """Put the two that ONNX's own domain lacks into ONNX Runtime's, in place."""
    import onnx

    opset = max((o.version for o in model.opset_import if o.domain in ("", "ai.onnx")), default=1)
    foreign = [
        node
        for node in model.graph.node
        if node.domain in ("", "ai.onnx")
        and (node.op_type == _SIMPLE or (node.op_type == _LAYER and opset < LAYER_NORM_OPSET))
    ]
    for node in foreign:
        node.domain = MICROSOFT
    if foreign and MICROSOFT not in {entry.domain for entry in model.opset_import}:
        model.opset_import.append(onnx.helper.make_opsetid(MICROSOFT, 1))


@dataclass(kw_only=True)
class _Body:
    """The nodes that stand for one; `node` loses the operands and results that it leaves out."""

    node: "onnx.NodeProto"
    opset: int
    ranks: Mapping[str, int]  # of the tensors whose shape is known
    half: bool  # numbers are float16
    nodes: "list[onnx.NodeProto]" = field(default_factory=list)

    @property
    def given(self) -> operators.Attributes:
        return operators.attributes(self.node)

    def operand(self, place: int) -> str:
        """Its name, "" where it is left out."""
        return self.node.input[place] if place < len(self.node.input) else ""

    def op(self, kind: str, *operands: str, **attributes: object) -> str:
        """Append a node; returns the name of its result."""
        name = f"{self.node.op_type}.{len(self.nodes)}"
        while operands and not operands[-1]:
            operands = operands[:-1]
        self.nodes.append(node_of(kind, operands, name, attributes))
        return name

    def number(self, value: float) -> str:
        """A constant of the type that the node computes in."""
        import numpy as np
        import onnx

        dtype = np.float16 if self.half else np.float32
        return self.op("Constant", value=onnx.numpy_helper.from_array(np.array(value, dtype)))

    def mean(self, x: str, axes: list[int]) -> str:
        if self.opset < _AXES_ARE_AN_OPERAND:
            return self.op("ReduceMean", x, axes=axes)
        return self.op("ReduceMean", x, self.op("Constant", value_ints=axes))

    def active(self, x: str, numbers: Mapping[str, float]) -> str:
        """What the node's activation makes of `x`."""
        kind = self.given["activation"]
        if kind == "Clip" and self.opset >= _BOUNDS_ARE_OPERANDS:
            return self.op("Clip", x, self.number(numbers["min"]), self.number(numbers["max"]))
        return self.op(kind, x, **numbers)

    def gelu(self, x: str) -> str:
        """x · Φ(x), by the error function."""
        if self.opset >= _GELU_OPSET:
            return self.op("Gelu", x)
        part = self.op("Erf", self.op("Mul", x, self.number(math.sqrt(0.5))))
        half = self.op("Mul", x, self.number(0.5))
        return self.op("Mul", half, self.op("Add", part, self.number(1.0)))

    def rooted(self, x: str, axes: list[int], epsilon: float) -> str:
        """x / √(mean(x²) + ε)."""
        square = self.op("Add", self.mean(self.op("Mul", x, x), axes), self.number(epsilon))
        return self.op("Div", x, self.op("Sqrt", square))

    def normal(self, x: str, scale: str, shift: str, axes: list[int], epsilon: float) -> str:
        """A layer normalization."""
        if self.opset >= LAYER_NORM_OPSET:
            return self.op(_LAYER, x, scale, shift, axis=axes[0], epsilon=epsilon)
        centred = self.op("Sub", x, self.mean(x, axes))
        scaled = self.op("Mul", self.rooted(centred, axes, epsilon), scale)
        return self.op("Add", scaled, shift) if shift else scaled


# Returns the names of the results, in the order of the node's; None where there is no form.
Form = Callable[[_Body], list[str] | None]


def _conv(body: _Body) -> list[str] | None:
    given = body.given
    values = given.pop("activation_params", [])
    names = _ACTIVATIONS.get(given.pop("activation", ""))
    if names is None or len(values) > len(names):
        return None
    result = body.op("Conv", *map(body.operand, range(3)), **given)
    if body.operand(3):
        result = body.op("Add", result, body.operand(3))
    return [body.active(result, dict(zip(names, values, strict=False)))]


def _gemm(body: _Body) -> list[str] | None:
    given = body.given
    names = _ACTIVATIONS.get(given.pop("activation", ""))
    if names is None:
        return None
    found = {name: given.pop(f"activation_{name}", None) for name in ("alpha", "beta", "gamma")}
    numbers = {name: found[name] for name in names if found.get(name) is not None}
    return [body.active(body.op("Gemm", *body.node.input, **given), numbers)]


def _matmul(body: _Body) -> list[str] | None:
    given, operands = body.given, []
    for side, name in zip("AB", body.node.input, strict=True):
        turned, batch = given.get(f"trans{side}", 0), given.get(f"transBatch{side}", 0)
        rank = body.ranks.get(name)
        if rank is None and (turned or batch):
            return None
        order = list(range(rank or 0))
        if batch and len(order) > 2:
            order = [*order[1:-1], 0, order[-1]]
        if turned and len(order) > 1:
            order[-2:] = order[:-3:-1]
        moved = order != sorted(order)
        operands.append(body.op("Transpose", name, perm=order) if moved else name)
    product = body.op("MatMul", *operands)
    alpha = given.get("alpha", 1.0)
    return [product if alpha == 1.0 else body.op("Mul", product, body.number(alpha))]


def _gelu(body: _Body) -> list[str]:
    x = body.operand(0)
    return [body.gelu(body.op("Add", x, body.operand(1)) if body.operand(1) else x)]


def _fast_gelu(body: _Body) -> list[str]:
    x = body.operand(0)
    if body.operand(1):
        x = body.op("Add", x, body.operand(1))
    if body.opset >= _GELU_OPSET:
        return [body.op("Gelu", x, approximate="tanh")]
    cube = body.op("Mul", body.op("Mul", body.op("Mul", x, x), x), body.number(_TANH_CUBE))
    inner = body.op("Mul", body.op("Add", x, cube), body.number(_TANH_SLOPE))
    part = body.op("Add", body.op("Tanh", inner), body.number(1.0))
    return [body.op("Mul", body.op("Mul", x, body.number(0.5)), part)]


def _quick_gelu(body: _Body) -> list[str]:
    x, alpha = body.operand(0), body.given.get("alpha", 1.702)
    inner = x if alpha == 1.0 else body.op("Mul", x, body.number(alpha))
    return [body.op("Mul", x, body.op("Sigmoid", inner))]


def _axes(body: _Body) -> list[int] | None:
    """The axes from the node's own on, counted from the end."""
    axis, rank = body.given.get("axis", -1), body.ranks.get(body.operand(0))
    if rank is None:
        return list(range(axis, 0)) if axis < 0 else None
    return list(range(axis % rank - rank, 0)) if -rank <= axis < rank else None


def _layer_norm(body: _Body) -> list[str] | None:
    axes, epsilon = _axes(body), body.given.get("epsilon", 1e-5)
    if axes is None or any(body.node.output[1:]):
        return None
    if body.node.op_type == _LAYER:
        x, scale, shift = map(body.operand, range(3))
        return [body.normal(x, scale, shift, axes, epsilon)]
    return [body.op("Mul", body.rooted(body.operand(0), axes, epsilon), body.operand(1))]


def _of_sum(body: _Body) -> list[str] | None:
    """The normalization of a residual sum, which is its fourth result."""
    simple = body.node.op_type == f"Skip{_SIMPLE}"
    given = body.given.get("epsilon", 1e-12)
    if any(body.node.output[1:3]):
        return None
    total = body.op("Add", body.operand(0), body.operand(1))
    bias = body.operand(3 if simple else 4)
    if bias:
        total = body.op("Add", total, bias)
    if simple:
        result = body.op("Mul", body.rooted(total, [-1], given), body.operand(2))
    else:
        result = body.normal(total, body.operand(2), body.operand(3), [-1], given)
    return [result, total] if any(body.node.output[3:]) else [result]


FORMS: Mapping[str, Form] = {
    "BiasGelu": _gelu,
    "FastGelu": _fast_gelu,
    "FusedConv": _conv,
    "FusedGemm": _gemm,
    "FusedMatMul": _matmul,
    "Gelu": _gelu,
    _LAYER: _layer_norm,
    "QuickGelu": _quick_gelu,
    _SIMPLE: _layer_norm,
    f"Skip{_LAYER}": _of_sum,
    f"Skip{_SIMPLE}": _of_sum,
}


# The most operands of each, which no schema counts where the operator set lacks it.
_OPERANDS: Mapping[str, int] = {
    "BiasGelu": 2, "FastGelu": 2, "FusedConv": 4, "FusedGemm": 3, "FusedMatMul": 2, "Gelu": 1,
    _LAYER: 3, "QuickGelu": 1, _SIMPLE: 2, f"Skip{_LAYER}": 5, f"Skip{_SIMPLE}": 4,
}  # fmt: skip


def definition(
    node: "onnx.NodeProto", opset: int, types: "Mapping[str, onnx.TypeProto]"
) -> "onnx.FunctionProto | None":
    """What a node stands for, as a function of its operands; None where there is no form.

    Args:
        node: loses the names of what it leaves out, so that it is a call of the function.
        opset: of ONNX's own operators.
        types: of the tensors that are known.
    """
    import onnx

    if len(node.input) > _OPERANDS[node.op_type]:
        return None
    known = {name: each.tensor_type for name, each in types.items()}
    ranks = {name: len(each.shape.dim) for name, each in known.items() if each.HasField("shape")}
    first = known.get(node.input[0])
    half = first is not None and first.elem_type == onnx.TensorProto.FLOAT16
    body = _Body(node=node, opset=opset, ranks=ranks, half=half)
    results = FORMS[node.op_type](body)
    if results is None:
        return None
    operands = list(dict.fromkeys(filter(None, node.input)))
    made = list(filter(None, node.output))
    function = onnx.helper.make_function(
        MICROSOFT, node.op_type, operands, results, body.nodes,
        [onnx.helper.make_opsetid("", opset)],
    )  # fmt: skip
    node.input[:], node.output[:] = operands, made
    del node.attribute[:]
    return function
