"""Codes whose range is found when the program runs, and the sums of their products."""

from dataclasses import replace
from math import prod

from edgekiln.compiler.ir.dynamic_ops import (
    Border,
    ColumnSums,
    FinishImageSums,
    FinishSums,
    GivenRange,
    QuantizeByRange,
    RangeOf,
    RangePart,
    Recode,
)
from edgekiln.compiler.ir.memory import Nhwc
from edgekiln.compiler.ir.node import Node
from edgekiln.compiler.ir.program import ArenaBuffer
from edgekiln.compiler.ir.tensor import QMIN, Tensor
from edgekiln.compiler.kernels.finish_sums import (
    ColumnSumsKernel,
    FinishSumsKernel,
    Operand,
    Scaling,
)
from edgekiln.compiler.kernels.ranged_codes import BorderKernel, RangedQuantizeKernel, RecodeKernel
from edgekiln.compiler.kernels.ranges import (
    ExtremesKernel,
    GivenRangeKernel,
    RangeKernel,
    RangePartKernel,
)
from edgekiln.compiler.kernels.types import in_rows
from edgekiln.compiler.lowering.state import Lowering


def range_of(low: Lowering, node: Node, op: RangeOf) -> None:
    """The extremes of each row, then those of all."""
    del op
    (x,) = in_rows(low.tensor(node.inputs[0]).nhwc())
    mk = low.kernels_of(node)
    extremes = ExtremesKernel(x=x)
    buffer = ArenaBuffer(name=f"{node.name}:extremes", bytes=8 * extremes.rows)
    low.pack(node, extremes.build(mk), node.inputs[0], buffer)
    low.call(node, RangeKernel(rows=extremes.rows).build(mk), inputs=(buffer.name,))


def given_range(low: Lowering, node: Node, op: GivenRange) -> None:
    """A scale and a zero point side by side."""
    zeros = [low.tensor(name).dtype for name in node.inputs if low.tensor(name).dtype in QMIN]
    kernel = GivenRangeKernel(scale=op.scale, zero=op.zero, dtype="".join(zeros) or "uint8")
    low.call(node, kernel.build(low.mk))


def range_part(low: Lowering, node: Node, op: RangePart) -> None:
    """One of the two."""
    low.call(node, RangePartKernel(zero=op.zero).build(low.mk))


def quantize(low: Lowering, node: Node, op: QuantizeByRange) -> None:
    """Codes of floats."""
    del op
    x, y = in_rows(low.tensor(node.inputs[0]).nhwc(), low.tensor(node.name).nhwc())
    low.call(node, RangedQuantizeKernel(x=x, y=y).build(low.mk))


def border(low: Lowering, node: Node, op: Border) -> None:
    """Codes that others wrote, with a border."""
    del op
    x, y = low.tensor(node.inputs[0]).nhwc(), low.tensor(node.name).nhwc()
    low.call(node, BorderKernel(x=x, y=y).build(low.mk))


def recode(low: Lowering, node: Node, op: Recode) -> None:
    """The same numbers in another type."""
    del op
    x, y = low.tensor(node.inputs[0]), low.tensor(node.name)
    # A code is 128 larger in the type without a sign.
    by = 128 * ((y.dtype == "uint8") - (x.dtype == "uint8"))
    kernel = RecodeKernel(count=x.elements, x=x.dtype, y=y.dtype, by=by)
    low.call(node, kernel.build(low.mk))


def column_sums(low: Lowering, node: Node, op: ColumnSums) -> None:
    """Σ over the rows of each matrix."""
    b = low.tensor(node.inputs[0])
    zeros = _zeros(low.tensor(node.inputs[1])) if op.zeros is None else op.zeros
    kernel = ColumnSumsKernel(
        matrices=prod(b.shape[:-2]), k=b.shape[-2], n=b.shape[-1], dtype=b.dtype,
        origin=b.nhwc().zero_point, zeros=zeros,
    )  # fmt: skip
    low.call(node, kernel.build(low.mk))


def finish_sums(low: Lowering, node: Node, op: FinishSums) -> None:
    """Corrections, and maybe scales."""
    operands = [low.tensor(name) for name in node.inputs[2:]]
    sums, y = low.tensor(node.inputs[0]), low.tensor(node.name)
    batch: tuple[int, ...] = ()
    if isinstance(op, FinishImageSums):
        of_sums, of_y = sums.nhwc(), y.nhwc()
    elif op.columns is None:
        batch, of_sums, of_y = _matrices(sums, y)
    else:
        of_sums, of_y = in_rows(*(_flat(tensor, sums.shape[-1]) for tensor in (sums, y)))
    scaling = None
    if op.mult is not None:
        scaling = Scaling(mult=op.mult, bias=op.bias, clip=op.finish.limits)
    kernel = FinishSumsKernel(
        sums=of_sums, y=of_y, batch=batch,
        row_sums=_row_sums(sums, operands.pop(0), batch) if op.row_sums else None,
        columns=_columns(sums, operands.pop(0)) if op.columns is None else op.columns,
        shifts=_zeros(operands.pop(0)) if op.shifts is None else op.shifts,
        scaling=scaling,
    )  # fmt: skip
    low.call(node, kernel.build(low.mk))


def _flat(tensor: Tensor, channels: int) -> Nhwc:
    """Rows of channels, one behind the other."""
    rows = tensor.elements // channels
    return replace(tensor, shape=(1, rows, channels)).nhwc()


def _matrices(sums: Tensor, y: Tensor) -> tuple[tuple[int, ...], Nhwc, Nhwc]:
    """The batch of a product, and its sums and results as an image of one matrix a row."""
    *batch, m, n = sums.shape
    shape = (1, prod(batch), m, n)
    of_sums, of_y = (replace(each, shape=shape).nhwc() for each in (sums, y))
    return tuple(batch) or (1,), of_sums, of_y


def _row_sums(sums: Tensor, rows: Tensor, batch: tuple[int, ...]) -> Operand:
    """One number a row, or one a result."""
    if batch:
        *outer, m, _ = rows.shape
        return Operand(elements=rows.elements, batch=_steps(outer, m, len(batch)), pixel=1)
    channels = sums.nhwc().c
    each = rows.elements == sums.elements and channels > 1
    return Operand(elements=rows.elements, pixel=channels if each else 1, channel=int(each))


def _columns(sums: Tensor, columns: Tensor) -> Operand:
    *outer, n = columns.shape
    steps = _steps(outer, n, max(len(sums.shape) - 2, 1))
    return Operand(elements=columns.elements, batch=steps, channel=1)


def _steps(outer: list[int], size: int, rank: int) -> tuple[int, ...]:
    """Elements from one to the next on each axis of a batch; 0 where all share one."""
    outer = [1] * (rank - len(outer)) + outer
    return tuple(
        size * prod(outer[axis + 1 :]) if extent > 1 else 0 for axis, extent in enumerate(outer)
    )


def _zeros(zeros: Tensor) -> Operand:
    """Zero points: one, or one a column."""
    return Operand(elements=zeros.elements, dtype=zeros.dtype, channel=int(zeros.elements > 1))
