"""A convolution of each channel with a filter of its own: a thread has a pixel's channels."""

import numpy as np

from edgekiln.compiler.kernels.builder import KernelBuilder
from edgekiln.compiler.kernels.depthwise.kernel import DepthwiseKernel
from edgekiln.compiler.kernels.gpu.grid import Place, each_place
from edgekiln.compiler.kernels.sharing import shared
from edgekiln.compiler.kernels.tir import let, register, repeat, store
from edgekiln.compiler.kernels.types import Kernel
from edgekiln.targets.isa.base import MicroKernel
from edgekiln.targets.isa.expressions import cast, load


@shared
def depthwise_on_threads(kernel: DepthwiseKernel, mk: MicroKernel) -> Kernel:
    """Build the kernel; weights lie as (KH, KW, C), as pixels do."""
    kernel.check()
    of_x, of_y, other = kernel.x, kernel.y, (kernel.residual.tensor if kernel.residual else None)
    channels, _, rows, columns = kernel.weight.shape
    (step_h, step_w), (far_h, far_w) = kernel.strides, kernel.dilations
    top, left = kernel.pads
    with KernelBuilder() as k:
        x = k.tensor(of_x.elements, of_x.dtype)
        epilogue = kernel.finish.epilogue(mk, kernel)
        epilogue.declare_inputs(k)
        weights = k.constant(kernel.weight[:, 0].transpose(1, 2, 0))
        epilogue.declare_constants(k, lambda each: np.broadcast_to(each, (channels,)))
        epilogue.declare_output(k)

        def element(at: Place) -> None:
            first = let(of_x.index(at.n, at.h * step_h - top, at.w * step_w - left, at.c))
            sums = register("int32", at.lanes)
            store(sums, 0, epilogue.bias(at.c, at.lanes), at.lanes)
            with repeat(rows) as row, repeat(columns) as column:
                source = first + row * (far_h * of_x.row) + column * (far_w * of_x.pixel)
                codes = cast(load(x, source, at.lanes), "int32", at.lanes)
                place = (row * columns + column) * channels + at.c
                factors = cast(load(weights, place, at.lanes), "int32", at.lanes)
                store(sums, 0, load(sums, 0, at.lanes) + codes * factors, at.lanes)
            epilogue.emit(
                load(sums, 0, at.lanes), at.c, let(of_y.index(at.n, at.h, at.w, at.c)),
                other.index(at.n, at.h, at.w, at.c) if other else None, at.lanes, at.lanes,
            )  # fmt: skip

        others = [of_x, *([other] if other else [])]
        each_place(k, of_y, epilogue.zero, epilogue.out, element, others)
    return k.finish()
