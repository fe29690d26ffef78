"""Softmax and layer normalization, of codes and of floats."""

from edgekiln.compiler.ir.node import Node
from edgekiln.compiler.ir.ops import LayerNorm, Softmax
from edgekiln.compiler.kernels import layer_norm as layer_norms
from edgekiln.compiler.kernels import softmax as softmaxes
from edgekiln.compiler.kernels.gpu.table import built
from edgekiln.compiler.lowering.finish import code_clip, function_of
from edgekiln.compiler.lowering.state import Lowering


def softmax(low: Lowering, node: Node, op: Softmax) -> None:
    """Softmax over the last axis."""
    x, y = low.tensor(node.inputs[0]), low.tensor(node.name)
    kernel = softmaxes.SoftmaxKernel(
        x=x.nhwc(), y=y.nhwc(), count=x.shape[-1], clip=code_clip(op.finish)
    )
    low.call(node, built(kernel, low.kernels_of(node)))


def layer_norm(low: Lowering, node: Node, op: LayerNorm) -> None:
    """Layer normalization over the last axis."""
    x, y = low.tensor(node.inputs[0]), low.tensor(node.name)
    kernel = layer_norms.LayerNormKernel(
        x=x.nhwc(),
        y=y.nhwc(),
        gamma=op.gamma,
        beta=op.beta,
        epsilon=op.epsilon,
        clip=code_clip(op.finish),
        function=function_of(op.finish),
    )
    low.call(node, built(kernel, low.kernels_of(node)))
