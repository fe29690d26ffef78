"""Operations on floats that have kernels of their own."""

from math import prod
from typing import Any

from edgekiln.compiler.ir.graph import Node, Tensor
from edgekiln.compiler.ir.memory import Nhwc
from edgekiln.compiler.ir.program import Buffer
from edgekiln.compiler.kernels.binary import Binary
from edgekiln.compiler.kernels.conv2d.kernel import Convolution
from edgekiln.compiler.kernels.copy import Copy
from edgekiln.compiler.kernels.depthwise.kernel import Depthwise
from edgekiln.compiler.kernels.epilogue.finish import FloatFinish
from edgekiln.compiler.kernels.epilogue.sums import Residual
from edgekiln.compiler.kernels.layer_norm import LayerNorm
from edgekiln.compiler.kernels.matmul.kernel import MatMul
from edgekiln.compiler.kernels.matmul.spec import Matrices
from edgekiln.compiler.kernels.softmax import Softmax
from edgekiln.compiler.kernels.unary import Map
from edgekiln.compiler.lowering.compute import as_matrix
from edgekiln.compiler.lowering.rows import axes_of, matrices
from edgekiln.compiler.lowering.state import Lowering


def _finish(node: Node) -> FloatFinish:
    """What a kernel does before the store."""
    attrs = node.attrs
    return FloatFinish(clip=(attrs["lo"], attrs["hi"]), function=attrs.get("function", ()))


def _residual(low: Lowering, node: Node) -> Residual | None:
    if "own" not in node.attrs:
        return None
    other, clip = low.tensor(node.inputs[1]), (node.attrs["own_lo"], node.attrs["own_hi"])
    if node.op == "dense":
        features = other.shape[-1]
        other = as_matrix(other, other.elements // features, features)
    return Residual(tensor=other.nhwc(), clip=clip)


def conv2d(low: Lowering, node: Node) -> None:
    attrs = node.attrs
    x, y = low.tensor(node.inputs[0]), low.tensor(node.name)
    weight, mk = attrs["weight"], low.kernels_of(node)
    common: dict[str, Any] = {
        "x": x.nhwc(),
        "y": y.nhwc(),
        "weight": weight,
        "bias": attrs["bias"],
        "strides": attrs["strides"],
        "dilations": attrs["dilations"],
        "pads": attrs["pads"][:2],
        "residual": _residual(low, node),
        "finish": _finish(node),
    }
    macs = y.elements * prod(weight.shape[1:])
    if attrs["groups"] == weight.shape[0] == x.nhwc().c > 1:
        depthwise = low.tuned(node, Depthwise(**common))
        low.call(node, depthwise.build(mk), op="depthwise_conv2d", macs=macs)
    else:
        kernel = low.tuned(node, Convolution(groups=attrs["groups"], compact=low.compact, **common))
        low.call(node, kernel.build(mk), macs=macs)


def dense(low: Lowering, node: Node) -> None:
    """A 1×1 convolution whose pixels are the rows of a matrix."""
    attrs = node.attrs
    x, y = low.tensor(node.inputs[0]), low.tensor(node.name)
    channels, features = attrs["weight"].shape
    rows = x.elements // features
    kernel = Convolution(
        x=as_matrix(x, rows, features).nhwc(),
        y=as_matrix(y, rows, channels).nhwc(),
        weight=attrs["weight"][:, :, None, None],
        bias=attrs["bias"],
        residual=_residual(low, node),
        finish=_finish(node),
    )
    kernel = low.tuned(node, kernel)
    low.call(node, kernel.build(low.kernels_of(node)), macs=rows * channels * features)


def matmul(low: Lowering, node: Node) -> None:
    """The right operand is first copied where its columns do not lie side by side."""
    a, b, y = low.tensor(node.inputs[0]), low.tensor(node.inputs[1]), low.tensor(node.name)
    *batch, m, n = (y.shape[axis] for axis in axes_of(node, "y_perm", y))
    axes = tuple(i for i, extent in enumerate(batch) if extent > 1)
    k = a.shape[axes_of(node, "a_perm", a)[-1]]
    right = matrices(b, axes_of(node, "b_perm", b), axes)
    inputs = (a.name, b.name)
    extents = tuple(batch[axis] for axis in axes)
    if right.column != 1:
        right = _columns_together(low, node, b, right, (*extents, k, n))
        inputs = (a.name, f"{node.name}:columns")
    product = MatMul(
        batch=extents,
        m=m,
        k=k,
        n=n,
        a=matrices(a, axes_of(node, "a_perm", a), axes),
        b=right,
        y=matrices(y, axes_of(node, "y_perm", y), axes),
        result=y.nhwc(),
        finish=_finish(node),
    )
    product = low.tuned(node, product)
    macs = prod((*extents, m, k, n))
    low.call(node, product.build(low.kernels_of(node)), macs=macs, inputs=inputs)


def _columns_together(
    low: Lowering, node: Node, b: Tensor, right: Matrices, shape: tuple[int, ...]
) -> Matrices:
    """Copy a matrix operand of `shape` (…batch, k, n) into a dense buffer of its own."""
    dense = tuple(prod(shape[axis + 1 :]) for axis in range(len(shape)))
    packed = Buffer(name=f"{node.name}:columns", bytes=4 * prod(shape))
    flat = Nhwc(n=1, h=1, w=1, c=prod(shape), dtype="float32")
    kernel = Copy(
        shape=shape,
        x=b.nhwc(),
        y=flat,
        x_strides=(*right.batch, right.row, right.column),
        y_strides=dense,
    ).build(low.kernels_of(node))
    low.pack(node, kernel, b.name, packed)
    return Matrices(elements=flat.c, batch=dense[:-2], row=dense[-2], column=1)


def softmax(low: Lowering, node: Node) -> None:
    x, y = low.tensor(node.inputs[0]), low.tensor(node.name)
    kernel = Softmax(x=x.nhwc(), y=y.nhwc(), count=x.shape[-1])
    low.call(node, kernel.build(low.kernels_of(node)))


def layer_norm(low: Lowering, node: Node) -> None:
    attrs = node.attrs
    kernel = LayerNorm(
        x=low.tensor(node.inputs[0]).nhwc(),
        y=low.tensor(node.name).nhwc(),
        gamma=attrs["gamma"],
        beta=attrs["beta"],
        epsilon=attrs["epsilon"],
        function=attrs.get("function", ()),
    )
    low.call(node, kernel.build(low.kernels_of(node)))


def binary(low: Lowering, node: Node) -> None:
    a, b = (low.tensor(name) for name in node.inputs)
    kernel = Binary(
        kind=node.op.capitalize(),
        a=a.nhwc(),
        b=b.nhwc(),
        y=low.tensor(node.name).nhwc(),
        finish=_finish(node),
    )
    low.call(node, kernel.build(low.kernels_of(node)))


def function(low: Lowering, node: Node) -> None:
    x, y = low.tensor(node.inputs[0]), low.tensor(node.name)
    kernel = Map(x=x.nhwc(), y=y.nhwc(), function=node.attrs["function"])
    low.call(node, kernel.build(low.kernels_of(node)))
