"""What people read about a kernel whose tile is a choice."""

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edgekiln.compiler.kernels.conv2d.floats import FloatConv2d
    from edgekiln.compiler.kernels.conv2d.kernel import Conv2d
    from edgekiln.compiler.kernels.depthwise.emit_fma import FloatDepthwise2d
    from edgekiln.compiler.kernels.depthwise.kernel import Depthwise2d
    from edgekiln.compiler.kernels.function import Function
    from edgekiln.compiler.kernels.matmul.emit_unpacked import FloatMatMul
    from edgekiln.compiler.kernels.matmul.kernel import MatMul


def of_convolution(kind: str, conv: "Conv2d | FloatConv2d") -> str:
    """Its filter, its channels, and its image."""
    oc, ic, *_ = conv.weight.shape
    groups = f", {conv.groups} groups" if conv.groups > 1 else ""
    return _of_filter(kind, conv, f"{ic * conv.groups}→{oc}{groups}")


def of_depthwise(kind: str, conv: "Depthwise2d | FloatDepthwise2d") -> str:
    return _of_filter(kind, conv, f"{len(conv.weight)}")


def _of_filter(
    kind: str, conv: "Conv2d | FloatConv2d | Depthwise2d | FloatDepthwise2d", channels: str
) -> str:
    kh, kw = conv.weight.shape[2:]
    by = f"/{conv.strides[0]}" if conv.strides != (1, 1) else ""
    plus = " + residual" if conv.residual else ""
    return f"{kind} {kh}×{kw}{by} {channels}, {conv.y.h}×{conv.y.w}{plus}"


def of_product(kind: str, product: "MatMul | FloatMatMul") -> str:
    """How many matrices, and their sizes."""
    times = f"{math.prod(product.batch)} × " if product.batch else ""
    return f"{kind} {times}{product.m}×{product.k} by {product.k}×{product.n}"


def of_function(function: "Function") -> str:
    """What follows the sums: " + Mul, Erf"."""
    return f" + {', '.join(step.op for step in function)}" if function else ""
