"""Layers with a choice of register tile, for the x86-64-v3 that every test machine runs."""

import numpy as np

from edgekiln.compiler.ir.memory import Halo, Nhwc
from edgekiln.compiler.kernels.conv2d.kernel import ConvolutionKernel
from edgekiln.compiler.kernels.epilogue.finish import RequantizeFinish

NAME = "x86-64-v3"  # of the target
ISA = "x86_avx2"


def resnet8_block() -> ConvolutionKernel:
    """The second convolution of ResNet-8, as a chip with VNNI takes it."""
    halo = Halo(top=1, left=1, bottom=1, right=1)
    image = Nhwc(n=1, h=32, w=32, c=16, dtype="uint8", scale=0.1, zero_point=0, halo=halo)
    return ConvolutionKernel(
        x=image,
        y=image,
        pads=(1, 1),
        weight=np.ones((16, 16, 3, 3), np.int8),
        bias=np.zeros(16, np.int32),
        finish=RequantizeFinish(mult=np.full(16, 1e-3, np.float32), clip=(0, 255)),
    )


def conv(channels: int = 16) -> ConvolutionKernel:
    """1×1 over 8×8 pixels, with some numbers."""
    rng = np.random.default_rng(0)

    def image(count: int) -> Nhwc:
        return Nhwc(n=1, h=8, w=8, c=count, dtype="uint8", scale=0.1, zero_point=3)

    return ConvolutionKernel(
        x=image(16),
        y=image(channels),
        weight=rng.integers(-127, 128, (channels, 16, 1, 1)).astype(np.int8),
        bias=np.zeros(channels, np.int32),
        finish=RequantizeFinish(mult=np.full(channels, 1e-3, np.float32)),
    )
