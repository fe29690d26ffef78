"""Softmax and layer normalization, of codes and of floats."""

from edgekiln.compiler.ir.codes import IntFinish
from edgekiln.compiler.ir.node import Node
from edgekiln.compiler.ir.ops import LayerNorm, Softmax
from edgekiln.compiler.kernels.float_rows import FloatLayerNorm, FloatSoftmax
from edgekiln.compiler.kernels.rows import LayerNorm as IntLayerNorm
from edgekiln.compiler.kernels.rows import Softmax as IntSoftmax
from edgekiln.compiler.kernels.spec import Kernel
from edgekiln.compiler.lowering.finish import function_of
from edgekiln.compiler.lowering.state import Lowering


def softmax(low: Lowering, node: Node, op: Softmax) -> None:
    x, y = low.tensor(node.inputs[0]), low.tensor(node.name)
    count = x.shape[-1]
    if isinstance(op.finish, IntFinish):
        codes = IntSoftmax(x=x.nhwc(), y=y.nhwc(), count=count, clip=op.finish.limits)
        low.call(node, codes.build(low.mk))
    else:
        floats = FloatSoftmax(rows=x.elements // count, count=count)
        low.call(node, floats.build(low.kernels_of(node)))


def layer_norm(low: Lowering, node: Node, op: LayerNorm) -> None:
    low.call(node, _layer_norm(low, node, op))


def _layer_norm(low: Lowering, node: Node, op: LayerNorm) -> Kernel:
    x, y = low.tensor(node.inputs[0]), low.tensor(node.name)
    if isinstance(op.finish, IntFinish):
        return IntLayerNorm(
            x=x.nhwc(),
            y=y.nhwc(),
            gamma=op.gamma,
            beta=op.beta,
            epsilon=op.epsilon,
            clip=op.finish.limits,
        ).build(low.mk)
    return FloatLayerNorm(
        rows=y.elements // op.gamma.size,
        gamma=op.gamma,
        beta=op.beta,
        epsilon=op.epsilon,
        function=function_of(op.finish),
    ).build(low.kernels_of(node))
