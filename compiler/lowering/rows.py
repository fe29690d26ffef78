"""Operations on rows: products of two activations, softmax, layer normalization."""

from math import prod

import numpy as np

from edgekiln.compiler.ir.graph import Node, Tensor
from edgekiln.compiler.ir.program import Buffer
from edgekiln.compiler.kernels.epilogue.finish import Requantize
from edgekiln.compiler.kernels.layer_norm import LayerNorm
from edgekiln.compiler.kernels.matmul.kernel import MatMul
from edgekiln.compiler.kernels.matmul.spec import Matrices
from edgekiln.compiler.kernels.softmax import Softmax
from edgekiln.compiler.lowering.state import Lowering


def matmul(low: Lowering, node: Node) -> None:
    """Two calls: one packs the right operand into a buffer of its own, one multiplies."""
    a, b, y = low.tensor(node.inputs[0]), low.tensor(node.inputs[1]), low.tensor(node.name)
    assert a.quant is not None, node.name
    assert b.quant is not None, node.name
    *batch, m, n = (y.shape[axis] for axis in axes_of(node, "y_perm", y))
    axes = tuple(i for i, extent in enumerate(batch) if extent > 1)
    clip = (node.attrs.get("lo", 0), node.attrs.get("hi", 0))
    product = MatMul(
        batch=tuple(batch[axis] for axis in axes),
        m=m,
        k=a.shape[axes_of(node, "a_perm", a)[-1]],
        n=n,
        a=matrices(a, axes_of(node, "a_perm", a), axes),
        b=matrices(b, axes_of(node, "b_perm", b), axes),
        y=matrices(y, axes_of(node, "y_perm", y), axes),
        result=y.nhwc(),
        zero_points=(a.quant.zero_point, b.quant.zero_point),
        finish=Requantize(mult=np.atleast_1d(node.attrs["mult"]), clip=clip),
    )
    product = low.tuned(node, product)
    packed = Buffer(name=f"{node.name}:packed", bytes=product.packed_bytes(low.mk))
    low.pack(node, product.pack(low.mk), b.name, packed)
    macs = prod((*product.batch, product.m, product.k, product.n))
    low.call(node, product.build(low.mk), macs=macs, inputs=(a.name, packed.name))


def softmax(low: Lowering, node: Node) -> None:
    x, y = low.tensor(node.inputs[0]), low.tensor(node.name)
    clip = (node.attrs["lo"], node.attrs["hi"])
    kernel = Softmax(x=x.nhwc(), y=y.nhwc(), count=x.shape[-1], clip=clip)
    low.call(node, kernel.build(low.mk))


def layer_norm(low: Lowering, node: Node) -> None:
    x, y, attrs = low.tensor(node.inputs[0]), low.tensor(node.name), node.attrs
    kernel = LayerNorm(
        x=x.nhwc(),
        y=y.nhwc(),
        gamma=attrs["gamma"],
        beta=attrs["beta"],
        epsilon=attrs["epsilon"],
        clip=(attrs["lo"], attrs["hi"]),
    )
    low.call(node, kernel.build(low.mk))


def axes_of(node: Node, key: str, tensor: Tensor) -> tuple[int, ...]:
    """The tensor's axes in the order (…batch, row, column) of the product."""
    axes: tuple[int, ...] = node.attrs.get(key, tuple(range(len(tensor.shape))))
    return axes


def matrices(tensor: Tensor, axes: tuple[int, ...], batch: tuple[int, ...]) -> Matrices:
    """Where the matrices of a tensor lie; one of extent 1 on a batch axis serves all."""
    strides, offset = tensor.strides()
    assert offset == 0, f"{tensor.name}: a border around an operand of a product"
    steps = [strides[axis] if tensor.shape[axis] > 1 else 0 for axis in axes]
    return Matrices(
        elements=tensor.elements,
        batch=tuple(steps[axis] for axis in batch),
        row=strides[axes[-2]],
        column=strides[axes[-1]],
    )
