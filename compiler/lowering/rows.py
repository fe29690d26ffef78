"""Softmax and layer normalization, of codes and of floats; reductions of floats."""

from edgekiln.compiler.ir.node import Node
from edgekiln.compiler.ir.ops import LayerNorm, Softmax
from edgekiln.compiler.ir.reduce_ops import Reduce
from edgekiln.compiler.kernels import layer_norm as layer_norms
from edgekiln.compiler.kernels import softmax as softmaxes
from edgekiln.compiler.kernels.gpu.table import built
from edgekiln.compiler.kernels.log_softmax import LogSoftmaxKernel
from edgekiln.compiler.kernels.reduce import ReduceKernel
from edgekiln.compiler.lowering.finish import code_clip, function_of
from edgekiln.compiler.lowering.state import Lowering


def softmax(low: Lowering, node: Node, op: Softmax) -> None:
    """Softmax over the last axis."""
    x, y = low.tensor(node.inputs[0]), low.tensor(node.name)
    kernel = softmaxes.SoftmaxKernel(
        x=x.nhwc(), y=y.nhwc(), count=x.shape[-1], clip=code_clip(op.finish)
    )
    low.call(node, built(kernel, low.kernels_of(node)))


def log_softmax(low: Lowering, node: Node) -> None:
    """LogSoftmax over the last axis."""
    x = low.tensor(node.inputs[0])
    kernel = LogSoftmaxKernel(rows=x.elements // x.shape[-1], count=x.shape[-1])
    low.call(node, built(kernel, low.kernels_of(node)))


def reduce(low: Lowering, node: Node, op: Reduce) -> None:
    """A sum or the like along one axis."""
    kernel = ReduceKernel(
        outer=op.outer, extent=op.extent, inner=op.inner, reduction=op.reduction,
        before=op.before, after=function_of(op.finish),
    )  # fmt: skip
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
