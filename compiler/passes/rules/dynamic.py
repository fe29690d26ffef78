"""Dynamic quantization: codes whose scale and zero point are computed while the program runs.

DynamicQuantizeLinear makes them, and MatMulInteger and ConvInteger sum their products in int32. The
Cast, Mul and Add behind these, which ONNX Runtime's quantizer writes, finish the sums.
"""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from edgekiln.compiler.ir.codes import SumFinish
from edgekiln.compiler.ir.dynamic_ops import RANGE as RANGE_SHAPE
from edgekiln.compiler.ir.dynamic_ops import (
    THEMSELVES,
    Border,
    ColumnSums,
    FinishImageSums,
    FinishSums,
    QuantizeByRange,
    RangeOf,
    RangePart,
)
from edgekiln.compiler.ir.linear import Conv2d, Dense, MatMul
from edgekiln.compiler.ir.node import Node
from edgekiln.compiler.ir.onnx_op import onnx_op
from edgekiln.compiler.ir.tensor import Tensor
from edgekiln.compiler.ir.window import Window
from edgekiln.compiler.passes.rewriter import Rewriter
from edgekiln.compiler.passes.rules.dynamic_operands import (
    Operands,
    no_form,
    split,
)
from edgekiln.compiler.passes.rules.dynamic_scales import scales_behind
from edgekiln.compiler.passes.rules.window import four, pads, pair, strides_and_dilations


def dynamic_quantize(rw: Rewriter, node: Node) -> str | None:
    """Floats → codes, their scale and their zero point."""
    x = rw.graph.tensors[node.inputs[0]]
    codes, scale, zero = (*node.outputs, "", "")[:3]
    name = f"{node.name}:range"
    rw.graph.put(Tensor(name=name, shape=RANGE_SHAPE, dtype="float32"))
    rw.make(RangeOf(), (x.name,), name)
    rw.graph.put(replace(rw.graph.tensors[codes], quant=THEMSELVES))
    rw.make(QuantizeByRange(), (x.name, name), codes)
    if scale:
        rw.make(RangePart(zero=False), (name,), scale)
    if zero:
        rw.make(RangePart(zero=True), (name,), zero)
    return None


def matmul_integer(rw: Rewriter, node: Node) -> str | None:
    """A dense layer where the matrix on the right is constant, else a product of activations."""
    of = Operands(rw, node)
    if reason := no_form(rw, node):
        return reason
    weight = rw.graph.constants.get(node.inputs[1])
    zeros = of.constant_zeros(3)
    if weight is None or weight.ndim > 2 or zeros is None:
        return _product(of)
    matrix = weight.reshape(len(weight), -1)
    parts = split(matrix.T, zeros)
    x = of.codes(0)
    scales = scales_behind(rw, node, -1, matrix.shape[1])
    range_ = of.range(scales)
    shape = (*x.shape[:-1], matrix.shape[1])
    sums = of.sums(_dense(parts.values), (x,), shape)
    rows = None
    if parts.shifts.any():
        rows = of.sums(_dense(np.ones((1, matrix.shape[0]), np.int8)), (x,), (*shape[:-1], 1))
    of.finish(FinishSums, scales, (sums, range_), rows, parts)
    return None


def _dense(weight: NDArray[np.int8]) -> Dense:
    channels = len(weight)
    return Dense(
        weight=weight, bias=np.zeros(channels, np.int32), mult=np.ones(channels, np.float32),
        finish=SumFinish(),
    )  # fmt: skip


def _product(of: Operands) -> str | None:
    """(…, M, K) by (…, K, N), neither known before the program runs; a vector is a matrix, too."""
    a, b = of.matrix(0), of.matrix(1)
    rank = max(len(a.shape), len(b.shape))
    a, b = of.of_rank(a, rank), of.of_rank(b, rank)
    batch = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    n = b.shape[-1]
    scales = scales_behind(of.rw, of.node, -1, n)
    range_ = of.range(scales)
    product = MatMul(mult=np.float32(1), finish=SumFinish())
    sums = of.sums(product, (a, b), (*batch, a.shape[-2], n))
    zeros, given = of.constant_zeros(3), of.zero_operand(3)
    assert zeros is not None or given is not None
    rows = None
    # Without a zero point of b the sums of a's rows count nothing.
    if zeros is None or zeros.any():
        ones = _dense(np.ones((1, a.shape[-1]), np.int8))
        rows = of.sums(ones, (a,), (*a.shape[:-1], 1))
    columns = of.made(
        ColumnSums(zeros=zeros), (b, *([given] if given else [])), (*b.shape[:-2], n), "columns"
    )
    op = FinishSums(
        row_sums=rows is not None, columns=None, shifts=None if zeros is None else -zeros,
        mult=scales.mult, bias=scales.bias, finish=scales.finish,
    )  # fmt: skip
    inputs = [sums, range_, *([rows] if rows else []), columns, *([given] if given else [])]
    of.store(op, inputs, scales)
    return None


def conv_integer(rw: Rewriter, node: Node) -> str | None:
    """Convolutions of rank 3 or 4 with constant weights (OC, IC/groups, KH, KW)."""
    of, op = Operands(rw, node), onnx_op(node)
    if reason := no_form(rw, node):
        return reason
    weight = rw.graph.constants[node.inputs[1]]
    zeros = of.constant_zeros(3)
    assert zeros is not None  # `no_form` has looked
    channels, per_group, *kernel = weight.shape
    x, groups = of.codes(0), op.integer("group", 1)
    strides, dilations = strides_and_dilations(op, len(kernel))
    padding = pads(op, x.shape[2:], rw.graph.tensors[node.name].shape[2:], kernel)
    window = Window(
        kernel=pair(kernel), strides=pair(strides), dilations=pair(dilations), pads=four(padding)
    )
    scales = scales_behind(rw, node, 1, channels)
    range_ = of.range(scales)
    x = _bordered(of, of.image(x), range_, window)
    parts = split(weight.reshape(channels, -1), zeros)
    size = rw.graph.tensors[node.name].shape
    shape = (size[0], channels, *pair(size[2:]))
    values = parts.values.reshape(channels, per_group, *window.kernel)
    sums = of.sums(_conv(values, window, groups), (x,), shape)
    rows = None
    if parts.shifts.any():
        # One sum a pixel; of several groups one a result, each of its own channels.
        ones = np.ones((1 if groups == 1 else channels, *values.shape[1:]), np.int8)
        rows = of.sums(_conv(ones, window, groups), (x,), (shape[0], len(ones), *shape[2:]))
    of.finish(FinishImageSums, scales, (sums, range_), rows, parts)
    return None


def _conv(weight: NDArray[np.int8], window: Window, groups: int) -> Conv2d:
    channels = len(weight)
    return Conv2d(
        weight=weight, bias=np.zeros(channels, np.int32), mult=np.ones(channels, np.float32),
        finish=SumFinish(), window=window, groups=groups,
    )  # fmt: skip


def _bordered(of: Operands, x: Tensor, range_: Tensor, window: Window) -> Tensor:
    """Codes whose maker writes a border of this range's zero point, where a window needs one."""
    if not any(window.pads):
        return x
    maker = of.rw.made.get(x.name)
    knows = maker is not None and isinstance(maker.op, QuantizeByRange)
    if maker is not None and knows and maker.inputs[1] == range_.name:
        return x
    return of.made(Border(), (x, range_), x.shape, "bordered", like=x)
