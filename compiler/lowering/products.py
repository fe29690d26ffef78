"""Products of two activations: one call packs the right operand, one multiplies."""

from math import prod

from edgekiln.compiler.ir.linear import MatMul, axes_of
from edgekiln.compiler.ir.memory import Nhwc
from edgekiln.compiler.ir.node import Node
from edgekiln.compiler.ir.program import ArenaBuffer
from edgekiln.compiler.ir.tensor import Tensor, dense_strides
from edgekiln.compiler.kernels.copy import CopyKernel
from edgekiln.compiler.kernels.gpu.table import built
from edgekiln.compiler.kernels.matmul.kernel import MatMulKernel
from edgekiln.compiler.kernels.matmul.spec import Matrices
from edgekiln.compiler.lowering.finish import finish_of
from edgekiln.compiler.lowering.state import Lowering


def matmul(low: Lowering, node: Node, op: MatMul) -> None:
    """A product of two activations, of codes or of floats."""
    if op.mult is None:
        _of_floats(low, node, op)
    else:
        _of_codes(low, node, op)


class _Product:
    """The extents of a product, and where its matrices lie."""

    def __init__(self, low: Lowering, node: Node, op: MatMul) -> None:
        self.a, self.b, self.y = (low.tensor(name) for name in (*node.inputs, node.name))
        of_a, of_b, of_y = (
            axes_of(tensor, perm)
            for tensor, perm in ((self.a, op.a_perm), (self.b, op.b_perm), (self.y, op.y_perm))
        )
        # y is (…batch, m, n) and a is (…batch, m, k), each seen through its permutation.
        *batch, self.m, self.n = (self.y.shape[axis] for axis in of_y)
        self.k = self.a.shape[of_a[-1]]
        # Axes of extent 1 would be loops of one turn.
        axes = tuple(i for i, extent in enumerate(batch) if extent > 1)
        self.batch = tuple(batch[axis] for axis in axes)
        self.left = _matrices(self.a, of_a, axes)
        self.right = _matrices(self.b, of_b, axes)
        self.result = _matrices(self.y, of_y, axes)

    @property
    def macs(self) -> int:
        return prod((*self.batch, self.m, self.k, self.n))

    def kernel(
        self, op: MatMul, right: Matrices, zero_points: tuple[int, int] = (0, 0)
    ) -> MatMulKernel:
        """The kernel that multiplies.

        Args:
            right: where the right operand lies when it comes to that.
            zero_points: of the operands, where they are codes.
        """
        return MatMulKernel(
            batch=self.batch,
            m=self.m,
            k=self.k,
            n=self.n,
            a=self.left,
            b=right,
            y=self.result,
            result=self.y.nhwc(),
            zero_points=zero_points,
            finish=finish_of(op.finish, op.mult),
        )


def _of_codes(low: Lowering, node: Node, op: MatMul) -> None:
    of = _Product(low, node, op)
    assert of.a.quant is not None, node.name
    assert of.b.quant is not None, node.name
    assert op.mult is not None, node.name
    product = of.kernel(op, of.right, (of.a.quant.zero_point, of.b.quant.zero_point))
    product = low.tuned(node, product)
    # Weights are packed when they are compiled; an activation is packed in each inference.
    packed = ArenaBuffer(name=f"{node.name}:packed", bytes=product.packed_bytes(low.mk))
    low.pack(node, product.pack(low.mk), of.b.name, packed)
    inputs = (of.a.name, packed.name)
    low.call(node, built(product, low.mk), macs=of.macs, inputs=inputs)


def _of_floats(low: Lowering, node: Node, op: MatMul) -> None:
    """The right operand is first copied where its columns do not lie side by side."""
    of = _Product(low, node, op)
    right, inputs = of.right, (of.a.name, of.b.name)
    if right.column != 1:
        right = _columns_together(low, node, of.b, right, (*of.batch, of.k, of.n))
        inputs = (of.a.name, f"{node.name}:columns")
    product = of.kernel(op, right)
    product = low.tuned(node, product)
    low.call(node, built(product, low.kernels_of(node)), macs=of.macs, inputs=inputs)


def _columns_together(
    low: Lowering, node: Node, b: Tensor, right: Matrices, shape: tuple[int, ...]
) -> Matrices:
    """Copy a matrix operand of `shape` (…batch, k, n) into a dense buffer of its own."""
    dense = dense_strides(shape)
    # Bytes of float32, batch after batch, row after row.
    packed = ArenaBuffer(name=f"{node.name}:columns", bytes=4 * prod(shape))
    flat = Nhwc(n=1, h=1, w=1, c=prod(shape), dtype="float32")
    kernel = CopyKernel(
        shape=shape,
        x=b.nhwc(),
        y=flat,
        x_strides=(*right.batch, right.row, right.column),
        y_strides=dense,
    )
    low.pack(node, built(kernel, low.kernels_of(node)), b.name, packed)
    return Matrices(elements=flat.c, batch=dense[:-2], row=dense[-2], column=1)


def _matrices(tensor: Tensor, axes: tuple[int, ...], batch: tuple[int, ...]) -> Matrices:
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
