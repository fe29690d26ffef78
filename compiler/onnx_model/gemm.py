"""Linear layers in the one form that the quantizer takes: Gemm, its weights and bias constant."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from edgekiln.compiler.onnx_model import operators, rewriting
from edgekiln.compiler.onnx_model.rewriting import ModelFacts

if TYPE_CHECKING:
    import onnx
    from numpy.typing import NDArray

    from edgekiln.compiler.onnx_model.rewriting import Constant


def plain_gemm(model: "onnx.ModelProto") -> int:
    """Rewrite y = α·A'·B' + β·C until α and β are 1, A is not transposed, and B and C are constant.

    α and β go into the constants, a transposed A becomes a Transpose, a bias of another shape the
    vector that it stands for. Without constant weights the product is a MatMul, and a bias that is
    no vector is added behind it.

    Returns:
        How many were rewritten.
    """
    return rewriting.rewrite(model, _plain)


def _plain(facts: ModelFacts, node: "onnx.NodeProto") -> "list[onnx.NodeProto] | None":
    if node.op_type != "Gemm" or node.output[0] not in facts.floats:
        return None
    # Attributes, as onnx reads them.
    given: operators.Attributes = {"alpha": 1.0, "beta": 1.0, "transA": 0, "transB": 0}
    given |= operators.attributes(node)
    weight, addend = facts.constant(node, 1), _addend(facts, node, given["beta"])
    bias = None
    if weight is not None:
        features = weight.shape[0 if given["transB"] else 1]
        bias = row_vector(facts.constants.get(addend), features)
        # The same object: `row_vector` had nothing to change.
        known = facts.constants.get(addend)
        as_given = known is not None and bias is known if addend else len(node.input) < 3
        plain = (given["alpha"], given["beta"], given["transA"]) == (1, 1, 0)
        if as_given and plain and given["transB"] in (0, 1):
            return None
    # Any number but 0 transposes; the quantizer knows 1 alone.
    given["transB"] = int(bool(given["transB"]))
    steps = _GemmSteps(facts=facts, result=node.output[0])
    data = node.input[0]
    if given["transA"]:
        data = steps.emit("Transpose", [data], "rows", perm=[1, 0])
    # A bias that is no vector is added behind; then the product is not the node that makes the
    # result.
    last = "" if not addend or bias is not None else "product"
    if weight is None:
        product = _product(steps, data, node.input[1], given, last)
    else:
        scaled = _scaled(facts, node.input[1], given["alpha"], f"{steps.result}.weight")
        operands = [data, scaled]
        if bias is not None:
            same = bias is facts.constants.get(addend)
            operands.append(addend if same else facts.add(f"{steps.result}.bias", bias))
        product = steps.emit("Gemm", operands, last, **({"transB": 1} if given["transB"] else {}))
    if last:
        _add(steps, product, addend, given["beta"])
    steps.nodes[-1].name = node.name
    return steps.nodes


@dataclass
class _GemmSteps:
    """The nodes that take a node's place, the last of them making its result."""

    facts: ModelFacts
    result: str
    nodes: "list[onnx.NodeProto]" = field(default_factory=list)

    # Attributes are as `make_node` takes them.
    def emit(self, op: str, inputs: list[str], suffix: str, **attributes: Any) -> str:
        """One node more; `suffix` "" for the last one. Returns what it makes."""
        import onnx

        name = self.facts.free(f"{self.result}.{suffix}") if suffix else self.result
        self.nodes.append(onnx.helper.make_node(op, inputs, [name], name=name, **attributes))
        return name


def _product(steps: _GemmSteps, data: str, other: str, given: dict[str, object], last: str) -> str:
    """α·A·B' of two activations."""
    if given["transB"]:
        other = steps.emit("Transpose", [other], "columns", perm=[1, 0])
    if given["alpha"] == 1.0:
        return steps.emit("MatMul", [data, other], last)
    plain = steps.emit("MatMul", [data, other], "unscaled")
    alpha = steps.facts.add(f"{steps.result}.alpha", np.array(given["alpha"], np.float32))
    return steps.emit("Mul", [plain, alpha], last)


def _add(steps: _GemmSteps, product: str, addend: str, beta: float) -> None:
    """The product and β·C; a constant C is multiplied already."""
    facts = steps.facts
    shape = facts.shapes.get(steps.result, ())
    if addend not in facts.constants:
        if beta != 1.0:
            factor = facts.add(f"{steps.result}.beta", np.array(beta, np.float32))
            addend = steps.emit("Mul", [addend, factor], "scaled")
    elif shape and isinstance(shape[-1], int):
        addend = _full_rows(facts, addend, shape[-1], f"{steps.result}.addend")
    steps.emit("Add", [product, addend], "")


def _addend(facts: ModelFacts, node: "onnx.NodeProto", beta: float) -> str:
    """The name of β·C, a new constant where C is one and β is not 1; "" when there is nothing."""
    if len(node.input) < 3 or not node.input[2] or beta == 0.0:
        return ""
    return _scaled(facts, node.input[2], beta, f"{node.output[0]}.addend")


def _scaled(facts: ModelFacts, name: str, factor: float, wanted: str) -> str:
    if name not in facts.constants or factor == 1.0:
        return name
    value = facts.constants[name]
    with np.errstate(over="ignore"):  # what is infinite then is not quantized
        scaled = (value * value.dtype.type(factor)).astype(value.dtype)
    return facts.add(wanted, scaled)


def _full_rows(facts: ModelFacts, name: str, features: int, wanted: str) -> str:
    """A constant whose rows are one number each, with the number in every column."""
    value = facts.constants[name]
    if value.ndim < 2 or value.shape[0] == 1 or value.shape[-1] == features:
        return name
    return facts.add(wanted, np.broadcast_to(value, (*value.shape[:-1], features)).copy())


def row_vector(value: "NDArray[np.generic] | None", features: int) -> "NDArray[np.generic] | None":
    """The (features,) that a constant is broadcast from; None when rows differ."""
    if value is None or not (
        value.size == 1 or (value.size == features and value.shape[-1] == features)
    ):
        return None
    if value.shape == (features,):
        return value
    return np.broadcast_to(value.reshape(-1), (features,)).copy()


@dataclass(frozen=True, kw_only=True)
class _MatMulAdd:
    """y = x · weight + bias, with x (batch, …, in), weight (in, out) and bias (out,)."""

    matmul: "onnx.NodeProto"
    add: "onnx.NodeProto"
    weight: "Constant"
    bias: str
    inner: tuple[int, ...]  # the extents between batch and features


def gemm_from_matmul(model: "onnx.ModelProto") -> int:
    """Rewrite MatMul + Add to Reshape → Gemm → Reshape: x·W + b over tensors of rank 3 and more.

    Quantized apart, the product is rounded to 8 bits before the bias is added, and the bias too.
    Left alone: products of two activations, biases that are no constant vector, products that
    somebody else reads too, and extents other than the batch that are not fixed.

    Returns:
        How many were rewritten.
    """
    facts = rewriting.facts_of(model)
    layers = {layer.add.output[0]: layer for layer in _linears(facts, model)}
    absorbed = {layer.matmul.output[0] for layer in layers.values()}
    nodes: list[onnx.NodeProto] = []
    for node in model.graph.node:
        if node.output[0] in layers:
            nodes += _gemm(facts, layers[node.output[0]])
        elif node.output[0] not in absorbed:
            nodes.append(node)
    model.graph.initializer.extend(facts.made)
    rewriting.replace_nodes(model, nodes)
    return len(layers)


def _linears(facts: ModelFacts, model: "onnx.ModelProto") -> list[_MatMulAdd]:
    found = []
    for matmul in model.graph.node:
        behind = facts.alone(matmul.output[0]) if matmul.op_type == "MatMul" else None
        weight = facts.constant(matmul, 1)
        if behind is None or weight is None or weight.ndim != 2 or behind.op_type != "Add":
            continue
        inner = (facts.fixed(matmul.input[0]) or ())[:-1]
        bias = _other(behind, matmul.output[0])
        vector = row_vector(facts.constants.get(bias), weight.shape[1])
        if facts.constant(matmul, 0) is not None or not inner or vector is None:
            continue
        if vector is not facts.constants[bias]:
            bias = facts.add(f"{behind.output[0]}.bias", vector)
        found.append(_MatMulAdd(matmul=matmul, add=behind, weight=weight, bias=bias, inner=inner))
    return found


def _other(node: "onnx.NodeProto", operand: str) -> str:
    """The input of a two-operand node that is not `operand`; "" when both are."""
    return next((str(name) for name in node.input if name != operand), "")


def _gemm(facts: ModelFacts, layer: _MatMulAdd) -> "list[onnx.NodeProto]":
    import onnx

    make = onnx.helper.make_node
    data, result = layer.matmul.input[0], layer.add.output[0]
    rows, product = facts.free(f"{result}.rows"), facts.free(f"{result}.product")
    features, outputs = layer.weight.shape
    # (out, in), which transB = 1 says; `to_rows` is (batch · inner, in) whatever the batch is.
    weight = facts.add(f"{result}.weight", layer.weight.T)
    to_rows = facts.add(f"{result}.to_rows", np.array([-1, features]))
    back = facts.add(f"{result}.back", np.array([-1, *layer.inner, outputs]))
    return [
        make("Reshape", [data, to_rows], [rows], name=rows),
        make("Gemm", [rows, weight, layer.bias], [product], name=layer.matmul.name, transB=1),
        make("Reshape", [product, back], [result], name=back),
    ]
