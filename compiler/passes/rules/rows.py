"""Softmax and layer normalization over the last axis, between DQ and Q."""

from edgekiln.compiler.ir.graph import Node
from edgekiln.compiler.passes.rewriter import Rewriter

# A row's powers wait on the stack until their sum is known; small devices have few KiB of it.
MAX_SOFTMAX_ROW = 1024
# The squares of longer rows may not fit their int32 sum.
MAX_LAYER_NORM_ROW = 1 << 17


def softmax(rw: Rewriter, node: Node) -> str | None:
    x = rw.source(node.inputs[0])
    if x is None:
        return "its input is not quantized"
    axis = node.attrs.get("axis", -1 if rw.graph.opset >= 13 else 1)
    if axis % len(x.shape) != len(x.shape) - 1:
        return "it runs along another axis than the last"
    if x.shape[-1] > MAX_SOFTMAX_ROW:
        return f"rows of more than {MAX_SOFTMAX_ROW} values have no integer kernel"
    return _emit(rw, node, "softmax", x.name, {})


def layer_norm(rw: Rewriter, node: Node) -> str | None:
    import numpy as np

    x = rw.source(node.inputs[0])
    if x is None:
        return "its input is not quantized"
    if node.attrs.get("axis", -1) % len(x.shape) != len(x.shape) - 1:
        return "it runs along other axes than the last"
    if x.shape[-1] > MAX_LAYER_NORM_ROW:
        return f"rows of more than {MAX_LAYER_NORM_ROW} values have no integer kernel"
    if any(rw.users.get(name) for name in node.outputs[1:]):
        return "its mean or deviation is used"
    constants = [rw.constant(name) for name in node.inputs[1:] if name]
    known = [value.astype(np.float32) for value in constants if value is not None]
    if len(known) < len(constants) or any(value.shape != x.shape[-1:] for value in known):
        return "its scale or bias is not one constant a channel"
    gamma, beta = [*known, np.zeros(x.shape[-1], np.float32)][:2]
    epsilon = node.attrs.get("epsilon", 1e-5)  # ONNX's default
    attrs = {"gamma": gamma, "beta": beta, "epsilon": epsilon}
    return _emit(rw, node, "layer_norm", x.name, attrs)


def _emit(rw: Rewriter, node: Node, op: str, source: str, attrs: dict[str, object]) -> str | None:
    epilogue = rw.epilogue(node.name)
    if epilogue is None:
        return "its result is not quantized"
    rw.take(epilogue)
    attrs |= {"lo": epilogue.lo, "hi": epilogue.hi}
    rw.emit(Node(op=op, inputs=(source,), outputs=(epilogue.output,), attrs=attrs))
    return None
