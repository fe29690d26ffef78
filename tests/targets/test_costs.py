"""What a micro-kernel says that things cost decides which tiles are best on its chips."""

from dataclasses import replace

import numpy as np

from edgekiln.compiler.ir.memory import Nhwc
from edgekiln.compiler.kernels.conv2d.kernel import ConvolutionKernel
from edgekiln.compiler.kernels.epilogue.finish import RequantizeFinish
from edgekiln.targets import isa
from edgekiln.targets.isa.costs import ZEN4_FILTERING, ZEN4_LOOP

VNNI = isa.load("x86_vnni")


def convolution(channels: int, kernel: int) -> ConvolutionKernel:
    x = Nhwc(n=1, h=16 + kernel - 1, w=16 + kernel - 1, c=channels, dtype="uint8")
    return ConvolutionKernel(
        x=x, y=replace(x, h=16, w=16),
        weight=np.ones((channels, channels, kernel, kernel), np.int8),
        bias=np.zeros(channels, np.int32),
        finish=RequantizeFinish(mult=np.ones(channels, np.float32)),
    )  # fmt: skip


def test_a_chip_that_nobody_measured_takes_what_zen_4_has() -> None:
    for name in ("arm_dotprod", "arm_mve", "x86_avx2", "generic_u8"):
        mk = isa.load(name)
        assert (mk.loop_costs, mk.filtering_costs) == (ZEN4_LOOP, ZEN4_FILTERING)


def test_where_tiles_cost_much_they_are_large() -> None:
    conv = convolution(64, 1)
    dear = replace(VNNI, loop_costs=replace(ZEN4_LOOP, tile_cycles=1000.0))
    cheap = replace(VNNI, loop_costs=replace(ZEN4_LOOP, tile_cycles=0.0, loads_per_cycle=1e6))
    large, small = (conv.tiles(mk)[0] for mk in (dear, cheap))
    assert large.pixels * large.vectors > small.pixels * small.vectors


def test_where_transforms_cost_much_nothing_is_filtered() -> None:
    conv = convolution(64, 3)
    dear = replace(VNNI, filtering_costs=replace(ZEN4_FILTERING, window_cycles=1e6))
    assert conv.tiles(VNNI)[0].algorithm == "winograd"
    assert conv.tiles(dear)[0].algorithm == "direct"


def test_where_tiles_of_a_unit_cost_much_vectors_compute() -> None:
    mk = isa.load("x86_amx")
    assert mk.matrix
    conv = convolution(64, 1)
    dear = replace(mk, matrix=replace(mk.matrix, tile_cycles=1e6))
    assert conv.tiles(mk)[0].algorithm == "matrix"
    assert conv.tiles(dear)[0].algorithm == "direct"
