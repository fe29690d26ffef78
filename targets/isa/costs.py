"""What the choice of a tile charges beside dot products and epilogues, in cycles of one core.

These are no pipeline models. They keep the choice from going where overheads would eat its gain, so
they need only be right to a factor; `edgekiln tune` measures what is best. An instruction set for
which nobody has measured them takes those that were measured on Zen 4.
"""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class LoopCosts:
    """What a loop of dot products over one register tile costs.

    Args:
        tile_cycles: addresses, loop control and the first loads of a tile.
        loads_per_cycle: broadcasts of pixels that can be loaded in a cycle, or half as many
            registers of weights.
        near_bytes: weights of a block beyond these do not stay in the first-level cache.
        far_loads: loads that one register of such weights takes the time of.
        interleave_dots: what it takes to interleave a column of the image for a depthwise
            convolution, in dot products of a register.
        result_dots: what the epilogue of a register of a depthwise convolution takes, likewise.
    """

    # Measured on Zen 4 and Sapphire Rapids, by layers whose k loops are short.
    tile_cycles: float = 12.0
    # AMD's Software Optimization Guide for Zen 4 (57647): two loads of up to 256 bits a cycle, or
    # one of 512.
    loads_per_cycle: float = 2.0
    # Zen 4's first-level data cache (the same guide); the second one has half its rate.
    near_bytes: int = 32 << 10
    far_loads: int = 2
    # Counted: three shifts and three ORs join four rows.
    interleave_dots: int = 6
    # Counted: convert, scale, clamp, round, narrow, store.
    result_dots: int = 6


@dataclass(frozen=True, kw_only=True)
class FilteringCosts:
    """What Winograd's filtering costs.

    Args:
        window_cycles: to transform a register of channels of a window.
        result_cycles: to transform a register of channels back, before the epilogue.
        product_cycles: to begin and end the products of a group of tiles.
        weight_cycles: to transform a register of weights; these are mostly 36 stores.
        far_bytes: weights beyond these do not stay in the second-level cache. They come from
            memory, for in a network all layers share the third one.
        memory_bytes_per_cycle: what comes from there.
    """

    # Measured on Zen 4 by the layers of ResNet-18, ResNet-20 and SqueezeNet.
    window_cycles: float = 130.0
    result_cycles: float = 60.0
    product_cycles: float = 60.0
    weight_cycles: float = 75.0
    # Zen 4's second-level cache (the same guide).
    far_bytes: int = 1 << 20
    # Measured on Zen 4 by ResNet-18's last layers, on one core.
    memory_bytes_per_cycle: float = 2.5


ZEN4_LOOP = LoopCosts()
ZEN4_FILTERING = FilteringCosts()
