"""What has a form of its own among floats; moves and pools follow the rules of integers."""

from typing import TYPE_CHECKING, Any

from edgekiln.compiler.ir.graph import Node
from edgekiln.compiler.passes.rewriter import Rewriter
from edgekiln.compiler.passes.rules.linear import emit_linear, window

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def conv(rw: Rewriter, node: Node) -> str | None:
    """Conv of rank 3 or 4 with constant weights (OC, IC/groups, KH, KW)."""
    x, weight = rw.source(node.inputs[0]), rw.constant(node.inputs[1])
    if x is None or weight is None:
        return "its weights are not constant"
    if len(x.shape) not in (3, 4):
        return f"convolution over {len(x.shape) - 2} axes has no kernel"
    x, attrs = window(rw, node, x, weight)
    return _emit(rw, node, x.name, attrs, node.inputs[2:3])


def gemm(rw: Rewriter, node: Node) -> str | None:
    """Gemm with a constant B, whose alpha and beta go into the constants."""
    import numpy as np

    weight = rw.constant(node.inputs[1])
    if weight is None or node.attrs.get("transA", 0):
        return "B is not constant, or A is transposed"
    values = weight.astype(np.float32) * np.float32(node.attrs.get("alpha", 1.0))
    attrs = {"weight": values if node.attrs.get("transB", 0) else values.T}
    beta = node.attrs.get("beta", 1.0)
    return _emit(rw, node, node.inputs[0], attrs, node.inputs[2:3], beta)


def matmul(rw: Rewriter, node: Node) -> str | None:
    """MatMul: with a constant matrix on the right a dense layer, else a product of activations."""
    weight = rw.constant(node.inputs[1])
    if weight is not None and weight.ndim == 2:
        return _dense(rw, node, weight)
    shape = rw.graph.tensors[node.name].shape
    a, b = (rw.operand(name, len(shape)) for name in node.inputs)
    if a is None or b is None or not len(a.shape) == len(b.shape) == len(shape) >= 2:
        return "operands of different ranks have no kernel"
    epilogue = rw.epilogue(node.name)
    assert epilogue is not None
    rw.take(epilogue)
    attrs = {"lo": epilogue.lo, "hi": epilogue.hi}
    rw.emit(Node(op="matmul", inputs=(a.name, b.name), outputs=(epilogue.output,), attrs=attrs))
    return None


def _dense(rw: Rewriter, node: Node, weight: "NDArray[np.generic]") -> str | None:
    """With the constant of an Add behind it, one a channel, as its bias."""
    bias: tuple[str, ...] = ()
    users = rw.users.get(node.name, [])
    if len(users) == 1 and users[0].op == "Add" and node.name not in rw.graph.outputs:
        (add,) = users
        constants = [name for name in add.inputs if name in rw.graph.constants]
        if constants and rw.graph.constants[constants[0]].shape == weight.shape[1:]:
            bias = (constants[0],)
            rw.absorbed.add(add.name)
    result = users[0] if bias else node
    return _emit(rw, result, node.inputs[0], {"weight": weight.T}, bias)


def batch_norm(rw: Rewriter, node: Node) -> str | None:
    """γ (x - μ) / √(σ² + ε) + β of an image: weights of the convolution before it, else of a
    depthwise one with a single tap.
    """
    import numpy as np

    constants = [rw.constant(name) for name in node.inputs[1:5]]
    x = rw.source(node.inputs[0])
    known = [value.astype(np.float64) for value in constants if value is not None]
    if x is None or len(known) < 4 or len(x.shape) != 4:
        return "its statistics are not constant, or it is not of an image"
    gamma, beta, mean, variance = known
    slope = gamma / np.sqrt(variance + node.attrs.get("epsilon", 1e-5))
    offset = beta - mean * slope
    conv = rw.made.get(x.name)
    alone = len(rw.users[x.name]) == 1 and x.name not in rw.graph.outputs
    if conv is None or conv.op != "conv2d" or not alone or np.isfinite(conv.attrs["lo"]):
        attrs: dict[str, Any] = dict.fromkeys(("kernel", "strides", "dilations"), (1, 1))
        attrs |= {"pads": (0, 0, 0, 0), "groups": len(slope)}
        attrs["weight"] = slope.reshape(-1, 1, 1, 1)
        return _finish(rw, node, x.name, attrs, offset)
    rw.nodes = [other for other in rw.nodes if other is not conv]
    attrs = {**conv.attrs, "weight": conv.attrs["weight"] * slope.reshape(-1, 1, 1, 1)}
    return _finish(rw, node, conv.inputs[0], attrs, conv.attrs["bias"] * slope + offset)


def softmax(rw: Rewriter, node: Node) -> str | None:
    shape = rw.graph.tensors[node.name].shape
    axis = node.attrs.get("axis", -1 if rw.graph.opset >= 13 else 1)
    if axis % len(shape) != len(shape) - 1:
        return "it runs along another axis than the last"
    rw.emit(Node(op="softmax", inputs=node.inputs, outputs=node.outputs))
    return None


def layer_norm(rw: Rewriter, node: Node) -> str | None:
    import numpy as np

    shape = rw.graph.tensors[node.name].shape
    if node.attrs.get("axis", -1) % len(shape) != len(shape) - 1:
        return "it runs along other axes than the last"
    if any(rw.users.get(name) for name in node.outputs[1:]):
        return "its mean or deviation is used"
    constants = [rw.constant(name) for name in node.inputs[1:] if name]
    known = [value.astype(np.float32) for value in constants if value is not None]
    if len(known) < len(constants) or any(value.shape != shape[-1:] for value in known):
        return "its scale or bias is not one constant a channel"
    gamma, beta = [*known, np.zeros(shape[-1], np.float32)][:2]
    epsilon = node.attrs.get("epsilon", 1e-5)  # ONNX's default
    attrs = {"gamma": gamma, "beta": beta, "epsilon": epsilon}
    rw.emit(Node(op="layer_norm", inputs=node.inputs[:1], outputs=node.outputs[:1], attrs=attrs))
    return None


def _emit(
    rw: Rewriter,
    node: Node,
    x: str,
    attrs: dict[str, Any],
    bias: tuple[str, ...],
    factor: float = 1.0,
) -> str | None:
    """A dense layer or convolution with its bias times `factor`, and the clips behind it."""
    import numpy as np

    channels = len(attrs["weight"])
    value: NDArray[np.generic] | None = np.zeros(channels, np.float32)
    if bias and bias[0]:
        value = rw.constant(bias[0])
    if value is None or value.size not in (1, channels):
        return "its bias is not one constant a channel"
    one_each = np.broadcast_to(value.reshape(-1).astype(np.float32), channels)
    return _finish(rw, node, x, attrs, one_each * np.float32(factor))


def _finish(
    rw: Rewriter, node: Node, x: str, attrs: dict[str, Any], bias: "NDArray[np.floating[Any]]"
) -> str | None:
    import numpy as np

    epilogue = rw.epilogue(node.name)
    assert epilogue is not None
    attrs |= {
        "weight": np.ascontiguousarray(attrs["weight"], np.float32),
        "bias": bias.astype(np.float32),
        "lo": epilogue.lo,
        "hi": epilogue.hi,
    }
    rw.take(epilogue)
    emit_linear(rw, epilogue.output, rw.graph.tensors[x], attrs)
    return None
